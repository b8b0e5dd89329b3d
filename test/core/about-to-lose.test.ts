/** Groups are named before they lose messages: what the doctor and the metrics are told. */
import { describe, expect, test } from "vitest";
import { groupsAboutToLose, groupsBehind } from "../../broker/src/core/retention-views.ts";
import { fill, tokensOf } from "../support/sim-billing.ts";
import { Driver, type Request } from "../support/sim-driver.ts";

const HOUR = 3_600_000;
type Settings = Omit<Extract<Request, { type: "topic.update" }>, "type" | "topic">;

/** A topic "orders", and a consumer of "billing" that was given nothing yet. Messages are of 4 bytes. */
function slow(settings: Settings): { driver: Driver; consumer: number } {
  const driver = new Driver({ dropAfterStartMs: 0 });
  driver.ask({ type: "topic.create", topic: "orders", retentionMs: 10 * HOUR, ...settings });
  return { driver, consumer: driver.consumer("billing", "orders") };
}

const DROP = { unsettled: "drop" } as const;

/** The names, from the doctor's figures; the count that goes into the metrics is the same. */
function warnedOf({ engine: { core }, nowMs }: Driver): string[] {
  const names = groupsBehind(core, nowMs).map(({ group }) => group);
  expect(groupsAboutToLose(core, nowMs)).toBe(names.length);
  return names;
}

describe("a group in a topic that drops", () => {
  test("is warned when its oldest message has 80 % of its time behind it, and not before", () => {
    const { driver } = slow(DROP);
    fill(driver, "orders", 1);
    driver.advance(8 * HOUR - 1);
    expect(warnedOf(driver)).toEqual([]);
    driver.advance(1);
    expect(warnedOf(driver)).toEqual(["billing"]);
    expect(groupsBehind(driver.engine.core, driver.nowMs)).toMatchObject([
      { topic: "orders", unsettled: "drop", oldestAgeMs: 8 * HOUR, retentionMs: 10 * HOUR },
    ]);
  });

  test("is warned when 80 % of the topic's bytes are before it", () => {
    const { driver } = slow({ ...DROP, retentionBytes: 40 });
    fill(driver, "orders", 7);
    expect(warnedOf(driver)).toEqual([]);
    fill(driver, "orders", 1);
    expect(warnedOf(driver)).toEqual(["billing"]);
    expect(groupsBehind(driver.engine.core, driver.nowMs)).toMatchObject([
      { behindBytes: 32, retentionBytes: 40, heldBytes: 0, expired: 0 },
    ]);
  });

  test("is out of danger once it has settled its oldest, and a group that keeps up never is in it", () => {
    const { driver, consumer } = slow({ ...DROP, retentionBytes: 40 });
    const ledger = driver.consumer("ledger", "orders");
    fill(driver, "orders", 8);
    driver.ack(ledger, ...tokensOf(driver.credit(ledger, 9)));
    expect(warnedOf(driver)).toEqual(["billing"]);
    driver.ack(consumer, ...tokensOf(driver.credit(consumer, 1)));
    expect(warnedOf(driver)).toEqual([]);
  });

  test("is warned of what it has in hand, too: a lease ends", () => {
    const { driver, consumer } = slow({ ...DROP, retentionBytes: 40 });
    fill(driver, "orders", 8);
    driver.credit(consumer, 8);
    expect(warnedOf(driver)).toEqual(["billing"]);
  });
});

test("a group in a topic that keeps is about to lose nothing", () => {
  const { driver } = slow({ retentionBytes: 40 });
  fill(driver, "orders", 8);
  driver.advance(9 * HOUR);
  expect(warnedOf(driver)).toEqual([]);
});

test("an instance of a broadcast group is, in a topic that keeps as well", () => {
  const driver = new Driver();
  driver.ask({ type: "topic.create", topic: "orders", retentionMs: 10 * HOUR });
  const topics = [{ topic: "orders" }];
  const subscribe = { type: "subscribe", subscription: 1, group: "cache", topics } as const;
  driver.request(driver.connect(), { ...subscribe, instance: "n1" });
  fill(driver, "orders", 1);
  driver.advance(8 * HOUR);
  expect(warnedOf(driver)).toEqual(["cache%n1"]);
});

test("once a topic: a group that is slow in two counts twice", () => {
  const { driver } = slow({ ...DROP, retentionBytes: 4 });
  driver.ask({ type: "topic.create", topic: "mail", ...DROP, retentionBytes: 4 });
  driver.consumer("billing", "mail");
  fill(driver, "orders", 1);
  fill(driver, "mail", 1);
  expect(warnedOf(driver)).toEqual(["billing", "billing"]);
});
