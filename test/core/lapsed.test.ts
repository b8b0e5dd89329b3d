/** Messages with a time to live: whoever finds them too old to be sent says so, and the group is done with them. */
import { expect, test } from "vitest";
import { audit } from "../support/sim-billing.ts";
import {
  adminValue,
  codeOf,
  Driver,
  deliveriesOf,
  message,
  only,
  timed,
} from "../support/sim-driver.ts";

function shop() {
  const driver = new Driver();
  driver.topic("orders");
  const producer = driver.producer("shop");
  const consumer = driver.consumer("billing", "orders");
  return { driver, producer, consumer };
}

const groupOf = (driver: Driver) =>
  (
    adminValue(driver.ask({ type: "group.describe", group: "billing" }).reply).topics as object[]
  )[0];

test("only deliveries of topics with such messages are to be looked at", () => {
  const { driver, producer, consumer } = shop();
  driver.credit(consumer, 100);
  const isLookedAt = (sendId: string, one = message("orders")) =>
    driver
      .send(producer, sendId, one)
      .sends.flatMap((send) => (send.kind === "deliver" ? [send.hasTtl] : []));
  expect(isLookedAt("s1")).toEqual([false]);
  expect(isLookedAt("s2", timed("orders", { id: "m1", ttlMs: 1_000 }))).toEqual([true]);
  expect(isLookedAt("s3")).toEqual([true]);
  driver.crash();
  const again = driver.consumer("billing", "orders");
  const frame = { type: "credit", subscription: 1, messages: 1, bytes: 1_000 } as const;
  const { sends } = driver.step({ kind: "frame", from: again, frame });
  expect(sends).toMatchObject([{ kind: "deliver", hasTtl: true }]);
});

test("a lapsed delivery is settled and counted, its consumer gets its credit back, and it never comes again", () => {
  const { driver, producer, consumer } = shop();
  driver.send(producer, "s1", timed("orders", { id: "m1", ttlMs: 1_000 }));
  driver.send(producer, "s2", message("orders"));
  const first = only(driver.credit(consumer, 1));
  const { records, sends } = driver.unsent("lapsed", first.token);
  expect(records).toMatchObject([
    { kind: "lapsed", offsets: [0] },
    { kind: "delivered", offsets: [1] },
  ]);
  expect(sends).toMatchObject([{ kind: "deliver", deliveries: [{ offset: 1 }] }]);
  expect(driver.ack(consumer, first.token).reply).toMatchObject({ stale: [first.token] });
  expect(groupOf(driver)).toMatchObject({ lapsed: 1, expired: 0, leased: 1, lag: 1 });
  driver.crash();
  expect(groupOf(driver)).toMatchObject({ lapsed: 1, lag: 1 });
  expect(adminValue(driver.ask({ type: "stats" }).reply)).toMatchObject({ lapsed: 1 });
});

test("what was given back or settled before it was found too old is left alone", () => {
  const { driver, producer, consumer } = shop();
  driver.send(producer, "s1", timed("orders", { id: "m1", ttlMs: 1_000 }));
  const { token } = only(driver.credit(consumer, 1));
  driver.disconnect(consumer);
  expect(driver.unsent("lapsed", token).records).toEqual([]);
  expect(groupOf(driver)).toMatchObject({ lapsed: 0, ready: 1 });
});

test.each(["lapsed", "unreadable"] as const)(
  "a consumer that was never sent what it had credit for gets the next message: %s, and skipped meanwhile",
  (kind) => {
    const { driver, producer, consumer } = shop();
    driver.send(producer, "s1", timed("orders", { id: "m1", ttlMs: 1_000 }));
    driver.send(producer, "s2", message("orders"));
    const { token } = only(driver.credit(consumer, 1, 4));
    driver.ask({ type: "group.skip", group: "billing", topic: "orders", offsets: [0], ...audit });
    expect(only(deliveriesOf(driver.unsent(kind, token))).offset).toBe(1);
  },
);

test("credit of a subscription that has ended is not given to the next one of its number", () => {
  const { driver, producer, consumer } = shop();
  driver.send(producer, "s1", timed("orders", { id: "m1", ttlMs: 1_000 }));
  const { token } = only(driver.credit(consumer, 1));
  driver.request(consumer, { type: "unsubscribe", subscription: 1 });
  const topics = [{ topic: "orders" }];
  driver.request(consumer, { type: "subscribe", subscription: 1, group: "billing", topics });
  expect(deliveriesOf(driver.unsent("lapsed", token))).toEqual([]);
});

test("a dead letter has no time to live", () => {
  const { driver, producer, consumer } = shop();
  driver.send(producer, "s1", timed("orders", { id: "m1", ttlMs: 1_000 }));
  const { token } = only(driver.credit(consumer, 1));
  expect(codeOf(driver.request(consumer, { type: "bury", token, reason: "bad" }).reply)).toBe("ok");
  const reader = driver.consumer("support", "%DLQ%billing");
  const frame = { type: "credit", subscription: 1, messages: 1, bytes: 1_000 } as const;
  expect(driver.step({ kind: "frame", from: reader, frame }).sends).toMatchObject([
    { kind: "deliver", hasTtl: false },
  ]);
});
