/** One group's progress in one topic, without an engine around it. */
import { describe, expect, test } from "vitest";
import { Cursor } from "../../broker/src/core/cursor.ts";

const cursorAt = (delivered: number): Cursor => {
  const cursor = new Cursor(1, 1, 1, 0);
  for (let offset = 0; offset < delivered; offset++) cursor.deliver(offset, offset + 1);
  return cursor;
};

const reloaded = (cursor: Cursor): Cursor => {
  const saved = structuredClone(cursor.save());
  const loaded = new Cursor(saved.no, saved.groupNo, saved.topicNo, saved.nextOffset);
  loaded.load(saved);
  return loaded;
};

test("acks in any order leave nothing behind but the next offset", () => {
  const cursor = cursorAt(4);
  for (const offset of [2, 0, 3, 1]) cursor.settle(offset);
  expect(cursor.unsettled).toBe(0);
  expect(cursor.nextOffset).toBe(4);
  expect(cursor.counts).toEqual({ leased: 0, ready: 0, waiting: 0, pending: 0 });
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
    cursor.replay(0);
    expect(cursor.entry(0)).toMatchObject({ deliveries: 0, failures: 0, state: { kind: "ready" } });
  });

  test("adds nothing for a message that is under way or comes anyway", () => {
    const cursor = cursorAt(1);
    cursor.replay(0);
    cursor.replay(5);
    expect(cursor.unsettled).toBe(1);
    expect(cursor.entry(0)?.state.kind).toBe("leased");
  });
});

describe("save and load", () => {
  test("every kind of entry survives", () => {
    const cursor = cursorAt(4);
    cursor.giveBack(1, "retry", 5_000, true, "slow");
    cursor.join(2);
    cursor.giveBack(3, "released", 0, false, "");
    const loaded = reloaded(cursor);
    expect(loaded.save()).toEqual(cursor.save());
    expect(loaded.counts).toEqual(cursor.counts);
  });

  test("what came back before a checkpoint is ready after it", () => {
    const cursor = cursorAt(4);
    for (const offset of [3, 1]) cursor.giveBack(offset, "released", 0, false, "");
    expect([...reloaded(cursor).readyAgain()].sort()).toEqual([1, 3]);
    expect([...reloaded(cursor).entries()]).toEqual([...cursor.entries()]);
  });
});
