/**
 * A complete check of a store that no broker has open: every segment, block, checksum, link of the
 * chain, record, the acked-mark and the checkpoints. It reports what it finds and goes on; it
 * never repairs.
 */
import { readdir } from "node:fs/promises";
import { join } from "node:path";
import { EscrowError } from "@escrowmq/protocol";
import { readMark } from "./acked-mark.ts";
import { isEqual, NO_HASH, openBlock } from "./block.ts";
import { Checkpoints } from "./checkpoints.ts";
import { type DataDirectory, findDataDirectory } from "./data-directory.ts";
import { nameOfBlock, storageError } from "./durable-file.ts";
import { readLogStart } from "./log-start.ts";
import { isStarted, listSegments, lossIn, readSeal } from "./segment-directory.ts";
import type { Database, OpenDatabase } from "./segments.ts";
import { Tables } from "./tables.ts";

export interface VerifyReport {
  readonly blocks: number;
  readonly records: number;
  readonly messages: number;
  readonly bytes: number;
  /** The first block that is to be there: those before it were retired. */
  readonly first: number;
  /** Whole sentences; empty for a sound store. */
  readonly problems: readonly string[];
}

export interface VerifyProgress {
  readonly blocks: number;
  readonly blocksMax: number;
  readonly bytes: number;
}

const PROGRESS_EVERY_BLOCKS = 256;

export async function verifyDirectory(
  path: string,
  openDatabase: OpenDatabase,
  onProgress: (progress: VerifyProgress) => void = () => undefined,
): Promise<VerifyReport> {
  const directory = await findDataDirectory(path);
  const check = new Check(directory, openDatabase, onProgress);
  await check.log();
  await check.mark();
  await check.checkpoints();
  return check.report();
}

class Check {
  readonly #directory: DataDirectory;
  readonly #openDatabase: OpenDatabase;
  readonly #onProgress: (progress: VerifyProgress) => void;
  readonly #problems: string[] = [];
  /** By block number; what the mark and the checkpoints are compared with. */
  readonly #hashes = new Map<number, Uint8Array>();
  readonly #witnesses = new Set<number>();
  #first = 1;
  #number = 0;
  #hash: Uint8Array | null = NO_HASH;
  #counts = { blocks: 0, records: 0, messages: 0, bytes: 0 };
  #blocksMax = 0;

  constructor(
    directory: DataDirectory,
    openDatabase: OpenDatabase,
    onProgress: (progress: VerifyProgress) => void,
  ) {
    this.#directory = directory;
    this.#openDatabase = openDatabase;
    this.#onProgress = onProgress;
  }

  report(): VerifyReport {
    return { ...this.#counts, first: this.#first, problems: this.#problems };
  }

  async log(): Promise<void> {
    await this.#chooseWitnesses();
    await this.#begin();
    const all = await listSegments(this.#directory.segments);
    // A crash may have come after the log's start was moved and before these were removed.
    const firsts = all.filter((first) => first >= this.#first);
    const newest = firsts.at(-1);
    if (newest === undefined) return;
    // The newest one first, and open to the end: its lock says that no broker runs.
    const active = await this.#open(newest, true);
    try {
      this.#blocksMax = (await active?.last()) ?? newest;
      for (const first of firsts.slice(0, -1)) {
        const database = await this.#open(first, false);
        if (database === null) continue;
        try {
          await this.#segment(first, database);
        } finally {
          await database.close();
        }
      }
      if (active !== null) await this.#segment(newest, active);
    } finally {
      await active?.close();
    }
    this.#progress();
  }

  async mark(): Promise<void> {
    try {
      const { block, hash } = await readMark(this.#directory.ackedMark);
      if (block > this.#number)
        this.#problem(
          `The store ends at block ${this.#number}, but block ${block} was acknowledged.`,
        );
      const found = this.#hashes.get(block);
      if (found !== undefined && Buffer.from(found).toString("hex") !== hash)
        this.#problem(`Block ${block} is not the one that was acknowledged.`);
    } catch (error) {
      this.#problem(textOf(error));
    }
  }

  async checkpoints(): Promise<void> {
    let whole = 0;
    const { storeIdBytes } = this.#directory;
    const files = new Checkpoints(this.#directory, storeIdBytes, (text) => this.#problem(text));
    for (const block of await files.list()) {
      const checkpoint = await files.read(block);
      if (checkpoint === null) continue;
      await files.checkCopies(checkpoint);
      const hash = this.#hashes.get(block);
      if (hash === undefined) files.reject(block, "there is no such block");
      else if (!isEqual(hash, checkpoint.blockHash))
        files.reject(block, "it stands for another block of that number");
      else whole++;
    }
    if (whole === 0 && this.#first > 1)
      this.#problem(`No checkpoint is whole, and the blocks before ${this.#first} were retired.`);
  }

  /** The chain begins where retention left it. */
  async #begin(): Promise<void> {
    try {
      const start = await readLogStart(this.#directory.logStart);
      this.#first = start.block;
      this.#number = start.block - 1;
      this.#hash = Buffer.from(start.previousHash, "hex");
    } catch (error) {
      this.#problem(textOf(error));
    }
  }

  /** The few blocks whose hashes are asked for later: a set of all would grow with the store. */
  async #chooseWitnesses(): Promise<void> {
    for (const name of await readdir(this.#directory.checkpoints).catch(() => []))
      this.#witnesses.add(Number(name));
    // A mark that cannot be read is reported by `mark`.
    const mark = await readMark(this.#directory.ackedMark).catch(() => null);
    if (mark !== null) this.#witnesses.add(mark.block);
  }

  async #open(first: number, isNewest: boolean): Promise<Database | null> {
    const path = join(this.#directory.segments, nameOfBlock(first));
    try {
      // A crash while a segment was being begun leaves a directory without a database: no problem.
      const isSealed = !isNewest && (await readSeal(path)) !== null;
      if (!isSealed && !(await isStarted(path))) return null;
      await this.#loss(first, path);
      const database = isSealed ? await Tables.open(path) : await this.#openDatabase(path, false);
      await this.#loss(first, path);
      return database;
    } catch (error) {
      const failure = storageError(error, `Segment ${first} cannot be opened`);
      if (failure.code === "STORE_LOCKED") throw failure;
      this.#problem(failure.message);
      return null;
    }
  }

  async #loss(first: number, path: string): Promise<void> {
    const loss = await lossIn(path);
    const text = `LevelDB lost data of segment ${first}: ${loss}`;
    if (loss !== null && !this.#problems.includes(text)) this.#problem(text);
  }

  async #segment(first: number, database: Database): Promise<void> {
    if (first !== this.#number + 1)
      this.#problem(`Segment ${first} begins after block ${this.#number}: blocks are missing.`);
    try {
      const damaged = ({ message }: EscrowError): void => this.#problem(message);
      for await (const [number, bytes] of database.scan(0, damaged)) this.#block(number, bytes);
    } catch (error) {
      this.#problem(storageError(error, `Segment ${first} cannot be read to its end`).message);
    }
  }

  #block(number: number, bytes: Uint8Array): void {
    if (number !== this.#number + 1)
      this.#problem(`Block ${number} comes after block ${this.#number}: blocks are missing.`);
    this.#counts.blocks++;
    this.#counts.bytes += bytes.length;
    // After a missing or damaged block the chain goes on from what is there: one fault, one problem.
    const previous = number === this.#number + 1 ? this.#hash : null;
    this.#number = number;
    this.#hash = null;
    try {
      const sealed = openBlock(bytes, number, this.#directory.storeIdBytes);
      if (previous !== null && !isEqual(sealed.previousHash(), previous))
        this.#problem(`Block ${number} does not follow block ${number - 1}.`);
      this.#hash = sealed.hash();
      if (this.#witnesses.has(number)) this.#hashes.set(number, this.#hash);
      this.#counts.messages += sealed.messageCount;
      this.#counts.records += sealed.decode().records.length;
    } catch (error) {
      this.#problem(textOf(error));
    }
    if (this.#counts.blocks % PROGRESS_EVERY_BLOCKS === 0) this.#progress();
  }

  #progress(): void {
    const { blocks, bytes } = this.#counts;
    this.#onProgress({ blocks, blocksMax: Math.max(blocks, this.#blocksMax), bytes });
  }

  #problem(text: string): void {
    this.#problems.push(text);
  }
}

const textOf = (error: unknown): string =>
  EscrowError.is(error) || error instanceof Error ? error.message : String(error);
