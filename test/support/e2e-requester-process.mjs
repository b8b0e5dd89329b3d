/**
 * A requester in a process of its own: asks by two messages to the topic `orders`, says so when both are on
 * disk, and waits for the replies. Arguments: url, timeoutMs.
 */

import { createProducer } from "@escrowmq/producer";
import { createAdmin } from "@escrowmq/protocol/client";

const [url, timeoutMs] = process.argv.slice(2);
const producer = await createProducer({ url, group: "web" });
const admin = await createAdmin({ url });
const ask = (body) =>
  producer.request({ topic: "orders", body, timeoutMs: Number(timeoutMs) }).catch(() => undefined);
const asked = Promise.all([ask(1), ask(2)]);
while ((await admin.request("topic.describe", { topic: "orders" })).nextOffset < 2);
process.stdout.write("asked\n");
await asked;
