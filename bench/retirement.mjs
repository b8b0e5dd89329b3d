/**
 * `npm run bench:retirement`: what senders feel while the disk gets 1 GB back. See README.md.
 *
 * A topic is filled, and another one gets a steady load: before, while the first one is retired, and after.
 * Latency counts from the moment at which a send was due (load.mjs, L1).
 *
 * Invariant: the load of the phase in the middle begins before the retirement and ends after it, or the run
 * does not count: calm seconds must not dilute it, so the phases are short.
 */
import { mkdirSync, readdirSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { createAdmin } from "@escrowmq/protocol/client";
import { BROKER_FLAGS } from "./broker-flags.mjs";
import { nowMs, paused } from "./clock.mjs";
import { merged } from "./histogram.mjs";
import { machineCpuMs, machineLine, machineOf, syncMs } from "./machine.mjs";
import { killAll, Process } from "./process.mjs";
import { spread } from "./statistics.mjs";
import { scratch } from "./suite.mjs";

/** Two segments of 512 MiB, and what a start still needs behind them: two checkpoints, 256 MiB apart. */
const FILL_BYTES = 1_900_000_000;
const RETIRED_BYTES_MIN = 1_000_000_000;
const BYTES = 1024;
const FILL_IN_FLIGHT = 1000;
/** After the filling, until LevelDB has tidied up. */
const SETTLE_MS = 4_000;
const LEAD_MS = 100;
const RETIRED_WITHIN_MS = 60_000;
const RATIO_MAX = 1.5;

const { values } = parseArgs({
  options: {
    rate: { type: "string", default: "2000" },
    seconds: { type: "string", default: "7" },
    runs: { type: "string", default: "3" },
    dir: { type: "string", default: tmpdir() },
    json: { type: "boolean", default: false },
  },
});
const [ratePerSecond, seconds, runs] = [values.rate, values.seconds, values.runs].map(Number);

const say = (text) => console.error(text);
const settings = { bytes: BYTES, producers: 1, connections: 1, topics: 1, operation: "send" };
const FILL = { ...settings, name: "old", inFlight: FILL_IN_FLIGHT, ratePerSecond: null };
const LOAD = { ...settings, name: "new", inFlight: 1, ratePerSecond };

async function startProducer(url, scenario) {
  const task = { adapter: "escrowmq", addresses: { escrowmq: { url } }, scenario };
  const producer = new Process("producer", task);
  await producer.answer("ready");
  return producer;
}

/** One phase of load; resolves with its latencies. */
async function load(producer, plan = {}) {
  const startMs = nowMs() + LEAD_MS;
  const done = producer.answer("done", 600_000);
  producer.tell("run", { startMs, untilMs: startMs + seconds * 1000, ...plan });
  const { latency, failures } = await done;
  if (Object.keys(failures).length > 0)
    throw new Error(`sends failed: ${JSON.stringify(failures)}`);
  return latency;
}

/** Tells how long it took until the files were gone, and how many bytes of blocks they held. */
async function retire(url, dataDir) {
  const admin = await createAdmin({ url });
  try {
    const before = (await admin.request("stats", {})).storeBytes;
    const startMs = nowMs();
    await admin.request("topic.update", { topic: "old-0", retentionBytes: 1 });
    const segments = join(dataDir, "segments");
    const first = readdirSync(segments).sort()[0];
    const isThere = () => readdirSync(segments).some((name) => name.startsWith(first));
    const isRemoving = () => readdirSync(segments).some((name) => name.endsWith(".retired"));
    while (isThere() || isRemoving()) {
      if (nowMs() - startMs > RETIRED_WITHIN_MS) throw new Error("the segments did not go");
      await paused(20);
    }
    const ms = nowMs() - startMs;
    return { ms, bytes: before - (await admin.request("stats", {})).storeBytes };
  } finally {
    await admin.close();
  }
}

async function run(folder) {
  const dataDir = join(folder, "escrowmq");
  mkdirSync(dataDir);
  const broker = new Process("broker", { dataDir, topics: ["old-0", "new-0"] }, BROKER_FLAGS);
  try {
    const { url } = await broker.answer("ready");
    const filler = await startProducer(url, FILL);
    const operationsMax = Math.ceil(FILL_BYTES / BYTES);
    await load(filler, { untilMs: nowMs() + 600_000, operationsMax });
    await filler.stop();
    await paused(SETTLE_MS);
    const producer = await startProducer(url, LOAD);
    await load(producer);
    const used = await usedSoFar(broker);
    const before = await load(producer);
    const [during, retired] = await Promise.all([load(producer), retireSoon(url, dataDir)]);
    await paused(SETTLE_MS / 4);
    const after = await load(producer);
    const otherCores = await othersSince(used, broker);
    await producer.stop();
    if (retired.bytes < RETIRED_BYTES_MIN) throw new Error(`only ${retired.bytes} bytes went`);
    if (retired.ms > seconds * 1000) throw new Error(`it took ${retired.ms} ms: raise --seconds`);
    return { calm: merged([before, after]).plain, during, retired, otherCores };
  } finally {
    await broker.stop();
    rmSync(dataDir, { recursive: true, force: true });
  }
}

/** CPU time in ms of the whole machine, and of what is measured. */
async function usedSoFar(broker) {
  const { cpuMs } = await broker.ask("usage");
  return { atMs: nowMs(), machineMs: machineCpuMs(), ownMs: cpuMs + ownCpuMs() };
}

/** Cores that programs outside of the measurement have taken; the producer's share is among them. */
async function othersSince(before, broker) {
  const after = await usedSoFar(broker);
  const ownMs = after.ownMs - before.ownMs;
  return (after.machineMs - before.machineMs - ownMs) / (after.atMs - before.atMs);
}

const ownCpuMs = () => {
  const { user, system } = process.cpuUsage();
  return (user + system) / 1000;
};

/** Once the load has begun. */
async function retireSoon(url, dataDir) {
  await paused(LEAD_MS * 2);
  return await retire(url, dataDir);
}

const p99Ms = (plains) => merged(plains).summary.p99Ms;
const ratioOf = (measured) =>
  p99Ms(measured.map(({ during }) => during)) / p99Ms(measured.map(({ calm }) => calm));

function lineOf(title, measured) {
  const calm = merged(measured.map((one) => one.calm)).summary;
  const during = merged(measured.map((one) => one.during)).summary;
  const [megabytes, secondsTaken] = [1e6, 1e3].map((unit, at) =>
    measured.map(({ retired }) => (at === 0 ? retired.bytes : retired.ms) / unit),
  );
  const quantiles = ({ p50Ms, p99Ms: ninetyNine, maxMs }) =>
    [p50Ms, ninetyNine, maxMs].map((ms) => ms.toFixed(2)).join(" / ");
  const freed = `${spread(megabytes).median.toFixed(0)} MB in ${spread(secondsTaken).median.toFixed(1)} s`;
  return `${title}: calm ${quantiles(calm)} ms, while ${freed} were freed ${quantiles(during)} ms (p50 / p99 / max); p99 ${ratioOf(measured).toFixed(2)} times the calm one; ${spread(measured.map((one) => one.otherCores)).median.toFixed(2)} cores for the sender and other programs`;
}

for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"]) process.once(signal, () => process.exit(1));

try {
  const { folder, remove } = scratch(values.dir, "escrowmq-retirement");
  process.once("exit", () => {
    killAll();
    remove();
  });
  const machine = machineOf();
  const measured = [];
  const syncs = [];
  for (let number = 1; number <= runs; number++) {
    syncs.push(syncMs(folder));
    measured.push(await run(folder));
    say(lineOf(`run ${number}`, measured.slice(-1)));
  }
  const ratio = ratioOf(measured);
  if (values.json)
    console.log(
      JSON.stringify({ machine, ratio, syncs, retired: measured.map((one) => one.retired) }),
    );
  else
    console.log(
      `${machineLine(machine, syncs)}\n${lineOf(`${runs} run(s), ${ratePerSecond} sends a second of ${BYTES} B`, measured)}`,
    );
  if (ratio > RATIO_MAX) say(`More than ${RATIO_MAX} times the calm one.`);
} catch (error) {
  say(error.message);
  process.exitCode = 1;
}
