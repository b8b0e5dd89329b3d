/**
 * What a disk is to a store that lives in memory: it outlives the store, forgets what was not
 * synced, and does what real disks do. Deterministic: no timer, no clock, no randomness; whoever
 * wants chance brings a seed.
 *
 * Invariants
 * - K1 Blocks are kept as the bytes of block.ts: damage is damage to bytes, and is found by the
 *   same checks.
 * - K2 Only the open store writes; after `crash` it is a ghost whose promises never settle.
 */
import { invariant } from "../core/invariant.ts";

/** What becomes of a block whose append had not been answered. */
export type UnsyncedFate = "lost" | "torn" | "kept";

export interface AppendFault {
  /** A failed write is indeterminate (I2): the block may be there after reopening, or not. */
  readonly block: "kept" | "lost";
  readonly code: "STORE_FAILED" | "DISK_FULL";
}

export type DiskWork = "write" | "read" | "recover" | "checkpoint" | "retire";

export interface MemoryDiskOptions {
  /** 32 hex digits. Given, because nothing here is random. */
  readonly storeId?: string;
  readonly freeBytes?: number;
  /** Blocks that can only go together. Default 1. */
  readonly segmentBlocks?: number;
  /** So many blocks at the end are in memory; older ones are read. Default all. */
  readonly cachedBlocks?: number;
  /** Resolves when a piece of work is done; null: at once. What a power cut meets in between is not done. */
  readonly pace?: (work: DiskWork) => Promise<void> | null;
}

export interface KeptCheckpoint {
  readonly block: number;
  readonly parts: readonly Uint8Array[];
  /** Those of the parts that last, by their names. */
  readonly lasting: ReadonlyMap<string, Uint8Array>;
}

export class MemoryDisk {
  readonly storeId: string;
  readonly segmentBlocks: number;
  readonly cachedBlocks: number;
  readonly pace: (work: DiskWork) => Promise<void> | null;
  freeBytes: number;
  /** Block n at index n - 1; empty where it was retired. */
  readonly #blocks: Uint8Array[] = [];
  /** Newest last, as bytes: a checkpoint must survive as data and never as shared objects. */
  #checkpoints: KeptCheckpoint[] = [];
  #acked = 0;
  #first = 1;
  #owner: object | null = null;
  #unsynced: Uint8Array | null = null;
  #fault: AppendFault | null = null;
  #isHolding = false;
  #held: (() => void)[] = [];

  constructor(options: MemoryDiskOptions = {}) {
    this.storeId = options.storeId ?? "0123456789abcdef0123456789abcdef";
    this.freeBytes = options.freeBytes ?? 1_000_000_000_000;
    this.segmentBlocks = options.segmentBlocks ?? 1;
    this.cachedBlocks = options.cachedBlocks ?? Number.POSITIVE_INFINITY;
    this.pace = options.pace ?? (() => null);
  }

  /** The last block that was answered: what a store may not end before. */
  get acked(): number {
    return this.#acked;
  }

  /** The first block that was not retired. */
  get first(): number {
    return this.#first;
  }

  /** The block whose append has not been answered. */
  get unsynced(): Uint8Array | null {
    return this.#unsynced;
  }

  get blocks(): readonly Uint8Array[] {
    return this.#blocks;
  }

  get checkpoints(): readonly KeptCheckpoint[] {
    return this.#checkpoints;
  }

  /** The power goes. The store that was open answers nothing any more; a new one may be opened. */
  crash(unsynced: UnsyncedFate = "lost"): void {
    const bytes = this.#unsynced;
    if (bytes !== null && unsynced === "kept") this.#blocks.push(bytes);
    if (bytes !== null && unsynced === "torn") this.#blocks.push(bytes.slice(0, bytes.length >> 1));
    this.#unsynced = null;
    this.#owner = null;
    this.#held = [];
    this.#isHolding = false;
    this.#fault = null;
  }

  failNextAppend(fault: Partial<AppendFault> = {}): void {
    this.#fault = { block: fault.block ?? "lost", code: fault.code ?? "STORE_FAILED" };
  }

  /** Appends that begin from now on, and the one under way, stay unanswered until released. */
  holdAppends(): void {
    this.#isHolding = true;
  }

  releaseAppends(): void {
    this.#isHolding = false;
    for (const release of this.#held.splice(0)) release();
  }

  /** Counted from the block's first bit. */
  flipBit(block: number, bit: number): void {
    const bytes = this.#blocks[block - 1];
    invariant(bytes !== undefined && bit < bytes.length * 8, "There is such a bit on the disk.");
    // Not `slice`: that of a Buffer is a view, and what was right once would be damaged, too.
    const damaged = Uint8Array.from(bytes);
    damaged[bit >> 3] = (damaged[bit >> 3] ?? 0) ^ (1 << (bit & 7));
    this.#blocks[block - 1] = damaged;
  }

  /** Answered blocks go, as when a log's end was cut off. */
  dropTail(blocks: number): void {
    this.#blocks.length = Math.max(0, this.#blocks.length - blocks);
  }

  /** Puts other bytes where a block was: a stale copy, a swap. */
  replaceBlock(block: number, bytes: Uint8Array): void {
    invariant(block >= 1 && block <= this.#blocks.length, "There is such a block on the disk.");
    this.#blocks[block - 1] = bytes;
  }

  /** For MemoryStore, like all below. False: another store has the disk. */
  lock(owner: object): boolean {
    if (this.#owner !== null && this.#owner !== owner) return false;
    this.#owner = owner;
    return true;
  }

  isOwnedBy(owner: object): boolean {
    return this.#owner === owner;
  }

  unlock(owner: object): void {
    if (this.#owner === owner) this.#owner = null;
  }

  /** Resolves to the fault to answer with, or null. Never, if the disk crashes first. */
  async write(owner: object, bytes: Uint8Array): Promise<AppendFault | null> {
    this.#unsynced = bytes;
    await Promise.resolve();
    if (this.#isHolding) await new Promise<void>((release) => this.#held.push(release));
    await this.pace("write");
    if (!this.isOwnedBy(owner)) return new Promise(() => undefined);
    this.#unsynced = null;
    const fault = bytes.length > this.freeBytes ? FULL : this.#fault;
    this.#fault = null;
    if (fault?.block !== "lost") this.#blocks.push(bytes);
    if (fault === null) this.#acked = this.#blocks.length;
    return fault;
  }

  keepCheckpoint(checkpoint: KeptCheckpoint): void {
    const others = this.#checkpoints.filter(({ block }) => block !== checkpoint.block);
    this.#checkpoints = [...others, checkpoint].slice(-2);
  }

  /** The newest one is found damaged, and so not there. */
  loseCheckpoint(): void {
    this.#checkpoints = this.#checkpoints.slice(0, -1);
  }

  retire(first: number): void {
    this.#blocks.fill(NO_BYTES, this.#first - 1, first - 1);
    this.#first = first;
  }

  /** A torn block that was never answered does not exist; LevelDB, too, leaves it out. */
  forgetTornEnd(isWhole: (bytes: Uint8Array, number: number) => boolean): void {
    const last = this.#blocks.at(-1);
    if (last === undefined || this.#blocks.length <= this.#acked) return;
    if (!isWhole(last, this.#blocks.length)) this.#blocks.pop();
    // What is found at open counts from then on: it will be served, and may not go again (I2).
    this.#acked = this.#blocks.length;
  }
}

const NO_BYTES = new Uint8Array(0);
const FULL: AppendFault = { block: "lost", code: "DISK_FULL" };
