/**
 * A producer in a process of its own: prepares one transaction for the topic `orders`, says so, and never
 * decides it. Arguments: url, group, checkAfterMs, and a key if its message is to have one, which is reserved then.
 * It answers no check: whoever asks it waits.
 */
import { createProducer } from "@escrowmq/producer";

const [url, group, checkAfterMs, key] = process.argv.slice(2);
const never = new Promise(() => undefined);
const producer = await createProducer({ url, group, onCheck: () => never });
await producer.transaction(
  async (tx) => {
    await tx.prepare([{ topic: "orders", key, body: { from: "the one that died" } }]);
    process.stdout.write(`prepared ${tx.id}\n`);
    await never;
  },
  { checkAfterMs: Number(checkAfterMs), reserveKeys: key !== undefined },
);
