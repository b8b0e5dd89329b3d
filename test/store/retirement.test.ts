/** Removing a log's beginning, on the real files: whatever comes between, the store opens and is whole. */
import {
  cpSync,
  existsSync,
  mkdirSync,
  readdirSync,
  renameSync,
  rmSync,
  truncateSync,
} from "node:fs";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import {
  type LevelStore,
  type LevelStoreOptions,
  openLevelStore,
  verifyStore,
} from "../../broker/src/store/level-store.ts";
import { blockOf, codeOf, fill, messageOf, recovered, withoutData } from "./sample.ts";
import { checkpointPath, damage, flipBitAt, segmentPath, useScratch } from "./scratch.ts";

const scratch = useScratch();
/** One file, and then none for a long time. */
const SLOWLY = { removeEveryMs: 60_000, removeAtOnceBytes: 0 };
const A_SEGMENT_A_BLOCK: LevelStoreOptions = {
  segmentBytesMax: 1,
  cacheBytesMax: 0,
  removeEveryMs: 0,
};

const names = (directory: string): string[] => readdirSync(join(directory, "segments")).sort();
const nameOf = (block: number): string => String(block).padStart(16, "0");
const namesFrom = (first: number, last: number): string[] =>
  Array.from({ length: last - first + 1 }, (_, at) => nameOf(first + at));

/** Ten segments of a block each; a start needs those from the sixth on. */
async function tenSegments(options = A_SEGMENT_A_BLOCK) {
  const directory = scratch.newDirectory();
  const store = await scratch.open(directory, options);
  await fill(store, 10);
  await store.saveCheckpoint(6, ["older"]);
  await store.saveCheckpoint(9, ["newer"]);
  return { directory, store };
}

const retiredAndClosed = async (before = 6): Promise<string> => {
  const { directory, store } = await tenSegments();
  await store.retire(before);
  await store.close();
  return directory;
};

const start = async (directory: string, options: LevelStoreOptions = {}) => {
  const warnings: string[] = [];
  const onWarning = (text: string) => warnings.push(text);
  const store = await openLevelStore(directory, { ...A_SEGMENT_A_BLOCK, ...options, onWarning });
  try {
    const all = await recovered(store);
    const { first, tail, bytes, retiredBytes } = store;
    return { all, first, tail, bytes, retiredBytes, warnings };
  } finally {
    await store.close();
  }
};

const expectWhole = async (directory: string, first: number): Promise<void> => {
  const { all, ...figures } = await start(directory);
  expect(figures).toMatchObject({ first, tail: 10, warnings: [] });
  expect(all.map((one) => (one.kind === "checkpoint" ? one.block : one.block.number))).toEqual([
    9, 10,
  ]);
  expect(await verifyStore(directory)).toMatchObject({ first, blocks: 11 - first, problems: [] });
};

describe("retired segments", () => {
  it("are gone from the disk, whole ones only, and none that a start needs", async () => {
    const { directory, store } = await tenSegments();
    expect(await store.retire(4)).toMatchObject({ blocks: 3 });
    expect(names(directory)).toEqual(namesFrom(4, 10));
    expect(await store.retire(11)).toMatchObject({ blocks: 2 });
    expect(names(directory)).toEqual(namesFrom(6, 10));
    expect(await store.retire(11)).toEqual({ blocks: 0, bytes: 0 });
    await store.close();
    await expectWhole(directory, 6);
  });

  it("go by segments, not by blocks", async () => {
    const { directory, store } = await tenSegments({ segmentBytesMax: 1_000, removeEveryMs: 0 });
    const firsts = names(directory).map(Number);
    expect(firsts.length).toBeGreaterThan(2);
    const second = firsts[1] ?? 0;
    expect(await store.retire(second - 1)).toMatchObject({ blocks: 0 });
    expect(await store.retire(second + 1)).toMatchObject({ blocks: second - 1 });
    expect(names(directory).map(Number)).toEqual(firsts.slice(1));
    expect(await store.readMessages(second, [1])).toEqual([messageOf(second, 1)]);
  });

  it("leave a store that starts from the older checkpoint when the newer one is damaged", async () => {
    const directory = await retiredAndClosed(11);
    damage(checkpointPath(directory, 9), flipBitAt(0.5));
    const { all } = await start(directory);
    expect(all[0]).toMatchObject({ kind: "checkpoint", block: 6 });
    expect(all.slice(1).map((one) => one.kind === "block" && one.block)).toEqual(
      [7, 8, 9, 10].map((block) => withoutData(blockOf(block))),
    );
  });

  it("leave a store that refuses to start, and says why, when no checkpoint is left", async () => {
    const directory = await retiredAndClosed();
    rmSync(join(directory, "checkpoints"), { recursive: true });
    await expect(start(directory)).rejects.toMatchObject({
      code: "STORE_CORRUPT",
      message: "No checkpoint is whole, and the blocks before 6 were retired.",
    });
    const { problems } = await verifyStore(directory);
    expect(problems).toEqual(["No checkpoint is whole, and the blocks before 6 were retired."]);
  });

  it("end the reads that are under way first, and refuse those that come later", async () => {
    const { store } = await tenSegments();
    const reads = [1, 2, 3, 4, 5].map((block) => store.readMessages(block, [0]));
    const retiring = store.retire(6);
    expect(await Promise.all(reads)).toEqual([1, 2, 3, 4, 5].map((block) => [messageOf(block, 0)]));
    const during = await Promise.all([1, 3, 5].map((block) => codeOf(store.readBlock(block))));
    expect(during.every((code) => code === "ok" || code === "MESSAGE_RETIRED")).toBe(true);
    await retiring;
    for (const block of [1, 3, 5])
      expect(await codeOf(store.readBlock(block))).toBe("MESSAGE_RETIRED");
    expect(await store.readMessages(6, [0])).toEqual([messageOf(6, 0)]);
  });

  it("hold no descriptor", async () => {
    const { directory, store } = await tenSegments();
    for (const block of [1, 2, 3, 4, 5]) await store.readBlock(block);
    await store.retire(6);
    if (process.platform !== "linux") return;
    const { readlinkSync } = await import("node:fs");
    const open = readdirSync("/proc/self/fd").flatMap((fd) => {
      try {
        return [readlinkSync(`/proc/self/fd/${fd}`)];
      } catch {
        // The descriptor of the listing itself.
        return [];
      }
    });
    const gone = namesFrom(1, 5).map((name) => join(directory, "segments", name));
    expect(open.filter((path) => gone.some((one) => path.startsWith(one)))).toEqual([]);
  });

  it("are removed beside the writes, and a close does not wait for all of them", async () => {
    const { directory, store } = await tenSegments({ ...A_SEGMENT_A_BLOCK, ...SLOWLY });
    void store.retire(6);
    await fill(store, 14);
    expect(store.first).toBe(6);
    expect(store.tail).toBe(14);
    expect(names(directory)).toContain(nameOf(14));
  });

  it("are told by verify as retired, not as missing", async () => {
    const directory = await retiredAndClosed();
    const report = await verifyStore(directory);
    expect(report).toMatchObject({ first: 6, blocks: 5, problems: [] });
  });
});

describe("a crash while segments are retired", () => {
  /** The store as it is before, and as it is after; a crash leaves some of either. */
  const beforeAndAfter = async () => {
    const { directory, store } = await tenSegments();
    const before = scratch.crashed(directory);
    await store.retire(6);
    await store.close();
    return { before, after: directory };
  };
  const copyOf = (directory: string): string => {
    const copy = scratch.newDirectory();
    cpSync(directory, copy, { recursive: true });
    return copy;
  };
  const setAside = (directory: string, block: number): void =>
    renameSync(segmentPath(directory, block), `${segmentPath(directory, block)}.retired`);
  const removed = async (directory: string, first: number): Promise<void> => {
    const store = await openLevelStore(directory, A_SEGMENT_A_BLOCK);
    await recovered(store);
    await store.retire(0);
    expect(names(directory)).toEqual(namesFrom(first, 10));
    await store.close();
  };

  it("before the log's start was moved leaves all of them", async () => {
    const { before } = await beforeAndAfter();
    await expectWhole(before, 1);
  });

  it("in the write of the log's start leaves all of them", async () => {
    const { before, after } = await beforeAndAfter();
    cpSync(join(after, "log-start"), join(before, "log-start.new"));
    truncateSync(join(before, "log-start.new"), 20);
    await expectWhole(before, 1);
  });

  it("before any was set aside leaves rubbish, which the next start removes", async () => {
    const { before, after } = await beforeAndAfter();
    cpSync(join(after, "log-start"), join(before, "log-start"));
    await expectWhole(copyOf(before), 6);
    await removed(before, 6);
  });

  it.each([1, 2, 3, 4, 5])("after %i of them were set aside is the same", async (count) => {
    const { before, after } = await beforeAndAfter();
    cpSync(join(after, "log-start"), join(before, "log-start"));
    for (let block = 1; block <= count; block++) setAside(before, block);
    await expectWhole(copyOf(before), 6);
    await removed(before, 6);
  });

  it("in the middle of their files is the same", async () => {
    const { before, after } = await beforeAndAfter();
    cpSync(join(after, "log-start"), join(before, "log-start"));
    for (let block = 1; block <= 5; block++) setAside(before, block);
    for (const block of [1, 4]) {
      const path = `${segmentPath(before, block)}.retired`;
      for (const file of readdirSync(path).slice(0, 2)) rmSync(join(path, file));
    }
    // A rename that was lost with the power while some of its files were gone already.
    renameSync(`${segmentPath(before, 4)}.retired`, segmentPath(before, 4));
    await expectWhole(copyOf(before), 6);
    await removed(before, 6);
  });

  it("at the next start, again and again, ends in the same store", async () => {
    const { before, after } = await beforeAndAfter();
    cpSync(join(after, "log-start"), join(before, "log-start"));
    let directory = before;
    for (let life = 0; life < 3; life++) {
      const store = await openLevelStore(directory, {
        ...A_SEGMENT_A_BLOCK,
        ...SLOWLY,
      });
      directory = scratch.crashed(directory);
      await store.close();
    }
    await expectWhole(directory, 6);
  });
});

describe("a segment that is missing, and was not retired", () => {
  it.each([
    ["the first that is left", 6],
    ["one in the middle", 8],
  ])("(%s) refuses the store", async (_, block) => {
    const directory = await retiredAndClosed();
    rmSync(segmentPath(directory, block), { recursive: true });
    expect(await codeOf(start(directory))).toBe("STORE_CORRUPT");
    expect(await codeOf(start(directory, { acceptLoss: true }))).toBe("STORE_CORRUPT");
    expect((await verifyStore(directory)).problems.join()).toMatch(/blocks are missing/);
  });

  it("at the beginning of a log that was never retired refuses the store", async () => {
    const { directory, store } = await tenSegments();
    await store.close();
    for (const block of [1, 2]) rmSync(segmentPath(directory, block), { recursive: true });
    expect(await codeOf(start(directory))).toBe("STORE_CORRUPT");
    expect((await verifyStore(directory)).problems.join()).toMatch(/blocks are missing/);
  });

  it("because the log's start was lost refuses the store", async () => {
    const directory = await retiredAndClosed();
    rmSync(join(directory, "log-start"));
    await expect(start(directory)).rejects.toMatchObject({
      code: "STORE_CORRUPT",
      message: expect.stringContaining("the first segment with block 6"),
    });
  });

  it("all of them, is a missing end", async () => {
    const directory = await retiredAndClosed();
    rmSync(join(directory, "segments"), { recursive: true });
    mkdirSync(join(directory, "segments"));
    expect(await codeOf(start(directory))).toBe("STORE_TAIL_MISSING");
  });
});

describe("the file that says where the log begins", () => {
  it("refuses the store when it is damaged, unless the loss is accepted", async () => {
    const directory = await retiredAndClosed();
    damage(join(directory, "log-start"), flipBitAt(0.3));
    expect(await codeOf(start(directory))).toBe("STORE_CORRUPT");
    expect((await verifyStore(directory)).problems.join()).toMatch(/log begins is damaged/);
    const accepted = await start(directory, { acceptLoss: true });
    expect(accepted).toMatchObject({ first: 6, tail: 10 });
    expect(accepted.retiredBytes).toBeGreaterThan(0);
    await expectWhole(directory, 6);
  });

  it("finds a first segment that belongs to another history", async () => {
    const directory = await retiredAndClosed();
    const statement = JSON.stringify({ block: 6, previousHash: "0".repeat(32), bytesBefore: 1 });
    const { crc32 } = await import("node:zlib");
    damage(join(directory, "log-start"), () =>
      Buffer.from(`${statement}\n${crc32(statement).toString(16)}\n`),
    );
    expect((await verifyStore(directory)).problems).toEqual(["Block 6 does not follow block 5."]);
  });

  it("is not there before anything was retired", async () => {
    const { directory } = await tenSegments();
    expect(existsSync(join(directory, "log-start"))).toBe(false);
  });

  it("makes up for an acked-mark that could not be written for long", async () => {
    const { directory, store } = await tenSegments();
    const stale = scratch.newDirectory();
    const early: LevelStore = await scratch.open(stale, A_SEGMENT_A_BLOCK);
    await early.close();
    await store.retire(6);
    await store.close();
    cpSync(join(stale, "acked-mark"), join(directory, "acked-mark"));
    await expectWhole(directory, 6);
  });
});
