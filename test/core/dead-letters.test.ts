/** What a group could not process: buried, listed, read, replayed, purged (D8). */
import { describe, expect, test } from "vitest";
import { audit, billing, release, retry } from "../support/sim-billing.ts";
import {
  adminValue,
  codeOf,
  type Driver,
  deliveriesOf,
  message,
  only,
  type Request,
} from "../support/sim-driver.ts";

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
      attempts: 1,
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

  test("what stands behind one too large for its reader's credit comes when that one is purged", () => {
    const { driver, consumer } = billing(0);
    const shop = driver.connect();
    driver.send(shop, "large", message("orders", "a body of 23 characters"));
    driver.send(shop, "small", message("orders", "body"));
    for (const { token } of driver.credit(consumer, 2))
      driver.request(consumer, { type: "bury", token, reason: "no such customer" });
    const reader = driver.consumer("support", "%DLQ%billing");
    expect(driver.credit(reader, 5, 10)).toEqual([]);
    const purged = driver.ask({ type: "dlq.purge", group: "billing", offsets: [0], ...audit });
    expect(only(deliveriesOf(purged)).offset).toBe(1);
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
