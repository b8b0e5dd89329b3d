/** EscrowMQ's broker in a process of its own, with what it used on request. */
import { createBroker } from "@escrowmq/broker";
import { createAdmin } from "@escrowmq/protocol/client";
import { cpuMs, fault, listen, task, tell } from "./parent.mjs";

let broker;
let admin;

/** Seconds spent waiting for blocks to be on disk. */
async function diskSeconds() {
  const response = await fetch(`${broker.url.replace("ws:", "http:")}/metrics`);
  return Number(/escrowmq_block_write_seconds_sum (\S+)/.exec(await response.text())?.[1]);
}

listen({
  async usage() {
    const used = cpuMs();
    const { blocks, rssBytes } = await admin.request("stats", {});
    tell("usage", { cpuMs: used, blocks, rssBytes, diskSeconds: await diskSeconds() });
  },
  async stop() {
    await admin?.close();
    await broker?.close();
  },
});

try {
  broker = await createBroker({ dataDir: task.dataDir, port: 0, logLevel: "warn" });
  admin = await createAdmin({ url: broker.url });
  for (const topic of task.topics) await admin.request("topic.create", { topic });
  tell("ready", { url: broker.url });
} catch (error) {
  fault(error);
}
