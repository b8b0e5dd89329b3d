/**
 * How long a broker takes to open a store with much in hand, and the memory it then has.
 *
 *   npm run build && node bench/restart.mjs --ready 10000000 --undecided 1000000 --waiting 1000000 --scheduled 1000000
 *
 * The store is filled by the engine itself, without sockets. Then broker processes are started on it:
 * without a checkpoint (a replay of everything), after SIGTERM (a checkpoint), and after SIGKILL with
 * `--tail` more messages since the checkpoint. `--keep dir` leaves the filled store there, or uses it.
 */
import { spawn } from "node:child_process";
import { existsSync, readFileSync } from "node:fs";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { openLevelStore } from "../broker/dist/store/level-store.js";
import { BROKER_FLAGS } from "./broker-flags.mjs";
import {
  deliverAll,
  EngineDriver,
  GROUPS,
  prepare,
  retry,
  schedule,
  send,
} from "./engine-driver.mjs";

const { values: options } = parseArgs({
  options: {
    ready: { type: "string", default: "1000000" },
    undecided: { type: "string", default: "100000" },
    waiting: { type: "string", default: "100000" },
    scheduled: { type: "string", default: "100000" },
    tail: { type: "string", default: "1000000" },
    dir: { type: "string", default: tmpdir() },
    keep: { type: "string" },
    node: { type: "string", default: BROKER_FLAGS.join(" ") },
  },
});
const READY = Number(options.ready);
const UNDECIDED = Number(options.undecided);
const WAITING = Number(options.waiting);
const SCHEDULED = Number(options.scheduled);
const BROKER = join(import.meta.dirname, "../cli/dist/main.js");
const WRITE_AHEAD = 64;

const dataDir = options.keep ?? (await mkdtemp(join(options.dir, "escrow-restart-")));
if (!existsSync(join(dataDir, "escrowmq.json"))) await fill();
for (const of of ["checkpoints", "packs"])
  await rm(join(dataDir, of), { recursive: true, force: true });
await restart("no checkpoint", "SIGTERM");
await restart("after SIGTERM", "SIGKILL");
await addTail();
await restart("after SIGKILL", "SIGKILL");
if (options.keep === undefined) await rm(dataDir, { recursive: true });

async function fill() {
  const startMs = performance.now();
  const blocks = [];
  const store = await openLevelStore(dataDir);
  for await (const _ of store.recover());
  // Of today: what is scheduled must not be due when the broker starts.
  const driver = new EngineDriver({ nowMs: Date.now(), sealed: (block) => blocks.push(block) });
  driver.createTopic("orders");
  driver.createTopic("half");
  driver.subscribe("billing", "orders");
  for (let at = 0; at < READY + WAITING; at += 100) {
    send(driver, 100);
    if (blocks.length > WRITE_AHEAD) await write();
  }
  for (let at = 0; at < UNDECIDED; at++) {
    prepare(driver, 1, undefined, GROUPS[at % 2], "half");
    if (blocks.length > WRITE_AHEAD) await write();
  }
  for (let at = 0; at < SCHEDULED; at += 100) {
    schedule(driver, 100, 30 * 86_400_000);
    if (blocks.length > WRITE_AHEAD) await write();
  }
  for (let left = WAITING; left > 0; left -= 10_000) {
    for (const token of deliverAll(driver, Math.min(left, 10_000))) retry(driver, token, 3_600_000);
    await write();
  }
  driver.seal();
  await write();
  await store.close();
  const seconds = ((performance.now() - startMs) / 1_000).toFixed(0);
  console.log(
    `filled in ${seconds} s: ${READY} ready, ${UNDECIDED} undecided, ${WAITING} waiting, ${SCHEDULED} scheduled`,
  );

  async function write() {
    for (const block of blocks.splice(0)) await store.append(block);
  }
}

/** What was written since the checkpoint: the part that a kill leaves to be replayed. */
async function addTail() {
  const store = await openLevelStore(dataDir);
  let number = 0;
  let atMs = 0;
  for await (const item of store.recover())
    if (item.kind === "block") ({ number, atMs } = item.block);
    else number = item.block;
  atMs = Math.max(atMs, (await store.readBlock(number)).atMs);
  const blocks = [];
  // An engine of its own makes the records; only their block numbers must follow.
  const driver = new EngineDriver({ nowMs: atMs, sealed: (block) => blocks.push(block) });
  driver.createTopic("orders");
  blocks.length = 0;
  for (let at = 0; at < Number(options.tail); at += 100) send(driver, 100, "orders", "tail");
  driver.seal();
  for (const block of blocks) await store.append({ ...block, number: ++number });
  await store.close();
}

async function restart(name, end) {
  const startMs = performance.now();
  const args = [
    ...options.node.split(" "),
    BROKER,
    "broker",
    "start",
    "--data",
    dataDir,
    "--port",
    "0",
  ];
  const child = spawn(process.execPath, args, { stdio: ["ignore", "pipe", "pipe"] });
  let log = "";
  child.stderr.on("data", (data) => {
    log += data;
  });
  const exited = new Promise((resolve) => child.once("exit", resolve));
  await Promise.race([
    new Promise((resolve) => child.stdout.once("data", resolve)),
    exited.then(() => Promise.reject(new Error(`the broker ended: ${log}`))),
  ]);
  const seconds = ((performance.now() - startMs) / 1_000).toFixed(2);
  const status = readFileSync(`/proc/${child.pid}/status`, "utf8");
  const mb = (field) =>
    Math.round(Number(new RegExp(`${field}:\\s+(\\d+)`).exec(status)?.[1]) / 1_024);
  // The rest are LevelDB's tables, which it maps: the kernel takes those pages back when it needs them.
  const [rss, mapped] = [mb("VmRSS"), mb("RssFile")];
  const stopMs = performance.now();
  child.kill(end);
  await exited;
  const stopped = ((performance.now() - stopMs) / 1_000).toFixed(2);
  console.log(
    `${name.padEnd(14)} ready in ${seconds} s, RSS ${rss} MB (${mapped} of mapped files), peak ${mb("VmHWM")} MB; ${end} took ${stopped} s`,
  );
  for (const line of log.split("\n"))
    if (/recovered|checkpoint/.test(line)) console.log(`  ${line}`);
}
