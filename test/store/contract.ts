/** What every block store promises (B1 to B5): one suite, run against each of them. */

import { describe, expect, it } from "vitest";
import { LastingPart } from "../../broker/src/core/lasting-part.ts";
import type { BlockStore } from "../../broker/src/store/store.ts";
import { blockOf, bytesOf, codeOf, fill, messageOf, recovered, withoutData } from "./sample.ts";

export interface Harness {
  /** Opens what the last store left behind; not recovered yet. */
  open(): Promise<BlockStore>;
  /** The process is gone in this moment; `open` then finds what a real crash would leave. */
  crash(): Promise<void>;
}

export function promisesOfAStore(name: string, newHarness: () => Harness): void {
  const openNew = async () => {
    const harness = newHarness();
    const store = await harness.open();
    await recovered(store);
    return { harness, store };
  };
  const reopen = async (harness: Harness, store: BlockStore) => {
    await store.close();
    return harness.open();
  };

  describe(`${name}: a block store`, () => {
    it("is empty when it is new", async () => {
      const { store } = await openNew();
      expect(store.storeId).toMatch(/^[0-9a-f]{32}$/);
      expect([store.tail, store.bytes]).toEqual([0, 0]);
    });

    it("has after a reopen what was appended", async () => {
      const { harness, store } = await openNew();
      await fill(store, 5);
      const again = await reopen(harness, store);
      expect([again.tail, again.storeId, again.bytes]).toEqual([5, store.storeId, store.bytes]);
      const blocks = (await recovered(again)).map((one) => one.kind === "block" && one.block);
      expect(blocks).toEqual([1, 2, 3, 4, 5].map((number) => withoutData(blockOf(number))));
    });

    it("has after a crash what was appended", async () => {
      const { harness, store } = await openNew();
      await fill(store, 3);
      await harness.crash();
      const again = await harness.open();
      await recovered(again);
      expect(again.tail).toBe(3);
      expect(await again.readMessages(3, [0])).toEqual([messageOf(3, 0)]);
      await again.append(blockOf(4));
      expect(again.tail).toBe(4);
    });

    it("reports the bytes of a block when it gives it back", async () => {
      const { harness, store } = await openNew();
      await fill(store, 4);
      const all = await recovered(await reopen(harness, store));
      const bytes = all.map((one) => (one.kind === "block" ? one.bytes : 0));
      expect(bytes.reduce((sum, one) => sum + one, 0)).toBe(store.bytes);
    });

    it("gives messages by block and slot, from memory and from disk", async () => {
      const { harness, store } = await openNew();
      await fill(store, 2);
      expect(store.cached(2, 1)).toEqual(messageOf(2, 1));
      expect(await store.readMessages(1, [2, 0])).toEqual([messageOf(1, 2), messageOf(1, 0)]);
      const again = await reopen(harness, store);
      await recovered(again);
      expect(await again.readMessages(2, [1, 1])).toEqual([messageOf(2, 1), messageOf(2, 1)]);
      expect(again.cached(2, 0)).toEqual(messageOf(2, 0));
    });

    it("has a block's messages in memory from the moment that append is called", async () => {
      const { store } = await openNew();
      const appended = store.append(blockOf(1));
      expect(store.cached(1, 2)).toEqual(messageOf(1, 2));
      expect(store.tail).toBe(0);
      await appended;
      expect(store.tail).toBe(1);
    });

    it("gives null from memory for a place that it does not have there", async () => {
      const { store } = await openNew();
      await fill(store, 1);
      expect([store.cached(2, 0), store.cached(1, 3), store.cached(1, -1)]).toEqual([
        null,
        null,
        null,
      ]);
    });

    it("refuses a slot and a block that do not exist as corrupt", async () => {
      const { store } = await openNew();
      await fill(store, 1);
      expect(await codeOf(store.readMessages(1, [3]))).toBe("STORE_CORRUPT");
      expect(await codeOf(store.readMessages(2, [0]))).toBe("STORE_CORRUPT");
      expect(await codeOf(store.readBlock(7))).toBe("STORE_CORRUPT");
    });

    it("gives a whole block back without its messages' bytes", async () => {
      const { store } = await openNew();
      await fill(store, 2);
      expect(await store.readBlock(2)).toEqual(withoutData(blockOf(2)));
    });

    it("stores a block without messages and one without records", async () => {
      const { harness, store } = await openNew();
      await store.append({ number: 1, atMs: 1, records: [] });
      await store.append({
        number: 2,
        atMs: 2.5,
        records: [{ kind: "opened", atMs: 1, pausedMs: 0 }],
      });
      const all = await recovered(await reopen(harness, store));
      expect(all).toMatchObject([
        { block: { atMs: 1, records: [] } },
        { block: { atMs: 2.5, records: [{ kind: "opened" }] } },
      ]);
    });

    it("does not append out of order, twice at once, or before it was recovered", async () => {
      const harness = newHarness();
      const store = await harness.open();
      expect(await codeOf(store.append(blockOf(1)))).toMatch(/recovered before/);
      await recovered(store);
      expect(await codeOf(store.append(blockOf(2)))).toMatch(/order of their numbers/);
      const first = store.append(blockOf(1));
      expect(await codeOf(store.append(blockOf(2)))).toMatch(/One append/);
      await first;
      expect(store.tail).toBe(1);
    });

    it("does not write what it could not read back", async () => {
      const { store } = await openNew();
      const broken = blockOf(1).records.map((record) => ({ ...record, sendId: "\ud800" }));
      expect(await codeOf(store.append({ ...blockOf(1), records: broken }))).toMatch(
        /half a surrogate pair/,
      );
      await store.append(blockOf(1));
      expect(store.tail).toBe(1);
    });

    it("gives the newest checkpoint, then the blocks after it", async () => {
      const { harness, store } = await openNew();
      const part = { name: "topics", rows: [1, 2.5, null, true], bytes: bytesOf("raw") };
      await fill(store, 2);
      await store.saveCheckpoint(2, ["old"]);
      await fill(store, 4);
      await store.saveCheckpoint(4, [part, [1, 2, 3]]);
      await fill(store, 6);
      const again = await reopen(harness, store);
      const [checkpoint, ...blocks] = await recovered(again);
      expect(checkpoint).toMatchObject({ kind: "checkpoint", block: 4 });
      const parts = checkpoint?.kind === "checkpoint" ? checkpoint.parts : [];
      expect(parts[1]).toEqual([1, 2, 3]);
      const { bytes, ...rest } = parts[0] as typeof part;
      expect(rest).toEqual({ name: part.name, rows: part.rows });
      expect(Array.from(bytes)).toEqual(Array.from(part.bytes));
      expect(blocks.map((one) => one.kind === "block" && one.block.number)).toEqual([5, 6]);
      expect(again.bytes).toBe(store.bytes);
    });

    it("keeps a checkpoint of an earlier block while the log has gone on", async () => {
      const { harness, store } = await openNew();
      await fill(store, 3);
      await store.saveCheckpoint(1, ["one"]);
      const all = await recovered(await reopen(harness, store));
      expect(all.map((one) => one.kind)).toEqual(["checkpoint", "block", "block"]);
    });

    it("makes a part that lasts once, and gives it with each checkpoint that names it", async () => {
      const { harness, store } = await openNew();
      const made: string[] = [];
      const lasting = (name: string) =>
        new LastingPart(name, () => {
          made.push(name);
          return { of: name };
        });
      await fill(store, 6);
      const first = await store.saveCheckpoint(2, ["head", lasting("a"), lasting("b"), "end"]);
      expect(made).toEqual(["a", "b"]);
      await store.saveCheckpoint(4, ["head", lasting("b"), lasting("c")]);
      expect(made).toEqual(["a", "b", "c"]);
      const again = await reopen(harness, store);
      const [newest] = await recovered(again);
      expect(newest).toMatchObject({ block: 4, parts: ["head", { of: "b" }, { of: "c" }] });
      // It is known after a start, too; what no checkpoint names any more is made again.
      expect(await again.saveCheckpoint(5, [lasting("b"), lasting("c")])).toBeLessThan(first);
      expect(made).toHaveLength(3);
      await again.saveCheckpoint(6, [lasting("a"), lasting("b")]);
      expect(made).toEqual(["a", "b", "c", "a"]);
      const [last] = await recovered(await reopen(harness, again));
      expect(last).toMatchObject({ block: 6, parts: [{ of: "a" }, { of: "b" }] });
    });

    it("makes parts again that were of a checkpoint that failed", async () => {
      const { store } = await openNew();
      await fill(store, 2);
      let made = 0;
      const lasting = new LastingPart("a", () => ++made);
      expect(await codeOf(store.saveCheckpoint(1, [lasting, new Map([[1, 2]])]))).toMatch(
        /plain data/,
      );
      await store.saveCheckpoint(2, [lasting]);
      expect(made).toBe(2);
    });

    it("refuses a checkpoint part that is not plain data, and keeps the one before", async () => {
      const { harness, store } = await openNew();
      await fill(store, 2);
      await store.saveCheckpoint(1, ["good"]);
      expect(await codeOf(store.saveCheckpoint(2, [new Map([[1, 2]]), /x/]))).toMatch(/plain data/);
      await fill(store, 3);
      const [first] = await recovered(await reopen(harness, store));
      expect(first).toMatchObject({ kind: "checkpoint", block: 1, parts: ["good"] });
    });

    it("keeps every block until it is told that nobody needs it", async () => {
      const { store } = await openNew();
      await fill(store, 6);
      await store.saveCheckpoint(3, ["older"]);
      await store.saveCheckpoint(5, ["newer"]);
      expect([store.first, store.retiredBytes]).toEqual([1, 0]);
      expect(await store.retire(1)).toEqual({ blocks: 0, bytes: 0 });
      expect(await store.readBlock(1)).toEqual(withoutData(blockOf(1)));
    });

    it("retires nothing as long as there are not two checkpoints to start from", async () => {
      const { store } = await openNew();
      await fill(store, 6);
      expect(await store.retire(7)).toEqual({ blocks: 0, bytes: 0 });
      await store.saveCheckpoint(5, ["only one"]);
      expect(await store.retire(7)).toEqual({ blocks: 0, bytes: 0 });
      expect(store.first).toBe(1);
    });

    it("retires blocks from the front, and says how many and how much", async () => {
      const { store } = await openNew();
      await fill(store, 6);
      await store.saveCheckpoint(4, ["older"]);
      await store.saveCheckpoint(6, ["newer"]);
      const { blocks, bytes } = await store.retire(3);
      expect([blocks, bytes]).toEqual([store.first - 1, store.retiredBytes]);
      expect(store.first).toBeLessThanOrEqual(3);
      for (let block = 1; block <= 6; block++)
        expect(await codeOf(store.readBlock(block))).toBe(
          block < store.first ? "MESSAGE_RETIRED" : "ok",
        );
      expect(await codeOf(store.readMessages(1, [0]))).toBe(blocks > 0 ? "MESSAGE_RETIRED" : "ok");
      await fill(store, 8);
      expect(store.tail).toBe(8);
    });

    it("keeps what a start from the older checkpoint needs", async () => {
      const { harness, store } = await openNew();
      await fill(store, 6);
      await store.saveCheckpoint(2, ["older"]);
      await store.saveCheckpoint(6, ["newer"]);
      await store.retire(7);
      expect(store.first).toBeLessThanOrEqual(2);
      const again = await reopen(harness, store);
      const [checkpoint] = await recovered(again);
      expect(checkpoint).toMatchObject({ block: 6, parts: ["newer"] });
      for (let block = again.first; block <= 6; block++)
        expect(await again.readBlock(block)).toEqual(withoutData(blockOf(block)));
    });

    it.each(["a reopen", "a crash"])("knows after %s what was retired", async (how) => {
      const { harness, store } = await openNew();
      await fill(store, 6);
      await store.saveCheckpoint(4, ["older"]);
      await store.saveCheckpoint(6, ["newer"]);
      await store.retire(4);
      const before = [store.first, store.tail, store.bytes, store.retiredBytes];
      if (how === "a crash") await harness.crash();
      const again = how === "a crash" ? await harness.open() : await reopen(harness, store);
      expect(await recovered(again)).toHaveLength(1);
      expect([again.first, again.tail, again.bytes, again.retiredBytes]).toEqual(before);
      expect(await codeOf(again.readBlock(again.first))).toBe("ok");
      if (again.first > 1)
        expect(await codeOf(again.readBlock(again.first - 1))).toBe("MESSAGE_RETIRED");
      await fill(again, 8);
      await again.saveCheckpoint(8, ["newest"]);
      await again.retire(7);
      expect(again.first).toBeGreaterThanOrEqual(before[0] ?? 0);
    });

    it("says which blocks at its front could go, were it not for who needs them", async () => {
      const { store } = await openNew();
      await fill(store, 6);
      expect(await store.front()).toBeNull();
      await store.saveCheckpoint(5, ["older"]);
      await store.saveCheckpoint(6, ["newer"]);
      const front = await store.front();
      // Null where all blocks stand in the one segment that is written to.
      if (front === null) return;
      expect(front.bytes).toBeGreaterThan(0);
      expect(await store.retire(front.last + 1)).toEqual({
        blocks: front.last,
        bytes: front.bytes,
      });
      expect((await store.front())?.last).toBeGreaterThan(front.last);
    });

    it("says how much space its disk has left", async () => {
      const { store } = await openNew();
      expect(await store.freeBytes()).toBeGreaterThan(0);
    });

    it("is held by one owner at a time", async () => {
      const { harness, store } = await openNew();
      expect(await codeOf(harness.open())).toBe("STORE_LOCKED");
      await fill(store, 1);
      const again = await reopen(harness, store);
      expect(again.tail).toBe(1);
    });

    it("refuses everything once it is closed, and closes twice", async () => {
      const { store } = await openNew();
      await fill(store, 1);
      await Promise.all([store.close(), store.close()]);
      for (const refused of [
        store.append(blockOf(2)),
        store.readMessages(1, [0]),
        store.readBlock(1),
        store.saveCheckpoint(1, []),
        store.retire(1),
        store.freeBytes(),
      ])
        expect(await codeOf(refused)).toBe("STORE_FAILED");
      expect(store.cached(1, 0)).toBeNull();
    });

    it("ends the append that is under way before it closes", async () => {
      const { harness, store } = await openNew();
      const appended = store.append(blockOf(1));
      await store.close();
      await appended;
      expect((await harness.open()).tail).toBe(1);
    });
  });
}
