/** Delivery: credit, leases, the ways a delivery ends, dead letters, groups and fairness (D3 to D12, T9). */
import { describe, expect, test } from "vitest";
import type { Policy } from "../../broker/src/core/policy.ts";
import type { Delivery } from "../../broker/src/core/types.ts";
import {
  adminValue,
  codeOf,
  Driver,
  deliveriesOf,
  message,
  only,
  type Request,
} from "../support/sim-driver.ts";

const MINUTE = 60_000;
const audit = { operator: "ann", reason: "test" } as const;

/** A topic with `count` messages, and one consumer of "billing". */
function billing(
  count: number,
  policy: Partial<Policy> = {},
): { driver: Driver; consumer: number } {
  const driver = new Driver(policy);
  driver.topic("orders");
  const consumer = driver.consumer("billing", "orders");
  fill(driver, "orders", count);
  return { driver, consumer };
}

let lastSend = 0;
function fill(driver: Driver, topic: string, count: number, body = "body"): void {
  const producer = driver.connect();
  for (let at = 0; at < count; at++) driver.send(producer, `s${lastSend++}`, message(topic, body));
  driver.disconnect(producer);
}

const offsetsOf = (deliveries: readonly Delivery[]): number[] =>
  deliveries.map(({ offset }) => offset);
const tokensOf = (deliveries: readonly Delivery[]): string[] =>
  deliveries.map(({ token }) => token);

function retry(driver: Driver, from: number, token: string, delayMs?: number) {
  const delay = delayMs === undefined ? {} : { delayMs };
  return driver.request(from, { type: "retry", token, reason: "no database", ...delay });
}

const release = (driver: Driver, from: number, ...tokens: string[]) =>
  driver.request(from, { type: "release", tokens });

describe("credit", () => {
  test("no more messages are delivered than were granted", () => {
    const { driver, consumer } = billing(10);
    expect(offsetsOf(driver.credit(consumer, 3))).toEqual([0, 1, 2]);
    fill(driver, "orders", 1);
    expect(driver.settle().sends).toEqual([]);
    expect(offsetsOf(driver.credit(consumer, 1))).toEqual([3]);
  });

  test("no more bytes are delivered than were granted", () => {
    const { driver, consumer } = billing(10);
    expect(driver.credit(consumer, 10, 11).length).toBe(2);
    expect(driver.credit(consumer, 0, 1).length).toBe(1);
  });

  test("a message larger than what is granted goes to somebody who granted more", () => {
    const { driver, consumer } = billing(1);
    const large = driver.consumer("billing", "orders");
    expect(driver.credit(consumer, 10, 3)).toEqual([]);
    expect(offsetsOf(driver.credit(large, 1, 4))).toEqual([0]);
  });

  test("an ack gives no credit back: only the consumer grants", () => {
    const { driver, consumer } = billing(2);
    const { token } = only(driver.credit(consumer, 1));
    expect(deliveriesOf(driver.ack(consumer, token))).toEqual([]);
  });

  test("credit for a subscription that has ended is ignored", () => {
    const { driver, consumer } = billing(1);
    driver.request(consumer, { type: "unsubscribe", subscription: 1 });
    expect(driver.credit(consumer, 5)).toEqual([]);
  });

  test("a consumer that reads too slowly gets nothing until it has read", () => {
    const { driver, consumer } = billing(1);
    driver.step({ kind: "congested", connection: consumer, isCongested: true });
    expect(driver.credit(consumer, 1)).toEqual([]);
    const relieved = driver.step({ kind: "congested", connection: consumer, isCongested: false });
    expect(deliveriesOf(relieved).length).toBe(1);
  });

  test("a delivery whose body cannot be read costs the consumer no credit", () => {
    const { driver, consumer } = billing(2);
    const { token } = only(driver.credit(consumer, 1, 4));
    expect(offsetsOf(deliveriesOf(driver.step({ kind: "unreadable", token })))).toEqual([1]);
    expect(codeOf(retry(driver, consumer, token).reply)).toBe("STALE_DELIVERY");
    driver.credit(consumer, 1);
    const later = only(deliveriesOf(driver.advance(MINUTE)));
    expect(later).toMatchObject({ offset: 0, attempt: 2 });
  });
});

describe("leases", () => {
  test("a delivery that is not settled in time goes to another consumer, counted", () => {
    const { driver, consumer } = billing(1);
    const { token } = only(driver.credit(consumer, 1));
    const other = driver.consumer("billing", "orders");
    driver.credit(other, 1);
    expect(driver.advance(59_999).sends).toEqual([]);
    const [again, ...more] = deliveriesOf(driver.advance(1), other);
    expect([again?.offset, again?.attempt, more.length]).toEqual([0, 2, 0]);
    expect(driver.ack(consumer, token).reply).toMatchObject({ stale: [token] });
    expect(driver.engine.core.state.cursors.get(1)?.unsettled).toBe(1);
  });

  test("an extended lease lasts from the extension on", () => {
    const { driver, consumer } = billing(1);
    const { token } = only(driver.credit(consumer, 2));
    driver.advance(50_000);
    driver.request(consumer, { type: "extend", tokens: [token] });
    expect(driver.advance(59_999).sends).toEqual([]);
    expect(deliveriesOf(driver.advance(1)).length).toBe(1);
  });

  test("a lease may be given its own length, by subscription and by extension", () => {
    const { driver } = billing(1);
    const from = driver.connect();
    const topics = [{ topic: "orders" }];
    const subscribe = { type: "subscribe", subscription: 1, group: "billing", topics } as const;
    driver.request(from, { ...subscribe, leaseMs: 2_000 });
    const { token } = only(driver.credit(from, 2));
    driver.request(from, { type: "extend", tokens: [token], leaseMs: 5_000 });
    expect(driver.advance(4_999).records).toEqual([]);
    expect(only(deliveriesOf(driver.advance(1))).attempt).toBe(2);
  });

  test("a consumer that dies gives its leases back at once", () => {
    const { driver, consumer } = billing(2);
    driver.credit(consumer, 2);
    const other = driver.consumer("billing", "orders");
    driver.credit(other, 2);
    const again = deliveriesOf(driver.disconnect(consumer), other);
    expect(again.map(({ offset, attempt }) => [offset, attempt])).toEqual([
      [0, 2],
      [1, 2],
    ]);
  });

  test("a restart gives leases back, and their tokens are worth nothing", () => {
    const { driver, consumer } = billing(1);
    const { token } = only(driver.credit(consumer, 1));
    driver.crash();
    const again = driver.consumer("billing", "orders");
    expect(driver.ack(again, token).reply).toMatchObject({ stale: [token] });
    expect(only(driver.credit(again, 1))).toMatchObject({ offset: 0, attempt: 2 });
  });
});

describe("ways to end", () => {
  test("an acked message is never delivered to its group again, across a restart either", () => {
    const { driver, consumer } = billing(2);
    const [first, second] = driver.credit(consumer, 2);
    if (first === undefined || second === undefined) throw new Error("Two were there.");
    driver.ack(consumer, second.token);
    driver.crash();
    const again = driver.consumer("billing", "orders");
    expect(offsetsOf(driver.credit(again, 10))).toEqual([0]);
    expect(driver.advance(600 * MINUTE).sends.flatMap((send) => send.kind)).not.toContain("frame");
    expect(driver.engine.core.state.cursors.get(1)?.entry(1)).toBeUndefined();
  });

  test("a release is not an attempt, however often", () => {
    const { driver, consumer } = billing(1);
    let token = only(driver.credit(consumer, 40)).token;
    for (let at = 0; at < 30; at++)
      token = only(deliveriesOf(release(driver, consumer, token))).token;
    driver.ask({ type: "group.describe", group: "billing" });
    expect(driver.engine.core.state.cursors.get(1)?.entry(0)).toMatchObject({ failures: 0 });
  });

  test("a consumer that unsubscribes gives back, and that is not an attempt", () => {
    const { driver, consumer } = billing(1);
    driver.credit(consumer, 1);
    const ended = driver.request(consumer, { type: "unsubscribe", subscription: 1 });
    expect(ended.records).toMatchObject([
      { kind: "returned", cause: "released", isCounted: false },
    ]);
  });

  test("a retry waits as the ladder says, then comes again; never before its time", () => {
    const { driver, consumer } = billing(1);
    driver.ask({ type: "group.update", group: "billing", jitterPercent: 0 });
    let { token } = only(driver.credit(consumer, 40));
    for (const waitMs of [10_000, 30_000, 60_000]) {
      retry(driver, consumer, token);
      expect(driver.advance(waitMs - 1).sends).toEqual([]);
      token = only(deliveriesOf(driver.advance(1))).token;
    }
  });

  test("a retry may choose its own delay", () => {
    const { driver, consumer } = billing(1);
    const { token } = only(driver.credit(consumer, 2));
    retry(driver, consumer, token, 777);
    expect(driver.advance(776).sends).toEqual([]);
    expect(deliveriesOf(driver.advance(1)).length).toBe(1);
  });

  test("a pause of the broker shifts what is left of a retry's wait", () => {
    const { driver, consumer } = billing(1);
    retry(driver, consumer, only(driver.credit(consumer, 1)).token, 10_000);
    driver.crash(60 * MINUTE);
    const again = driver.consumer("billing", "orders");
    expect(driver.credit(again, 1)).toEqual([]);
    expect(driver.advance(9_999).sends).toEqual([]);
    expect(deliveriesOf(driver.advance(1)).length).toBe(1);
  });
});

describe("dead letters", () => {
  const exhaust = (driver: Driver, consumer: number): number => {
    let deliveries = 0;
    let token = only(driver.credit(consumer, 1)).token;
    for (;;) {
      deliveries++;
      retry(driver, consumer, token, 0);
      const next = driver.credit(consumer, 1)[0];
      if (next === undefined) return deliveries;
      token = next.token;
    }
  };

  test("after 16 failed attempts a message is buried with its history", () => {
    const { driver, consumer } = billing(1);
    expect(exhaust(driver, consumer)).toBe(16);
    expect(
      adminValue(driver.ask({ type: "dlq.list", group: "billing" }).reply).items,
    ).toMatchObject([
      { offset: 0, topic: "orders", originOffset: 0, attempts: 16, reason: "no database" },
    ]);
    expect(driver.engine.core.state.cursors.get(1)?.unsettled).toBe(0);
  });

  test("expiries and disconnects are attempts, too", () => {
    const { driver, consumer } = billing(1);
    driver.ask({ type: "group.update", group: "billing", attemptsMax: 2 });
    driver.credit(consumer, 2);
    driver.advance(60_000);
    expect(driver.disconnect(consumer).records.map(({ kind }) => kind)).toEqual([
      "topicCreated",
      "buried",
    ]);
  });

  test("a buried message is delivered to who reads the dead-letter topic, with where it came from", () => {
    const { driver, consumer } = billing(1);
    const { token } = only(driver.credit(consumer, 1));
    driver.request(consumer, { type: "bury", token, reason: "no such customer" });
    const reader = driver.consumer("support", "%DLQ%billing");
    expect(only(driver.credit(reader, 1)).origin).toMatchObject({
      topic: "orders",
      offset: 0,
      deliveries: 1,
      reason: "no such customer",
    });
  });

  test("a replayed dead letter comes again once, with its attempts at 0", () => {
    const { driver, consumer } = billing(1);
    exhaust(driver, consumer);
    const replay: Request = { type: "dlq.replay", group: "billing", offsets: [0, 0, 9], ...audit };
    const replayed = driver.ask(replay);
    expect(adminValue(replayed.reply)).toEqual({ done: 1, missing: [0, 9] });
    expect(only(deliveriesOf(replayed))).toMatchObject({ offset: 0, attempt: 1 });
    expect(adminValue(driver.ask(replay).reply)).toEqual({ done: 0, missing: [0, 0, 9] });
  });

  test("a purged dead letter is gone: not listed, not replayed, not delivered", () => {
    const { driver, consumer } = billing(1);
    exhaust(driver, consumer);
    driver.ask({ type: "dlq.purge", group: "billing", offsets: [0], ...audit });
    expect(adminValue(driver.ask({ type: "dlq.list", group: "billing" }).reply).items).toEqual([]);
    const replay = driver.ask({ type: "dlq.replay", group: "billing", offsets: [0], ...audit });
    expect(adminValue(replay.reply)).toEqual({ done: 0, missing: [0] });
    expect(driver.credit(driver.consumer("support", "%DLQ%billing"), 5)).toEqual([]);
  });

  test("a dead letter that is purged while somebody reads it does not come again", () => {
    const { driver, consumer } = billing(1);
    exhaust(driver, consumer);
    const reader = driver.consumer("support", "%DLQ%billing");
    const { token } = only(driver.credit(reader, 5));
    driver.ask({ type: "dlq.purge", group: "billing", offsets: [0], ...audit });
    expect(deliveriesOf(release(driver, reader, token))).toEqual([]);
  });

  test("a deleted topic takes its dead letters with it", () => {
    const { driver, consumer } = billing(1);
    exhaust(driver, consumer);
    driver.disconnect(consumer);
    expect(codeOf(driver.ask({ type: "topic.delete", topic: "orders", ...audit }).reply)).toBe(
      "ok",
    );
    expect(adminValue(driver.ask({ type: "dlq.list", group: "billing" }).reply).items).toEqual([]);
  });
});

describe("groups", () => {
  test("each group gets every message, whatever the others do with it", () => {
    const { driver, consumer } = billing(2);
    const mailer = driver.consumer("mailer", "orders");
    for (const { token } of driver.credit(consumer, 2)) driver.ack(consumer, token);
    const [first] = driver.credit(mailer, 2);
    if (first === undefined) throw new Error("Two were there.");
    driver.request(mailer, { type: "bury", token: first.token, reason: "bad" });
    const auditor = driver.consumer("auditor", "orders");
    expect(offsetsOf(driver.credit(auditor, 9))).toEqual([0, 1]);
  });

  test("a group starts where its first subscription says, and goes on from where it was", () => {
    const { driver, consumer } = billing(5);
    for (const { token } of driver.credit(consumer, 2)) driver.ack(consumer, token);
    driver.disconnect(consumer);
    const from = driver.connect();
    const topics = [{ topic: "orders", from: "latest" as const }];
    driver.request(from, { type: "subscribe", subscription: 1, group: "billing", topics });
    expect(offsetsOf(driver.credit(from, 9))).toEqual([2, 3, 4]);
  });

  test.each([
    { start: { from: "earliest" as const }, first: 0 },
    { start: { from: "latest" as const }, first: 3 },
    { start: { from: "offset" as const, at: 2 }, first: 2 },
    { start: { from: "offset" as const, at: 99 }, first: 3 },
    { start: { from: "time" as const, at: 0 }, first: 0 },
  ])("a new group that starts from $start reads from offset $first", ({ start, first }) => {
    const { driver } = billing(3);
    const from = driver.connect();
    const topics = [{ topic: "orders", ...start }];
    driver.request(from, { type: "subscribe", subscription: 1, group: "new", topics });
    driver.credit(from, 99);
    fill(driver, "orders", 1);
    expect(driver.engine.core.state.cursors.get(2)?.entry(first)?.state.kind).toBe("leased");
    expect(driver.engine.core.state.cursors.get(2)?.unsettled).toBe(4 - first);
  });
});

describe("fairness", () => {
  test("the consumers of a group share what is there", () => {
    const { driver } = billing(0);
    const consumers = [1, 2, 3].map(() => driver.consumer("billing", "orders"));
    for (const one of consumers) driver.credit(one, 100);
    fill(driver, "orders", 30);
    const leased = consumers.map(
      (one) => driver.engine.core.connections.get(one).subscriptions.get(1)?.leases.size,
    );
    expect(leased).toEqual([10, 10, 10]);
  });

  test("redeliveries and first deliveries take turns, also when credit comes one by one", () => {
    const { driver, consumer } = billing(20);
    const back = driver.credit(consumer, 10);
    release(driver, consumer, ...tokensOf(back));
    const order: boolean[] = [];
    for (let at = 0; at < 10; at++) order.push(only(driver.credit(consumer, 1)).attempt > 1);
    expect(order.filter((isAgain) => isAgain).length).toBe(5);
  });

  test("the topics of a consumer take turns, also when credit comes one by one", () => {
    const driver = new Driver();
    driver.topic("orders", "mail");
    const consumer = driver.consumer("billing", "orders", "mail");
    fill(driver, "orders", 10);
    fill(driver, "mail", 10);
    const topics: string[] = [];
    for (let at = 0; at < 10; at++) {
      const frame = { type: "credit", subscription: 1, messages: 1, bytes: 100 } as const;
      for (const send of driver.step({ kind: "frame", from: consumer, frame }).sends)
        if (send.kind === "deliver") topics.push(send.topic);
    }
    expect(topics.filter((topic) => topic === "mail").length).toBe(5);
  });

  test("one topic's backlog does not use up every step's budget", () => {
    const driver = new Driver({ deliveriesPerStepMax: 2 });
    const topics = ["a", "b", "c", "d"];
    driver.topic(...topics);
    for (const topic of topics) driver.credit(driver.consumer(`group ${topic}`, topic), 100);
    const producer = driver.connect();
    const first: (string | undefined)[] = [];
    const all = topics.flatMap((topic) => Array.from({ length: 20 }, () => message(topic)));
    let { sends } = driver.send(producer, "backlog", ...all);
    for (let step = 0; step < 3; step++) {
      for (const send of sends) if (send.kind === "deliver") first.push(send.topic);
      sends = driver.step({ kind: "tick" }).sends;
    }
    expect(new Set(first)).toEqual(new Set(topics));
  });

  test("a step delivers at most its budget, and asks to come back for the rest", () => {
    const { driver, consumer } = billing(25, { deliveriesPerStepMax: 10 });
    expect(driver.credit(consumer, 100).length).toBe(10);
    expect(driver.hasMore).toBe(true);
    expect(deliveriesOf(driver.step({ kind: "tick" })).length).toBe(10);
    expect(deliveriesOf(driver.settle()).length).toBe(5);
    expect(driver.hasMore).toBe(false);
  });

  test("a step stays within its budget of bytes, by no more than one message", () => {
    const { driver, consumer } = billing(25, { deliveryBytesPerStepMax: 10 });
    expect(driver.credit(consumer, 100).length).toBe(3);
    expect(driver.hasMore).toBe(true);
    expect(deliveriesOf(driver.settle()).length).toBe(22);
  });
});

describe("acks that join a transaction", () => {
  function joined(): { driver: Driver; consumer: number; producer: number; token: string } {
    const { driver, consumer } = billing(1);
    const producer = driver.producer("shop");
    const { token } = only(driver.credit(consumer, 1));
    driver.prepare(producer, "t1", { acks: [token] });
    return { driver, consumer, producer, token };
  }

  test("are pending while it is undecided: no redelivery, whatever the lease or the consumer does", () => {
    const { driver, consumer } = joined();
    driver.disconnect(consumer);
    driver.credit(driver.consumer("billing", "orders"), 9);
    expect(deliveriesOf(driver.advance(60 * MINUTE))).toEqual([]);
    driver.crash();
    expect(driver.credit(driver.consumer("billing", "orders"), 9)).toEqual([]);
  });

  test("are final with the commit", () => {
    const { driver, consumer, producer } = joined();
    expect(deliveriesOf(driver.verdict(producer, "t1", "commit"))).toEqual([]);
    driver.credit(consumer, 9);
    expect(deliveriesOf(driver.advance(60 * MINUTE))).toEqual([]);
    expect(driver.engine.core.state.cursors.get(1)?.unsettled).toBe(0);
  });

  test("are given back with the rollback, and that is not an attempt", () => {
    const { driver, consumer, producer } = joined();
    driver.credit(consumer, 1);
    const again = only(deliveriesOf(driver.verdict(producer, "t1", "rollback")));
    expect(again).toMatchObject({ offset: 0, attempt: 2 });
    expect(driver.engine.core.state.cursors.get(1)?.entry(0)?.failures).toBe(0);
  });

  test("make the token worthless for anything else", () => {
    const { driver, consumer, token } = joined();
    expect(driver.ack(consumer, token).reply).toMatchObject({ stale: [token] });
    expect(codeOf(retry(driver, consumer, token).reply)).toBe("STALE_DELIVERY");
  });
});

describe("reset", () => {
  const reset = (
    driver: Driver,
    more: { from: "offset" | "latest"; at?: number; dryRun?: boolean },
  ) => driver.ask({ type: "group.reset", group: "billing", topic: "orders", ...more, ...audit });

  test("a dry run says what would happen, and nothing happens", () => {
    const { driver, consumer } = billing(5);
    for (const { token } of driver.credit(consumer, 3)) driver.ack(consumer, token);
    const before = driver.saved();
    const view = { fromOffset: 3, toOffset: 1, redelivered: 2, skipped: 0, dryRun: true };
    expect(adminValue(reset(driver, { from: "offset", at: 1, dryRun: true }).reply)).toMatchObject(
      view,
    );
    expect(driver.saved()).toEqual(before);
  });

  test("a reset to before delivers again what was settled, and old tokens are worth nothing", () => {
    const { driver, consumer } = billing(3);
    const [first, second] = driver.credit(consumer, 2);
    if (first === undefined || second === undefined) throw new Error("Two were there.");
    driver.ack(consumer, first.token);
    driver.credit(consumer, 9);
    expect(offsetsOf(deliveriesOf(reset(driver, { from: "offset", at: 0 })))).toEqual([0, 1, 2]);
    expect(driver.ack(consumer, second.token).reply).toMatchObject({ stale: [second.token] });
  });

  test("a reset to the end skips what was not settled", () => {
    const { driver, consumer } = billing(5);
    driver.credit(consumer, 2);
    expect(adminValue(reset(driver, { from: "latest" }).reply)).toMatchObject({ skipped: 5 });
    expect(driver.credit(consumer, 9)).toEqual([]);
    expect(driver.advance(60 * MINUTE).records).toEqual([]);
  });
});
