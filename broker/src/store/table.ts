/**
 * One of LevelDB's tables, read without LevelDB: LevelDB 1.20 looks at no checksum when it reads one, and a
 * damaged page ends the process, by an assertion or because tables are mapped into memory.
 *
 * Invariants
 * - Z1 A table never changes. Its file is open as long as the table is: LevelDB may move or remove it meanwhile.
 * - Z2 Damage is STORE_CORRUPT with the name of the file; a disk that does not answer is its own error. Either
 *   concerns whoever asked for that part, and nobody else.
 */
import { type FileHandle, open } from "node:fs/promises";
import { basename, dirname, join } from "node:path";
import { EscrowError } from "@escrowmq/protocol";
import type { Damaged } from "./segments.ts";
import {
  type Entry,
  entriesOf,
  FOOTER_BYTES,
  firstKeyOf,
  type Group,
  type Groups,
  HEAD_BYTES,
  readFooter,
  readIndex,
  type Span,
  TRAILER_BYTES,
} from "./table-format.ts";

interface Window extends Span {
  /** Of groups. */
  readonly count: number;
}

/** Read at once when one goes through a table from end to end. */
const WINDOW_BYTES = 1_048_576;

export class Table {
  readonly name: string;
  /** No block before it can be had: the first key, or where the groups begin whose keys can be told. */
  readonly first: number;
  /** Why it is the latter. */
  readonly damage: EscrowError | null;
  readonly #file: FileHandle;
  readonly #groups: Groups;

  private constructor(name: string, file: FileHandle, groups: Groups, first: number | EscrowError) {
    this.name = name;
    this.#file = file;
    this.#groups = groups;
    this.first = typeof first === "number" ? first : (groups.at(0)?.upTo ?? 0) + 1;
    this.damage = typeof first === "number" ? null : inTable(name, first);
  }

  static async open(path: string): Promise<Table> {
    // As an operator finds it: the segment and the file in it.
    const name = join(basename(dirname(path)), basename(path));
    const file = await open(path, "r");
    try {
      const groups = await named(name, () => indexOf(file));
      return new Table(name, file, groups, await firstOf(file, groups));
    } catch (error) {
      await file.close();
      throw error;
    }
  }

  /** Of the last entry. */
  async last(): Promise<number> {
    const group = this.#groups.at(this.#groups.length - 1);
    if (group === undefined) return 0;
    return named(this.name, async () => {
      let last = 0;
      for (const { key } of entriesOf(await readSpan(this.#file, group), "block")) last = key;
      return last;
    });
  }

  /** Undefined: it is not in this table. */
  async get(block: number): Promise<Uint8Array | undefined> {
    const group = this.#groups.at(this.#groups.firstUpTo(block));
    if (group === undefined) return undefined;
    return named(this.name, async () => {
      const bytes = await readSpan(this.#file, group);
      for (const entry of entriesOf(bytes, "block"))
        if (entry.key === block) return bytesOf(bytes, entry);
      return undefined;
    });
  }

  /**
   * In order, from a block on; while one window is worked on the next one is read. `damaged` is told of each
   * group that cannot be read, and may throw.
   */
  async *scan(fromBlock: number, damaged: Damaged): AsyncGenerator<readonly [number, Uint8Array]> {
    let index = this.#groups.firstUpTo(fromBlock);
    let window = this.#window(index);
    let reading = this.#read(window);
    while (index < this.#groups.length) {
      const { at, count } = window;
      const bytes = await reading;
      window = this.#window(index + count);
      reading = this.#read(window);
      for (const end = index + count; index < end; index++) {
        const group = this.#groups.at(index);
        if (group !== undefined)
          yield* this.#entries(bytes.subarray(group.at - at), group, fromBlock, damaged);
      }
    }
  }

  close(): Promise<void> {
    return this.#file.close();
  }

  *#entries(
    bytes: Buffer,
    group: Group,
    fromBlock: number,
    damaged: Damaged,
  ): Generator<readonly [number, Uint8Array]> {
    try {
      const part = bytes.subarray(0, group.bytes);
      // A copy: a record that keeps a piece of its block would keep the whole window.
      for (const { key, valueAt, valueBytes } of entriesOf(part, "block"))
        if (key >= fromBlock)
          yield [key, new Uint8Array(part.subarray(valueAt, valueAt + valueBytes))];
    } catch (error) {
      if (!EscrowError.is(error, "STORE_CORRUPT")) throw error;
      damaged(inTable(this.name, error));
    }
  }

  /** From a group on, as many as are read at once; none behind the last one. */
  #window(index: number): Window {
    const { at = 0 } = this.#groups.at(index) ?? {};
    let end = at;
    let count = 0;
    for (; index + count < this.#groups.length; count++) {
      const group = this.#groups.at(index + count);
      if (group === undefined || (count > 0 && group.at + group.bytes - at > WINDOW_BYTES)) break;
      end = group.at + group.bytes;
    }
    return { at, bytes: end - at, count };
  }

  /** What fails is thrown where it is awaited, if it ever is. */
  #read(window: Window): Promise<Buffer> {
    const reading = named(this.name, () => readSpan(this.#file, window));
    reading.catch(() => undefined);
    return reading;
  }
}

async function indexOf(file: FileHandle): Promise<Groups> {
  const { size } = await file.stat();
  const footer = await readSpan(file, {
    at: Math.max(0, size - FOOTER_BYTES),
    bytes: FOOTER_BYTES,
  });
  const index = readFooter(footer, size);
  return readIndex(await readSpan(file, { ...index, bytes: index.bytes + TRAILER_BYTES }), index);
}

/** What is damaged, if it cannot be told. */
async function firstOf(file: FileHandle, groups: Groups): Promise<number | EscrowError> {
  const { at, bytes } = groups.at(0) ?? { at: 0, bytes: 0 };
  try {
    return firstKeyOf(await readSpan(file, { at, bytes: Math.min(HEAD_BYTES, bytes) }));
  } catch (error) {
    if (EscrowError.is(error, "STORE_CORRUPT")) return error;
    throw error;
  }
}

async function readSpan(file: FileHandle, { at, bytes }: Span): Promise<Buffer> {
  const buffer = Buffer.allocUnsafeSlow(bytes);
  for (let filled = 0; filled < bytes; ) {
    const { bytesRead } = await file.read(buffer, filled, bytes - filled, at + filled);
    if (bytesRead === 0) throw new EscrowError("STORE_CORRUPT", "it ends too early");
    filled += bytesRead;
  }
  return buffer;
}

/** A small value out of a group of many would keep the whole group in memory. */
function bytesOf(bytes: Buffer, { valueAt, valueBytes }: Entry): Uint8Array {
  const value = bytes.subarray(valueAt, valueAt + valueBytes);
  return 2 * valueBytes < bytes.length ? new Uint8Array(value) : value;
}

async function named<Value>(name: string, read: () => Promise<Value>): Promise<Value> {
  try {
    return await read();
  } catch (error) {
    throw EscrowError.is(error, "STORE_CORRUPT") ? inTable(name, error) : error;
  }
}

const inTable = (name: string, { message }: EscrowError): EscrowError =>
  new EscrowError("STORE_CORRUPT", `Table ${name} is damaged: ${message}.`);
