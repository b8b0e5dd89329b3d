/**
 * The segment that is written to, and the only file that knows LevelDB's interface.
 *
 * Invariants
 * - H1 LevelDB never reads a table that was there when it was opened: it would do so without looking at
 *   checksums, and damage ends the process. Opening it moves all of its log into tables, so every block that it
 *   then has is read by `Tables`, and every later one is its own, from memory or from a table of this process.
 *   Keys that only grow make its compactions renames, which read nothing either.
 * - H2 No iterator of LevelDB is used, ever: with one, it answers wrongly (google/leveldb #320, #887).
 */
import { createRequire } from "node:module";
import type * as LevelPackage from "level";
import type { Damaged, Database } from "./segments.ts";
import { Tables } from "./tables.ts";

// By require, as all CommonJS here (ADR 10).
const { Level } = createRequire(import.meta.url)("level") as typeof LevelPackage;

const WRITE_BUFFER_BYTES = 33_554_432;
const TABLE_BYTES_MAX = 16_777_216;
/** Blocks are cached above, once; LevelDB's own cache would hold them a second time. */
const CACHE_BYTES = 65_536;

type BlockLevel = LevelPackage.Level<Uint8Array, Uint8Array>;

export async function openDatabase(directory: string, mayCreate: boolean): Promise<Database> {
  const level: BlockLevel = new Level(directory, {
    keyEncoding: "view",
    valueEncoding: "view",
    createIfMissing: mayCreate,
    compression: false,
    writeBufferSize: WRITE_BUFFER_BYTES,
    maxFileSize: TABLE_BYTES_MAX,
    cacheSize: CACHE_BYTES,
  });
  await level.open();
  let tables: Tables | null = null;
  try {
    tables = await Tables.open(directory);
    return new LevelDatabase(level, tables, await tables.last());
  } catch (error) {
    await tables?.close();
    await level.close();
    throw error;
  }
}

class LevelDatabase implements Database {
  readonly #level: BlockLevel;
  readonly #tables: Tables;
  /** The last block that was there when it was opened (H1). */
  readonly #found: number;

  constructor(level: BlockLevel, tables: Tables, found: number) {
    this.#level = level;
    this.#tables = tables;
    this.#found = found;
  }

  get(block: number): Promise<Uint8Array | undefined> {
    if (block <= this.#found) return this.#tables.get(block);
    return this.#level.get(keyOf(block), { fillCache: false });
  }

  put(block: number, bytes: Uint8Array): Promise<void> {
    return this.#level.put(keyOf(block), bytes, { sync: true });
  }

  scan(fromBlock: number, damaged?: Damaged): AsyncIterable<readonly [number, Uint8Array]> {
    return this.#tables.scan(fromBlock, damaged);
  }

  last(): Promise<number> {
    return Promise.resolve(this.#found);
  }

  /**
   * LevelDB writes its buffer to a table before it looks for what lies in a range to compact;
   * nothing lies in this one, because there is no block 0. `level`'s types leave the method out for
   * the browser's sake.
   */
  async flush(): Promise<void> {
    const compactRange: unknown = Reflect.get(this.#level, "compactRange");
    if (typeof compactRange === "function")
      await compactRange.call(this.#level, keyOf(0), keyOf(0));
  }

  async close(): Promise<void> {
    await this.#tables.close();
    await this.#level.close();
  }
}

/** Big-endian, so that keys sort as numbers do. */
function keyOf(block: number): Uint8Array {
  const key = Buffer.allocUnsafe(8);
  key.writeBigUInt64BE(BigInt(block));
  return key;
}
