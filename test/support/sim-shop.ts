/** The stage of the check-back tests: a topic "orders", and a producer of the group "shop" that answers. */
import type { Policy } from "../../broker/src/core/policy.ts";
import { adminValue, Driver, message } from "./sim-driver.ts";

export const MINUTE = 60_000;
export const messages = [message("orders")];
export const audit = { operator: "ann", reason: "test" } as const;

export function shop(policy: Partial<Policy> = {}): { driver: Driver; producer: number } {
  const driver = new Driver(policy);
  driver.topic("orders");
  return { driver, producer: driver.producer("shop") };
}

export const stateOf = (driver: Driver, transactionId: string): unknown =>
  adminValue(driver.ask({ type: "tx.show", transactionId }).reply).state;
