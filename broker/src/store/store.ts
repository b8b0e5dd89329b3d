/**
 * The contract of a block store: what one group commit writes, given back at open. Two
 * implementations pass one contract suite (test/store/contract.ts): LevelDB, and memory.
 *
 * Promises
 * - B1 `append` resolves when the block is on disk, and not before (I1). One append at a time.
 * - B2 Blocks are numbered 1, 2, 3, … without a gap, and never overwritten or changed.
 * - B3 After a failed append the store refuses everything but `close` (I5); the block may be there
 *   or not (I2).
 * - B4 What is read is what was appended, checked by CRC and number at every read, else
 *   STORE_CORRUPT (I6).
 * - B5 `recover` gives the newest whole checkpoint, if any, then every block after it, in order.
 * - B6 `retire` removes blocks from the front only, and none that a start could need: there are two
 *   checkpoints at least, and all blocks from the older one on. What is gone is MESSAGE_RETIRED to who
 *   reads it, and never STORE_CORRUPT; a block that is missing otherwise still is.
 */
import type { LastingPart } from "../core/lasting-part.ts";
import type { LogRecord } from "../core/records.ts";

export interface Block {
  readonly number: number;
  /** Broker time of the block, ms since 1970; never falls from block to block. */
  readonly atMs: number;
  readonly records: readonly LogRecord[];
}

/** Plain data: what MessagePack can say, Uint8Array included. */
export type CheckpointPart = unknown;

export type Recovered =
  | {
      readonly kind: "checkpoint";
      readonly block: number;
      readonly bytes: number;
      /** Read as they are taken, so that no more than one is in memory. Once, and before the next item. */
      readonly parts: AsyncIterable<CheckpointPart> | Iterable<CheckpointPart>;
    }
  | { readonly kind: "block"; readonly block: Block; readonly bytes: number };

/** What a call removed. */
export interface Retired {
  readonly blocks: number;
  readonly bytes: number;
}

export interface Front {
  readonly last: number;
  readonly bytes: number;
}

/** What a read is for. `once`: nobody will want the block again soon, so it pushes nothing out of memory. */
export type Use = "deliver" | "once";

export interface BlockStore {
  /** 128 random bits (hex), made with the store. */
  readonly storeId: string;
  /** Number of the last block that is on disk; 0 for a new store. */
  readonly tail: number;
  /** Bytes of all blocks that there ever were; only grows. */
  readonly bytes: number;
  /** The first block that is still there; 1 as long as nothing was retired. */
  readonly first: number;
  /** Bytes of the blocks before `first`. */
  readonly retiredBytes: number;
  /** Call once, before the first append. */
  recover(): AsyncIterable<Recovered>;
  /**
   * `block.number` must be `tail + 1`. Rejects with STORE_FAILED or DISK_FULL, and then for
   * good (B3).
   */
  append(block: Block): Promise<void>;
  /** The encoded message at a place if it is in memory (written or read lately), else null. */
  cached(block: number, slot: number): Uint8Array | null;
  /** The encoded messages of these slots. Rejects with STORE_CORRUPT. `use`: "deliver" unless said. */
  readMessages(block: number, slots: readonly number[], use?: Use): Promise<readonly Uint8Array[]>;
  /** A whole block; its messages' `data` is null. For inspectors: read once. */
  readBlock(block: number): Promise<Block>;
  /**
   * Keeps `parts` as the state after block `block`, durable when resolved; older checkpoints may go.
   * Parts are taken one at a time, between writes: they must say the state of that block whatever
   * happens meanwhile. Parts that last are made only if no checkpoint that may be started from has them.
   * A failure leaves the store as it was. One at a time. Gives the bytes of what was new.
   */
  saveCheckpoint(block: number, parts: Iterable<CheckpointPart | LastingPart>): Promise<number>;
  /**
   * Nobody will read a block before `beforeBlock` again: removes as many of them as it can (B6), which may
   * be none. Slowly, in small steps, beside the writes. A failure leaves a store that opens; what could not
   * be removed is removed by a later call or open. One at a time.
   */
  retire(beforeBlock: number): Promise<Retired>;
  /** The blocks at the front that can only go together; null: a start needs some of them, whoever else does. */
  front(): Promise<Front | null>;
  /** What the disk of the store has left. */
  freeBytes(): Promise<number>;
  /** Marks a clean end when nothing failed. */
  close(): Promise<void>;
}
