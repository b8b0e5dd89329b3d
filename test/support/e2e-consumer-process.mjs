/**
 * A consumer in a process of its own: takes what it is given, says so, acks the first ones, and never finishes any
 * other. Arguments: url, group, concurrency, what it subscribes to as JSON (the topic `orders`), how many it acks (0).
 */
import { createConsumer } from "@escrowmq/consumer";

const [url, group, concurrency, topics, acks = "0"] = process.argv.slice(2);
const consumer = await createConsumer({
  url,
  group,
  subscribe: topics === undefined ? [{ topic: "orders" }] : JSON.parse(topics),
  concurrency: Number(concurrency),
});
let taken = 0;
await consumer.run(async (message) => {
  process.stdout.write(`took ${message.topic} ${message.offset}\n`);
  if (++taken > Number(acks)) await new Promise(() => undefined);
});
