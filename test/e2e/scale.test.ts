/**
 * A restart with much in hand (reliability, layer L13): 100,000 undecided transactions and 1,000,000 ready
 * messages survive a clean stop and a SIGKILL. Minutes of work, so only on demand:
 *
 *   SCALE=1 npx vitest run test/e2e/scale.test.ts
 *   SCALE=1 TRANSACTIONS=1000 MESSAGES=10000 npx vitest run test/e2e/scale.test.ts
 *
 * It prints the seconds from the start of the process to its ready line, and the memory it then has.
 */
import { readFileSync } from "node:fs";
import { verifyStore } from "@escrowmq/broker";
import { createProducer } from "@escrowmq/producer";
import { createAdmin } from "@escrowmq/protocol/client";
import { describe, expect, it } from "vitest";
import { type BrokerProcess, useBench } from "../support/e2e-broker.ts";
import { waitFor } from "../support/e2e-wait.ts";

const IS_ASKED_FOR = process.env.SCALE === "1";
const TRANSACTIONS = Number(process.env.TRANSACTIONS ?? 100_000);
const MESSAGES = Number(process.env.MESSAGES ?? 1_000_000);
const MESSAGES_A_SEND = 100;
const UNDER_WAY = 64;
const bench = useBench();

/** `count` times `one`, so many at once. */
async function many(count: number, one: (at: number) => Promise<unknown>): Promise<void> {
  let next = 0;
  const work = async (): Promise<void> => {
    while (next < count) await one(next++);
  };
  await Promise.all(Array.from({ length: UNDER_WAY }, work));
}

async function fill(url: string): Promise<void> {
  const admin = await createAdmin({ url });
  for (const topic of ["ready", "half"]) await admin.request("topic.create", { topic });
  await admin.close();
  const producer = await createProducer({ url, group: "shop", onCheck: () => "unknown" });
  const body = Buffer.alloc(100, "x");
  await many(MESSAGES / MESSAGES_A_SEND, () =>
    producer.sendAll(Array.from({ length: MESSAGES_A_SEND }, () => ({ topic: "ready", body }))),
  );
  await many(TRANSACTIONS, async () => {
    const abandoned = producer.transaction(
      async (tx) => {
        await tx.prepare([{ topic: "half", body }]);
        throw new Error("abandoned");
      },
      { checkAfterMs: 3_600_000 },
    );
    await abandoned.catch(() => undefined);
  });
  await producer.close();
}

function rssMb(broker: BrokerProcess): number {
  const status = readFileSync(`/proc/${broker.program.pid}/status`, "utf8");
  return Math.round(Number(/VmRSS:\s+(\d+)/.exec(status)?.[1] ?? 0) / 1_024);
}

async function restarted(broker: BrokerProcess, after: NodeJS.Signals): Promise<string> {
  await broker.kill(after);
  const startMs = performance.now();
  await broker.restart();
  const seconds = (performance.now() - startMs) / 1_000;
  const admin = await createAdmin({ url: broker.url });
  const { undecided, messages } = await admin.request("stats", {});
  expect({ after, undecided, messages }).toEqual({
    after,
    undecided: TRANSACTIONS,
    messages: MESSAGES,
  });
  await admin.close();
  return `ready after ${after} in ${seconds.toFixed(2)} s with ${rssMb(broker)} MB`;
}

describe.runIf(IS_ASKED_FOR)("a broker with much in hand", () => {
  it(`has it all again after a stop and after a kill (${TRANSACTIONS} undecided, ${MESSAGES} ready)`, async () => {
    const broker = await bench.brokerProcess();
    const startMs = performance.now();
    await fill(broker.url);
    const filled = `filled in ${((performance.now() - startMs) / 1_000).toFixed(0)} s with ${rssMb(broker)} MB`;
    // Without a checkpoint: nothing but the log. Then with the one that the stop leaves.
    const killed = await restarted(broker, "SIGKILL");
    const stopped = await restarted(broker, "SIGTERM");
    const killedAgain = await restarted(broker, "SIGKILL");
    console.info(`scale: ${[filled, killed, stopped, killedAgain].join("; ")}`);
    const consumer = await bench.consumer({
      url: broker.url,
      group: "g",
      subscribe: [{ topic: "ready" }],
      concurrency: 512,
    });
    const isSeen = new Uint8Array(MESSAGES);
    let seen = 0;
    void consumer.run(({ offset }) => {
      seen += 1 - (isSeen[offset] ?? 0);
      isSeen[offset] = 1;
    });
    await waitFor("every ready message", () => seen === MESSAGES, 300_000);
    const admin = await bench.admin(broker.url);
    const { items } = await admin.request("tx.list", { limit: 1 });
    await admin.request("tx.decide", {
      transactionId: items[0]?.transactionId ?? "",
      verdict: "commit",
      operator: "ada",
      reason: "the oldest still can be decided",
    });
    expect((await broker.kill("SIGTERM")).code).toBe(0);
    expect((await verifyStore(broker.dataDir)).problems).toEqual([]);
  }, 1_200_000);
});
