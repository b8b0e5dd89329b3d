/** One group's progress in one topic, without an engine around it. */
import { describe, expect, test } from "vitest";
import { Cursor } from "../../broker/src/core/cursor.ts";
import { Entries, type EntriesPart, readEntries } from "../../broker/src/core/entries.ts";

const cursorAt = (delivered: number, entries = new Entries()): Cursor => {
  const cursor = new Cursor(1, 1, 1, 0, entries);
  for (let offset = 0; offset < delivered; offset++) cursor.deliver(offset, offset + 1);
  return cursor;
};

const PART = 3;

const rowsOf = (parts: Iterable<EntriesPart>) =>
  [...parts].flatMap((part) => [...readEntries(part)]);

const reloaded = (cursor: Cursor, entries: Entries): Cursor => {
  const saved = structuredClone(cursor.save());
  const loaded = new Cursor(saved.no, saved.groupNo, saved.topicNo, saved.nextOffset);
  loaded.load(saved);
  for (const part of structuredClone([...cursor.saveEntries(entries.freeze(), PART)]))
    loaded.loadEntries(part);
  return loaded;
};

const shown = (cursor: Cursor) =>
  [...cursor.entries()].map(({ offset, deliveries, failures, reason, state }) => ({
    offset,
    deliveries,
    failures,
    reason,
    state,
  }));

test("acks in any order leave nothing behind but the next offset", () => {
  const cursor = cursorAt(4);
  for (const offset of [2, 0, 3, 1]) cursor.settle(offset);
  expect(cursor.unsettled).toBe(0);
  expect(cursor.nextOffset).toBe(4);
  expect(cursor.counts).toEqual({ leased: 0, ready: 0, waiting: 0, pending: 0, held: 0 });
});

test("only the number of the delivery under way is valid", () => {
  const cursor = cursorAt(1);
  cursor.giveBack(0, "expired", 0, true, "");
  expect(cursor.leased(0, 1)).toBeUndefined();
  cursor.deliver(0, 2);
  expect(cursor.leased(0, 1)).toBeUndefined();
  expect(cursor.leased(0, 2)?.deliveries).toBe(2);
});

test("a settled message is never delivered again", () => {
  const cursor = cursorAt(1);
  cursor.settle(0);
  expect(() => cursor.deliver(0, 2)).toThrow("a settled message is not delivered again");
});

test("a leased or pending message is not delivered a second time", () => {
  const cursor = cursorAt(2);
  cursor.join(1);
  for (const offset of [0, 1])
    expect(() => cursor.deliver(offset, 9)).toThrow("only a ready message is delivered");
});

test("delivery numbers never come again, not after a reset either", () => {
  const cursor = cursorAt(2);
  cursor.reset(0);
  expect(cursor.nextDeliveryNo).toBe(3);
  expect(() => cursor.deliver(0, 2)).toThrow("delivery numbers only grow");
});

test("a cursor with a pending ack refuses to be reset", () => {
  const cursor = cursorAt(1);
  cursor.join(0);
  expect(() => cursor.reset(0)).toThrow("a cursor with pending acks is not reset");
});

test("a release does not count as a failure, a retry does", () => {
  const cursor = cursorAt(1);
  expect(cursor.giveBack(0, "released", 0, false, "").failures).toBe(0);
  cursor.deliver(0, 2);
  const entry = cursor.giveBack(0, "retry", 0, true, "no database");
  expect(entry).toMatchObject({ deliveries: 2, failures: 1, reason: "no database" });
});

test("a restart gives leases back, lengthens waits and leaves pending acks alone", () => {
  const cursor = cursorAt(3);
  cursor.giveBack(1, "retry", 5_000, true, "");
  cursor.join(2);
  cursor.restart(700);
  expect(cursor.entry(0)?.state).toEqual({ kind: "ready" });
  expect(cursor.entry(0)?.failures).toBe(0);
  expect(cursor.entry(1)?.state).toEqual({ kind: "waiting", readyAtMs: 5_700 });
  expect(cursor.entry(2)?.state).toEqual({ kind: "pending" });
});

describe("replay of a dead letter", () => {
  test("brings a settled message back with its attempts at 0", () => {
    const cursor = cursorAt(1);
    cursor.settle(0);
    cursor.replay(0, 0);
    expect(cursor.entry(0)).toMatchObject({ deliveries: 0, failures: 0, state: { kind: "ready" } });
  });

  test("adds nothing for a message that is under way or comes anyway", () => {
    const cursor = cursorAt(1);
    cursor.replay(0, 0);
    cursor.replay(5, 0);
    expect(cursor.unsettled).toBe(1);
    expect(cursor.entry(0)?.state.kind).toBe("leased");
  });
});

describe("retention", () => {
  test.each([
    ["through the offsets", 3, 6, 5],
    ["through the entries", 5, 500, 5],
  ])("takes what is ready or waits from a group, and counts it: %s", (_, first, before, left) => {
    const entries = new Entries();
    const cursor = cursorAt(8, entries);
    for (let offset = 3; offset < 8; offset++) cursor.giveBack(offset, "retry", 50, true, "slow");
    cursor.giveBack(4, "released", 0, false, "");
    const fresh = Math.max(0, before - 8);
    const taken = Math.min(before, 8) - first;
    expect(cursor.expire(first, before, fresh)).toBe(taken + fresh);
    expect([cursor.expired, cursor.unsettled]).toEqual([taken + fresh, left]);
    expect(cursor.nextOffset).toBe(Math.max(8, before));
    expect(shown(cursor).every(({ offset }) => offset < first || offset >= before)).toBe(true);
    expect(reloaded(cursor, entries).expired).toBe(cursor.expired);
  });

  test("does not take what is under way", () => {
    expect(() => cursorAt(2).expire(0, 1, 0)).toThrow();
  });

  test("the first of some kinds is found, on either way", () => {
    const cursor = cursorAt(6);
    cursor.giveBack(1, "retry", 50, true, "slow");
    cursor.join(4);
    cursor.settle(0);
    const firstOf = (end: number, ...kinds: ("leased" | "ready" | "waiting" | "pending")[]) =>
      cursor.firstOffset(0, end, kinds);
    expect([firstOf(900, "waiting"), firstOf(900, "leased"), firstOf(900, "ready")]).toEqual([
      1, 2, 900,
    ]);
    expect([firstOf(4, "leased", "pending"), firstOf(2, "leased", "pending")]).toEqual([2, 2]);
    expect(cursor.firstOffset(3, 900, ["pending"])).toBe(4);
    expect(cursor.firstOffset(5, 900, ["pending"])).toBe(900);
  });
});

describe("save and load", () => {
  test("every kind of entry survives", () => {
    const entries = new Entries();
    const cursor = cursorAt(4, entries);
    cursor.giveBack(1, "retry", 5_000, true, "slow");
    cursor.join(2);
    cursor.giveBack(3, "released", 0, false, "");
    const loaded = reloaded(cursor, entries);
    expect(loaded.save()).toEqual(cursor.save());
    expect(shown(loaded)).toEqual(shown(cursor));
    expect(loaded.counts).toEqual(cursor.counts);
  });

  test("lanes go on as they stood: the same one is next of each key", () => {
    const entries = new Entries();
    const cursor = new Cursor(1, 1, 1, 0, entries);
    cursor.setOrdered(true);
    cursor.take(7, [0, 1, 2, 3, 4, 5], [7, 8, 7, 0, 7, 8], 1);
    cursor.deliver(1, 1);
    cursor.settle(1);
    cursor.deliver(0, 2);
    cursor.giveBack(0, "retry", 5_000, true, "slow");
    cursor.replay(1, 8);
    const saved = structuredClone(cursor.save());
    const loaded = new Cursor(saved.no, saved.groupNo, saved.topicNo, saved.nextOffset);
    loaded.load(saved);
    loaded.setOrdered(true);
    for (const part of structuredClone([...cursor.saveEntries(entries.freeze(), PART)]))
      loaded.loadEntries(part);
    expect(shown(loaded)).toEqual(shown(cursor));
    expect(loaded.save()).toEqual(cursor.save());
    for (const one of [cursor, loaded]) {
      expect([...one.readyAgain()]).toEqual([3, 5]);
      one.settle(5);
      one.settle(0);
      expect([...one.readyAgain()]).toEqual([3, 1, 2]);
      one.settle(2);
      expect([...one.readyAgain()]).toEqual([3, 1, 4]);
    }
  });

  test("what came back before a checkpoint is ready after it, in the same order", () => {
    const entries = new Entries();
    const cursor = cursorAt(4, entries);
    for (const offset of [3, 1]) cursor.giveBack(offset, "released", 0, false, "");
    expect([...reloaded(cursor, entries).readyAgain()]).toEqual([3, 1]);
  });

  test("parts that are taken late say how it was when they were frozen", () => {
    const entries = new Entries();
    const cursor = cursorAt(20, entries);
    for (let offset = 0; offset < 10; offset++) cursor.giveBack(offset, "retry", 50, true, "slow");
    const before = rowsOf(cursor.saveEntries(entries.freeze(), PART));
    const late = cursor.saveEntries(entries.freeze(), PART);
    for (let offset = 5; offset < 15; offset++) cursor.settle(offset);
    cursor.ripen(1);
    cursor.join(16);
    cursor.giveBack(17, "retry", 60, true, "later");
    for (let offset = 20; offset < 200; offset++) cursor.deliver(offset, offset + 1);
    expect(rowsOf(late)).toEqual(before);
    entries.thaw();
    cursor.settle(0);
    expect(rowsOf(cursor.saveEntries(entries.freeze(), PART)).length).toBe(cursor.unsettled);
  });

  test("two cursors over the same rows do not mix, whatever is settled and used again", () => {
    const entries = new Entries();
    const one = cursorAt(50, entries);
    const other = new Cursor(2, 2, 1, 0, entries);
    for (let offset = 0; offset < 50; offset += 2) one.settle(offset);
    for (let offset = 0; offset < 50; offset++) other.deliver(offset, offset + 1);
    one.reset(0);
    expect([one.unsettled, other.unsettled, entries.size]).toEqual([0, 50, 50]);
    expect(shown(other).map(({ offset }) => offset)).toEqual(
      Array.from({ length: 50 }, (_, at) => at),
    );
  });
});
