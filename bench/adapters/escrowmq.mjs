/** EscrowMQ, through its public SDKs. */
import { spawnSync } from "node:child_process";
import { cpSync, mkdirSync, rmSync } from "node:fs";
import { join } from "node:path";
import { createConsumer } from "@escrowmq/consumer";
import { createProducer } from "@escrowmq/producer";
import { BROKER_FLAGS } from "../broker-flags.mjs";
import { Process } from "../process.mjs";
import { topicsOf } from "../scenarios.mjs";

/** What one consumer may subscribe to. */
const TOPICS_PER_CONSUMER = 64;
const CHECK_AFTER_MS = 1;

/** A broker of its own for each measurement, on an empty folder or a copy of `store`, with the scenario's topics. */
export async function startServer({ folder, scenario, execArgvOf, store }) {
  const dataDir = join(folder, "escrowmq");
  if (store === "") mkdirSync(dataDir);
  else copyStore(store, dataDir);
  const task = { dataDir, topics: topicsOf(scenario) };
  const broker = new Process("broker", task, [...BROKER_FLAGS, ...execArgvOf("broker")]);
  const { url } = await broker.answer("ready");
  return {
    address: { url },
    pid: broker.pid,
    usage: () => broker.ask("usage"),
    async stop() {
      await broker.stop();
      rmSync(dataDir, { recursive: true, force: true });
    },
  };
}

/** What the copy left for the kernel to write is not the broker's to wait for. */
function copyStore(store, dataDir) {
  cpSync(store, dataDir, { recursive: true });
  spawnSync("sync");
}

export async function openProducer({ addresses, scenario }) {
  const { url } = addresses.escrowmq;
  if (scenario.operation === "check-back") return openSilent(url);
  const producer = await createProducer({ url, group: "bench", onCheck: () => "commit" });
  if (scenario.operation === "transact-postgres") return await around(producer, addresses);
  const close = () => producer.close();
  if (scenario.operation === "send")
    return { operate: (topic, body) => producer.send({ topic, body }), close };
  const prepare = (topic, body) => {
    const messages = Array.from({ length: scenario.messages }, () => ({ topic, body }));
    return (tx) => tx.prepare(messages);
  };
  return {
    operate: async (topic, body) =>
      mustBeCommitted(await producer.transaction(prepare(topic, body))),
    close,
  };
}

function mustBeCommitted({ state }) {
  if (state !== "committed") throw new Error(`the transaction is ${state}`);
}

/** A local PostgreSQL transaction between prepare and commit. */
async function around(producer, addresses) {
  const { LocalDatabase } = await import("../local-database.mjs");
  const database = await LocalDatabase.open(addresses.postgresql);
  return {
    operate: async (topic, body) =>
      mustBeCommitted(
        await producer.transaction(async (tx) => {
          await tx.prepare([{ topic, body }]);
          await database.placeOrder(tx.id);
        }),
      ),
    async close() {
      await producer.close();
      await database.close();
    },
  };
}

class Unsettled extends Error {
  name = "Unsettled";
}

/** Never gives a verdict: an operation ends when the check for it was answered with commit. */
async function openSilent(url) {
  const asked = new Map();
  const producer = await createProducer({
    url,
    group: "bench",
    onCheck: ({ id }) => {
      asked.get(id)?.();
      asked.delete(id);
      return "commit";
    },
  });
  return {
    async operate(topic, body) {
      let answered;
      const work = async (tx) => {
        answered = new Promise((resolve) => asked.set(tx.id, resolve));
        await tx.prepare([{ topic, body }]);
        throw new Unsettled();
      };
      try {
        await producer.transaction(work, { checkAfterMs: CHECK_AFTER_MS });
      } catch (error) {
        // The callback's own: it makes the SDK send no verdict.
        if (!(error instanceof Unsettled)) throw error;
      }
      await answered;
    },
    close: () => producer.close(),
  };
}

export async function openConsumer({ addresses, scenario }, group) {
  const { url } = addresses.escrowmq;
  const topics = topicsOf(scenario).map((topic) => ({ topic }));
  const consumers = [];
  while (topics.length > 0)
    consumers.push(
      await createConsumer({
        url,
        group,
        subscribe: topics.splice(0, TOPICS_PER_CONSUMER),
        concurrency: 1000,
      }),
    );
  return {
    start(onMessage, onFault) {
      for (const consumer of consumers)
        consumer.run(({ body, attempt }) => onMessage(body, attempt > 1)).catch(onFault);
    },
    /** Resolves when the broker has said ok to every ack. */
    async settle() {
      for (const consumer of consumers) {
        const { drained, inFlight } = await consumer.drain({ timeoutMs: 30_000 });
        if (!drained) throw new Error(`${inFlight} acks were not answered within 30 s`);
      }
    },
    close: () => Promise.all(consumers.map((consumer) => consumer.close())),
  };
}
