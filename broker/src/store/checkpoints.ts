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
import type { LastingPart } from "../core/lasting-part.ts";
import { type CheckpointHeader, UnusableCheckpoint } from "./checkpoint-format.ts";
import { type Checkpoint, readCheckpoint, readReferences } from "./checkpoint-reader.ts";
import { type Written, writeCheckpoint } from "./checkpoint-writer.ts";
import type { DataDirectory } from "./data-directory.ts";
import {
  blockOfName,
  makeDirectory,
  nameOfBlock,
  syncDirectory,
  TEMPORARY_SUFFIX,
} from "./durable-file.ts";
import type { PackedPart } from "./pack-file.ts";
import { Packs } from "./packs.ts";
import type { CheckpointPart } from "./store.ts";

/** The second one is what a damaged first one falls back to. */
const KEPT_MAX = 2;

export class Checkpoints {
  readonly #directory: string;
  readonly #storeId: Uint8Array;
  readonly #onWarning: (text: string) => void;
  readonly #unusable = new Set<number>();
  readonly #packs: Packs;
  /** What of the state stands in packs, by the last checkpoint that was read or written. */
  #packed: readonly PackedPart[] = [];

  constructor(
    { checkpoints, packs }: Pick<DataDirectory, "checkpoints" | "packs">,
    storeId: Uint8Array,
    onWarning: (text: string) => void,
  ) {
    this.#directory = checkpoints;
    this.#packs = new Packs(packs, onWarning);
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
      const checkpoint = await readCheckpoint(this.#pathOf(block), this.#storeId, this.#packs);
      if (checkpoint.block !== block) throw new UnusableCheckpoint("it bears another's name");
      this.#packed = checkpoint.packed;
      return checkpoint;
    } catch (error) {
      // Any error will do, an unreadable sector as well: the log has everything that is in here.
      this.reject(block, error instanceof Error ? error.message : String(error));
      return null;
    }
  }

  /** Tells of each damaged copy of a pack, even where the other one is whole. */
  async checkCopies({ packed }: Checkpoint): Promise<void> {
    const reader = this.#packs.reader();
    try {
      for (const part of packed) await reader.check(part);
    } finally {
      await reader.close();
    }
  }

  reject(block: number, why: string): void {
    this.#unusable.add(block);
    this.#packed = [];
    this.#onWarning(`The checkpoint of block ${block} is not used: ${why}.`);
  }

  /** Gives the bytes of what was not on disk before. */
  async save(
    header: Omit<CheckpointHeader, "storeId">,
    parts: Iterable<CheckpointPart | LastingPart>,
  ): Promise<number> {
    await makeDirectory(this.#directory);
    const { bytes, packed } = await this.#write(header, parts);
    await syncDirectory(this.#directory);
    this.#packed = packed;
    this.#unusable.delete(header.block);
    await this.#prune();
    return bytes;
  }

  async #write(
    header: Omit<CheckpointHeader, "storeId">,
    parts: Iterable<CheckpointPart | LastingPart>,
  ): Promise<Written> {
    const path = this.#pathOf(header.block);
    const whole = { ...header, storeId: this.#storeId };
    const known = await this.#packs.worthLeaving(this.#packed);
    const pack = await this.#packs.begin();
    try {
      const written = await writeCheckpoint(path + TEMPORARY_SUFFIX, whole, parts, known, pack);
      await rename(path + TEMPORARY_SUFFIX, path);
      return written;
    } catch (error) {
      await pack.abandon();
      await rm(path + TEMPORARY_SUFFIX, { force: true });
      throw error;
    }
  }

  async #prune(): Promise<void> {
    const usable = (await this.list()).filter((block) => !this.#unusable.has(block));
    const kept = new Set(usable.slice(0, KEPT_MAX).map(nameOfBlock));
    for (const name of await readdir(this.#directory))
      if (!kept.has(name)) await rm(join(this.#directory, name), { force: true });
    this.#unusable.clear();
    const used = new Set<number>();
    for (const block of usable.slice(0, KEPT_MAX))
      for (const { pack } of await this.#referencesOf(block)) used.add(pack);
    await this.#packs.prune(used);
  }

  /** None if it cannot be read: then nothing can be done with it anyway. */
  async #referencesOf(block: number): Promise<readonly PackedPart[]> {
    try {
      return await readReferences(this.#pathOf(block));
    } catch {
      return [];
    }
  }

  #pathOf(block: number): string {
    return join(this.#directory, nameOfBlock(block));
  }
}
