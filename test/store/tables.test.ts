/** LevelDB's tables, read without LevelDB: what it wrote, and what is left of it after damage. */
import { readdirSync, readFileSync, statSync, writeFileSync } from "node:fs";
import { basename, join } from "node:path";
import { describe, expect, it } from "vitest";
import { openDatabase } from "../../broker/src/store/level-database.ts";
import { verifyStore } from "../../broker/src/store/level-store.ts";
import type { Database } from "../../broker/src/store/segments.ts";
import { FOOTER_BYTES } from "../../broker/src/store/table-format.ts";
import { Tables } from "../../broker/src/store/tables.ts";
import { Random } from "../support/e2e-random.ts";
import { codeOf, fill, messageOf } from "./sample.ts";
import { damage, fileOf, segmentPath, useScratch } from "./scratch.ts";

const scratch = useScratch();
const PAGE_BYTES = 4_096;
const MESSAGE_BYTES = 2_000;

type Blocks = ReadonlyMap<number, Uint8Array>;

/** A directory with these blocks in tables, one for each part: each opening moves a log into a table. */
async function inTables(parts: readonly Blocks[]): Promise<string> {
  const directory = scratch.newDirectory();
  for (const blocks of [...parts, new Map<number, Uint8Array>()]) {
    const database = await openDatabase(directory, true);
    for (const [block, bytes] of blocks) await database.put(block, bytes);
    await database.close();
  }
  return directory;
}

function blocksOf(from: number, sizes: readonly number[]): Blocks {
  return new Map(sizes.map((bytes, index) => [from + index, Buffer.alloc(bytes, from + index)]));
}

async function using<Value>(
  directory: string,
  use: (tables: Tables) => Promise<Value>,
): Promise<Value> {
  const tables = await Tables.open(directory);
  try {
    return await use(tables);
  } finally {
    await tables.close();
  }
}

async function scanned(database: Database, from: number): Promise<Blocks> {
  const found = new Map<number, Uint8Array>();
  for await (const [block, bytes] of database.scan(from, () => undefined)) found.set(block, bytes);
  return found;
}

const isSame = (one: Uint8Array | undefined, other: Uint8Array | undefined): boolean =>
  one !== undefined && other !== undefined && Buffer.compare(one, other) === 0;

describe("the tables of a segment", () => {
  const many = Array.from({ length: 600 }, (_, index) => (index * 7) % 400);
  const large = [0, 1, 4_095, 4_096, 70_000, 1_048_576, 3_000_000, 5, 2_000_000];
  it.each<[string, readonly Blocks[]]>([
    ["a single block", [blocksOf(1, [10])]],
    ["hundreds of small blocks", [blocksOf(1, many)]],
    ["blocks of any size", [blocksOf(250, large)]],
    ["several tables", [blocksOf(1, many), blocksOf(601, large), blocksOf(610, [7])]],
    ["numbers beyond 32 bits", [blocksOf(2 ** 40 - 300, many), blocksOf(2 ** 40 + 300, [3])]],
  ])("say what LevelDB wrote (%s)", async (_, parts) => {
    const all = new Map(parts.flatMap((part) => [...part]));
    const numbers = [...all.keys()];
    const [first = 0, last = 0] = [numbers[0], numbers.at(-1)];
    await using(await inTables(parts), async (tables) => {
      expect(await tables.last()).toBe(last);
      for (const [block, bytes] of all)
        if (!isSame(await tables.get(block), bytes)) expect.fail(`block ${block} is another one`);
      for (const block of [0, first - 1, last + 1, last + 1_000_000])
        expect(await tables.get(block)).toBeUndefined();
      for (const from of [0, first + 1, Math.floor((first + last) / 2), last, last + 1]) {
        const found = await scanned(tables, from);
        expect([...found.keys()]).toEqual(numbers.filter((block) => block >= from));
        for (const [block, bytes] of found) expect(isSame(bytes, all.get(block))).toBe(true);
      }
    });
  });

  it("refuse what damage took, say the rest, and name the file, whatever the damage", async () => {
    const parts = [blocksOf(1, many), blocksOf(601, [9_000, 90_000, 5, 6])];
    const all = new Map(parts.flatMap((part) => [...part]));
    const directory = await inTables(parts);
    const random = new Random(7);
    for (const name of readdirSync(directory).filter((file) => file.endsWith(".ldb"))) {
      const path = join(directory, name);
      const sound = readFileSync(path);
      for (let round = 0; round < 90; round++) {
        const bytes = Buffer.from(sound);
        const at = random.between(0, sound.length - 1);
        const page = at - (at % PAGE_BYTES);
        if (round % 3 === 0) bytes.fill(0, page, Math.min(page + PAGE_BYTES, bytes.length));
        else if (round % 3 === 1) bytes[at] = (bytes[at] ?? 0) ^ (1 << random.between(0, 7));
        writeFileSync(path, round % 10 === 9 ? bytes.subarray(0, at) : bytes);
        await using(directory, async (tables) => {
          for (const [block, bytes] of all) {
            if (block % 10 !== round % 10 && block < 590) continue;
            const found = await tables
              .get(block)
              .catch((error: { readonly code: string }) => error);
            if (found === undefined || found instanceof Uint8Array) {
              // The block's own checksum judges what is in it; its place may be lost with its key.
              if (found !== undefined) expect(found.length).toBe(bytes.length);
            } else
              expect(found).toMatchObject({
                code: "STORE_CORRUPT",
                message: expect.stringContaining(basename(path)),
              });
          }
          expect((await scanned(tables, 1)).size).toBeLessThanOrEqual(all.size);
        });
      }
      writeFileSync(path, sound);
    }
  });
});

describe("the index of a table", () => {
  it("with any one bit changed refuses the table: it would lead to the wrong place, or to none", async () => {
    const blocks = blocksOf(
      1,
      Array.from({ length: 40 }, () => 1_500),
    );
    const directory = await inTables([blocks]);
    const path = fileOf(directory, /\.ldb$/);
    const sound = readFileSync(path);
    // In front of the footer, with its trailer: long enough that it is all index.
    const indexAt = sound.length - FOOTER_BYTES - 150;
    for (let bit = 0; bit < 150 * 8; bit += 7) {
      const bytes = Buffer.from(sound);
      const at = indexAt + (bit >> 3);
      bytes[at] = (bytes[at] ?? 0) ^ (1 << (bit & 7));
      writeFileSync(path, bytes);
      await using(directory, async (tables) => {
        for (const block of [1, 20, 40])
          await expect(tables.get(block)).rejects.toMatchObject({
            code: "STORE_CORRUPT",
            message: expect.stringContaining(basename(path)),
          });
      });
    }
  });
});

/** Two segments of 30 blocks, the first one sealed; both in tables. */
async function twoSegments(): Promise<{ readonly directory: string; readonly second: string }> {
  const directory = scratch.newDirectory();
  const options = { segmentBytesMax: 30 * 3 * MESSAGE_BYTES };
  const store = await scratch.open(directory, options);
  await fill(store, 50, MESSAGE_BYTES);
  await store.saveCheckpoint(50, ["state"]);
  await store.close();
  await (await scratch.open(directory, options)).close();
  const [, second = ""] = readdirSync(join(directory, "segments")).sort();
  return { directory, second: join(directory, "segments", second) };
}

async function whatIsServed(directory: string): Promise<readonly number[]> {
  const store = await scratch.open(directory, { cacheBytesMax: 0 });
  const served: number[] = [];
  for (let block = 1; block <= 50; block++) {
    const [outcome] = await Promise.allSettled([store.readMessages(block, [0])]);
    if (outcome.status === "rejected")
      expect(outcome.reason).toMatchObject({ code: "STORE_CORRUPT" });
    else {
      expect(outcome.value).toEqual([messageOf(block, 0, MESSAGE_BYTES)]);
      served.push(block);
    }
  }
  await store.close();
  return served;
}

const zeroPage =
  (page: number) =>
  (bytes: Buffer): Buffer =>
    bytes.fill(0, page * PAGE_BYTES, Math.min((page + 1) * PAGE_BYTES, bytes.length));

describe("a page of zeros in a table", () => {
  it.each(["sealed", "active"])(
    "of the %s segment costs the blocks in it, and verify names the file",
    async (which) => {
      const { directory, second } = await twoSegments();
      const table = fileOf(which === "sealed" ? segmentPath(directory) : second, /\.ldb$/);
      const sound = readFileSync(table);
      for (const page of [0, 3, 7]) {
        damage(table, zeroPage(page));
        const served = await whatIsServed(directory);
        expect(served.length).toBeLessThan(50);
        expect(served.length).toBeGreaterThanOrEqual(46);
        const { problems } = await verifyStore(directory);
        expect(problems.join("\n")).toMatch(/^(Table \d+\/\d+\.ldb is damaged|Block \d+ )/);
        writeFileSync(table, sound);
      }
      expect((await whatIsServed(directory)).length).toBe(50);
    },
  );

  it("that holds a sealed segment's index costs that table, and verify names it", async () => {
    const { directory } = await twoSegments();
    const table = fileOf(segmentPath(directory), /\.ldb$/);
    const { size } = statSync(table);
    damage(table, zeroPage(Math.floor((size - 1) / PAGE_BYTES)));
    const served = await whatIsServed(directory);
    expect(served.length).toBeGreaterThan(15);
    expect(served[0]).toBeGreaterThan(20);
    const { problems } = await verifyStore(directory);
    expect(problems[0]).toMatch(/^Table 0000000000000001\/\d+\.ldb is damaged: /);
  });

  it("where the log ends refuses the start, which names the file: the end cannot be told", async () => {
    const { directory, second } = await twoSegments();
    const table = fileOf(second, /\.ldb$/);
    const { size } = statSync(table);
    damage(table, zeroPage(Math.floor((size - 1) / PAGE_BYTES)));
    await expect(scratch.open(directory)).rejects.toMatchObject({
      code: "STORE_CORRUPT",
      message: expect.stringContaining(basename(table)),
    });
    expect(await codeOf(scratch.open(directory, { acceptLoss: true }))).toBe("STORE_CORRUPT");
  });
});
