/**
 * Writes a checkpoint now and then, so that opening does not take longer and longer.
 *
 * Invariants
 * - The parts are taken at the seal of a block, when the state is exactly that after it, and written once
 *   that block is on disk. A checkpoint that fails is only logged: the blocks are the truth.
 */
import type { Engine } from "../core/engine.ts";
import type { Block, BlockStore } from "../store/store.ts";
import type { Log } from "./log.ts";
import type { Recovery } from "./recovery.ts";

/** Blocks that are written for each byte of a checkpoint, at least; as many are read again after a kill. */
const BYTES_PER_CHECKPOINT_BYTE = 2;

interface Taken {
  readonly block: number;
  readonly parts: Iterable<unknown>;
}

export class Checkpointer {
  readonly #engine: Engine;
  readonly #store: BlockStore;
  readonly #everyBytes: number;
  readonly #log: Log;
  #lastBytes: number;
  /** What the last checkpoint took. A big one is written more seldom: it is work beside everything else. */
  #checkpointBytes: number;
  #lastBlock = 0;
  #taken: Taken | null = null;
  #saving: Promise<void> | null = null;
  readonly #saved: () => void;

  constructor(
    { engine, replayedBytes, checkpointBytes }: Recovery,
    store: BlockStore,
    everyBytes: number,
    log: Log,
    saved: () => void = () => undefined,
  ) {
    this.#saved = saved;
    this.#engine = engine;
    this.#checkpointBytes = checkpointBytes;
    this.#store = store;
    this.#everyBytes = everyBytes;
    this.#log = log;
    // Counted from the last checkpoint, not from the start: a broker that dies early again and again
    // would otherwise never write one, and replay more at each start.
    this.#lastBytes = store.bytes - replayedBytes;
  }

  sealed(block: Block): void {
    const dueBytes = Math.max(this.#everyBytes, this.#checkpointBytes * BYTES_PER_CHECKPOINT_BYTE);
    if (this.#saving !== null || this.#store.bytes - this.#lastBytes < dueBytes) return;
    this.#taken = { block: block.number, parts: this.#engine.save() };
  }

  written(block: Block): void {
    if (this.#taken?.block !== block.number) return;
    const taken = this.#taken;
    this.#taken = null;
    this.#saving = this.#save(taken).finally(() => {
      this.#saving = null;
    });
  }

  /** The last checkpoint, after the last block: the next start has nothing to replay. */
  async finish(): Promise<void> {
    await this.#saving;
    const block = this.#store.tail;
    if (block > this.#lastBlock) await this.#save({ block, parts: this.#engine.save() });
  }

  async #save({ block, parts }: Taken): Promise<void> {
    const startMs = performance.now();
    this.#lastBytes = this.#store.bytes;
    try {
      this.#checkpointBytes = await this.#store.saveCheckpoint(block, parts);
      this.#lastBlock = block;
      this.#saved();
      this.#log.info({ block, ms: Math.round(performance.now() - startMs) }, "checkpoint written");
    } catch (error) {
      this.#log.warn(
        { err: error, block },
        "a checkpoint could not be written; opening will take longer",
      );
    }
  }
}
