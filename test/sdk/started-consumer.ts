/** A consumer of a fake broker, and what it said there. */
import {
  type Consumer,
  type ConsumerOptions,
  createConsumer,
} from "../../consumer-sdk/src/index.ts";
import { type FakeBroker, url } from "./fake-broker.ts";

export async function start<T>(
  broker: FakeBroker,
  options: Partial<ConsumerOptions> = {},
): Promise<Consumer<T>> {
  const starting = createConsumer(
    { url, group: "billing", subscribe: [{ topic: "orders" }], concurrency: 2, ...options },
    broker.environment,
  );
  await broker.settle();
  return (await starting) as Consumer<T>;
}

export const tokensOf = (broker: FakeBroker, type: "ack" | "release" | "extend"): string[] =>
  broker.received(type).flatMap(({ tokens }) => tokens);
