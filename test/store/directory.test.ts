/** Making, opening, sharing and growing a data directory. */
import { mkdirSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { storageError } from "../../broker/src/store/durable-file.ts";
import { openLevelStore } from "../../broker/src/store/level-store.ts";
import { blockOf, codeOf, fill, messageOf, recovered } from "./sample.ts";
import { checkpointPath, damage, flipBitAt, segmentPath, useScratch } from "./scratch.ts";

const scratch = useScratch();
const A_SEGMENT_A_BLOCK = { segmentBytesMax: 1 };

const listing = (directory: string): string[] => readdirSync(directory).sort();
const tailOf = async (directory: string, options = {}): Promise<number> => {
  const store = await scratch.open(directory, options);
  await store.close();
  return store.tail;
};

describe("a new data directory", () => {
  it("belongs to its user alone and names its format", async () => {
    const directory = join(scratch.newDirectory(), "deeper");
    const store = await scratch.open(directory);
    await store.close();
    expect(statSync(directory).mode & 0o777).toBe(0o700);
    expect(JSON.parse(readFileSync(join(directory, "escrowmq.json"), "utf8"))).toEqual({
      format: 1,
      storeId: expect.stringMatching(/^[0-9a-f]{32}$/),
      createdAt: expect.stringMatching(/^\d{4}-.*Z$/),
    });
    expect(listing(directory)).toEqual([
      "acked-mark",
      "checkpoints",
      "escrowmq.json",
      "packs",
      "segments",
    ]);
  });

  it.each<[string, (directory: string) => void]>([
    ["the directory", () => undefined],
    ["its folders", (directory) => mkdirSync(join(directory, "segments"))],
    [
      "a half-written mark",
      (directory) => {
        mkdirSync(join(directory, "segments"));
        writeFileSync(join(directory, "acked-mark.new"), "{");
      },
    ],
    [
      "a half-written identity",
      (directory) => {
        mkdirSync(join(directory, "segments"));
        mkdirSync(join(directory, "checkpoints"));
        writeFileSync(join(directory, `escrowmq.json.${"a".repeat(32)}`), '{"form');
      },
    ],
  ])("is made although a crash left only %s", async (_, leave) => {
    const directory = scratch.newDirectory();
    mkdirSync(directory);
    leave(directory);
    const store = await scratch.open(directory);
    await fill(store, 2);
    await store.close();
    expect(await tailOf(directory)).toBe(2);
  });

  it("is one store when two brokers make it at once, and one of them has it", async () => {
    const directory = scratch.newDirectory();
    const outcomes = await Promise.allSettled([
      openLevelStore(directory),
      openLevelStore(directory),
      openLevelStore(directory),
    ]);
    const won = outcomes.flatMap((one) => (one.status === "fulfilled" ? [one.value] : []));
    expect(won).toHaveLength(1);
    for (const store of won) {
      await recovered(store);
      await store.append(blockOf(1));
      await store.close();
    }
    expect(await tailOf(directory)).toBe(1);
  });
});

describe("a data directory", () => {
  it("that another broker has is locked, before and after a new segment", async () => {
    const directory = scratch.newDirectory();
    const store = await scratch.open(directory, A_SEGMENT_A_BLOCK);
    expect(await codeOf(openLevelStore(directory))).toBe("STORE_LOCKED");
    await fill(store, 4);
    expect(await codeOf(openLevelStore(directory))).toBe("STORE_LOCKED");
    await fill(store, 5);
    expect(await store.readMessages(1, [0])).toEqual([messageOf(1, 0)]);
  });

  it("of a newer format is refused untouched", async () => {
    const directory = scratch.newDirectory();
    mkdirSync(directory);
    const identity = JSON.stringify({ format: 2, storeId: "f".repeat(32) });
    writeFileSync(join(directory, "escrowmq.json"), identity);
    await expect(openLevelStore(directory)).rejects.toMatchObject({
      code: "STORE_VERSION",
      message: expect.stringContaining("format 2"),
    });
    expect(listing(directory)).toEqual(["escrowmq.json"]);
    expect(readFileSync(join(directory, "escrowmq.json"), "utf8")).toBe(identity);
  });

  it.each([
    ["not JSON", "{"],
    ["null", "null"],
    ["without a store id", '{"format":1}'],
    ["with another store id", JSON.stringify({ format: 1, storeId: "0".repeat(32) })],
  ])("whose identity is %s is refused", async (_, text) => {
    const directory = scratch.newDirectory();
    const store = await scratch.open(directory);
    await fill(store, 2);
    await store.close();
    writeFileSync(join(directory, "escrowmq.json"), text);
    expect(await codeOf(openLevelStore(directory))).toBe("STORE_CORRUPT");
  });

  it("whose identity was removed is damaged, not new", async () => {
    const directory = scratch.newDirectory();
    const store = await scratch.open(directory);
    await fill(store, 2);
    await store.close();
    rmSync(join(directory, "escrowmq.json"));
    expect(await codeOf(openLevelStore(directory))).toBe("STORE_CORRUPT");
    expect(listing(join(directory, "segments"))).toEqual(["0000000000000001"]);
  });
});

describe("segments", () => {
  it("follow each other when they are full, and are read across", async () => {
    const directory = scratch.newDirectory();
    const options = { segmentBytesMax: 1_000, cacheBytesMax: 0 };
    const store = await scratch.open(directory, options);
    await fill(store, 20);
    const names = listing(join(directory, "segments"));
    expect(names.length).toBeGreaterThan(4);
    for (let block = 1; block <= 20; block++)
      expect(await store.readMessages(block, [1])).toEqual([messageOf(block, 1)]);
    await store.close();
    const again = await scratch.open(directory, options);
    expect([again.tail, again.bytes]).toEqual([20, store.bytes]);
    await fill(again, 24);
    expect(listing(join(directory, "segments")).length).toBeGreaterThan(names.length);
  });

  it("are open for reading a few at a time, and the active one always", async () => {
    const directory = scratch.newDirectory();
    const options = { ...A_SEGMENT_A_BLOCK, cacheBytesMax: 0, openSegmentsMax: 3 };
    const store = await scratch.open(directory, options);
    await fill(store, 12);
    const blocks = [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 1, 6, 3];
    const all = await Promise.all(blocks.map((block) => store.readMessages(block, [0])));
    expect(all).toEqual(blocks.map((block) => [messageOf(block, 0)]));
    expect(store.openSegments).toBeLessThanOrEqual(4);
    for (const block of blocks) {
      expect(await store.readMessages(block, [2])).toEqual([messageOf(block, 2)]);
      expect(store.openSegments).toBeLessThanOrEqual(4);
    }
    await store.append(blockOf(13));
    expect(await codeOf(openLevelStore(directory))).toBe("STORE_LOCKED");
  });

  it.each<[string, (path: string) => void]>([
    ["an empty directory", (path) => mkdirSync(path)],
    [
      "a directory without CURRENT",
      (path) => {
        mkdirSync(path);
        writeFileSync(join(path, "LOCK"), "");
        writeFileSync(join(path, "LOG"), "");
        writeFileSync(join(path, "MANIFEST-000001"), "");
      },
    ],
    [
      "a manifest that never reached the disk",
      (path) => {
        mkdirSync(path);
        writeFileSync(join(path, "CURRENT"), "MANIFEST-000001\n");
        writeFileSync(join(path, "MANIFEST-000001"), "");
        writeFileSync(join(path, "000003.log"), "");
      },
    ],
  ])("survive a crash that left %s of the next one", async (_, leave) => {
    const directory = scratch.newDirectory();
    const store = await scratch.open(directory);
    await fill(store, 3);
    await store.close();
    leave(segmentPath(directory, 4));
    expect(await tailOf(directory)).toBe(3);
    const again = await scratch.open(directory);
    await fill(again, 5);
    await again.close();
    expect(await tailOf(directory)).toBe(5);
  });

  it("of which one is missing are refused, however many they are", async () => {
    const directory = scratch.newDirectory();
    const store = await scratch.open(directory, A_SEGMENT_A_BLOCK);
    await fill(store, 36);
    await store.close();
    expect(await tailOf(directory)).toBe(36);
    rmSync(segmentPath(directory, 34), { recursive: true });
    expect(await codeOf(openLevelStore(directory))).toBe("STORE_CORRUPT");
  });

  it("survive a crash before the one that ended was sealed, or in its seal", async () => {
    for (const seal of [null, "", '{"last":9}\n0\n']) {
      const directory = scratch.newDirectory();
      const store = await scratch.open(directory, A_SEGMENT_A_BLOCK);
      await fill(store, 4);
      await store.close();
      const path = join(segmentPath(directory, 2), "sealed.json");
      if (seal === null) rmSync(path);
      else writeFileSync(path, seal);
      expect(await tailOf(directory)).toBe(4);
      expect(readFileSync(path, "utf8")).toContain('"last":2');
    }
  });

  it("survive a crash at every block with whatever was in LevelDB's log", async () => {
    const directory = scratch.newDirectory();
    const store = await scratch.open(directory, { segmentBytesMax: 700 });
    for (let block = 1; block <= 8; block++) {
      await store.append(blockOf(block));
      expect(await tailOf(scratch.crashed(directory))).toBe(block);
    }
  });

  it("are flushed when they end, so that reading them later has nothing to replay", async () => {
    const directory = scratch.newDirectory();
    const store = await scratch.open(directory, A_SEGMENT_A_BLOCK);
    await fill(store, 2);
    await store.close();
    const files = listing(segmentPath(directory, 1));
    expect(files).toContain("sealed.json");
    expect(files.some((name) => name.endsWith(".ldb"))).toBe(true);
  });

  it("are not taken for flushed when LevelDB could not, and said nothing", async () => {
    const directory = scratch.newDirectory();
    const warnings: string[] = [];
    const onWarning = (text: string): void => void warnings.push(text);
    const store = await scratch.open(directory, { ...A_SEGMENT_A_BLOCK, onWarning });
    await fill(store, 1);
    // Where its next log would be.
    const obstacle = join(segmentPath(directory, 1), "000004.log");
    mkdirSync(obstacle);
    await store.append(blockOf(2));
    await store.close();
    expect(warnings).toEqual([expect.stringContaining("Segment 1 could not be sealed")]);
    expect(listing(segmentPath(directory, 1))).not.toContain("sealed.json");
    rmSync(obstacle, { recursive: true });
    const again = await scratch.open(directory);
    expect((await again.readBlock(1)).number).toBe(1);
    await again.close();
    expect(listing(segmentPath(directory, 1))).toContain("sealed.json");
  });
});

describe("a failed write", () => {
  const failing = async () => {
    const directory = scratch.newDirectory();
    const store = await scratch.open(directory, A_SEGMENT_A_BLOCK);
    await fill(store, 2);
    const obstacle = segmentPath(directory, 3);
    writeFileSync(obstacle, "");
    expect(await codeOf(store.append(blockOf(3)))).toBe("STORE_FAILED");
    return { directory, store, obstacle };
  };

  it("stops everything but close", async () => {
    const { store } = await failing();
    for (const refused of [
      store.append(blockOf(3)),
      store.readMessages(1, [0]),
      store.readBlock(1),
      store.saveCheckpoint(2, []),
      store.freeBytes(),
    ])
      expect(await codeOf(refused)).toBe("STORE_FAILED");
    expect([store.cached(2, 0), store.cached(3, 0)]).toEqual([null, null]);
    await store.close();
  });

  it("is over after a reopen, which finds what is on disk and no clean end", async () => {
    const { directory, store, obstacle } = await failing();
    await store.close();
    rmSync(obstacle);
    const again = await scratch.open(directory);
    expect([again.tail, again.wasClean]).toEqual([2, false]);
    await fill(again, 4);
    expect(again.tail).toBe(4);
  });

  it.each([
    ["No space left on device", "DISK_FULL"],
    ["Disk quota exceeded", "DISK_FULL"],
    ["Input/output error", "STORE_FAILED"],
  ])("(%s) is %s, with its cause and without its directory", (text, code) => {
    const said = new Error(`IO error: /var/lib/some/000003.log: ${text}`);
    const cause = new Error("put failed", { cause: said });
    expect(storageError(cause, "Block 3 could not be written")).toMatchObject({
      code,
      cause,
      message: `Block 3 could not be written: IO error: 000003.log: ${text}.`,
    });
  });
});

describe("checkpoints", () => {
  const withThree = async () => {
    const directory = scratch.newDirectory();
    const store = await scratch.open(directory);
    for (const block of [2, 4, 6]) {
      await fill(store, block);
      await store.saveCheckpoint(block, [{ after: block }, new Uint8Array(100_000)]);
    }
    await fill(store, 7);
    await store.close();
    return directory;
  };
  const start = async (directory: string) => {
    const warnings: string[] = [];
    const store = await openLevelStore(directory, { onWarning: (text) => warnings.push(text) });
    const all = await recovered(store);
    return { store, all, warnings };
  };

  it("are kept two at a time", async () => {
    const directory = await withThree();
    expect(listing(join(directory, "checkpoints"))).toEqual([
      "0000000000000004",
      "0000000000000006",
    ]);
  });

  it.each<[string, (bytes: Buffer) => Buffer]>([
    ["a flipped bit in its header", (bytes) => flipBitAt(0)(bytes)],
    ["a flipped bit in a part", flipBitAt(0.5)],
    ["a flipped bit in its end", flipBitAt(0.999999)],
    ["a missing end", (bytes) => bytes.subarray(0, bytes.length - 8)],
    ["nothing in it", () => Buffer.alloc(0)],
    [
      "an impossible length",
      (bytes) => {
        bytes.writeUInt32BE(0x3fff_ffff, 52);
        return bytes;
      },
    ],
  ])("with %s give way to the one before, and all to the log", async (_, change) => {
    const directory = await withThree();
    damage(checkpointPath(directory, 6), change);
    const { store, all, warnings } = await start(directory);
    expect(all.map((one) => one.kind)).toEqual(["checkpoint", "block", "block", "block"]);
    expect(all[0]).toMatchObject({ block: 4, parts: [{ after: 4 }, expect.anything()] });
    expect(warnings).toEqual([expect.stringMatching(/checkpoint of block 6 is not used/)]);
    await store.close();

    damage(checkpointPath(directory, 4), change);
    const full = await start(directory);
    expect(full.all.map((one) => one.kind === "block" && one.block.number)).toEqual([
      1, 2, 3, 4, 5, 6, 7,
    ]);
    expect(full.warnings).toHaveLength(2);
    await full.store.saveCheckpoint(7, ["whole"]);
    expect(listing(join(directory, "checkpoints"))).toEqual(["0000000000000007"]);
    await full.store.close();
  });

  it("of another store are not used", async () => {
    const directory = await withThree();
    const other = await withThree();
    writeFileSync(checkpointPath(directory, 6), readFileSync(checkpointPath(other, 6)));
    const { store, all, warnings } = await start(directory);
    expect(all[0]).toMatchObject({ block: 4 });
    expect(warnings.join()).toMatch(/another store/);
    await store.close();
  });

  it("under another's name are not used", async () => {
    const directory = await withThree();
    writeFileSync(checkpointPath(directory, 6), readFileSync(checkpointPath(directory, 4)));
    const { store, all } = await start(directory);
    expect(all[0]).toMatchObject({ block: 4 });
    await store.close();
  });

  it("beyond the end of the log are witnesses of what is missing", async () => {
    const directory = scratch.newDirectory();
    const store = await scratch.open(directory);
    await fill(store, 3);
    const older = scratch.crashed(directory);
    await fill(store, 5);
    await store.saveCheckpoint(5, ["state"]);
    await store.close();
    writeFileSync(checkpointPath(older, 5), readFileSync(checkpointPath(directory, 5)));
    const opened = await openLevelStore(older);
    expect(await codeOf(recovered(opened))).toBe("STORE_TAIL_MISSING");
    await opened.close();
    expect(await tailOf(older, { acceptLoss: true })).toBe(3);
  });

  it("that were being written at a crash do not exist", async () => {
    const directory = await withThree();
    writeFileSync(`${checkpointPath(directory, 7)}.new`, "half");
    const { store, all, warnings } = await start(directory);
    expect(all[0]).toMatchObject({ block: 6 });
    expect(warnings).toEqual([]);
    await store.saveCheckpoint(7, []);
    expect(listing(join(directory, "checkpoints"))).toEqual([
      "0000000000000006",
      "0000000000000007",
    ]);
    await store.close();
  });
});
