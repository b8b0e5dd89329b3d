/** Skipping messages for a group, and resets of all that it reads (D17, T9). */
import { describe, expect, test } from "vitest";
import { LIMITS } from "../../protocol/src/limits.ts";
import {
  audit,
  billing,
  fill,
  MINUTE,
  offsetsOf,
  retry,
  tokensOf,
} from "../support/sim-billing.ts";
import { adminValue, Driver, deliveriesOf, only } from "../support/sim-driver.ts";

const skip = (driver: Driver, ...offsets: number[]) =>
  driver.ask({ type: "group.skip", group: "billing", topic: "orders", offsets, ...audit });

describe("a skipped message", () => {
  test("that is leased is settled, and its token is worth nothing", () => {
    const { driver, consumer } = billing(1);
    const { token } = only(driver.credit(consumer, 1));
    expect(adminValue(skip(driver, 0).reply)).toEqual({ done: 1, missing: [], pending: [] });
    expect(driver.ack(consumer, token).reply).toMatchObject({ stale: [token] });
    expect(deliveriesOf(driver.advance(60 * MINUTE))).toEqual([]);
    driver.crash();
    expect(driver.credit(driver.consumer("billing", "orders"), 9)).toEqual([]);
  });

  test("that waits for its retry does not come back", () => {
    const { driver, consumer } = billing(1);
    retry(driver, consumer, only(driver.credit(consumer, 9)).token, 1_000);
    skip(driver, 0);
    expect(deliveriesOf(driver.advance(60 * MINUTE))).toEqual([]);
  });

  test("that was not delivered yet is passed over, and what stands before it is not", () => {
    const { driver, consumer } = billing(4);
    skip(driver, 1, 3);
    expect(offsetsOf(driver.credit(consumer, 9)).sort()).toEqual([0, 2]);
    fill(driver, "orders", 1);
    expect(driver.engine.core.state.cursors.get(1)?.nextOffset).toBe(5);
  });

  test("is so for its group only, and is no dead letter", () => {
    const { driver } = billing(1);
    const ledger = driver.consumer("ledger", "orders");
    skip(driver, 0);
    expect(offsetsOf(driver.credit(ledger, 9))).toEqual([0]);
    expect(adminValue(driver.ask({ type: "dlq.list", group: "billing" }).reply)).toEqual({
      items: [],
    });
  });

  test("that is not there is told so, to a group with a filter that was given nothing yet, too", () => {
    const driver = new Driver();
    driver.topic("orders");
    driver.filtering("billing", "orders", "paid");
    expect(adminValue(skip(driver, 5).reply)).toEqual({ done: 0, missing: [5], pending: [] });
  });

  test("comes again after a reset to before it", () => {
    const { driver, consumer } = billing(1);
    driver.credit(consumer, 9);
    skip(driver, 0);
    const at = { group: "billing", topic: "orders" };
    const effects = driver.ask({ type: "group.reset", ...at, from: "earliest", ...audit });
    expect(offsetsOf(deliveriesOf(effects))).toEqual([0]);
  });

  test("costs its consumer no more credit than its delivery did", () => {
    const { driver, consumer } = billing(3);
    driver.credit(consumer, 1);
    skip(driver, 0, 1);
    expect(offsetsOf(driver.credit(consumer, 1))).toEqual([2]);
  });
});

describe("a skip for a group that looks at messages first", () => {
  /** Three that nobody has looked at, behind one that was taken in. */
  function unread(): { driver: Driver; come: () => number } {
    const driver = new Driver();
    driver.topic("orders");
    const consumer = driver.filtering("billing", "orders", "paid");
    fill(driver, "orders", 1, "a#paid");
    driver.disconnect(consumer);
    fill(driver, "orders", 3, "b#paid");
    return { driver, come: () => driver.filtering("billing", "orders", "paid") };
  }

  test("settles what it took in, and the next ones behind that, in one go", () => {
    const { driver, come } = unread();
    expect(adminValue(skip(driver, 0, 1, 2).reply)).toMatchObject({ done: 3 });
    driver.crash();
    expect(offsetsOf(driver.credit(come(), 9))).toEqual([3]);
  });

  test("is refused behind one that it has not looked at, says which, and changes nothing", () => {
    const { driver, come } = unread();
    const before = driver.saved();
    const { reply } = skip(driver, 0, 3);
    expect(reply).toMatchObject({ code: "INVALID_ARGUMENT", detail: { offset: 1 } });
    expect(reply).toHaveProperty("message", expect.stringContaining("has not looked at offset 1 "));
    expect(driver.saved()).toEqual(before);
    const consumer = come();
    expect(adminValue(skip(driver, 0, 3).reply)).toMatchObject({ done: 2 });
    expect(offsetsOf(driver.credit(consumer, 9))).toEqual([1, 2]);
  });

  test("keeps the order of what stays: the next of its key comes", () => {
    const driver = new Driver();
    driver.topic("orders");
    const at = { group: "billing", ...audit };
    const first = driver.consumer("billing", "orders");
    driver.ask({ type: "group.update", group: "billing", ordered: true, ...audit });
    fill(driver, "orders", 2, "a@k");
    driver.disconnect(first);
    fill(driver, "orders", 3, "b@k");
    driver.ask({ type: "group.skip", ...at, topic: "orders", offsets: [0, 2] });
    const consumer = driver.consumer("billing", "orders");
    for (const offset of [1, 3, 4]) {
      const got = driver.credit(consumer, 1);
      expect(offsetsOf(got)).toEqual([offset]);
      driver.ack(consumer, ...tokensOf(got));
    }
  });
});

describe("a skip", () => {
  test("names what there is nothing to settle at, and does the rest", () => {
    const { driver, consumer } = billing(2);
    driver.ack(consumer, ...tokensOf(driver.credit(consumer, 1)));
    const { reply } = skip(driver, 0, 1, 1, 7);
    expect(adminValue(reply)).toEqual({ done: 1, missing: [0, 7], pending: [] });
    expect(skip(driver, 1).records).toEqual([]);
  });

  test("leaves pending acks to their transactions", () => {
    const { driver, consumer } = billing(1);
    const { token } = only(driver.credit(consumer, 1));
    const shop = driver.producer("shop");
    driver.prepare(shop, "t1", { acks: [token] });
    expect(adminValue(skip(driver, 0).reply)).toEqual({ done: 0, missing: [], pending: [0] });
    driver.verdict(shop, "t1", "rollback");
    expect(adminValue(skip(driver, 0).reply)).toMatchObject({ done: 1 });
  });

  test("passes over dead letters that ended, in a dead-letter topic", () => {
    const { driver, consumer } = billing(2);
    for (const { token } of driver.credit(consumer, 2))
      driver.request(consumer, { type: "bury", token, reason: "bad" });
    const reader = driver.consumer("support", "%DLQ%billing");
    driver.ask({ type: "dlq.purge", group: "billing", offsets: [0], ...audit });
    const at = { group: "support", topic: "%DLQ%billing" };
    const { reply } = driver.ask({ type: "group.skip", ...at, offsets: [0, 1], ...audit });
    expect(adminValue(reply)).toEqual({ done: 1, missing: [0], pending: [] });
    expect(driver.credit(reader, 9)).toEqual([]);
  });

  test("that reaches too far ahead is refused", () => {
    const { driver } = billing(0);
    fill(driver, "orders", LIMITS.skipAheadMax + 1);
    const { reply, records } = skip(driver, 0, LIMITS.skipAheadMax);
    expect(reply).toMatchObject({ code: "INVALID_ARGUMENT" });
    expect(records).toEqual([]);
    expect(skip(driver, LIMITS.skipAheadMax - 1).reply.type).toBe("ok");
  });
});

describe("a reset of a group", () => {
  test("moves it in all topics that it reads, by time", () => {
    const { driver, consumer } = billing(1);
    driver.topic("mail");
    const mail = driver.consumer("billing", "mail");
    driver.advance(MINUTE);
    const at = driver.nowMs;
    fill(driver, "orders", 1);
    fill(driver, "mail", 1);
    driver.ack(consumer, ...tokensOf(driver.credit(consumer, 9)));
    driver.ack(mail, ...tokensOf(driver.credit(mail, 9)));
    const request = { type: "group.reset", group: "billing", from: "time", at, ...audit } as const;
    expect(adminValue(driver.ask({ ...request, dryRun: true }).reply)).toEqual({
      dryRun: true,
      topics: [
        { topic: "orders", fromOffset: 2, toOffset: 1, redelivered: 1, skipped: 0 },
        { topic: "mail", fromOffset: 1, toOffset: 0, redelivered: 1, skipped: 0 },
      ],
    });
    const effects = driver.ask(request);
    expect(offsetsOf(deliveriesOf(effects, consumer))).toEqual([1]);
    expect(offsetsOf(deliveriesOf(effects, mail))).toEqual([0]);
  });

  test("is refused for all while an ack in one topic is pending, and says which", () => {
    const { driver, consumer } = billing(3);
    driver.topic("mail");
    driver.consumer("billing", "mail");
    const [, second] = driver.credit(consumer, 2);
    driver.prepare(driver.producer("shop"), "t1", { acks: [second?.token ?? ""] });
    const before = driver.saved();
    const reset = { type: "group.reset", group: "billing", from: "latest", ...audit } as const;
    expect(driver.ask(reset).reply).toMatchObject({
      code: "GROUP_IN_USE",
      detail: { pending: 1, topic: "orders", offset: 1, transactionId: "t1" },
    });
    expect(driver.saved()).toEqual(before);
  });

  test("counts what there is in a dead-letter topic, not its gaps", () => {
    const { driver, consumer } = billing(3);
    for (const { token } of driver.credit(consumer, 3))
      driver.request(consumer, { type: "bury", token, reason: "bad" });
    const reader = driver.consumer("support", "%DLQ%billing");
    driver.ack(reader, ...tokensOf(driver.credit(reader, 9)));
    driver.ask({ type: "dlq.purge", group: "billing", offsets: [1], ...audit });
    const { reply } = driver.ask({ type: "group.reset", group: "support", dryRun: true, ...audit });
    expect(adminValue(reply)).toMatchObject({ topics: [{ redelivered: 2, skipped: 0 }] });
  });
});
