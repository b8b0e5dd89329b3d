/**
 * A consumer in a process of its own: takes what it is given from the topic `orders`, says so, and never
 * finishes any of it. Arguments: url, group, concurrency, filter (none).
 */
import { createConsumer } from "@escrowmq/consumer";

const [url, group, concurrency, filter] = process.argv.slice(2);
const consumer = await createConsumer({
  url,
  group,
  subscribe: [{ topic: "orders", filter }],
  concurrency: Number(concurrency),
});
await consumer.run(async (message) => {
  process.stdout.write(`took ${message.id}\n`);
  await new Promise(() => undefined);
});
