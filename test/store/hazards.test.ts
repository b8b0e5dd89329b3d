/** What disks and LevelDB do to a store, on the real files: found, never served. */
import { cpSync, mkdirSync, renameSync, rmSync, truncateSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { Level } from "level";
import { describe, expect, it } from "vitest";
import { encodeBlock, openBlock } from "../../broker/src/store/block.ts";
import { openLevelStore, verifyStore } from "../../broker/src/store/level-store.ts";
import { blockOf, codeOf, fill, messageOf, recovered } from "./sample.ts";
import { damage, fileOf, flipBitAt, segmentPath, useScratch } from "./scratch.ts";

const scratch = useScratch();
const MESSAGE_BYTES = 2_000;

/** 60 blocks of 6 kB: several of LevelDB's 32 KiB log blocks, and all of them still in its log. */
async function killedStore(options = {}): Promise<string> {
  const directory = scratch.newDirectory();
  const store = await scratch.open(directory, options);
  await fill(store, 60, MESSAGE_BYTES);
  await store.close();
  return directory;
}

/** Opening once moves the log into a table. */
async function storeInTables(options = {}): Promise<string> {
  const directory = await killedStore(options);
  await (await scratch.open(directory, options)).close();
  return directory;
}

const openAndRecover = async (directory: string, options = {}) => {
  const warnings: string[] = [];
  const store = await openLevelStore(directory, {
    ...options,
    onWarning: (text) => warnings.push(text),
  });
  try {
    return { tail: store.tail, all: await recovered(store), warnings };
  } finally {
    await store.close();
  }
};

/** The segment of a store in tables again, with other blocks in it. */
async function rewrite(
  directory: string,
  change: (blocks: Map<number, Uint8Array>) => void,
): Promise<void> {
  const path = segmentPath(directory);
  const blocks = new Map<number, Uint8Array>();
  await withLevel(path, async (level) => {
    for (let block = 1; block <= 60; block++)
      blocks.set(block, (await level.get(keyOf(block))) ?? Buffer.alloc(0));
  });
  change(blocks);
  rmSync(path, { recursive: true });
  await withLevel(path, async (level) => {
    for (const [block, bytes] of blocks) await level.put(keyOf(block), bytes, { sync: true });
  });
  await withLevel(path, async () => undefined);
}

async function withLevel<Value>(
  path: string,
  use: (level: Level<Uint8Array, Uint8Array>) => Promise<Value>,
): Promise<Value> {
  const level = new Level<Uint8Array, Uint8Array>(path, {
    keyEncoding: "view",
    valueEncoding: "view",
    compression: false,
  });
  await level.open();
  try {
    return await use(level);
  } finally {
    await level.close();
  }
}

const at = (blocks: ReadonlyMap<number, Uint8Array>, block: number): Uint8Array =>
  blocks.get(block) ?? Buffer.alloc(0);

const keyOf = (block: number): Uint8Array => {
  const key = Buffer.alloc(8);
  key.writeBigUInt64BE(BigInt(block));
  return key;
};

describe("a damaged log", () => {
  it.each<[string, (bytes: Buffer) => Buffer]>([
    ["one bit of a payload", flipBitAt(0.5)],
    [
      "one bit of a length",
      (bytes) => {
        bytes[32_768 * 5 + 5] = (bytes[32_768 * 5 + 5] ?? 0) ^ 0x40;
        return bytes;
      },
    ],
    ["4 KiB zeroed", (bytes) => bytes.fill(0, bytes.length >> 1, (bytes.length >> 1) + 4_096)],
  ])("(%s) refuses the store at this start and at every later one", async (_, change) => {
    const directory = await killedStore();
    damage(fileOf(segmentPath(directory), /\.log$/), change);
    for (let start = 0; start < 3; start++)
      expect(await codeOf(openAndRecover(directory))).toBe("STORE_CORRUPT");
  });

  it("is a hole even for an operator who accepts the loss", async () => {
    const directory = await killedStore();
    damage(fileOf(segmentPath(directory), /\.log$/), flipBitAt(0.5));
    await expect(openAndRecover(directory, { acceptLoss: true })).rejects.toMatchObject({
      code: "STORE_CORRUPT",
      message: expect.stringMatching(/^Block \d+ is missing/),
    });
  });

  it("whose end is cut off is refused by the acked-mark", async () => {
    const directory = await killedStore();
    const log = fileOf(segmentPath(directory), /\.log$/);
    damage(log, (bytes) => bytes.subarray(0, bytes.length - 10));
    expect(await codeOf(openAndRecover(directory))).toBe("STORE_TAIL_MISSING");
    const { tail, warnings } = await openAndRecover(directory, { acceptLoss: true });
    expect(tail).toBe(59);
    expect(warnings.join()).toMatch(/block 60 was acknowledged/);
    expect((await openAndRecover(directory)).tail).toBe(59);
  });

  it("is accepted once: what comes after the recovery, another kill even, does not ask again", async () => {
    const directory = await killedStore();
    const log = fileOf(segmentPath(directory), /\.log$/);
    damage(log, (bytes) => bytes.subarray(0, bytes.length - 10));
    await scratch.open(directory, { acceptLoss: true });
    expect((await openAndRecover(scratch.crashed(directory))).tail).toBe(59);
  });

  it("that is gone is refused by the acked-mark", async () => {
    const directory = await killedStore();
    truncateSync(fileOf(segmentPath(directory), /\.log$/), 0);
    expect(await codeOf(openAndRecover(directory))).toBe("STORE_TAIL_MISSING");
  });

  it("goes on from the verified end once its loss was accepted", async () => {
    const directory = await killedStore();
    damage(fileOf(segmentPath(directory), /\.log$/), (bytes) => flipBitAt(0.999)(bytes));
    expect(await codeOf(openAndRecover(directory))).toBe("STORE_CORRUPT");
    const store = await scratch.open(directory, { acceptLoss: true });
    expect(store.tail).toBeLessThan(60);
    await fill(store, 60);
    await store.close();
    expect((await openAndRecover(directory)).tail).toBe(60);
  });
});

describe("a damaged table", () => {
  it("is never served: the block is refused, at recovery and at every read", async () => {
    const directory = await storeInTables();
    const store = await scratch.open(directory);
    await store.saveCheckpoint(60, ["state"]);
    await store.close();
    damage(fileOf(segmentPath(directory), /\.ldb$/), flipBitAt(0.5));
    const opened = await scratch.open(directory, { cacheBytesMax: 0 });
    let refused = 0;
    for (let block = 1; block <= 60; block++) {
      const [outcome] = await Promise.allSettled([opened.readMessages(block, [0])]);
      if (outcome?.status === "fulfilled")
        expect(outcome.value).toEqual([messageOf(block, 0, MESSAGE_BYTES)]);
      else {
        expect(outcome?.reason).toMatchObject({ code: "STORE_CORRUPT" });
        refused++;
      }
    }
    expect(refused).toBe(1);
    await opened.append(blockOf(61));
    await opened.close();
    rmSync(join(directory, "checkpoints"), { recursive: true });
    expect(await codeOf(openAndRecover(directory))).toBe("STORE_CORRUPT");
  });

  it("that is missing refuses the store", async () => {
    const directory = await storeInTables();
    rmSync(fileOf(segmentPath(directory), /\.ldb$/));
    expect(await codeOf(openAndRecover(directory))).toBe("STORE_CORRUPT");
  });
});

describe("a swapped block", () => {
  it("under another's number is refused", async () => {
    const directory = await storeInTables();
    await rewrite(directory, (blocks) => blocks.set(30, at(blocks, 29)));
    await expect(openAndRecover(directory)).rejects.toMatchObject({
      code: "STORE_CORRUPT",
      message: "Block 30 says that it is block 29.",
    });
  });

  it("that is whole but of another history breaks the chain", async () => {
    const directory = await storeInTables();
    const { storeId } = await scratch.open(directory).then(async (store) => {
      await store.close();
      return store;
    });
    const id = Buffer.from(storeId, "hex");
    await rewrite(directory, (blocks) => {
      const before = openBlock(at(blocks, 29), 29, id);
      const other = encodeBlock(
        { ...blockOf(30), atMs: 1 },
        { storeId: id, hash: before.hash(), bytes: before.bytesBefore + before.bytes.length },
      );
      blocks.set(30, other.bytes);
    });
    await expect(openAndRecover(directory)).rejects.toMatchObject({
      code: "STORE_CORRUPT",
      message: "Block 31 does not follow block 30.",
    });
  });

  it("at the end of the log is refused by the acked-mark", async () => {
    const directory = await storeInTables();
    const source = await scratch.open(directory);
    const id = Buffer.from(source.storeId, "hex");
    await source.close();
    await rewrite(directory, (blocks) => {
      const before = openBlock(at(blocks, 59), 59, id);
      const end = { storeId: id, hash: before.hash(), bytes: before.bytesBefore };
      blocks.set(60, encodeBlock({ ...blockOf(60), atMs: 1 }, end).bytes);
    });
    await expect(openAndRecover(directory)).rejects.toMatchObject({
      code: "STORE_CORRUPT",
      message: "Block 60 is not the one that was acknowledged.",
    });
  });
});

describe("an acked-mark", () => {
  it("that is older than the log is no reason to refuse", async () => {
    const directory = scratch.newDirectory();
    const store = await scratch.open(directory);
    await fill(store, 3);
    const stale = scratch.crashed(directory);
    await fill(store, 6);
    await store.close();
    cpSync(join(stale, "acked-mark"), join(directory, "acked-mark"));
    expect((await openAndRecover(directory)).tail).toBe(6);
  });

  it.each<[string, (path: string) => void]>([
    ["missing", (path) => rmSync(path)],
    ["damaged", (path) => damage(path, flipBitAt(0.3))],
    ["empty", (path) => truncateSync(path, 0)],
  ])("that is %s refuses the store unless the loss is accepted", async (_, change) => {
    const directory = await killedStore();
    change(join(directory, "acked-mark"));
    expect(await codeOf(openAndRecover(directory))).toBe("STORE_CORRUPT");
    expect((await openAndRecover(directory, { acceptLoss: true })).tail).toBe(60);
    expect((await openAndRecover(directory)).tail).toBe(60);
  });

  it("says whether the last session was closed in order", async () => {
    const directory = scratch.newDirectory();
    const store = await scratch.open(directory);
    await fill(store, 2);
    const crashed = scratch.crashed(directory);
    await store.close();
    expect((await scratch.open(directory)).wasClean).toBe(true);
    expect((await scratch.open(crashed)).wasClean).toBe(false);
  });
});

describe("a missing segment", () => {
  const SMALL = { segmentBytesMax: 60_000 };
  const second = async (directory: string) => {
    const store = await scratch.open(directory, SMALL);
    await store.close();
    return segmentsOf(directory);
  };
  const segmentsOf = async (directory: string) => {
    const { readdirSync } = await import("node:fs");
    return readdirSync(join(directory, "segments")).sort();
  };

  it.each([
    ["first", 0, "STORE_CORRUPT"],
    ["middle", 2, "STORE_CORRUPT"],
    ["newest", -1, "STORE_TAIL_MISSING"],
  ])("(the %s one) refuses the store, also behind a checkpoint", async (_, index, code) => {
    const directory = await killedStore(SMALL);
    const store = await scratch.open(directory, SMALL);
    await store.saveCheckpoint(60, ["state"]);
    await store.close();
    const names = await second(directory);
    expect(names.length).toBeGreaterThan(4);
    renameSync(join(directory, "segments", names.at(index) ?? ""), join(directory, "elsewhere"));
    expect(await codeOf(openAndRecover(directory, SMALL))).toBe(code);
  });

  it("that an operator accepts lets the log go on from the one before", async () => {
    const directory = await killedStore(SMALL);
    const names = await segmentsOf(directory);
    rmSync(join(directory, "segments", names.at(-1) ?? ""), { recursive: true });
    const tail = Number(names.at(-1)) - 1;
    const store = await scratch.open(directory, { ...SMALL, acceptLoss: true });
    expect(store.tail).toBe(tail);
    await fill(store, 70, MESSAGE_BYTES);
    await store.close();
    expect((await openAndRecover(directory, SMALL)).tail).toBe(70);
  });

  it("that lost its CURRENT file is refused and left as it is", async () => {
    const directory = await storeInTables();
    const path = segmentPath(directory);
    rmSync(join(path, "CURRENT"));
    const table = fileOf(path, /\.ldb$/);
    expect(await codeOf(openAndRecover(directory))).toBe("STORE_CORRUPT");
    expect(fileOf(path, /\.ldb$/)).toBe(table);
  });
});

describe("verifyStore", () => {
  it("finds a sound store sound, and counts it", async () => {
    const directory = await killedStore({ segmentBytesMax: 60_000 });
    const seen: number[] = [];
    const report = await verifyStore(directory, ({ blocks }) => seen.push(blocks));
    expect(report).toMatchObject({ blocks: 60, records: 60, messages: 180, problems: [] });
    expect(seen.at(-1)).toBe(60);
    expect((await openAndRecover(directory)).tail).toBe(60);
  });

  it("goes on behind damage and names all of it", async () => {
    const directory = await storeInTables();
    const store = await scratch.open(directory);
    await store.saveCheckpoint(60, ["state"]);
    await store.close();
    damage(fileOf(join(directory, "checkpoints"), /^\d{16}$/), flipBitAt(0.9));
    await rewrite(directory, (blocks) => blocks.set(30, at(blocks, 29)).delete(40));
    damage(join(directory, "acked-mark"), flipBitAt(0.5));
    const report = await verifyStore(directory);
    expect(report.blocks).toBe(59);
    expect(report.problems).toEqual([
      "Block 30 says that it is block 29.",
      "Block 41 comes after block 39: blocks are missing.",
      "The acked-mark is damaged.",
      expect.stringMatching(/^The checkpoint of block 60 is not used/),
    ]);
  });

  it("reports what LevelDB dropped", async () => {
    const directory = await killedStore();
    damage(fileOf(segmentPath(directory), /\.log$/), flipBitAt(0.5));
    const { problems } = await verifyStore(directory);
    expect(problems.join("\n")).toMatch(/LevelDB lost data of segment 1/);
    expect(problems.join("\n")).toMatch(/blocks are missing/);
  });

  it("does not touch the store of a running broker, and wants a store", async () => {
    const directory = scratch.newDirectory();
    const store = await scratch.open(directory, { segmentBytesMax: 1 });
    await fill(store, 4);
    expect(await codeOf(verifyStore(directory))).toBe("STORE_LOCKED");
    await fill(store, 6);
    const nothing = scratch.newDirectory();
    mkdirSync(nothing);
    writeFileSync(join(nothing, "file"), "");
    expect(await codeOf(verifyStore(nothing))).toBe("STORE_CORRUPT");
  });
});
