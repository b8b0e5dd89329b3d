/**
 * Copies what little still lives in the front segment to the end of the log, so that the segment can go.
 *
 * Invariants
 * - W1 Only a segment that has been nearly empty for a while: what is on its way out by itself is not copied.
 * - W2 In small pieces with waits in between, one at a time, and not when the disk is short: writers come first.
 * - W3 What cannot be read stays where it is, and keeps its segment: nothing is given up to free space.
 * - W4 Looking and copying go on in steps of well under a millisecond, with the event loop free in between,
 *   however many messages there are.
 */
import { EscrowError } from "@escrowmq/protocol";
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
/** Each is read and checked as a whole. */
const PIECE_BLOCKS_MAX = 16;
const PIECE_EVERY_MS = 50;
/** Of `movableBefore`, before others get their turn (W4). */
const STEPS_AT_ONCE = 256;

export interface CopyForwardOptions {
  readonly engine: Engine;
  readonly store: Pick<BlockStore, "front" | "readMessages">;
  readonly clock: Clock;
  readonly log: Log;
  /** How long a segment must have been nearly empty, and how long one that is not is left alone. */
  readonly afterMs: number;
  /** `bytes`: of the messages, which stay in memory with their block. */
  readonly take: (input: Input, bytes: number) => void;
}

export class CopyForward {
  readonly #options: CopyForwardOptions;
  /** The front segment, by its last block, and since when it is known to be nearly empty. */
  #nearlyEmpty: { readonly last: number; readonly sinceMs: number } | null = null;
  /** A segment, by its last block, in which much is needed, and when to look at it again. */
  #full: { readonly last: number; readonly untilMs: number } | null = null;
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
    const { store, clock, afterMs } = this.#options;
    const front = await store.front();
    if (front === null || this.#isStopped) {
      this.#liveBytes = 0;
      this.#nearlyEmpty = null;
      return;
    }
    const { last, bytes } = front;
    const nowMs = clock.monotonicMs();
    if (this.#full?.last === last && nowMs < this.#full.untilMs) return;
    this.#liveBytes = await this.#count(last);
    const isFull = this.#liveBytes > Math.min(LIVE_BYTES_MAX, bytes * LIVE_SHARE_MAX);
    this.#full = isFull ? { last, untilMs: nowMs + afterMs } : null;
    if (isFull || this.#liveBytes === 0) {
      this.#nearlyEmpty = null;
      return;
    }
    if (this.#nearlyEmpty?.last !== last) this.#nearlyEmpty = { last, sinceMs: nowMs };
    if (nowMs - this.#nearlyEmpty.sinceMs >= afterMs && this.#unreadable !== last)
      await this.#copy(last);
  }

  /** The bytes that are needed in the segment, or somewhat more than LIVE_BYTES_MAX. */
  async #count(last: number): Promise<number> {
    let bytes = 0;
    let steps = 0;
    for (const one of movableBefore(this.#options.engine.core.state, last + 1)) {
      bytes += one?.bytes ?? 0;
      if (bytes > LIVE_BYTES_MAX || this.#isStopped) break;
      if (++steps % STEPS_AT_ONCE === 0) await this.#othersTurn();
    }
    return bytes;
  }

  /** What comes into the segment's account while it is gone through is found by the next look. */
  async #copy(last: number): Promise<void> {
    const { engine, log, take } = this.#options;
    const all = movableBefore(engine.core.state, last + 1);
    let bytes = 0;
    while (!this.#isStopped && engine.core.admission === "all") {
      const piece = await this.#pieceOf(all);
      if (piece.length === 0) break;
      const messages = await this.#read(piece, last);
      if (messages === null || this.#isStopped) break;
      const pieceBytes = messages.reduce((total, { of }) => total + of.bytes, 0);
      if (pieceBytes > 0) take({ kind: "copied", messages }, pieceBytes);
      bytes += pieceBytes;
      await this.#pause();
    }
    all.return(null);
    this.#copiedBytes += bytes;
    if (bytes > 0) log.info({ last, bytes }, "copied forward");
  }

  /** Null, with a word in the log: some of it cannot be read. */
  async #read(piece: readonly Movable[], last: number): Promise<readonly Copied[] | null> {
    const { store, log } = this.#options;
    const messages: Copied[] = [];
    for (const of of piece) {
      const { block, slot } = of.place;
      const count = of.kind === "transaction" ? of.count : 1;
      const slots = Array.from({ length: count }, (_, at) => slot + at);
      try {
        // Copies: a piece must not keep sixteen whole blocks in memory.
        const data = (await store.readMessages(block, slots)).map((bytes) => bytes.slice());
        messages.push({ of, data });
      } catch (error) {
        // Settled by everybody since it was found, and gone with its segment.
        if (EscrowError.is(error, "MESSAGE_RETIRED")) continue;
        if (this.#isStopped) return null;
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

  #othersTurn(): Promise<void> {
    return new Promise((resolve) => this.#options.clock.soon(resolve));
  }

  /** The next of them; none: that was all. */
  async #pieceOf(all: Iterator<Movable | null>): Promise<Movable[]> {
    const piece: Movable[] = [];
    const blocks = new Set<number>();
    let bytes = 0;
    let steps = 0;
    while (
      bytes < PIECE_BYTES &&
      piece.length < PIECE_MESSAGES_MAX &&
      blocks.size < PIECE_BLOCKS_MAX
    ) {
      const { value, done } = all.next();
      if (done === true) break;
      if (++steps % STEPS_AT_ONCE === 0) await this.#othersTurn();
      if (value === null) continue;
      piece.push(value);
      blocks.add(value.place.block);
      bytes += value.bytes;
    }
    return piece;
  }
}
