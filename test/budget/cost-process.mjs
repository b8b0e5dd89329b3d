/**
 * Measures what operations cost in a broker without a socket: `node --expose-gc cost-process.mjs send`.
 * Everything is made beforehand and read afterwards, so that only the broker works in between. Each
 * round waits for its answers, so that how many group commits there are does not depend on the machine.
 */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createBroker } from "@escrowmq/broker";
import { decodeBrokerBatch, encodeBatch, encodeMessage } from "@escrowmq/protocol";
import { ClassicLevel } from "classic-level";

const ROUND = 100;
const WARM_UP_ROUNDS = 150;
const ROUNDS = 50;
const BODY = new Uint8Array(1_024).fill(120);

/** LevelDB's calls, counted by name. */
const levelOperations = {};
for (const name of ["put", "get", "getMany", "del", "batch", "iterator", "compactRange"]) {
  const method = ClassicLevel.prototype[`_${name}`] ?? ClassicLevel.prototype[name];
  const key = `_${name}` in ClassicLevel.prototype ? `_${name}` : name;
  ClassicLevel.prototype[key] = function count(...args) {
    levelOperations[name] = (levelOperations[name] ?? 0) + 1;
    return method.apply(this, args);
  };
}

const workload = process.argv[2];
const folder = mkdtempSync(join(tmpdir(), "escrow-budget-"));
const broker = await createBroker({
  dataDir: join(folder, "data"),
  port: null,
  logLevel: "silent",
});
const bytesOf = (...frames) => Buffer.from(encodeBatch(frames));
const framesOf = (batches) => batches.flatMap((data) => decodeBrokerBatch(data));

/** A connection that keeps what it is sent as it came. */
function connect() {
  const received = [];
  let heard = () => undefined;
  const session = broker.accept({
    send(data) {
      received.push(data);
      heard();
    },
    close: () => undefined,
    bufferedBytes: 0,
  });
  session.message(bytesOf({ type: "hello", version: 1, client: "budget" }));
  return {
    received,
    /** Resolves with the next WebSocket message; what else belongs to the same block is there, too. */
    ask(data) {
      return new Promise((resolve) => {
        heard = resolve;
        session.message(data);
      });
    },
  };
}

let garbageBytes = 0;
/** In here only the broker makes garbage. */
async function measured(peer, data) {
  const before = process.memoryUsage().heapUsed;
  await peer.ask(data);
  garbageBytes += process.memoryUsage().heapUsed - before;
}

let lastId = 0;
const group = "shop";
const prepareOf = (id, at) => ({
  type: "prepare",
  id: at,
  transactionId: id,
  group,
  messages: [messageOf(id)],
});
const messageOf = (id) => encodeMessage({ id, topic: "orders", body: BODY });

/** One round's batches, made before anything is measured. */
function makeRound() {
  const ids = Array.from({ length: ROUND }, () => (++lastId).toString(16).padStart(32, "0"));
  if (workload === "send")
    return [
      bytesOf(
        ...ids.map((id, at) => ({ type: "send", id: at, sendId: id, messages: [messageOf(id)] })),
      ),
    ];
  const verdict = "commit";
  return [
    bytesOf(...ids.map(prepareOf)),
    bytesOf(
      ...ids.map((id, at) => ({ type: "verdict", id: at, transactionId: id, group, verdict })),
    ),
  ];
}

async function round(batches) {
  const delivered = consumer.received.length;
  for (const data of batches) {
    const answered = producer.received.length;
    await measured(producer, data);
    if (framesOf(producer.received.slice(answered)).length !== ROUND)
      throw new Error(
        "A round's answers came in more than one block: the counts would mean nothing.",
      );
  }
  if (workload === "send") return;
  const deliveries = framesOf(consumer.received.slice(delivered)).flatMap((one) => one.deliveries);
  const ack = { type: "ack", id: 1, tokens: deliveries.map(({ token }) => token) };
  const credit = { type: "credit", subscription: 1, messages: ROUND, bytes: 1_000_000 };
  await measured(consumer, bytesOf(ack, credit));
}

const producer = connect();
const consumer = connect();
await producer.ask(bytesOf({ type: "topic.create", id: 1, topic: "orders" }));
await producer.ask(bytesOf({ type: "announce", id: 2, group, checker: true }));
const topics = [{ topic: "orders" }];
await consumer.ask(
  bytesOf({ type: "subscribe", id: 1, subscription: 1, group: "billing", topics }),
);
const credit = { type: "credit", subscription: 1, messages: 10_000, bytes: 100_000_000 };
if (workload === "transact") await consumer.ask(bytesOf(credit, { type: "stats", id: 2 }));

for (let at = 0; at < WARM_UP_ROUNDS; at++) await round(makeRound());
const rounds = Array.from({ length: ROUNDS }, makeRound);
const storeBytes = async () => {
  await producer.ask(bytesOf({ type: "stats", id: 9 }));
  return framesOf(producer.received.slice(-1))[0].value.storeBytes;
};
const bytesBefore = await storeBytes();
producer.received.length = 0;
consumer.received.length = 0;
for (const name of Object.keys(levelOperations)) delete levelOperations[name];
globalThis.gc();
garbageBytes = 0;
for (const one of rounds) await round(one);

const operations = ROUNDS * ROUND;
const per1000 = (count) => (count * 1_000) / operations;
const out = [...producer.received, ...consumer.received];
const cost = {
  levelOperations: Object.fromEntries(
    Object.entries(levelOperations).map(([name, count]) => [name, per1000(count)]),
  ),
  websocketMessagesOut: per1000(out.length),
  framesOut: per1000(framesOf(out).length),
  garbageBytes: garbageBytes / operations,
  overheadBytes: ((await storeBytes()) - bytesBefore) / operations - BODY.length,
};
await broker.close();
rmSync(folder, { recursive: true, force: true });
console.log(JSON.stringify(cost));
