/**
 * Copies what little still lives in the front segment to the end of the log, so that the segment can go.
 *
 * Invariants
 * - W1 Only a segment that has been nearly empty for a while: what is on its way out by itself is not copied.
 * - W2 In small pieces with waits in between, one at a time, and not when the disk is short: writers come first.
 * - W3 What cannot be read stays where it is, and keeps its segment: nothing is given up to free space.
 */
import { type Copied, type Movable, movableBefore } from "../core/copy-forward.ts";
import type { Engine } from "../core/engine.ts";
import type { Input } from "../core/types.ts";
import type { BlockStore } from "../store/store.ts";
import type { Clock } from "./clock.ts";
import type { Log } from "./log.ts";

const MIB = 1_048_576;
/** Twenty times as much is freed as is written again. */
const LIVE_SHARE_MAX = 0.05;
/** Of one segment: written within seven seconds. */
const LIVE_BYTES_MAX = 32 * MIB;
/** About a millisecond of the disk's time; 5 MiB/s with the wait. */
const PIECE_BYTES = MIB / 4;
const PIECE_MESSAGES_MAX = 256;
const PIECE_EVERY_MS = 50;

export interface CopyForwardOptions {
  readonly engine: Engine;
  readonly store: BlockStore;
  readonly clock: Clock;
  readonly log: Log;
  /** How long a segment must have been nearly empty. */
  readonly afterMs: number;
  readonly take: (input: Input) => void;
}

export class CopyForward {
  readonly #options: CopyForwardOptions;
  /** The front segment, by its last block, and since when it is known to be nearly empty. */
  #nearlyEmpty: { readonly last: number; readonly sinceMs: number } | null = null;
  /** Something in the segment that ends with this block could not be read (W3). */
  #unreadable = 0;
  #working: Promise<void> | null = null;
  #isStopped = false;
  #liveBytes = 0;
  #copiedBytes = 0;

  constructor(options: CopyForwardOptions) {
    this.#options = options;
  }

  /** What is needed in the front segment, counted up to LIVE_BYTES_MAX; 0 if that segment could not go anyway. */
  get liveBytes(): number {
    return this.#liveBytes;
  }

  get copiedBytes(): number {
    return this.#copiedBytes;
  }

  /** Now and then. */
  look(): void {
    if (this.#working !== null || this.#isStopped) return;
    this.#working = this.#look()
      .catch((error: unknown) => {
        if (!this.#isStopped) this.#options.log.warn({ err: error }, "copying forward failed");
      })
      .finally(() => {
        this.#working = null;
      });
  }

  stop(): void {
    this.#isStopped = true;
  }

  async #look(): Promise<void> {
    const { store, clock, engine, afterMs } = this.#options;
    const front = await store.front();
    if (front === null || this.#isStopped) {
      this.#liveBytes = 0;
      this.#nearlyEmpty = null;
      return;
    }
    const { last, bytes } = front;
    const liveBytesMax = Math.min(LIVE_BYTES_MAX, bytes * LIVE_SHARE_MAX);
    this.#liveBytes = bytesOf(movableBefore(engine.core.state, last + 1), LIVE_BYTES_MAX);
    if (this.#liveBytes > liveBytesMax || this.#liveBytes === 0) {
      this.#nearlyEmpty = null;
      return;
    }
    const nowMs = clock.monotonicMs();
    if (this.#nearlyEmpty?.last !== last) this.#nearlyEmpty = { last, sinceMs: nowMs };
    if (nowMs - this.#nearlyEmpty.sinceMs >= afterMs && this.#unreadable !== last)
      await this.#copy(last);
  }

  async #copy(last: number): Promise<void> {
    const { engine, log, take } = this.#options;
    let bytes = 0;
    while (!this.#isStopped && engine.core.admission === "all") {
      const piece = pieceOf(movableBefore(engine.core.state, last + 1));
      if (piece.length === 0) break;
      const messages = await this.#read(piece, last);
      if (messages === null || this.#isStopped) return;
      take({ kind: "copied", messages });
      for (const { of } of messages) bytes += of.bytes;
      await this.#pause();
    }
    this.#copiedBytes += bytes;
    log.info({ last, bytes }, "copied forward");
  }

  /** Null, with a word in the log: some of it cannot be read. */
  async #read(piece: readonly Movable[], last: number): Promise<readonly Copied[] | null> {
    const { store, log } = this.#options;
    const messages: Copied[] = [];
    for (const of of piece) {
      const { block, slot } = of.place;
      const count = of.kind === "entry" ? 1 : of.count;
      const slots = Array.from({ length: count }, (_, at) => slot + at);
      try {
        messages.push({ of, data: await store.readMessages(block, slots) });
      } catch (error) {
        this.#unreadable = last;
        log.error({ err: error, block }, "a segment is kept: messages in it cannot be read");
        return null;
      }
    }
    return messages;
  }

  #pause(): Promise<void> {
    return new Promise((resolve) => {
      this.#options.clock.setTimer(resolve, PIECE_EVERY_MS);
    });
  }
}

function bytesOf(all: Iterable<Movable>, most: number): number {
  let total = 0;
  for (const { bytes } of all) {
    total += bytes;
    if (total > most) break;
  }
  return total;
}

/** At least one, whatever its size: a transaction is moved as a whole. */
function pieceOf(all: Iterable<Movable>): Movable[] {
  const piece: Movable[] = [];
  let total = 0;
  for (const one of all) {
    if (piece.length > 0 && total + one.bytes > PIECE_BYTES) break;
    piece.push(one);
    total += one.bytes;
    if (piece.length >= PIECE_MESSAGES_MAX) break;
  }
  return piece;
}
