/** Refusals as cases: the code, when it is given, and that nothing changed. */
import { expect, test } from "vitest";
import type { Policy } from "../../broker/src/core/policy.ts";
import { codeOf, Driver, message, only, type Reply } from "./sim-driver.ts";

export interface Refusal {
  readonly code: string;
  readonly when: string;
  readonly policy?: Partial<Policy>;
  /** Sets the stage, and returns the request that is refused. */
  readonly given: (driver: Driver) => () => { readonly reply: Reply };
}

export const audit = { operator: "ann", reason: "test" } as const;
export const orders = message("orders");

export const shopWithTransaction = (driver: Driver): number => {
  driver.topic("orders");
  const producer = driver.producer("shop");
  driver.prepare(producer, "t1", { messages: [orders] });
  return producer;
};

export const billingWithDelivery = (driver: Driver): { consumer: number; token: string } => {
  driver.topic("orders");
  const consumer = driver.consumer("billing", "orders");
  driver.send(driver.connect(), "s1", orders);
  return { consumer, token: only(driver.credit(consumer, 1)).token };
};

export function testRefusals(cases: readonly Refusal[]): void {
  test.each(cases)("$code when $when, and nothing changes", ({ code, policy, given }) => {
    const driver = new Driver(policy);
    const refusedRequest = given(driver);
    const before = driver.saved();
    const blocks = driver.blocks.length;
    expect(codeOf(refusedRequest().reply)).toBe(code);
    expect(driver.saved()).toEqual(before);
    expect(driver.blocks.length).toBe(blocks);
  });
}
