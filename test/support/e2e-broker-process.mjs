/**
 * A broker in a process of its own, with the options that the only argument holds as JSON. On SIGUSR2 it says for
 * how long at most its event loop stood still since the last time, and what it holds.
 */
import { monitorEventLoopDelay } from "node:perf_hooks";
import { createBroker } from "@escrowmq/broker";
import "./kill-points.mjs";

const broker = await createBroker(JSON.parse(process.argv[2]));
const delays = monitorEventLoopDelay({ resolution: 2 });
process.on("SIGUSR2", () => {
  const stallMs = delays.max / 1e6;
  delays.reset();
  delays.enable();
  globalThis.gc?.();
  const { rss, heapUsed } = process.memoryUsage();
  process.stdout.write(`watch ${JSON.stringify({ stallMs, rss, heapUsed })}\n`);
});

process.once("SIGTERM", async () => {
  await broker.close();
  process.exit(0);
});
// Last: who reads it may send a signal at once.
process.stdout.write(`ready ${broker.url}\n`);
const error = await broker.failed;
process.stderr.write(`failed ${error.message}\n`);
process.exit(75);
