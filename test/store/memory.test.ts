/** What the memory store can do to a broker, and the cache of the real one. */
import { describe, expect, it } from "vitest";
import { encodeBlock, NO_HASH } from "../../broker/src/store/block.ts";
import { BlockCache } from "../../broker/src/store/block-cache.ts";
import { MemoryDisk } from "../../broker/src/store/memory-disk.ts";
import { type MemoryStore, openMemoryStore } from "../../broker/src/store/memory-store.ts";
import { blockOf, codeOf, fill, messageOf, recovered } from "./sample.ts";

async function opened(disk: MemoryDisk): Promise<MemoryStore> {
  const store = await openMemoryStore(disk);
  await recovered(store);
  return store;
}

async function filled(last = 3): Promise<{ disk: MemoryDisk; store: MemoryStore }> {
  const disk = new MemoryDisk();
  const store = await opened(disk);
  await fill(store, last);
  return { disk, store };
}

const isSettled = async (promise: Promise<unknown>): Promise<boolean> => {
  const pending = Symbol();
  for (let turn = 0; turn < 20; turn++) await Promise.resolve();
  return (await Promise.race([promise.catch(() => null), Promise.resolve(pending)])) !== pending;
};

describe("a memory disk", () => {
  it.each([
    ["lost", 3],
    ["torn", 3],
    ["kept", 4],
  ] as const)("that crashes has the unanswered block %s", async (fate, tail) => {
    const { disk, store } = await filled();
    const unanswered = store.append(blockOf(4));
    disk.crash(fate);
    const again = await opened(disk);
    expect(again.tail).toBe(tail);
    expect(await isSettled(unanswered)).toBe(false);
    await again.append(blockOf(tail + 1));
    expect(await again.readMessages(tail + 1, [0])).toEqual([messageOf(tail + 1, 0)]);
  });

  it("leaves the store of a crashed process a ghost", async () => {
    const { disk, store } = await filled();
    disk.crash();
    expect(await codeOf(store.append(blockOf(4)))).toBe("STORE_FAILED");
    expect(await codeOf(store.readMessages(1, [0]))).toBe("STORE_FAILED");
    await store.close();
    expect(disk.blocks).toHaveLength(3);
  });

  it.each([
    ["lost", 3],
    ["kept", 4],
  ] as const)("fails an append with its block %s, and the store with it", async (block, tail) => {
    const { disk, store } = await filled();
    disk.failNextAppend({ block, code: "DISK_FULL" });
    expect(await codeOf(store.append(blockOf(4)))).toBe("DISK_FULL");
    expect(await codeOf(store.append(blockOf(4)))).toBe("STORE_FAILED");
    expect(await codeOf(store.readMessages(1, [0]))).toBe("STORE_FAILED");
    await store.close();
    expect((await opened(disk)).tail).toBe(tail);
  });

  it("holds an append until it is released", async () => {
    const { disk, store } = await filled();
    disk.holdAppends();
    const held = store.append(blockOf(4));
    expect(await isSettled(held)).toBe(false);
    expect([store.tail, store.cached(4, 0)]).toEqual([3, messageOf(4, 0)]);
    disk.releaseAppends();
    await held;
    expect(store.tail).toBe(4);
  });

  it("never answers a held append after a crash", async () => {
    const { disk, store } = await filled();
    disk.holdAppends();
    const held = store.append(blockOf(4));
    await isSettled(held);
    disk.crash();
    disk.releaseAppends();
    expect(await isSettled(held)).toBe(false);
    expect((await opened(disk)).tail).toBe(3);
  });

  it("shows a flipped bit as corruption, in a running store and at open", async () => {
    const { disk, store } = await filled();
    disk.flipBit(2, 1_500);
    expect(store.cached(2, 0)).toBeNull();
    expect(await codeOf(store.readMessages(2, [0]))).toBe("STORE_CORRUPT");
    expect(await store.readMessages(1, [0])).toEqual([messageOf(1, 0)]);
    await store.close();
    const again = await openMemoryStore(disk);
    expect(await codeOf(recovered(again))).toBe("STORE_CORRUPT");
  });

  it("has the right bytes again when damage is mended", async () => {
    const { disk, store } = await filled();
    const [, right = new Uint8Array()] = disk.blocks;
    disk.flipBit(2, 1_500);
    disk.replaceBlock(2, right);
    expect(await store.readMessages(2, [0])).toEqual([messageOf(2, 0)]);
  });

  it("refuses a block for which it has no room, and keeps those it has", async () => {
    const { disk, store } = await filled();
    disk.freeBytes = 1;
    expect(await codeOf(store.append(blockOf(4)))).toBe("DISK_FULL");
    await store.close();
    expect((await opened(disk)).tail).toBe(3);
  });

  it("has not done what the power cut met", async () => {
    const held: (() => void)[] = [];
    const isHeld = new Set<string>();
    const disk = new MemoryDisk({
      pace: (work) => (isHeld.has(work) ? new Promise((resolve) => held.push(resolve)) : null),
    });
    const store = await opened(disk);
    await fill(store, 3);
    await store.saveCheckpoint(2, [{ part: 1 }]);
    await store.saveCheckpoint(3, [{ part: 1 }]);
    for (const work of ["checkpoint", "retire", "write"]) isHeld.add(work);
    const under = [
      store.saveCheckpoint(3, [{ part: 2 }]),
      store.retire(3),
      store.append(blockOf(4)),
    ];
    for (const one of under) expect(await isSettled(one)).toBe(false);
    disk.crash();
    for (const release of held) release();
    expect(await isSettled(under[2] ?? Promise.resolve())).toBe(false);
    expect([disk.checkpoints.map(({ block }) => block), disk.first]).toEqual([[2, 3], 1]);
    expect(disk.blocks).toHaveLength(3);
    await Promise.allSettled(under.slice(0, 2));
  });

  it("gives back whole segments only, and says what stands in the first one", async () => {
    const disk = new MemoryDisk({ segmentBlocks: 2 });
    const store = await opened(disk);
    await fill(store, 7);
    await store.saveCheckpoint(6, [{ part: 1 }]);
    await store.saveCheckpoint(7, [{ part: 1 }]);
    const [first, second] = disk.blocks;
    const bytes = (first?.length ?? 0) + (second?.length ?? 0);
    expect(await store.front()).toEqual({ last: 2, bytes });
    expect((await store.retire(4)).blocks).toBe(2);
    expect([store.first, (await store.front())?.last]).toEqual([3, 4]);
  });

  it("reads what is not in its cache", async () => {
    const disk = new MemoryDisk({ cachedBlocks: 1 });
    const store = await opened(disk);
    await fill(store, 3);
    expect([store.cached(2, 0), store.cached(3, 0)]).toEqual([null, messageOf(3, 0)]);
    expect(await store.readMessages(2, [0])).toEqual([messageOf(2, 0)]);
  });

  it("starts from the older checkpoint when the newest is lost", async () => {
    const { disk, store } = await filled();
    await store.saveCheckpoint(2, [{ part: 1 }]);
    await store.saveCheckpoint(3, [{ part: 1 }]);
    await store.close();
    disk.loseCheckpoint();
    const [checkpoint, ...blocks] = await recovered(await openMemoryStore(disk));
    expect(checkpoint?.kind === "checkpoint" && checkpoint.block).toBe(2);
    expect(blocks).toHaveLength(1);
  });

  it("refuses a store whose answered end is gone", async () => {
    const { disk, store } = await filled();
    await store.close();
    disk.dropTail(1);
    expect(await codeOf(openMemoryStore(disk))).toBe("STORE_TAIL_MISSING");
  });

  it("shows a block of another history as a broken chain", async () => {
    const { disk, store } = await filled();
    await store.close();
    const storeId = Buffer.from(disk.storeId, "hex");
    disk.replaceBlock(2, encodeBlock(blockOf(2), { storeId, hash: NO_HASH, bytes: 0 }).bytes);
    const again = await openMemoryStore(disk);
    expect(await codeOf(recovered(again))).toBe("STORE_CORRUPT");
  });

  it("says the free space that it was given", async () => {
    const { disk, store } = await filled();
    disk.freeBytes = 12;
    expect(await store.freeBytes()).toBe(12);
  });

  it("writes the same bytes in every run", async () => {
    const [one, other] = [await filled(), await filled()];
    expect(one.disk.blocks).toEqual(other.disk.blocks);
  });
});

describe("the block cache", () => {
  const block = (number: number) =>
    encodeBlock(blockOf(number), { storeId: NO_HASH, hash: NO_HASH, bytes: 0 });
  const size = block(1).bytes.length;

  it("holds no more bytes than allowed, and the newest always", () => {
    const cache = new BlockCache(size * 3);
    for (let number = 1; number <= 5; number++) cache.add(block(number));
    expect([1, 2, 3, 4, 5].map((number) => cache.get(number)?.number)).toEqual([
      undefined,
      undefined,
      3,
      4,
      5,
    ]);
    expect(cache.bytes).toBe(size * 3);
    const tiny = new BlockCache(1);
    tiny.add(block(1));
    tiny.add(block(2));
    expect([tiny.get(1), tiny.get(2)?.number, tiny.bytes]).toEqual([null, 2, size]);
  });

  it("keeps what was used over what was not", () => {
    const cache = new BlockCache(size * 3);
    for (let number = 1; number <= 3; number++) cache.add(block(number));
    expect(cache.message(1, 0)).toEqual(messageOf(1, 0));
    cache.add(block(4));
    cache.add(block(5));
    expect([1, 2, 3].map((number) => cache.get(number)?.number)).toEqual([1, undefined, undefined]);
  });

  it("counts a block that is added twice once", () => {
    const cache = new BlockCache(size * 3);
    cache.add(block(1));
    cache.add(block(1));
    expect(cache.bytes).toBe(size);
    cache.clear();
    expect([cache.bytes, cache.get(1)]).toEqual([0, null]);
  });
});
