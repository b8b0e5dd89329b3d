/**
 * The checkpoints of a store: a directory of files named by the block that they stand for.
 *
 * Invariants
 * - C1 A file without its final name does not exist; the name is given after the fsync.
 * - C2 A damaged checkpoint costs time and never truth: the one before it or the whole log is
 *   used, and the damage is reported. It is replaced by the next one that is saved.
 */
import { readdir, rename, rm } from "node:fs/promises";
import { join } from "node:path";
import {
  type Checkpoint,
  type CheckpointHeader,
  readCheckpoint,
  UnusableCheckpoint,
  writeCheckpoint,
} from "./checkpoint-file.ts";
import {
  blockOfName,
  makeDirectory,
  nameOfBlock,
  syncDirectory,
  TEMPORARY_SUFFIX,
} from "./durable-file.ts";
import type { CheckpointPart } from "./store.ts";

/** The second one is what a damaged first one falls back to. */
const KEPT_MAX = 2;

export class Checkpoints {
  readonly #directory: string;
  readonly #storeId: Uint8Array;
  readonly #onWarning: (text: string) => void;
  readonly #unusable = new Set<number>();

  constructor(directory: string, storeId: Uint8Array, onWarning: (text: string) => void) {
    this.#directory = directory;
    this.#storeId = storeId;
    this.#onWarning = onWarning;
  }

  /** Newest first. */
  async list(): Promise<readonly number[]> {
    await makeDirectory(this.#directory);
    const blocks: number[] = [];
    for (const name of await readdir(this.#directory)) {
      const block = blockOfName(name);
      if (block !== null) blocks.push(block);
    }
    return blocks.sort((one, other) => other - one);
  }

  /**
   * All blocks from this one on are needed by some start: the older of the checkpoints that are kept, so
   * that a damaged newest one costs time only (C2). 0 while there are fewer: then every block is needed.
   */
  async neededFrom(): Promise<number> {
    const usable = (await this.list()).filter((block) => !this.#unusable.has(block));
    return usable[KEPT_MAX - 1] ?? 0;
  }

  /** Null, with a warning, when it cannot be used (C2). */
  async read(block: number): Promise<Checkpoint | null> {
    try {
      const checkpoint = await readCheckpoint(this.#pathOf(block), this.#storeId);
      if (checkpoint.block !== block) throw new UnusableCheckpoint("it bears another's name");
      return checkpoint;
    } catch (error) {
      // Any error will do, an unreadable sector as well: the log has everything that is in here.
      this.reject(block, error instanceof Error ? error.message : String(error));
      return null;
    }
  }

  reject(block: number, why: string): void {
    this.#unusable.add(block);
    this.#onWarning(`The checkpoint of block ${block} is not used: ${why}.`);
  }

  async save(
    header: Omit<CheckpointHeader, "storeId">,
    parts: Iterable<CheckpointPart>,
  ): Promise<number> {
    await makeDirectory(this.#directory);
    const path = this.#pathOf(header.block);
    let bytes: number;
    try {
      const whole = { ...header, storeId: this.#storeId };
      bytes = await writeCheckpoint(path + TEMPORARY_SUFFIX, whole, parts);
      await rename(path + TEMPORARY_SUFFIX, path);
    } catch (error) {
      await rm(path + TEMPORARY_SUFFIX, { force: true });
      throw error;
    }
    await syncDirectory(this.#directory);
    this.#unusable.delete(header.block);
    await this.#prune();
    return bytes;
  }

  async #prune(): Promise<void> {
    const usable = (await this.list()).filter((block) => !this.#unusable.has(block));
    const kept = new Set(usable.slice(0, KEPT_MAX).map(nameOfBlock));
    for (const name of await readdir(this.#directory))
      if (!kept.has(name)) await rm(join(this.#directory, name), { force: true });
    this.#unusable.clear();
  }

  #pathOf(block: number): string {
    return join(this.#directory, nameOfBlock(block));
  }
}
