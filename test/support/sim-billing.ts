/** The stage of most delivery tests: a topic "orders", and a consumer of the group "billing". */
import type { Policy } from "../../broker/src/core/policy.ts";
import type { Delivery } from "../../broker/src/core/types.ts";
import { Driver, type Effects, message, type Reply } from "./sim-driver.ts";

export const MINUTE = 60_000;
export const audit = { operator: "ann", reason: "test" } as const;

/** A topic with `count` messages, and one consumer of "billing". */
export function billing(
  count: number,
  policy: Partial<Policy> = {},
): { driver: Driver; consumer: number } {
  const driver = new Driver(policy);
  driver.topic("orders");
  const consumer = driver.consumer("billing", "orders");
  fill(driver, "orders", count);
  return { driver, consumer };
}

let lastSend = 0;
export function fill(driver: Driver, topic: string, count: number, body = "body"): void {
  const producer = driver.connect();
  for (let at = 0; at < count; at++) driver.send(producer, `s${lastSend++}`, message(topic, body));
  driver.disconnect(producer);
}

export const offsetsOf = (deliveries: readonly Delivery[]): number[] =>
  deliveries.map(({ offset }) => offset);
export const tokensOf = (deliveries: readonly Delivery[]): string[] =>
  deliveries.map(({ token }) => token);

export function retry(
  driver: Driver,
  from: number,
  token: string,
  delayMs?: number,
): Effects & { readonly reply: Reply } {
  const delay = delayMs === undefined ? {} : { delayMs };
  return driver.request(from, { type: "retry", token, reason: "no database", ...delay });
}

export const release = (
  driver: Driver,
  from: number,
  ...tokens: string[]
): Effects & { readonly reply: Reply } => driver.request(from, { type: "release", tokens });
