/** Filters: how a cursor takes messages in, and what it passes over (V6, G1 to G3). */
import { describe, expect, test } from "vitest";
import type { Policy } from "../../broker/src/core/policy.ts";
import { audit, billing, fill, MINUTE, offsetsOf, tokensOf } from "../support/sim-billing.ts";
import {
  adminValue,
  codeOf,
  Driver,
  deliveriesOf,
  type Effects,
  looksOf,
  message,
  only,
  timed,
} from "../support/sim-driver.ts";
import { lookedAt } from "../support/sim-looking.ts";

/** A topic "orders", and one consumer of "billing" that wants what is tagged "paid". */
function filtered(policy: Partial<Policy> = {}): { driver: Driver; consumer: number } {
  const driver = new Driver(policy);
  driver.topic("orders");
  return { driver, consumer: driver.filtering("billing", "orders", "paid") };
}

const topicOf = (driver: Driver): Record<string, unknown> => {
  const { topics } = adminValue(driver.ask({ type: "group.describe", group: "billing" }).reply);
  return only(topics as readonly Record<string, unknown>[]);
};

const answer = (driver: Driver, effects: Effects, count?: number): Effects =>
  driver.step(lookedAt(driver.blocks, only(looksOf(effects)), count));

describe("a filtered group", () => {
  test("is delivered what matches, and nothing else", () => {
    const { driver, consumer } = filtered();
    fill(driver, "orders", 1, "a#paid");
    fill(driver, "orders", 3, "b#open");
    fill(driver, "orders", 1, "c");
    fill(driver, "orders", 1, "d#paid");
    expect(offsetsOf(driver.credit(consumer, 9))).toEqual([0, 5]);
  });

  test("comes to its end without credit where nothing matches", () => {
    const { driver } = filtered();
    fill(driver, "orders", 5, "b#open");
    expect(topicOf(driver)).toMatchObject({ nextOffset: 5, lag: 0, filtered: 5, filter: "paid" });
  });

  test("spends no credit on what it passes over", () => {
    const { driver, consumer } = filtered();
    fill(driver, "orders", 20, "b#open");
    fill(driver, "orders", 2, "a#paid");
    expect(offsetsOf(driver.credit(consumer, 2))).toEqual([20, 21]);
  });

  test("has its filter and its place again after a restart, and looks at nothing twice", () => {
    const { driver } = filtered();
    fill(driver, "orders", 2, "b#open");
    fill(driver, "orders", 1, "a#paid");
    driver.crash();
    const consumer = driver.filtering("billing", "orders", "paid");
    fill(driver, "orders", 2, "b#open");
    expect(offsetsOf(driver.credit(consumer, 9))).toEqual([2]);
    expect(topicOf(driver)).toMatchObject({ nextOffset: 5, filtered: 4, takenIn: 1 });
  });

  test("looks at many messages in windows, one at a time", () => {
    const { driver, consumer } = filtered({ windowMessagesMax: 4 });
    driver.isLooking = false;
    fill(driver, "orders", 10, "a#paid");
    const producer = driver.connect();
    driver.disconnect(producer);
    driver.isLooking = true;
    driver.crash();
    const again = driver.filtering("billing", "orders", "paid");
    expect(offsetsOf(driver.credit(again, 20))).toEqual([0, 1, 2, 3, 4, 5, 6, 7, 8, 9]);
    const windows = driver.blocks.flatMap(({ records }) =>
      records.flatMap((record) => (record.kind === "taken" ? [record.offsets.length] : [])),
    );
    expect(windows).toEqual([4, 4, 2]);
    expect(consumer).not.toBe(again);
  });

  test("bounds a window in bytes and in blocks, too", () => {
    for (const policy of [{ windowBytesMax: 6 }, { windowBlocksMax: 2 }]) {
      const { driver } = filtered(policy);
      driver.isLooking = false;
      const first = driver.send(driver.connect(), "one", ...[]);
      expect(looksOf(first)).toEqual([]);
      fill(driver, "orders", 6, "abc");
      driver.isLooking = true;
      driver.crash();
      driver.filtering("billing", "orders", "paid");
      const windows = driver.blocks.flatMap(({ records }) =>
        records.flatMap((record) => (record.kind === "taken" ? [record.filtered] : [])),
      );
      expect(windows).toEqual([2, 2, 2]);
    }
  });

  test("runs ahead of its consumers by a window, and no further", () => {
    const { driver, consumer } = filtered({ windowMessagesMax: 3 });
    fill(driver, "orders", 20, "a#paid");
    expect(topicOf(driver)).toMatchObject({ nextOffset: 3, takenIn: 3, lag: 20 });
    const tokens = tokensOf(driver.credit(consumer, 2));
    expect(topicOf(driver)).toMatchObject({ nextOffset: 6, leased: 2 });
    driver.ack(consumer, ...tokens);
    expect(offsetsOf(driver.credit(consumer, 20))).toHaveLength(18);
  });

  test("is asked about nothing as long as nobody reads", () => {
    const { driver, consumer } = filtered();
    driver.disconnect(consumer);
    fill(driver, "orders", 3, "b#open");
    expect(topicOf(driver)).toMatchObject({ nextOffset: 0, lag: 3, filtered: 0 });
  });
});

describe("the filter of a group", () => {
  test("is one: another one is refused as long as somebody reads", () => {
    const { driver, consumer } = filtered();
    const other = driver.connect();
    const subscribe = (filter?: string) =>
      driver.request(other, {
        type: "subscribe",
        subscription: 1,
        group: "billing",
        topics: [filter === undefined ? { topic: "orders" } : { topic: "orders", filter }],
      }).reply;
    const before = driver.saved();
    for (const filter of ["open", "*", undefined])
      expect(codeOf(subscribe(filter))).toBe("FILTER_CONFLICT");
    expect(driver.saved()).toEqual(before);
    driver.disconnect(consumer);
    expect(codeOf(subscribe("open"))).toBe("ok");
  });

  test("is replaced from the next message on that was not taken in", () => {
    const { driver, consumer } = filtered();
    fill(driver, "orders", 1, "a#paid");
    driver.disconnect(consumer);
    fill(driver, "orders", 1, "b#paid");
    fill(driver, "orders", 1, "c#open");
    const other = driver.filtering("billing", "orders", "open");
    expect(offsetsOf(driver.credit(other, 9)).sort()).toEqual([0, 2]);
  });

  test("is none where all match, and then nothing is looked at", () => {
    const driver = new Driver();
    driver.topic("orders");
    driver.isLooking = false;
    const consumer = driver.filtering("billing", "orders", " * ");
    fill(driver, "orders", 2, "a");
    expect(offsetsOf(driver.credit(consumer, 9))).toEqual([0, 1]);
    expect(topicOf(driver)).toMatchObject({ filter: "" });
  });

  test("of one group is nothing to another", () => {
    const { driver } = filtered();
    const ledger = driver.consumer("ledger", "orders");
    fill(driver, "orders", 2, "b#open");
    expect(offsetsOf(driver.credit(ledger, 9))).toEqual([0, 1]);
  });

  test("holds for dead letters, too", () => {
    const { driver, consumer } = billing(0);
    fill(driver, "orders", 1, "a#paid");
    fill(driver, "orders", 1, "b#open");
    for (const token of tokensOf(driver.credit(consumer, 2)))
      driver.request(consumer, { type: "bury", token, reason: "test" });
    const support = driver.filtering("support", "%DLQ%billing", "open");
    expect(offsetsOf(driver.credit(support, 9))).toEqual([1]);
  });
});

describe("a reset of a filtered group", () => {
  const reset = (driver: Driver, more: object) =>
    driver.ask({ type: "group.reset", group: "billing", topic: "orders", ...more, ...audit });
  const counted = (driver: Driver, more: object) =>
    only(adminValue(reset(driver, { dryRun: true, ...more }).reply).topics as readonly unknown[]);

  test("to before counts what the filter will pass over again, and says that it is at most so many", () => {
    const { driver, consumer } = filtered();
    fill(driver, "orders", 2, "a#paid");
    fill(driver, "orders", 3, "b#open");
    driver.ack(consumer, ...tokensOf(driver.credit(consumer, 9)));
    const back = { from: "earliest" };
    expect(counted(driver, back)).toMatchObject({ redelivered: 5, skipped: 0, atMost: true });
    expect(offsetsOf(deliveriesOf(reset(driver, back)))).toEqual([0, 1]);
  });

  test("to the end counts what was not looked at yet, and says that it is at most so many", () => {
    const { driver, consumer } = filtered();
    driver.disconnect(consumer);
    fill(driver, "orders", 1, "a#paid");
    fill(driver, "orders", 3, "b#open");
    expect(counted(driver, { from: "latest" })).toMatchObject({ skipped: 4, atMost: true });
  });

  test("says so by what it reads: not of a group without a filter, or in another topic", () => {
    const driver = new Driver();
    driver.topic("orders", "mail");
    const topics = [{ topic: "orders", filter: "paid" }, { topic: "mail" }];
    const subscribe = { type: "subscribe", subscription: 1, group: "billing", topics } as const;
    driver.request(driver.connect(), subscribe);
    driver.consumer("ledger", "orders");
    const atMostOf = (group: string) => {
      const request = { type: "group.reset", group, from: "earliest", dryRun: true } as const;
      const { topics: views } = adminValue(driver.ask({ ...request, ...audit }).reply);
      return (views as readonly { atMost?: true }[]).map(({ atMost }) => atMost);
    };
    expect(atMostOf("billing")).toEqual([true, undefined]);
    expect(atMostOf("ledger")).toEqual([undefined]);
  });

  test("says so, too, where messages have a time to live: it may be over", () => {
    const { driver, consumer } = billing(0);
    driver.send(driver.connect(), "one", timed("orders", { id: "a", ttlMs: 1_000 }));
    driver.ack(consumer, ...tokensOf(driver.credit(consumer, 9)));
    expect(counted(driver, { from: "earliest" })).toMatchObject({ redelivered: 1, atMost: true });
  });
});

describe("an answer in vain", () => {
  function asked() {
    const { driver, consumer } = filtered();
    driver.credit(consumer, 9);
    driver.isLooking = false;
    const producer = driver.connect();
    const effects = driver.send(producer, "one", { ...MESSAGE });
    return { driver, consumer, look: only(looksOf(effects)) };
  }

  test("comes after a reset: it is asked anew", () => {
    const { driver, look } = asked();
    const reset = {
      type: "group.reset",
      group: "billing",
      topic: "orders",
      from: "latest",
    } as const;
    driver.ask({ ...reset, operator: "ann", reason: "test" });
    expect(driver.step(lookedAt(driver.blocks, look))).toMatchObject({ records: [], sends: [] });
  });

  test("comes after a skip of what was asked for: it is asked anew, for what is behind it", () => {
    const { driver, look } = asked();
    driver.send(driver.connect(), "two", MESSAGE);
    const skip = { type: "group.skip", group: "billing", topic: "orders", offsets: [0] } as const;
    driver.ask({ ...skip, ...audit });
    const effects = driver.step(lookedAt(driver.blocks, look));
    expect(effects.records).toEqual([]);
    expect(offsetsOf(deliveriesOf(answer(driver, effects)))).toEqual([1]);
  });

  test("comes for another filter: it is asked anew, with that one", () => {
    const { driver, consumer, look } = asked();
    driver.disconnect(consumer);
    driver.filtering("billing", "orders", "open");
    const effects = driver.step(lookedAt(driver.blocks, look));
    expect(effects.records).toEqual([]);
    expect(only(looksOf(effects)).filter).toBe("open");
  });

  test("comes twice, or for a topic that was deleted", () => {
    const { driver, consumer, look } = asked();
    const input = lookedAt(driver.blocks, look);
    expect(driver.step(input).records).not.toEqual([]);
    expect(driver.step(input).records).toEqual([]);
    const second = only(looksOf(driver.send(driver.connect(), "two", { ...MESSAGE })));
    driver.disconnect(consumer);
    driver.ask({ type: "topic.delete", topic: "orders", operator: "ann", reason: "test" });
    expect(driver.step(lookedAt(driver.blocks, second)).records).toEqual([]);
  });

  test("comes when nothing may be written: it is asked anew once that is over", () => {
    const { driver, look } = asked();
    driver.step({ kind: "admission", admission: "none" });
    expect(driver.step(lookedAt(driver.blocks, look)).records).toEqual([]);
    expect(looksOf(driver.step({ kind: "admission", admission: "all" }))).toHaveLength(1);
  });
});

describe("what cannot be read", () => {
  test("is not passed over: the cursor stands still, says so, and asks again after a minute", () => {
    const { driver, consumer } = filtered();
    driver.credit(consumer, 9);
    driver.isLooking = false;
    const sent = driver.send(driver.connect(), "one", MESSAGE, MESSAGE);
    const half = answer(driver, sent, 1);
    expect(offsetsOf(deliveriesOf(half))).toEqual([0]);
    expect(looksOf(answer(driver, half, 0))).toEqual([]);
    expect(topicOf(driver)).toMatchObject({ nextOffset: 1, standsBecause: "unreadable" });
    expect(driver.engine.core.windows.standing()).toHaveLength(1);
    expect(looksOf(driver.advance(MINUTE - 1))).toEqual([]);
    const again = answer(driver, driver.advance(1));
    expect(offsetsOf(deliveriesOf(again))).toEqual([1]);
    expect(topicOf(driver).standsBecause).toBeUndefined();
  });

  test("is not waited for where the group does not stand any more, or with a filter that is not its own", () => {
    const { driver, consumer } = filtered();
    driver.isLooking = false;
    const sent = driver.send(driver.connect(), "one", MESSAGE, MESSAGE);
    answer(driver, sent, 0);
    const at = { group: "billing", topic: "orders", operator: "ann", reason: "test" };
    const reset = driver.ask({ type: "group.reset", ...at, from: "offset", at: 1 });
    expect(topicOf(driver).standsBecause).toBeUndefined();
    answer(driver, reset, 0);
    expect(topicOf(driver).standsBecause).toBe("unreadable");
    driver.disconnect(consumer);
    const topics = [{ topic: "orders", filter: "open" }];
    const subscribe = { type: "subscribe", subscription: 1, group: "billing", topics } as const;
    expect(looksOf(driver.request(driver.connect(), subscribe))).toHaveLength(1);
  });

  test("is given up by a skip, and what the group has in hand stays as it is", () => {
    const { driver, consumer } = filtered();
    driver.credit(consumer, 9);
    driver.isLooking = false;
    const sent = driver.send(driver.connect(), "one", MESSAGE, MESSAGE, MESSAGE);
    answer(driver, answer(driver, sent, 1), 0);
    expect(topicOf(driver)).toMatchObject({ nextOffset: 1, standsBecause: "unreadable" });
    const skip = { type: "group.skip", group: "billing", topic: "orders", offsets: [1] } as const;
    const skipped = driver.ask({ ...skip, ...audit });
    expect(adminValue(skipped.reply)).toEqual({ done: 1, missing: [], pending: [] });
    expect(topicOf(driver)).toMatchObject({ nextOffset: 2, leased: 1 });
    expect(topicOf(driver).standsBecause).toBeUndefined();
    expect(offsetsOf(deliveriesOf(answer(driver, skipped)))).toEqual([2]);
  });

  test("holds up no other group", () => {
    const { driver } = filtered();
    const ledger = driver.consumer("ledger", "orders");
    driver.credit(ledger, 9);
    driver.isLooking = false;
    const sent = driver.send(driver.connect(), "one", MESSAGE);
    expect(offsetsOf(deliveriesOf(sent))).toEqual([0]);
    answer(driver, sent, 0);
  });
});

test("what retention takes before it was looked at is lost to the group, and counted", () => {
  const { driver } = filtered({ dropAfterStartMs: 0 });
  driver.ask({ type: "topic.update", topic: "orders", retentionMs: 1_000, unsettled: "drop" });
  driver.isLooking = false;
  const look = only(looksOf(driver.send(driver.connect(), "one", MESSAGE)));
  driver.advance(10_000);
  expect(driver.step(lookedAt(driver.blocks, look)).records).toEqual([]);
  expect(topicOf(driver)).toMatchObject({ nextOffset: 1, expired: 1, filtered: 0 });
});

const MESSAGE = message("orders", "a#paid");
