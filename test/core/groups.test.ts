/** Groups: independent of each other, fair to their consumers and topics, reset by operators (D11, D12). */
import { describe, expect, test } from "vitest";
import {
  audit,
  billing,
  fill,
  MINUTE,
  offsetsOf,
  release,
  tokensOf,
} from "../support/sim-billing.ts";
import { adminValue, Driver, deliveriesOf, message, only } from "../support/sim-driver.ts";

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
      (one) => driver.engine.core.connections.get(one).subscriptions.get(1)?.leased.size,
    );
    expect(leased).toEqual([10, 10, 10]);
  });

  test("redeliveries and first deliveries take turns, also when credit comes one by one", () => {
    const { driver, consumer } = billing(20);
    const back = driver.credit(consumer, 10);
    release(driver, consumer, ...tokensOf(back));
    const order: boolean[] = [];
    for (let at = 0; at < 10; at++) order.push(only(driver.credit(consumer, 1)).offset < 10);
    expect(order.filter((isAgain) => isAgain).length).toBe(5);
  });

  test("the topics of a consumer take turns, also when credit comes one by one", () => {
    const driver = new Driver();
    driver.topic("orders", "mail", "log");
    const consumer = driver.consumer("billing", "orders", "mail", "log");
    for (const topic of ["orders", "mail", "log"]) fill(driver, topic, 10);
    const topics: string[] = [];
    for (let at = 0; at < 9; at++) {
      const frame = { type: "credit", subscription: 1, messages: 1, bytes: 100 } as const;
      for (const send of driver.step({ kind: "frame", from: consumer, frame }).sends)
        if (send.kind === "deliver") topics.push(send.topic);
    }
    expect(topics.slice(3)).toEqual([...topics.slice(0, 3), ...topics.slice(0, 3)]);
    expect(new Set(topics)).toEqual(new Set(["orders", "mail", "log"]));
  });

  test("what waited for credit in any topic comes with it, whoever used up the credit before", () => {
    const driver = new Driver();
    const topics = Array.from({ length: 20 }, (_, at) => `topic-${at}`);
    driver.topic(...topics);
    const consumer = driver.consumer("billing", ...topics);
    driver.credit(consumer, 5);
    for (const topic of topics) fill(driver, topic, 2);
    const offsets = [5, 10, 30].flatMap((most) => driver.credit(consumer, most));
    expect(offsets).toHaveLength(35);
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

describe("reset", () => {
  const reset = (
    driver: Driver,
    more: { from: "offset" | "latest"; at?: number; dryRun?: boolean },
  ) => driver.ask({ type: "group.reset", group: "billing", topic: "orders", ...more, ...audit });

  test("a dry run says what would happen, and nothing happens", () => {
    const { driver, consumer } = billing(5);
    for (const { token } of driver.credit(consumer, 3)) driver.ack(consumer, token);
    const before = driver.saved();
    const topics = [{ fromOffset: 3, toOffset: 1, redelivered: 2, skipped: 0 }];
    const view = { dryRun: true, topics };
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
    expect(adminValue(reset(driver, { from: "latest" }).reply)).toMatchObject({
      topics: [{ skipped: 5 }],
    });
    expect(driver.credit(consumer, 9)).toEqual([]);
    expect(driver.advance(60 * MINUTE).records).toEqual([]);
  });
});
