/**
 * The block store on LevelDB. What LevelDB really does shapes it: see docs/adr/0001-block-log.md and
 * google/leveldb #320, #578, #193, #251.
 *
 * Invariants
 * - V1 Every write is synced, one is in flight, and no key is written twice.
 * - V2 No iterator of LevelDB is ever open: with one, it answers wrongly (google/leveldb #320, #887). It is
 *   written to, and asked for what was written since it was opened (level-database.ts).
 * - V3 After a write error nothing more is written or read: LevelDB goes on acknowledging what it
 *   loses.
 * - V4 What exists is what was found on disk at open, and what was appended since. It is
 *   verified by its chain after the checkpoint, by its end against the acked-mark, and each block
 *   whenever it is read.
 */

import { EscrowError } from "@escrowmq/protocol";
import { invariant } from "../core/invariant.ts";
import type { LastingPart } from "../core/lasting-part.ts";
import { AckedMark } from "./acked-mark.ts";
import { encodeBlock, type LogEnd, type SealedBlock } from "./block.ts";
import { BlockCache } from "./block-cache.ts";
import { Checkpoints } from "./checkpoints.ts";
import { type DataDirectory, freeBytesOf, openDataDirectory } from "./data-directory.ts";
import { storageError, syncDirectory } from "./durable-file.ts";
import { openDatabase } from "./level-database.ts";
import { type LogStart, retiredBlock, startWith, writeLogStart } from "./log-start.ts";
import { type OpenedLog, openLog } from "./open-log.ts";
import { replay } from "./replay.ts";
import type { Segments } from "./segments.ts";
import type { Block, BlockStore, CheckpointPart, Front, Recovered, Retired, Use } from "./store.ts";
import { type VerifyProgress, type VerifyReport, verifyDirectory } from "./verify-store.ts";

const MIB = 1_048_576;

export interface LevelStoreOptions {
  /**
   * A new segment begins when the active one would pass this. Default 512 MiB: about 2 ms to
   * open, freed as one.
   */
  readonly segmentBytesMax?: number;
  /** Blocks kept in memory for reading. Default 64 MiB: half a second of full load. */
  readonly cacheBytesMax?: number;
  /**
   * Sealed segments open for reading. Default 8: each holds a log, a buffer and a few dozen
   * descriptors.
   */
  readonly openSegmentsMax?: number;
  /**
   * Between the removals of two large files of retired segments. Default 50 ms: 16 MiB each, so that the disk
   * gets back 320 MiB a second, more than a broker writes, and has most of its time for the writes.
   */
  readonly removeEveryMs?: number;
  /**
   * Freed without such a wait. Default 8 MiB, half of one of LevelDB's tables: a wait after each of them, and
   * one for many small files.
   */
  readonly removeAtOnceBytes?: number;
  /** How far the acked-mark may lag behind. Default 1,000 ms; 0 writes it after every block. */
  readonly markEveryMs?: number;
  /** An operator's word: open although data was lost. What is there is still verified. */
  readonly acceptLoss?: boolean;
  readonly onWarning?: (text: string) => void;
}

/**
 * Opens the store of a data directory, or makes one. Rejects with STORE_LOCKED, STORE_VERSION,
 * STORE_CORRUPT, STORE_TAIL_MISSING, DISK_FULL or STORE_FAILED; then nothing stays open.
 */
export const openLevelStore = (
  directory: string,
  options: LevelStoreOptions = {},
): Promise<LevelStore> => LevelStore.open(directory, options);

/**
 * Checks a stopped or copied data directory from end to end and reports; repairs nothing, and
 * writes no file of the store. Opening a LevelDB replays its log into a table, as every open does:
 * its files change, the blocks do not. Rejects with STORE_LOCKED while a broker runs,
 * STORE_VERSION, or STORE_CORRUPT where there is no store.
 */
export const verifyStore = (
  directory: string,
  onProgress?: (progress: VerifyProgress) => void,
): Promise<VerifyReport> => verifyDirectory(directory, openDatabase, onProgress);

type State = "found" | "recovering" | "ready" | "failed" | "closed";

export class LevelStore implements BlockStore {
  readonly #directory: DataDirectory;
  readonly #segments: Segments;
  readonly #checkpoints: Checkpoints;
  readonly #mark: AckedMark;
  readonly #cache: BlockCache;
  readonly #segmentBytesMax: number;
  readonly #acceptLoss: boolean;
  readonly #reading = new Map<number, Promise<SealedBlock>>();
  #state: State = "found";
  #tail: number;
  #end: LogEnd;
  #start: LogStart;
  /** As it was told last: its first segment never changes. */
  #front: Front | null = null;
  #segmentBytes: number;
  #appending: Promise<void> | null = null;
  #saving: Promise<number> | null = null;
  #retiring: Promise<Retired> | null = null;
  #closing: Promise<void> | null = null;
  /** The last session ended with `close`. */
  readonly wasClean: boolean;

  static async open(path: string, options: LevelStoreOptions): Promise<LevelStore> {
    const directory = await openDataDirectory(path);
    return new LevelStore(await openLog(directory, { ...options, openDatabase }), options);
  }

  private constructor(log: OpenedLog, options: LevelStoreOptions) {
    const onWarning = options.onWarning ?? ignore;
    const { directory } = log;
    this.#directory = directory;
    this.#segments = log.segments;
    this.#tail = log.tail;
    this.#end = log.end;
    this.#start = log.start;
    this.#segmentBytes = log.segmentBytes;
    this.wasClean = log.wasClean;
    this.#acceptLoss = options.acceptLoss ?? false;
    this.#segmentBytesMax = options.segmentBytesMax ?? 512 * MIB;
    this.#cache = new BlockCache(options.cacheBytesMax ?? 64 * MIB);
    this.#checkpoints = new Checkpoints(directory, log.end.storeId, onWarning);
    this.#mark = new AckedMark(directory.ackedMark, options.markEveryMs ?? 1_000, onWarning);
  }

  get storeId(): string {
    return this.#directory.storeId;
  }

  get tail(): number {
    return this.#tail;
  }

  get bytes(): number {
    return this.#end.bytes;
  }

  get first(): number {
    return this.#start.block;
  }

  get retiredBytes(): number {
    return this.#start.bytesBefore;
  }

  get openSegments(): number {
    return this.#segments.openCount;
  }

  async *recover(): AsyncGenerator<Recovered> {
    invariant(this.#state === "found", "A store is recovered once, before the first append.");
    this.#state = "recovering";
    try {
      yield* replay({
        segments: this.#segments,
        checkpoints: this.#checkpoints,
        tail: this.#tail,
        first: this.first,
        storeId: this.#end.storeId,
        acceptLoss: this.#acceptLoss,
      });
    } catch (error) {
      throw storageError(error, "The store cannot be recovered");
    }
    const marked = this.#mark.write(this.#tail, this.#end.hash);
    // Nobody waits for a mark (M2), but where a loss was accepted: the old one still says what was lost.
    if (this.#acceptLoss) await marked;
    if (this.#state === "recovering") this.#state = "ready";
  }

  async append(block: Block): Promise<void> {
    this.#refuseUnlessUsable();
    invariant(this.#state === "ready", "A store is recovered before the first append.");
    invariant(this.#appending === null, "One append at a time.");
    invariant(
      block.number === this.#tail + 1,
      "Blocks are appended in the order of their numbers.",
    );
    const sealed = encodeBlock(block, this.#end);
    // Before it is durable: what is delivered in the moment after is then read from memory.
    this.#cache.add(sealed);
    this.#appending = this.#write(sealed);
    try {
      await this.#appending;
    } catch (error) {
      this.#state = "failed";
      this.#cache.clear();
      const failure = storageError(error, `Block ${block.number} could not be written`);
      throw failure.code === "DISK_FULL"
        ? failure
        : new EscrowError("STORE_FAILED", failure.message, { cause: error });
    } finally {
      this.#appending = null;
    }
  }

  cached(block: number, slot: number): Uint8Array | null {
    return this.#cache.message(block, slot);
  }

  async readMessages(
    block: number,
    slots: readonly number[],
    use: Use = "deliver",
  ): Promise<readonly Uint8Array[]> {
    const sealed = await this.#read(block, use);
    return slots.map((slot) => {
      const message = sealed.message(slot);
      if (message === null)
        throw new EscrowError("STORE_CORRUPT", `Block ${block} has no message in slot ${slot}.`);
      return message;
    });
  }

  async readBlock(block: number): Promise<Block> {
    return (await this.#read(block, "once")).decode();
  }

  async saveCheckpoint(
    block: number,
    parts: Iterable<CheckpointPart | LastingPart>,
  ): Promise<number> {
    this.#refuseUnlessUsable();
    invariant(this.#saving === null, "One checkpoint at a time.");
    invariant(block > 0 && block <= this.#tail, "A checkpoint stands for a block on disk.");
    this.#saving = this.#read(block).then((sealed) =>
      this.#checkpoints.save({ block, blockHash: sealed.hash() }, parts),
    );
    try {
      return await this.#saving;
    } catch (error) {
      // An invariant that the parts broke is the caller's fault and not the disk's.
      if (error instanceof Error && error.name === "InvariantError") throw error;
      throw storageError(error, `The checkpoint of block ${block} could not be written`);
    } finally {
      this.#saving = null;
    }
  }

  async retire(beforeBlock: number): Promise<Retired> {
    this.#refuseUnlessUsable();
    invariant(this.#retiring === null, "One retirement at a time.");
    this.#retiring = this.#retire(beforeBlock);
    try {
      return await this.#retiring;
    } catch (error) {
      throw storageError(error, "Retired segments could not be removed");
    } finally {
      this.#retiring = null;
    }
  }

  async front(): Promise<Front | null> {
    this.#refuseUnlessUsable();
    const next = this.#segments.second;
    if (next === null || next > (await this.#checkpoints.neededFrom())) return null;
    if (this.#front?.last === next - 1) return this.#front;
    const { bytesBefore } = await this.#read(next);
    this.#front = { last: next - 1, bytes: bytesBefore - this.retiredBytes };
    return this.#front;
  }

  async freeBytes(): Promise<number> {
    this.#refuseUnlessUsable();
    try {
      return await freeBytesOf(this.#directory.path);
    } catch (error) {
      throw storageError(error, "The free space of the data directory is unknown");
    }
  }

  close(): Promise<void> {
    this.#closing ??= this.#closeOnce();
    return this.#closing;
  }

  async #write(sealed: SealedBlock): Promise<void> {
    const { length } = sealed.bytes;
    if (this.#segmentBytes > 0 && this.#segmentBytes + length > this.#segmentBytesMax) {
      await this.#segments.roll(sealed.number);
      this.#segmentBytes = 0;
    }
    const written = this.#segments.put(sealed.number, sealed.bytes);
    const hash = sealed.hash();
    await written;
    this.#tail = sealed.number;
    this.#end = { ...this.#end, hash, bytes: this.#end.bytes + length };
    this.#segmentBytes += length;
    this.#mark.note(sealed.number, hash);
  }

  /** B6: whole segments, and only those before the older checkpoint. */
  async #retire(beforeBlock: number): Promise<Retired> {
    const neededFrom = Math.min(beforeBlock, await this.#checkpoints.neededFrom(), this.#tail);
    const before = this.#start;
    const block = this.#segments.startBefore(neededFrom);
    if (block <= before.block) {
      await this.#segments.removed();
      return { blocks: 0, bytes: 0 };
    }
    const start = startWith(await this.#segments.read(block));
    await writeLogStart(this.#directory.logStart, start);
    await syncDirectory(this.#directory.path);
    this.#start = start;
    await this.#segments.retire(block);
    return { blocks: block - before.block, bytes: start.bytesBefore - before.bytesBefore };
  }

  /** A damaged or unreadable block is refused to who asked; the store goes on with the others. */
  async #read(block: number, use: Use = "deliver"): Promise<SealedBlock> {
    this.#refuseUnlessUsable();
    if (block < this.first) throw retiredBlock(block);
    const cached = use === "once" ? this.#cache.peek(block) : this.#cache.get(block);
    if (cached !== null) return cached;
    let reading = this.#reading.get(block);
    if (reading === undefined) {
      reading = this.#load(block, use);
      this.#reading.set(block, reading);
    }
    return reading;
  }

  async #load(block: number, use: Use): Promise<SealedBlock> {
    try {
      const sealed = await this.#segments.read(block);
      if (use !== "once") this.#cache.add(sealed);
      return sealed;
    } catch (error) {
      throw storageError(error, `Block ${block} cannot be read`);
    } finally {
      this.#reading.delete(block);
    }
  }

  #refuseUnlessUsable(): void {
    if (this.#state === "failed")
      throw new EscrowError("STORE_FAILED", "A write failed before; the store must be reopened.");
    if (this.#state === "closed") throw new EscrowError("STORE_FAILED", "The store is closed.");
  }

  async #closeOnce(): Promise<void> {
    // Before anything is waited for, so that nothing new begins. What is under way ends first.
    const before = this.#state;
    this.#state = "closed";
    this.#segments.stopRemoving();
    const underWay = [this.#appending, this.#saving, this.#retiring, ...this.#reading.values()];
    await Promise.allSettled(underWay);
    await this.#mark.finish(before === "ready" && this.#state === "closed");
    this.#cache.clear();
    await this.#segments.close();
  }
}

const ignore = (): void => undefined;
