/**
 * The block log as a row of databases, one a segment: `segments/<number of its first block>/`.
 * Only the newest one is written to.
 *
 * Invariants
 * - G1 The newest segment is open as long as the store is. Its LevelDB lock keeps a second broker
 *   out; there is no lock file of our own, because Node has no flock, and a file with a process id
 *   outlives a kill. LevelDB's lock is the kernel's and goes with the process. A new segment is
 *   locked before the one before it is let go.
 * - G2 No block is ever written to any other segment. Sealed ones are opened to read, at most
 *   `openMax` at once, and without LevelDB (tables.ts).
 * - G3 `sealed.json` in a segment says that all of it is in tables and what it ends with, so that a segment
 *   missing behind it is noticed without opening them all. It is an index: made again from the segment when
 *   a crash came before it, and never what decides that a block exists.
 * - G4 LevelDB drops what it cannot replay and tells only its LOG. A LOG that says so refuses the
 *   segment at this open and at each later one, until the loss is accepted. It is looked at before
 *   opening, too: LevelDB starts a new LOG each time, and a crash between the two looks would lose
 *   the only sign.
 * - G5 Segments go from the front only, after the log's start was moved past them (log-start.ts): no
 *   reader gets one any more, those who have it end first, its database is closed, its name is taken
 *   away, then its bytes. A crash in between leaves rubbish that the next open removes.
 */
import { rm } from "node:fs/promises";
import { join } from "node:path";
import { EscrowError } from "@escrowmq/protocol";
import { openBlock, type SealedBlock } from "./block.ts";
import { makeDirectory, nameOfBlock, storageError, syncDirectory } from "./durable-file.ts";
import { retiredBlock } from "./log-start.ts";
import {
  acceptLoss,
  holdsBlocks,
  isStarted,
  listSegments,
  lossIn,
  readSeal,
  removeSeal,
  removeSetAside,
  type Seal,
  setAside,
  writeSeal,
} from "./segment-directory.ts";
import { Tables } from "./tables.ts";

/** Told of a part that cannot be read; what follows it is read. */
export type Damaged = (error: EscrowError) => void;

/** What a segment needs of its database. One value a key, never overwritten, every write synced. */
export interface Database {
  /** Undefined: it is not there. Throws STORE_CORRUPT with the file's name where it cannot be told. */
  get(block: number): Promise<Uint8Array | undefined>;
  put(block: number, bytes: Uint8Array): Promise<void>;
  /**
   * What was there when it was opened, in order of numbers. Without `damaged` it throws at damage; blocks of
   * which nothing can be told are left out: who reads knows which number comes next.
   */
  scan(fromBlock: number, damaged?: Damaged): AsyncIterable<readonly [number, Uint8Array]>;
  /** The highest number that was there when it was opened, or 0. Throws STORE_CORRUPT if that cannot be told. */
  last(): Promise<number>;
  /** Moves what is in the log into tables, so that opening it again has nothing to replay. */
  flush(): Promise<void>;
  close(): Promise<void>;
}

export type OpenDatabase = (directory: string, mayCreate: boolean) => Promise<Database>;

export interface SegmentsOptions {
  readonly directory: string;
  readonly storeId: Uint8Array;
  /** Where the log begins; segments before it were retired. */
  readonly start: number;
  readonly openDatabase: OpenDatabase;
  readonly openMax: number;
  /** Between the removals of two large files of retired segments: leaves the disk to the writes. */
  readonly removeEveryMs: number;
  /** Freed without a pause. */
  readonly removeAtOnceBytes: number;
  /**
   * From here on nothing was acked, for all that is known: an unfinished segment there may be
   * made anew.
   */
  readonly ackedBlock: number;
  readonly acceptLoss: boolean;
  readonly onWarning: (text: string) => void;
}

/** Read side by side: each is a few turns of the disk's queue, and takes a descriptor meanwhile. */
const SEALS_AT_ONCE = 16;

interface OpenSegment {
  readonly first: number;
  readonly database: Promise<Database>;
  users: number;
  /** Called when the last user has gone, by who waits for that. */
  left: (() => void) | null;
}

export class Segments {
  readonly #options: SegmentsOptions;
  /** Ascending; the last one is the active one. */
  readonly #firsts: number[];
  /** In order of last use. */
  readonly #open = new Map<number, OpenSegment>();
  readonly #closing = new Map<number, Promise<void>>();
  #sealing: Promise<void> = Promise.resolve();
  #removing: Promise<void> = Promise.resolve();
  #endPause: () => void = () => undefined;
  #isClosed = false;

  private constructor(options: SegmentsOptions, firsts: number[]) {
    this.#options = options;
    this.#firsts = firsts;
  }

  /** Locks the store, then checks that no segment is missing. */
  static async open(options: SegmentsOptions): Promise<Segments> {
    await makeDirectory(options.directory);
    const all = await listSegments(options.directory);
    const firsts = all.filter((first) => first >= options.start);
    if (firsts.length === 0) firsts.push(options.start);
    const segments = new Segments(options, firsts);
    try {
      await segments.#lockNewest();
      await segments.#checkRow();
      await segments
        .#remove(all.filter((first) => first < options.start))
        .catch((error: unknown) =>
          options.onWarning(`Retired segments could not be set aside: ${String(error)}.`),
        );
    } catch (error) {
      await segments.close();
      throw error;
    }
    return segments;
  }

  /** The first block that is still there. */
  get first(): number {
    return this.#firsts[0] ?? 1;
  }

  /** The first block of the segment behind the first one; null: there is only one. */
  get second(): number | null {
    return this.#firsts[1] ?? null;
  }

  /** The last block boundary at or before `block` where the log could begin. */
  startBefore(block: number): number {
    return this.#firstOf(Math.max(block, this.first));
  }

  get activeFirst(): number {
    return this.#firsts.at(-1) ?? 1;
  }

  get openCount(): number {
    return this.#open.size;
  }

  async last(): Promise<number> {
    const last = await this.#use(this.activeFirst, (database) => database.last());
    if (last === 0) return this.activeFirst - 1;
    if (last < this.activeFirst) throw hole(`Segment ${this.activeFirst} ends with block ${last}`);
    return last;
  }

  /**
   * A block by its number, verified. Throws STORE_CORRUPT for one that is not there: it was, or
   * nobody would ask.
   */
  async read(block: number): Promise<SealedBlock> {
    if (block < this.first) throw retiredBlock(block);
    const bytes = await this.#use(this.#firstOf(block), (database) => database.get(block));
    if (bytes === undefined)
      throw new EscrowError("STORE_CORRUPT", `Block ${block} is missing.`, { detail: { block } });
    return openBlock(bytes, block, this.#options.storeId);
  }

  put(block: number, bytes: Uint8Array): Promise<void> {
    return this.#use(this.activeFirst, (database) => database.put(block, bytes));
  }

  async *scan(fromBlock: number): AsyncGenerator<readonly [number, Uint8Array]> {
    const start = this.#firsts.indexOf(this.#firstOf(fromBlock));
    for (const first of this.#firsts.slice(start)) {
      const segment = this.#acquire(first);
      try {
        yield* (await segment.database).scan(fromBlock);
      } finally {
        await this.#release(segment);
      }
    }
  }

  /** The next block, `first`, begins a new segment. */
  async roll(first: number): Promise<void> {
    const sealed = this.activeFirst;
    await makeDirectory(join(this.#options.directory, nameOfBlock(first)));
    // Before any block in it is acked: LevelDB syncs its own directory, and not the name of it.
    await syncDirectory(this.#options.directory);
    this.#firsts.push(first);
    await this.#use(first, async () => undefined);
    this.#sealing = this.#sealing.then(() => this.#seal(sealed, { last: first - 1 }));
  }

  /**
   * Removes the segments before `start`, which is `startBefore` of some block, and which the log's start on
   * disk says already (G5). Resolves when their bytes are free; `close` ends it early.
   */
  async retire(start: number): Promise<void> {
    // A segment is flushed and sealed in the background after its end.
    await this.#sealing;
    const gone = this.#firsts.splice(0, this.#firsts.indexOf(start));
    await Promise.all(gone.map((first) => this.#letGo(first)));
    await this.#remove(gone);
    await this.removed();
  }

  /** Resolves when nothing is being removed. */
  async removed(): Promise<void> {
    await this.#removing;
  }

  /** What is being removed is left to the next open. */
  stopRemoving(): void {
    this.#isClosed = true;
    this.#endPause();
  }

  async close(): Promise<void> {
    this.stopRemoving();
    await this.#sealing;
    await this.#removing;
    await Promise.all(this.#closing.values());
    const open = [...this.#open.values()];
    this.#open.clear();
    for (const segment of open) {
      // A database that could not be opened needs no closing, and whoever asked for it was told.
      const database = await segment.database.catch(() => null);
      await database?.close();
    }
  }

  async #lockNewest(): Promise<void> {
    const newest = this.activeFirst;
    const directory = this.#pathOf(newest);
    await makeDirectory(directory);
    await syncDirectory(this.#options.directory);
    try {
      await this.#use(newest, async () => undefined);
    } catch (error) {
      if (!EscrowError.is(error, "STORE_CORRUPT") || newest <= this.#options.ackedBlock)
        throw error;
      if (await holdsBlocks(directory)) throw error;
      // A crash while it was being made. LevelDB says so only by refusing what it left behind.
      await rm(directory, { recursive: true });
      await makeDirectory(directory);
      await this.#use(newest, async () => undefined);
    }
    await removeSeal(directory);
    // A broker that runs may have gone on to a new segment between the listing and the lock (G1).
    if (((await listSegments(this.#options.directory)).at(-1) ?? newest) !== newest)
      throw new EscrowError("STORE_LOCKED", "Another broker has just begun a new segment.");
  }

  async #checkRow(): Promise<void> {
    const { start } = this.#options;
    if (this.first !== start)
      throw hole(`The log begins with block ${start}, the first segment with block ${this.first}`);
    const sealed = this.#firsts.slice(0, -1);
    const seals: (Seal | null)[] = [];
    for (let at = 0; at < sealed.length; at += SEALS_AT_ONCE) {
      const some = sealed.slice(at, at + SEALS_AT_ONCE);
      seals.push(...(await Promise.all(some.map((first) => readSeal(this.#pathOf(first))))));
    }
    for (const [index, first] of sealed.entries()) {
      const seal = seals[index] ?? (await this.#sealAgain(first));
      const next = this.#firsts[index + 1];
      if (next !== seal.last + 1)
        throw hole(`Segment ${first} ends with block ${seal.last}, the next begins with ${next}`);
    }
  }

  async #sealAgain(first: number): Promise<Seal> {
    const seal: Seal = { last: await this.#use(first, (database) => database.last()) };
    await writeSeal(this.#pathOf(first), seal);
    return seal;
  }

  async #seal(first: number, seal: Seal): Promise<void> {
    try {
      await this.#use(first, (database) => database.flush());
      await this.#demandInTables(first, seal);
      await writeSeal(this.#pathOf(first), seal);
    } catch (error) {
      // The blocks are on disk without it: the next open replays the log and makes the seal (G3).
      this.#options.onWarning(`Segment ${first} could not be sealed: ${String(error)}.`);
    }
  }

  /** LevelDB tells nobody when it could not write a table, or begin the next log (G3). */
  async #demandInTables(first: number, { last }: Seal): Promise<void> {
    const tables = await Tables.open(this.#pathOf(first));
    try {
      const found = await tables.last();
      if (found !== last) throw new Error(`its tables end with block ${found}, not with ${last}`);
    } finally {
      await tables.close();
    }
  }

  /** Nobody opens it again; resolves when nobody reads it any more and it is closed. */
  async #letGo(first: number): Promise<void> {
    const segment = this.#open.get(first);
    if (segment !== undefined) {
      this.#open.delete(first);
      if (segment.users > 0)
        await new Promise<void>((resolve) => {
          segment.left = resolve;
        });
      this.#closing.set(first, this.#closeDatabase(first, segment.database));
    }
    await this.#closing.get(first);
  }

  /** Sets segments aside and frees their bytes, and those of earlier ones, in the background. */
  async #remove(gone: readonly number[]): Promise<void> {
    const { directory, onWarning, removeEveryMs, removeAtOnceBytes } = this.#options;
    if (gone.length > 0) await setAside(directory, gone);
    const pause = async (): Promise<boolean> => {
      await new Promise<void>((resolve) => {
        const timer = setTimeout(resolve, removeEveryMs);
        this.#endPause = () => {
          clearTimeout(timer);
          resolve();
        };
        if (this.#isClosed) this.#endPause();
      });
      return !this.#isClosed;
    };
    this.#removing = this.#removing
      .then(() => removeSetAside(directory, removeAtOnceBytes, pause))
      .catch((error: unknown) =>
        // It is out of the row: nothing but space is lost, and the next open tries again.
        onWarning(`A retired segment could not be removed: ${String(error)}.`),
      );
  }

  async #use<Value>(first: number, work: (database: Database) => Promise<Value>): Promise<Value> {
    const segment = this.#acquire(first);
    try {
      return await work(await segment.database);
    } finally {
      await this.#release(segment);
    }
  }

  #acquire(first: number): OpenSegment {
    let segment = this.#open.get(first);
    this.#open.delete(first);
    segment ??= { first, users: 0, database: this.#openDatabase(first), left: null };
    this.#open.set(first, segment);
    segment.users++;
    return segment;
  }

  async #release(segment: OpenSegment): Promise<void> {
    segment.users--;
    if (segment.users === 0) segment.left?.();
    let surplus = this.#open.size - 1 - this.#options.openMax;
    for (const [first, { users, database }] of this.#open) {
      if (surplus <= 0) return;
      if (users > 0 || first === this.activeFirst) continue;
      surplus--;
      this.#open.delete(first);
      this.#closing.set(first, this.#closeDatabase(first, database));
    }
  }

  async #closeDatabase(first: number, database: Promise<Database>): Promise<void> {
    try {
      await (await database).close();
    } catch (error) {
      // Nothing is lost with it: a sealed segment is only read.
      this.#options.onWarning(`Segment ${first} could not be closed: ${String(error)}.`);
    }
    this.#closing.delete(first);
  }

  async #openDatabase(first: number): Promise<Database> {
    const directory = this.#pathOf(first);
    try {
      // LevelDB locks out its own process, too.
      await this.#closing.get(first);
      const isNewest = first === this.activeFirst;
      if (isNewest && !(await isStarted(directory)) && (await holdsBlocks(directory)))
        throw new EscrowError("STORE_CORRUPT", `Segment ${first} has lost its CURRENT file.`);
      await this.#refuseLoss(directory, first);
      const database = await this.#openFiles(directory, isNewest);
      try {
        await this.#refuseLoss(directory, first);
      } catch (error) {
        await database.close();
        throw error;
      }
      return database;
    } catch (error) {
      this.#open.delete(first);
      throw storageError(error, `Segment ${first} cannot be opened`);
    }
  }

  /** A seal says that all of it is in tables: nothing is left for LevelDB to do. */
  async #openFiles(directory: string, isNewest: boolean): Promise<Database> {
    if (!isNewest && (await readSeal(directory)) !== null) return Tables.open(directory);
    return this.#options.openDatabase(directory, isNewest);
  }

  /** G4. */
  async #refuseLoss(directory: string, first: number): Promise<void> {
    const loss = await lossIn(directory);
    if (loss === null) return;
    if (!this.#options.acceptLoss)
      throw new EscrowError("STORE_CORRUPT", `LevelDB lost data of segment ${first}: ${loss}`);
    this.#options.onWarning(`Accepted a loss of data in segment ${first}: ${loss}`);
    await acceptLoss(directory);
  }

  #firstOf(block: number): number {
    let low = 0;
    let high = this.#firsts.length - 1;
    while (low < high) {
      const middle = (low + high + 1) >> 1;
      if ((this.#firsts[middle] ?? 0) <= block) low = middle;
      else high = middle - 1;
    }
    return this.#firsts[low] ?? 1;
  }

  #pathOf(first: number): string {
    return join(this.#options.directory, nameOfBlock(first));
  }
}

const hole = (what: string): EscrowError =>
  new EscrowError("STORE_CORRUPT", `${what}: blocks are missing.`);
