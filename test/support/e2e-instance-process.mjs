/**
 * A broadcast instance in a process of its own: takes what it is given from the topic `orders`, says so, and acks
 * it, but for the message whose body is "hang". Arguments: url, group, instance.
 */
import { createConsumer } from "@escrowmq/consumer";

const [url, group, instance] = process.argv.slice(2);
const consumer = await createConsumer({
  url,
  group,
  broadcast: { instance },
  subscribe: [{ topic: "orders" }],
  concurrency: 1,
  onGap: ({ lost }) => process.stdout.write(`gap ${lost}\n`),
});
process.stdout.write("here\n");
await consumer.run(async (message) => {
  process.stdout.write(`took ${message.text()} ${message.attempt}\n`);
  if (message.json() === "hang") await new Promise(() => undefined);
});
