/** Keeps `inFlight` sends or transactions under way for some seconds, and tells how many were durable. */
import { createProducer } from "@escrowmq/producer";

const { url, mode, bytes, inFlight, seconds } = JSON.parse(process.argv[2]);
const producer = await createProducer({ url, group: "bench", onCheck: () => "commit" });
const body = new Uint8Array(bytes).fill(120);
const times = [];
let count = 0;

const once = {
  send: () => producer.send({ topic: "orders", body }),
  deliver: () => producer.send({ topic: "orders", body }),
  transact: () => producer.transaction((tx) => tx.prepare([{ topic: "orders", body }])),
}[mode];

async function lane(untilMs) {
  while (performance.now() < untilMs) {
    const startMs = performance.now();
    await once();
    count++;
    if (count % 16 === 0) times.push(performance.now() - startMs);
  }
}

process.on("message", async ({ kind }) => {
  if (kind === "stop") {
    await producer.close();
    process.disconnect();
  }
  if (kind !== "start") return;
  try {
    const before = process.cpuUsage();
    const untilMs = performance.now() + seconds * 1000;
    await Promise.all(Array.from({ length: inFlight }, () => lane(untilMs)));
    times.sort((a, b) => a - b);
    const at = (share) => times[Math.floor(times.length * share)] ?? 0;
    const { user, system } = process.cpuUsage(before);
    process.send({
      kind: "done",
      count,
      p50Ms: at(0.5),
      p99Ms: at(0.99),
      cpuMs: (user + system) / 1000,
    });
  } catch (error) {
    process.send({ kind: "fault", text: String(error?.stack ?? error) });
  }
});
process.send({ kind: "ready" });
