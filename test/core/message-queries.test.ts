/** Questions about messages: what the core answers by itself, and where it sends the shell to look. */
import { describe, expect, test } from "vitest";
import type { Find, Trace } from "../../broker/src/core/message-queries.ts";
import { audit, billing, fill, MINUTE, retry } from "../support/sim-billing.ts";
import { adminValue, Driver, message, only, type Request } from "../support/sim-driver.ts";

const findOf = (driver: Driver, more: Partial<Extract<Request, { type: "message.find" }>> = {}) =>
  adminValue(
    driver.ask({ type: "message.find", topic: "orders", ...more }).reply,
  ) as unknown as Find;
const traceOf = (driver: Driver, offset: number) =>
  adminValue(
    driver.ask({ type: "message.trace", topic: "orders", offset }).reply,
  ) as unknown as Trace;
const offsets = ({ looks }: Find) => looks.map(({ offset }) => offset);

describe("message.show", () => {
  test("says how the message stands with each group", () => {
    const { driver, consumer } = billing(2);
    driver.consumer("ledger", "orders");
    retry(driver, consumer, only(driver.credit(consumer, 1)).token, MINUTE);
    const { reply } = driver.ask({ type: "message.show", topic: "orders", offset: 0 });
    expect(adminValue(reply)).toEqual({
      topic: "orders",
      offset: 0,
      atMs: driver.nowMs,
      bytes: 4,
      groups: [
        {
          group: "billing",
          state: "waiting",
          deliveries: 1,
          failures: 1,
          readyAtMs: driver.nowMs + MINUTE,
          reason: "no database",
        },
        { group: "ledger", state: "fresh", deliveries: 0, failures: 0 },
      ],
    });
  });

  test("knows a dead letter that is there, and none that ended", () => {
    const { driver, consumer } = billing(1);
    const { token } = only(driver.credit(consumer, 1));
    driver.request(consumer, { type: "bury", token, reason: "bad" });
    const request = { type: "message.show", topic: "%DLQ%billing", offset: 0 } as const;
    expect(driver.ask(request).reply.type).toBe("ok");
    driver.ask({ type: "dlq.purge", group: "billing", offsets: [0], ...audit });
    expect(driver.ask(request).reply).toMatchObject({ code: "MESSAGE_NOT_FOUND" });
  });
});

describe("message.find", () => {
  test("looks at a topic from its first message to its last", () => {
    const { driver } = billing(3);
    const find = findOf(driver);
    expect(offsets(find)).toEqual([0, 1, 2]);
    expect(find).toMatchObject({ fromOffset: 0, toOffset: 3, endOffset: 3 });
  });

  test("looks at the time that is asked for, its end not included", () => {
    const { driver } = billing(1);
    driver.advance(MINUTE);
    const sinceMs = driver.nowMs;
    fill(driver, "orders", 1);
    driver.advance(MINUTE);
    const beforeMs = driver.nowMs;
    fill(driver, "orders", 1);
    expect(offsets(findOf(driver, { sinceMs, beforeMs }))).toEqual([1]);
    expect(offsets(findOf(driver, { sinceMs: beforeMs, beforeMs: sinceMs }))).toEqual([]);
  });

  test("goes on where it ended, and ends where it would have, though the topic grows", () => {
    const { driver } = billing(3);
    const find = findOf(driver, { after: "1.3" });
    expect(offsets(find)).toEqual([1, 2]);
    fill(driver, "orders", 2);
    expect(offsets(findOf(driver, { after: "2.3" }))).toEqual([2]);
  });

  test("looks at no more than a step can bear", () => {
    const { driver } = billing(0);
    const producer = driver.connect();
    for (let at = 0; at < 3; at++)
      driver.send(
        producer,
        `s${at}`,
        ...Array.from({ length: 1_000 }, () => message("orders", "x")),
      );
    const find = findOf(driver);
    expect([find.looks.length, find.toOffset, find.endOffset]).toEqual([2_000, 2_000, 3_000]);
  });

  test("does not see half messages, nor what retention took", () => {
    const { driver } = billing(2);
    driver.prepare(driver.producer("shop"), "t1", { messages: [message("orders")] });
    expect(offsets(findOf(driver))).toEqual([0, 1]);
    driver.ask({ type: "topic.update", topic: "orders", retentionMs: 1_000, unsettled: "drop" });
    driver.advance(120 * MINUTE);
    fill(driver, "orders", 1);
    expect(findOf(driver)).toMatchObject({ fromOffset: 2, toOffset: 3 });
  });

  test("passes over dead letters that ended", () => {
    const { driver, consumer } = billing(2);
    for (const { token } of driver.credit(consumer, 2))
      driver.request(consumer, { type: "bury", token, reason: "bad" });
    driver.ask({ type: "dlq.purge", group: "billing", offsets: [0], ...audit });
    expect(offsets(findOf(driver, { topic: "%DLQ%billing" }))).toEqual([1]);
  });
});

describe("message.trace", () => {
  test("says which groups have more to tell", () => {
    const { driver, consumer } = billing(1);
    driver.consumer("ledger", "orders");
    driver.ack(consumer, only(driver.credit(consumer, 1)).token);
    expect(traceOf(driver, 0).groups).toEqual([
      { cursorNo: 1, group: "billing", standing: "settled", revisitedBlock: 0 },
      { cursorNo: 2, group: "ledger", standing: "fresh", revisitedBlock: 0 },
    ]);
  });

  test("leaves out who began behind the message, until it is reset to before it, and knows that from a checkpoint", () => {
    const { driver } = billing(2);
    const topics = [{ topic: "orders", from: "latest" as const }];
    const subscribe = { type: "subscribe", subscription: 1, group: "late", topics } as const;
    driver.request(driver.connect(), subscribe);
    const names = (): string[] => traceOf(driver, 1).groups.map(({ group }) => group);
    expect(names()).toEqual(["billing"]);
    driver.ask({ type: "group.reset", group: "late", ...audit });
    driver.ask({ type: "group.reset", group: "late", from: "latest", ...audit });
    const other = new Driver();
    other.engine.load(driver.saved());
    const lowest = [...other.engine.core.state.cursors.values()].map((one) => one.lowestOffset);
    expect([names(), lowest]).toEqual([
      ["billing", "late"],
      [0, 0],
    ]);
  });

  test("knows the block in which something settled came back", () => {
    const { driver, consumer } = billing(1);
    driver.ack(consumer, only(driver.credit(consumer, 1)).token);
    driver.ask({ type: "group.reset", group: "billing", ...audit });
    const block = driver.blocks.length;
    driver.crash();
    expect(traceOf(driver, 0).groups).toMatchObject([{ standing: "fresh", revisitedBlock: block }]);
    const other = new Driver();
    other.engine.load(driver.saved());
    expect(other.engine.core.state.cursors.get(1)?.revisitedBlock).toBe(block);
  });
});
