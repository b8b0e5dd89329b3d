/** A broker process for the bench, with its own CPU time on request. */
import { createBroker } from "@escrowmq/broker";
import { connectAdmin } from "@escrowmq/protocol/client";

const { dataDir } = JSON.parse(process.argv[2]);
const broker = await createBroker({ dataDir, port: 0, logLevel: "warn" });
const admin = await connectAdmin({ url: broker.url });
await admin.request("topic.create", { topic: "orders" });
/** Seconds spent waiting for blocks to be on disk. */
async function diskSeconds() {
  const response = await fetch(`${broker.url.replace("ws:", "http:")}/metrics`);
  return Number(/escrowmq_block_write_seconds_sum (\S+)/.exec(await response.text())?.[1]);
}

process.on("message", async ({ kind }) => {
  if (kind === "usage") {
    const { user, system } = process.cpuUsage();
    process.send({
      kind: "usage",
      cpuMs: (user + system) / 1000,
      stats: await admin.request("stats", {}),
      diskS: await diskSeconds(),
    });
  }
  if (kind === "stop") {
    await admin.close();
    await broker.close();
    process.disconnect();
  }
});
process.send({ kind: "ready", url: broker.url });
