/**
 * The first measurement: broker, one producer and one consumer process on one machine, 1 KiB bodies,
 * 1,000 in flight, every block synced. Closed loop; the LevelDB ceiling is measured in the same run.
 *
 *   npm run bench                         all modes
 *   npm run bench -- --mode transact      one mode: send, deliver, transact
 *   npm run bench -- --seconds 10 --runs 5 --json
 */
import { fork } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { cpus, tmpdir } from "node:os";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { levelCeiling, syncLatency } from "./ceiling.mjs";

const { values } = parseArgs({
  options: {
    mode: { type: "string" },
    seconds: { type: "string", default: "5" },
    runs: { type: "string", default: "3" },
    bytes: { type: "string", default: "1024" },
    "in-flight": { type: "string", default: "1000" },
    dir: { type: "string", default: tmpdir() },
    json: { type: "boolean", default: false },
  },
});
const seconds = Number(values.seconds);
const runs = Number(values.runs);
const bytes = Number(values.bytes);
const inFlight = Number(values["in-flight"]);
const modes = values.mode === undefined ? ["send", "deliver", "transact"] : [values.mode];

const TITLES = {
  ceiling: "LevelDB alone: 100 messages a block, synced",
  send: "durable sends",
  deliver: "send + deliver + ack",
  transact: "full transactions (prepare, commit, deliver, ack)",
};

const folder = mkdtempSync(join(values.dir, "escrow-bench-"));
try {
  const sync = await syncLatency(folder);
  const results = {
    machine: { cpu: cpus()[0]?.model, cores: cpus().length, node: process.version, syncMs: sync },
  };
  results.ceiling = await repeat(() => levelCeiling(folder, bytes, seconds / 2));
  for (const mode of modes)
    results[mode] = await repeat((run) => measure(mode, join(folder, `${mode}-${run}`)));
  if (values.json) console.log(JSON.stringify(results, null, 2));
  else print(results);
} finally {
  rmSync(folder, { recursive: true, force: true });
}

async function repeat(once) {
  const figures = [];
  for (let run = 0; run < runs; run++) figures.push(await once(run));
  const rates = figures.map(({ rate }) => rate);
  return { median: median(rates), min: Math.min(...rates), max: Math.max(...rates), runs: figures };
}

/** One run: fresh broker, fresh data. */
async function measure(mode, dataDir) {
  // As `npm start` does: fewer, larger collections of what lives for one block only.
  const broker = worker("broker.mjs", { dataDir }, ["--max-semi-space-size=64"]);
  const { url } = await answer(broker, "ready");
  const clients = [worker("producer.mjs", { url, mode, bytes, inFlight, seconds })];
  if (mode !== "send") clients.push(worker("consumer.mjs", { url, inFlight }));
  await Promise.all(clients.map((client) => answer(client, "ready")));
  const cpuBefore = await usage(broker);
  const startMs = performance.now();
  for (const client of clients) client.send({ kind: "start" });
  const produced = await answer(clients[0], "done");
  let consumed = { cpuMs: 0 };
  if (clients[1] !== undefined) {
    clients[1].send({ kind: "expect", count: produced.count });
    consumed = await answer(clients[1], "done");
  }
  const elapsed = (performance.now() - startMs) / 1000;
  const cpuAfter = await usage(broker);
  const { stats } = cpuAfter;
  for (const child of [...clients, broker]) child.send({ kind: "stop" });
  await Promise.all([...clients, broker].map(exited));
  rmSync(dataDir, { recursive: true, force: true });
  return {
    rate: produced.count / elapsed,
    count: produced.count,
    p50Ms: produced.p50Ms,
    p99Ms: produced.p99Ms,
    brokerCpu: (cpuAfter.cpuMs - cpuBefore.cpuMs) / 1000 / elapsed,
    diskShare: (cpuAfter.diskS - cpuBefore.diskS) / elapsed,
    diskMs:
      ((cpuAfter.diskS - cpuBefore.diskS) / (cpuAfter.stats.blocks - cpuBefore.stats.blocks)) *
      1000,
    producerCpu: produced.cpuMs / 1000 / elapsed,
    consumerCpu: consumed.cpuMs / 1000 / elapsed,
    blocks: stats.blocks,
    messagesPerBlock: produced.count / stats.blocks,
    rssMb: stats.rssBytes / 1e6,
  };
}

function worker(file, options, flags = []) {
  // BENCH_EXEC_ARGV="--cpu-prof" leaves a profile of each process.
  const more = (process.env.BENCH_EXEC_ARGV ?? "").split(" ").filter((word) => word !== "");
  const execArgv = [...flags, ...more];
  return fork(new URL(file, import.meta.url), [JSON.stringify(options)], {
    serialization: "advanced",
    execArgv,
  });
}

function answer(child, kind) {
  return new Promise((resolve, reject) => {
    const onMessage = (message) => {
      if (message.kind === "fault") reject(new Error(message.text));
      if (message.kind !== kind) return;
      child.off("message", onMessage);
      resolve(message);
    };
    child.on("message", onMessage);
    child.once("exit", (code) => reject(new Error(`${child.spawnargs[1]} ended with ${code}`)));
  });
}

async function usage(broker) {
  const reply = answer(broker, "usage");
  broker.send({ kind: "usage" });
  return await reply;
}

function exited(child) {
  return child.exitCode === null
    ? new Promise((resolve) => child.once("exit", resolve))
    : undefined;
}

function print(results) {
  const { cpu, cores, node, syncMs } = results.machine;
  console.log(
    `\n${cores} cores (${cpu}), Node ${node}; one 4 KiB write + fdatasync takes ${syncMs.toFixed(2)} ms (median)`,
  );
  console.log(
    `${bytes} B bodies, ${inFlight} in flight, one producer and one consumer process, ${runs} runs of ${seconds} s, fsync on\n`,
  );
  console.log(
    `${"what".padEnd(52)} ${"per second".padStart(10)}  min – max          share of LevelDB`,
  );
  for (const name of ["ceiling", ...modes]) {
    const { median: middle, min, max, runs: all } = results[name];
    const share = `${Math.round((middle / results.ceiling.median) * 100)} %`;
    console.log(
      `${TITLES[name].padEnd(52)} ${number(middle).padStart(10)}  ${number(min)} – ${number(max)}`.padEnd(
        84,
      ) + share,
    );
    if (name === "ceiling") continue;
    const one = all[0];
    console.log(
      `  ${"".padEnd(50)} p50 ${one.p50Ms.toFixed(1)} ms, p99 ${one.p99Ms.toFixed(1)} ms; ` +
        `${one.messagesPerBlock.toFixed(0)} a block; cores: broker ${one.brokerCpu.toFixed(2)}, ` +
        `producer ${one.producerCpu.toFixed(2)}, consumer ${one.consumerCpu.toFixed(2)}; broker ${one.rssMb.toFixed(0)} MB; ` +
        `a block takes ${one.diskMs.toFixed(1)} ms, ${Math.round(one.diskShare * 100)} % of the time`,
    );
  }
}

function median(numbers) {
  return [...numbers].sort((a, b) => a - b)[Math.floor(numbers.length / 2)];
}

function number(value) {
  return Math.round(value).toLocaleString("en").replaceAll(",", " ");
}
