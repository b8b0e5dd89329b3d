/**
 * Gives the disk back what nobody needs any more: tells the store, now and then, before which block nothing
 * will be read again.
 *
 * Invariants
 * - R1 That block is taken at the seal of a block, when the state is exactly that after it, and used once that
 *   block is on disk: a record that let messages go must not be lost after their bytes. Where no block is
 *   open or under way, the state is that of the last block on disk.
 * - R2 One retirement at a time, beside the writes. One that fails is logged and tried again: the disk is
 *   fuller than it need be, and nothing else.
 */
import type { Engine } from "../core/engine.ts";
import type { Block, BlockStore } from "../store/store.ts";
import type { Clock } from "./clock.ts";
import type { Log } from "./log.ts";

/** Looking costs a step for each 512 messages in all topics. */
const LOOK_EVERY_MS = 1_000;

export class Retirer {
  readonly #engine: Engine;
  readonly #store: BlockStore;
  readonly #clock: Clock;
  readonly #log: Log;
  #lookedAtMs: number;
  /** Taken at the seal of this block. */
  #taken: { readonly block: number; readonly needed: number } | null = null;
  /** Nothing before it will be read again, whatever is lost of what is not on disk yet. */
  #needed: number;
  #sealedBlock = 0;
  #writtenBlock = 0;
  #retiring: Promise<void> | null = null;
  #isStopped = false;

  /** Of a recovered engine, whose state is all on disk. */
  constructor(engine: Engine, store: BlockStore, clock: Clock, log: Log) {
    this.#engine = engine;
    this.#store = store;
    this.#clock = clock;
    this.#log = log;
    this.#needed = engine.core.state.neededBlock;
    this.#lookedAtMs = clock.monotonicMs();
  }

  sealed(block: Block): void {
    this.#sealedBlock = block.number;
    const nowMs = this.#clock.monotonicMs();
    if (this.#taken !== null || nowMs - this.#lookedAtMs < LOOK_EVERY_MS) return;
    this.#lookedAtMs = nowMs;
    this.#taken = { block: block.number, needed: this.#engine.core.state.neededBlock };
  }

  written(block: Block): void {
    this.#writtenBlock = block.number;
    if (this.#taken?.block !== block.number) return;
    this.#needed = this.#taken.needed;
    this.#taken = null;
    this.retire();
  }

  /** Now and then: what the last blocks before a quiet time let go of is told by no later one. */
  look(): void {
    if (this.#engine.isBlockOpen || this.#sealedBlock !== this.#writtenBlock) return;
    this.#needed = this.#engine.core.state.neededBlock;
    this.retire();
  }

  /** At the start, and after a checkpoint, which may let go of more. */
  retire(): void {
    if (this.#retiring !== null || this.#isStopped) return;
    this.#retiring = this.#retire().finally(() => {
      this.#retiring = null;
    });
  }

  /** What is under way is ended by the store, as it closes. */
  stop(): void {
    this.#isStopped = true;
  }

  async #retire(): Promise<void> {
    const startMs = this.#clock.monotonicMs();
    try {
      const { blocks, bytes } = await this.#store.retire(this.#needed);
      const ms = Math.round(this.#clock.monotonicMs() - startMs);
      if (blocks > 0) this.#log.info({ blocks, bytes, first: this.#store.first, ms }, "retired");
    } catch (error) {
      if (!this.#isStopped)
        this.#log.warn({ err: error }, "retired segments could not be removed; tried again later");
    }
  }
}
