/** A broker process for the bench, with its own CPU time on request. */
import { createBroker } from "@escrowmq/broker";
import { connectAdmin } from "@escrowmq/protocol/client";

const { dataDir } = JSON.parse(process.argv[2]);
const broker = await createBroker({ dataDir, port: 0, logLevel: "warn" });
const admin = await connectAdmin({ url: broker.url });
await admin.request("topic.create", { topic: "orders" });
process.on("message", async ({ kind }) => {
  if (kind === "usage") {
    const { user, system } = process.cpuUsage();
    process.send({
      kind: "usage",
      cpuMs: (user + system) / 1000,
      stats: await admin.request("stats", {}),
    });
  }
  if (kind === "stop") {
    await admin.close();
    await broker.close();
    process.disconnect();
  }
});
process.send({ kind: "ready", url: broker.url });
