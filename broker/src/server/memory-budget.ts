/**
 * One budget for what peers can make the broker hold, and what follows when a part of it runs short.
 * Pure: numbers in, decisions out. Those who hold the bytes (inbox, assembly, unread, reading, loop) obey.
 *
 * Invariants
 * - F1 The shares together are the budget, and every byte that a peer makes the broker hold counts in one.
 * - F2 An allowance is a fraction of what is left of its share: as the share fills, those who hold most
 *   are stopped first, those who hold little not at all, and nobody has to be counted for it.
 */
import { LIMITS } from "@escrowmq/protocol/limits";

const KIB = 1_024;
const MIB = 1_048_576;

export interface MemoryShares {
  /** Whole batches that wait for work, of connections that send or prepare. */
  readonly sendingBytesMax: number;
  /** The same, of connections that only settle, answer and ask. */
  readonly settlingBytesMax: number;
  /** Parts of batches whose rest has not come yet. */
  readonly assemblingBytesMax: number;
  /** The open block and the one being written, each with the batch that fills it. */
  readonly blocksBytesMax: number;
  /** Blocks being read for deliveries and checks. */
  readonly readingBytesMax: number;
  /** Questions that wait for an endpoint's answer. */
  readonly askingBytesMax: number;
  /** Deliveries on their way to the sockets, and what peers have not taken from these. */
  readonly unreadBytesMax: number;
}

/** Below this a share could not hold what one largest batch needs on its way through. */
export const MEMORY_BYTES_MIN = 128 * MIB;
/** Room for 1,000 connections of any kind; with all else the process stays well under 1 GiB. */
export const MEMORY_BYTES_DEFAULT = 256 * MIB;

export function sharesOf(memoryBytesMax: number): MemoryShares {
  const sixteenth = Math.floor(memoryBytesMax / 16);
  return {
    sendingBytesMax: sixteenth,
    settlingBytesMax: sixteenth,
    assemblingBytesMax: 3 * sixteenth,
    blocksBytesMax: 2 * sixteenth,
    readingBytesMax: 3 * sixteenth,
    askingBytesMax: sixteenth,
    // The largest part: what peers do not take can be held back, but not taken back.
    unreadBytesMax: 5 * sixteenth,
  };
}

/** A block beyond this would add latency, not speed. */
const OPEN_BYTES_MAX = 8 * MIB;
/** What verdicts and acks may add to a block that is full for sends. */
export const SETTLING_RESERVE_BYTES = MIB;

/** When the open block is full for sends: half the share, less what may still come on top. */
export const openBytesMax = ({ blocksBytesMax }: MemoryShares): number =>
  Math.min(OPEN_BYTES_MAX, blocksBytesMax / 2 - LIMITS.batchBytesMax - SETTLING_RESERVE_BYTES);

/** What a verdict waits for, at most twice: the block being written, and its own. */
const BLOCK_WRITE_MS_MAX = 100;
/** However slow the disk: below this a sync costs more than what it syncs. */
const OPEN_BYTES_MIN = 256 * KIB;

/**
 * When the next block is full for sends, after one of `bytes` took `ms` to write: on a slow disk sooner.
 * One slow write halves it at most; it grows only by blocks that were full.
 */
export function nextOpenBytes(
  openBytes: number,
  openMax: number,
  bytes: number,
  ms: number,
): number {
  if (ms > BLOCK_WRITE_MS_MAX && bytes > OPEN_BYTES_MIN)
    return Math.max(OPEN_BYTES_MIN, openBytes * Math.max(0.5, BLOCK_WRITE_MS_MAX / ms));
  const isProven = ms < BLOCK_WRITE_MS_MAX / 2 && bytes >= openBytes / 2;
  return isProven ? Math.min(openMax, openBytes * 2) : openBytes;
}

/** What waits of sends is two blocks, within the share: more would only add latency to what comes behind. */
export const sendingBytes = (shareBytesMax: number, openBytes: number): number =>
  Math.min(shareBytesMax, 2 * openBytes);

/** A block that is read is in memory as a whole: what it may have become by the rule above. */
export const blockBytesMax = (shares: MemoryShares): number =>
  openBytesMax(shares) + SETTLING_RESERVE_BYTES + LIMITS.batchBytesMax;

/** One read of a socket: less cannot be had, so nobody is stopped for less. */
export const READ_BYTES = 64 * KIB;

/** F2: what one lane of the inbox may hold. One alone gets a fifth of the share, n get 1/(n + 4) each. */
export const laneBytesMax = (shareBytesMax: number, usedBytes: number): number =>
  Math.max(READ_BYTES, (shareBytesMax - usedBytes) / 4);

/** Beyond this nothing more is delivered to a peer until it has read: more would add memory, not speed. */
const CONGESTED_BYTES = MIB;

/** F2: what one peer may leave unread before deliveries to it stop. A quarter is kept for replies. */
export const unreadAllowance = (shareBytesMax: number, usedBytes: number): number =>
  Math.min(CONGESTED_BYTES, Math.max(READ_BYTES, ((shareBytesMax * 3) / 4 - usedBytes) / 8));

/** Beyond this a peer is closed whatever the others hold: it gets replies, too, which cannot be held back. */
export const tooSlowBytes = (shareBytesMax: number): number =>
  Math.min(32 * MIB, shareBytesMax / 4);

/** F2, for the first half of the share: what an unfinished batch may hold without a place. */
export const assemblyAllowance = (shareBytesMax: number, usedBytes: number): number =>
  Math.max(READ_BYTES, (shareBytesMax / 2 - usedBytes) / 4);

/** The other half has places for the largest batches: as many as can be finished, whatever they become. */
export const assemblyPlaces = (shareBytesMax: number): number =>
  Math.floor(shareBytesMax / 2 / LIMITS.batchBytesMax);

/** Whom to close so that what is left fits again, with some room: those who hold most. */
export function worstFirst<Holder extends { readonly bytes: number }>(
  holders: Iterable<Holder>,
  usedBytes: number,
  shareBytesMax: number,
): Holder[] {
  if (usedBytes <= shareBytesMax) return [];
  const worst = [...holders].sort((one, other) => other.bytes - one.bytes);
  const untilBytes = shareBytesMax * (7 / 8);
  let leftBytes = usedBytes;
  let count = 0;
  for (; count < worst.length && leftBytes > untilBytes; count++)
    leftBytes -= worst[count]?.bytes ?? 0;
  return worst.slice(0, count);
}

/** A client's window may not fall below this: a connection always moves. */
const WINDOW_BYTES_MIN = 16 * KIB;

/** A lane overflowed: its client keeps the rest to itself, where verdicts can still pass it. */
export const narrowedWindow = (windowBytes: number, laneMaxBytes: number): number =>
  Math.max(WINDOW_BYTES_MIN, Math.floor(Math.min(windowBytes, laneMaxBytes) / 2));

/** A lane ran empty while there was room for all. */
export const widenedWindow = (windowBytes: number): number =>
  Math.min(LIMITS.windowBytesMax, windowBytes * 2);

/** Windows widen only below this: there the inbox is a passage and not a queue. */
export const isCalm = (shareBytesMax: number, usedBytes: number): boolean =>
  usedBytes <= shareBytesMax / 8;
