/** Acks that are part of a transaction share its fate (T9). */
import { describe, expect, test } from "vitest";
import { billing, MINUTE, retry } from "../support/sim-billing.ts";
import { codeOf, type Driver, deliveriesOf, only } from "../support/sim-driver.ts";

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
    expect(again).toMatchObject({ offset: 0, attempt: 1 });
    expect(driver.engine.core.state.cursors.get(1)?.entry(0)?.failures).toBe(0);
  });

  test("make the token worthless for anything else", () => {
    const { driver, consumer, token } = joined();
    expect(driver.ack(consumer, token).reply).toMatchObject({ stale: [token] });
    expect(codeOf(retry(driver, consumer, token).reply)).toBe("STALE_DELIVERY");
  });
});
