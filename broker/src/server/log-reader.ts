/**
 * Reads of the log for operators' questions: blocks that nobody else wants now, and maybe many of them.
 *
 * Invariants
 * - Q1 They wait in one line with the reads for deliveries and checks (reading.ts), one block at a time for each
 *   question, and push nothing out of the block cache.
 * - Q2 The event loop has its turn in between, however fast the blocks come, and half of the time is for others.
 */
import type { Block, BlockStore } from "../store/store.ts";
import type { Clock } from "./clock.ts";
import type { Reading } from "./reading.ts";

export interface LogReaderOptions {
  readonly store: BlockStore;
  readonly reading: Reading;
  /** What a block has at most. */
  readonly blockBytesMax: number;
  readonly clock: Clock;
}

/** A delivery waits no longer for a question than about this. */
const BUSY_MS = 4;

export class LogReader {
  readonly #options: LogReaderOptions;
  #busySinceMs = 0;
  #readAtMs = 0;

  constructor(options: LogReaderOptions) {
    this.#options = options;
  }

  /** For how long a question has been worked on. */
  nowMs(): number {
    return this.#options.clock.monotonicMs();
  }

  block(block: number): Promise<Block> {
    return this.#read(() => this.#options.store.readBlock(block));
  }

  messages(block: number, slots: readonly number[]): Promise<readonly Uint8Array[]> {
    return this.#read(() => this.#options.store.readMessages(block, slots, "once"));
  }

  async #read<Result>(read: () => Promise<Result>): Promise<Result> {
    const { reading, blockBytesMax } = this.#options;
    await this.#othersTurn();
    return reading.run(blockBytesMax, read);
  }

  /** After each block the event loop; after a while of blocks everybody else, for as long (Q2). */
  async #othersTurn(): Promise<void> {
    const { clock } = this.#options;
    const nowMs = clock.monotonicMs();
    const isLong = nowMs - this.#busySinceMs >= BUSY_MS;
    await new Promise<void>((resolve) =>
      isLong ? void clock.setTimer(resolve, BUSY_MS) : clock.soon(resolve),
    );
    // Who comes after a rest begins a new while.
    if (isLong || nowMs - this.#readAtMs >= BUSY_MS) this.#busySinceMs = clock.monotonicMs();
    this.#readAtMs = clock.monotonicMs();
  }
}
