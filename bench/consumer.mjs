/** Acknowledges everything as it comes, and says when as many as were sent have come. */
import { createConsumer } from "@escrowmq/consumer";

const { url, inFlight } = JSON.parse(process.argv[2]);
const consumer = await createConsumer({
  url,
  group: "bench",
  subscribe: [{ topic: "orders" }],
  concurrency: inFlight,
});
let seen = 0;
let expected = Number.POSITIVE_INFINITY;

const look = () => {
  if (seen >= expected) {
    const { user, system } = process.cpuUsage();
    process.send({ kind: "done", count: seen, cpuMs: (user + system) / 1000 });
  }
};

consumer
  .run(async () => {
    seen++;
    if (seen >= expected) look();
  })
  .catch((error) => process.send({ kind: "fault", text: String(error?.stack ?? error) }));

process.on("message", async ({ kind, count }) => {
  if (kind === "expect") {
    expected = count;
    look();
  }
  if (kind === "stop") {
    await consumer.drain({ timeoutMs: 5_000 });
    process.disconnect();
  }
});
process.send({ kind: "ready" });
