/**
 * All tables of a segment: a database that nobody writes to.
 *
 * Invariants
 * - Q1 Keys are never overwritten, so it does not matter which table a block is in, nor what LevelDB's manifest
 *   says of them.
 * - Q2 A damaged table costs the blocks that are in it. A block that is not found while a table is damaged may
 *   have been there: the refusal names the file.
 * - Q3 Where the end matters, the newest table must be readable there: else a lost end would look like an end.
 */
import { readdir } from "node:fs/promises";
import { join } from "node:path";
import { EscrowError } from "@escrowmq/protocol";
import type { Damaged, Database } from "./segments.ts";
import { Table } from "./table.ts";

const TABLE = /^(\d+)\.(ldb|sst)$/;

export class Tables implements Database {
  /** In order of their first keys. */
  readonly #tables: readonly Table[];
  readonly #damage: readonly EscrowError[];
  readonly #isEndKnown: boolean;

  private constructor(
    tables: readonly Table[],
    damage: readonly EscrowError[],
    isEndKnown: boolean,
  ) {
    this.#tables = [...tables].sort((one, other) => one.first - other.first);
    this.#damage = damage;
    this.#isEndKnown = isEndKnown;
  }

  static async open(directory: string): Promise<Tables> {
    const tables: Table[] = [];
    const damage: EscrowError[] = [];
    let isEndKnown = true;
    try {
      for (const name of await listTables(directory)) {
        const table = await openUnlessDamaged(join(directory, name));
        isEndKnown = table instanceof Table;
        if (table instanceof Table) tables.push(table);
        else damage.push(table);
      }
    } catch (error) {
      await Promise.all(tables.map((table) => table.close()));
      throw error;
    }
    return new Tables(tables, damage, isEndKnown);
  }

  async get(block: number): Promise<Uint8Array | undefined> {
    const value = await this.#tables.findLast(({ first }) => first <= block)?.get(block);
    if (value === undefined) this.#refuseIfDamaged();
    return value;
  }

  put(): Promise<void> {
    return Promise.reject(new EscrowError("STORE_FAILED", "A sealed segment is not written to."));
  }

  async *scan(fromBlock: number, damaged?: Damaged): AsyncGenerator<readonly [number, Uint8Array]> {
    for (const error of this.#damage) damaged?.(error);
    for (const [index, table] of this.#tables.entries()) {
      const next = this.#tables[index + 1];
      if (next === undefined || next.first > fromBlock)
        yield* table.scan(fromBlock, damaged ?? refuse);
    }
  }

  async last(): Promise<number> {
    if (!this.#isEndKnown) this.#refuseIfDamaged();
    return (await this.#tables.at(-1)?.last()) ?? 0;
  }

  /** There is nothing else. */
  flush(): Promise<void> {
    return Promise.resolve();
  }

  async close(): Promise<void> {
    for (const table of this.#tables) await table.close();
  }

  #refuseIfDamaged(): void {
    const error = this.#damage[0] ?? this.#tables.find(({ damage }) => damage !== null)?.damage;
    if (error !== undefined && error !== null) throw error;
  }
}

/** In the order in which LevelDB made them. */
async function listTables(directory: string): Promise<string[]> {
  const numberOf = (name: string): number => Number(TABLE.exec(name)?.[1]);
  const names = (await readdir(directory)).filter((name) => TABLE.test(name));
  return names.sort((one, other) => numberOf(one) - numberOf(other));
}

async function openUnlessDamaged(path: string): Promise<Table | EscrowError> {
  try {
    return await Table.open(path);
  } catch (error) {
    if (EscrowError.is(error, "STORE_CORRUPT")) return error;
    throw error;
  }
}

const refuse = (error: EscrowError): never => {
  throw error;
};
