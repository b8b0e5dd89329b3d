/** Delivery: credit, leases, and the ways a delivery ends (D3 to D7, D10). */
import { describe, expect, test } from "vitest";
import { billing, fill, MINUTE, offsetsOf, release, retry } from "../support/sim-billing.ts";
import { codeOf, deliveriesOf, only } from "../support/sim-driver.ts";

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
    expect(offsetsOf(deliveriesOf(driver.unsent("unreadable", token)))).toEqual([1]);
    expect(codeOf(retry(driver, consumer, token).reply)).toBe("STALE_DELIVERY");
    driver.credit(consumer, 1);
    const later = only(deliveriesOf(driver.advance(MINUTE)));
    expect(later).toMatchObject({ offset: 0, attempt: 1 });
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

  test("what is settled leaves nothing behind: no lease, no alarm", () => {
    const { driver, consumer } = billing(3);
    const [first, second, third] = driver.credit(consumer, 3).map(({ token }) => token);
    const { alarms, connections } = driver.engine.core;
    const leased = connections.get(consumer).subscriptions.get(1)?.leased;
    expect([alarms.size, leased?.size]).toEqual([3, 3]);
    driver.ack(consumer, first ?? "");
    driver.request(consumer, { type: "bury", token: second ?? "", reason: "no" });
    expect([alarms.size, leased?.size]).toEqual([1, 1]);
    retry(driver, consumer, third ?? "");
    expect([alarms.size, leased?.size]).toEqual([1, 0]);
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
    expect(only(driver.credit(again, 1))).toMatchObject({ offset: 0, attempt: 1 });
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
