/**
 * Bytes of memory per thing that the broker holds: heap and typed arrays before and after, garbage collected.
 *
 *   npm run build && node --expose-gc bench/memory.mjs            (--count 1000000 for the full size)
 *
 * The engine alone, without sockets or disk; idle connections on a broker with real sockets, seen from
 * this process, the clients being in another one.
 */
import { fork } from "node:child_process";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { createBroker } from "../broker/dist/index.js";
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
    count: { type: "string", default: "200000" },
    connections: { type: "string", default: "1000" },
    clients: { type: "string" },
    only: { type: "string" },
  },
});
const COUNT = Number(options.count);
const CONNECTIONS = Number(options.connections);

async function measureAll() {
  if (globalThis.gc === undefined) throw new Error("Run it with node --expose-gc.");
  const rows = [
    ["ready message", COUNT, readyMessages],
    ["undecided transaction", COUNT, undecidedTransactions],
    ["undecided transaction of 3 messages", COUNT, biggerTransactions],
    ["waiting retry", COUNT, waitingRetries],
    ["scheduled message", COUNT, scheduledMessages],
    ["leased delivery", COUNT, leasedDeliveries],
    ["remembered decision", COUNT, decisions],
    ["remembered send", COUNT, sends],
    ["topic", 10_000, topics],
    ["group with one cursor", 10_000, groups],
    ["idle connection", CONNECTIONS, idleConnections],
  ].filter(([name]) => options.only === undefined || name.includes(options.only));
  for (const [name, count, hold] of rows) {
    const { perItem, note } = await hold(count);
    console.log(
      `${name.padEnd(48)} ${String(Math.round(perItem)).padStart(7)} bytes ${note ?? ""}`,
    );
  }
}

async function used() {
  // Twice, with a turn between: what finalizers let go of is counted a turn later.
  for (let times = 0; times < 3; times++) {
    gc();
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
  const { heapUsed, external } = process.memoryUsage();
  return heapUsed + external;
}

/** Memory per item of what `fill` adds to a driver; `warm` comes before and is not counted. */
async function grown(count, warm, fill) {
  const driver = new EngineDriver();
  await warm(driver);
  const before = await used();
  fill(driver);
  const perItem = ((await used()) - before) / count;
  // Kept to here, so that nothing of it is collected before.
  driver.engine.sealBlock();
  return { perItem };
}

const withTopic = (driver) => driver.createTopic("orders");

async function withMessages(driver, count) {
  driver.createTopic("orders");
  driver.subscribe("billing", "orders");
  for (let at = 0; at < count; at += 100) send(driver, 100);
  await used();
}

const readyMessages = (count) =>
  // The ids of sends are counted on their own: a thousand messages share one here.
  grown(count, withTopic, (driver) => {
    for (let at = 0; at < count; at += 1_000) send(driver, 1_000);
  });

const undecidedTransactions = (count) =>
  grown(count, withTopic, (driver) => {
    for (let at = 0; at < count; at++) prepare(driver, 1, undefined, GROUPS[at % 2]);
  });

const biggerTransactions = (count) =>
  grown(count, withTopic, (driver) => {
    for (let at = 0; at < count; at++) prepare(driver, 3, undefined, GROUPS[at % 2]);
  });

const waitingRetries = (count) =>
  grown(
    count,
    (driver) => withMessages(driver, count),
    (driver) => {
      for (const token of deliverAll(driver, count)) retry(driver, token, 3_600_000);
    },
  );

const scheduledMessages = (count) =>
  // As for ready messages: a thousand of them share one send.
  grown(count, withTopic, (driver) => {
    for (let at = 0; at < count; at += 1_000) schedule(driver, 1_000, 3_600_000);
  });

const leasedDeliveries = (count) =>
  grown(
    count,
    (driver) => withMessages(driver, count),
    (driver) => deliverAll(driver, count),
  );

const decisions = (count) =>
  grown(count, withTopic, (driver) => {
    for (let at = 0; at < count; at++) driver.commit(prepare(driver, 1));
    driver.readyMessages = count;
  }).then(({ perItem }) => ({ perItem: perItem - 24, note: "without its message's index entry" }));

const sends = (count) =>
  grown(count, withTopic, (driver) => {
    for (let at = 0; at < count; at++) send(driver, 1);
  }).then(({ perItem }) => ({ perItem: perItem - 24, note: "without its message's index entry" }));

const topics = (count) =>
  grown(
    count,
    () => undefined,
    (driver) => {
      for (let at = 0; at < count; at++) driver.createTopic(`topic-${at}`);
    },
  );

const groups = (count) =>
  grown(count, withTopic, (driver) => {
    for (let at = 0; at < count; at++) driver.subscribe(`group-${at}`, "orders");
  }).then((result) => ({ ...result, note: "subscribed" }));

async function idleConnections(count) {
  const dataDir = await mkdtemp(join(tmpdir(), "escrow-memory-"));
  const broker = await createBroker({ dataDir, port: 0, logLevel: "warn" });
  const before = await used();
  const rssBefore = process.memoryUsage.rss();
  const child = fork(import.meta.filename, ["--clients", broker.url, "--connections", `${count}`]);
  await new Promise((resolve) => child.once("message", resolve));
  const perItem = ((await used()) - before) / count;
  const rss = Math.round((process.memoryUsage.rss() - rssBefore) / count);
  child.send("stop");
  await new Promise((resolve) => child.once("exit", resolve));
  await broker.close();
  await rm(dataDir, { recursive: true });
  return { perItem, note: `of heap, ${rss} of RSS; an announced producer` };
}

async function holdConnections(url) {
  const { createProducer } = await import("../producer-sdk/dist/index.js");
  const all = [];
  for (let at = 0; at < CONNECTIONS; at++)
    all.push(await createProducer({ url, group: "shop", onCheck: () => "unknown" }));
  process.send("ready");
  await new Promise((resolve) => process.once("message", resolve));
  process.exit(0);
}

if (options.clients !== undefined) await holdConnections(options.clients);
else await measureAll();
