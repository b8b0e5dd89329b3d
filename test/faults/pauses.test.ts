/**
 * Time that misbehaves (reliability, layer L9): a broker that is stopped and goes on, and wall clocks that
 * jump. Nothing is asked too early, nothing comes in a burst, and nobody loses a lease for what the broker slept.
 *
 *   PAUSES=20 npx vitest run test/faults/pauses.test.ts
 */
import { describe, expect, it } from "vitest";
import { type BrokerProcess, useBench } from "../support/e2e-broker.ts";
import { RawClient } from "../support/e2e-raw-client.ts";
import { staysTrue, waitFor } from "../support/e2e-wait.ts";
import { FakeClock, noFakeClock } from "./support/fake-clock.ts";
import { itUnless, useFolders } from "./support/machine.ts";

const PAUSES = Number(process.env.PAUSES ?? 1);
const PAUSE_MS = 3_000;
const CHECK_AFTER_MS = 2_000;
const LEASE_MS = 2_000;
const HOUR_S = 3_600;
const TRANSACTIONS = 150;
const MESSAGES = 40;
/** Of the policy's default. */
const CHECKS_AT_ONCE_MAX = 32;

const bench = useBench();
const newFolder = useFolders("pauses");

async function pass(ms: number): Promise<void> {
  const untilMs = performance.now() + ms;
  await waitFor("some time", () => performance.now() > untilMs, ms + 5_000);
}

async function pause(broker: BrokerProcess, ms: number): Promise<void> {
  process.kill(broker.program.pid, "SIGSTOP");
  await pass(ms);
  process.kill(broker.program.pid, "SIGCONT");
}

interface Asked {
  readonly id: string;
  readonly atMs: number;
}

/** A producer that leaves transactions undecided, and what it is asked about them. */
async function createShop(url: string) {
  const asked: Asked[] = [];
  const preparedAtMs = new Map<string, number>();
  const load = { running: 0, runningMax: 0 };
  const producer = await bench.producer({
    url,
    group: "shop",
    onCheck: async ({ id }) => {
      asked.push({ id, atMs: performance.now() });
      load.runningMax = Math.max(load.runningMax, ++load.running);
      await pass(20);
      load.running--;
      return "commit" as const;
    },
  });
  const leave = async (): Promise<void> => {
    asked.length = 0;
    preparedAtMs.clear();
    const left = Array.from({ length: TRANSACTIONS }, () =>
      producer
        .transaction(
          async (tx) => {
            await tx.prepare([{ topic: "t", body: 1 }]);
            preparedAtMs.set(tx.id, performance.now());
            throw new Error("left to the check");
          },
          { checkAfterMs: CHECK_AFTER_MS },
        )
        .catch(() => undefined),
    );
    await Promise.all(left);
    expect(preparedAtMs.size).toBe(TRANSACTIONS);
  };
  /** Each once, none early. */
  const allAsked = async (): Promise<void> => {
    await waitFor("all checks", () => asked.length >= TRANSACTIONS);
    await pass(200);
    expect(new Set(asked.map(({ id }) => id)).size).toBe(TRANSACTIONS);
    expect(asked).toHaveLength(TRANSACTIONS);
    for (const { id, atMs } of asked)
      expect(atMs - (preparedAtMs.get(id) ?? 0)).toBeGreaterThan(CHECK_AFTER_MS - 200);
    expect(load.runningMax).toBeLessThanOrEqual(CHECKS_AT_ONCE_MAX);
  };
  return { asked, leave, allAsked };
}

/** Handlers that are at work until they are told to end. */
async function atWork(url: string, count: number) {
  const delivered: string[] = [];
  let end: () => void = () => undefined;
  const ended = new Promise<void>((resolve) => {
    end = resolve;
  });
  const producer = await bench.producer({ url, group: "shop" });
  const admin = await bench.admin(url);
  await admin.request("group.update", { group: "g", leaseMs: LEASE_MS });
  const subscribe = [{ topic: "work" }];
  const consumer = await bench.consumer({ url, group: "g", subscribe, concurrency: count });
  void consumer.run(async (message) => {
    delivered.push(message.id);
    await ended;
  });
  await Promise.all(
    Array.from({ length: count }, (_, body) => producer.send({ topic: "work", body })),
  );
  await waitFor("all at work", () => delivered.length === count);
  const finish = async (): Promise<void> => {
    end();
    await waitFor("all acks", async () => {
      const { topics } = await admin.request("group.describe", { group: "g" });
      return topics.every(({ lag }) => lag === 0);
    });
  };
  return { delivered, finish };
}

describe("a broker that is stopped for a while", () => {
  it(
    `asks nothing early and nothing in a burst when it goes on (${PAUSES} times)`,
    async () => {
      const broker = await bench.brokerProcess();
      await bench.admin(broker.url, "t");
      const { asked, leave, allAsked } = await createShop(broker.url);
      for (let round = 0; round < PAUSES; round++) {
        await leave();
        await pause(broker, PAUSE_MS);
        // Most of the wait was still to come when it was stopped, and still is.
        await staysTrue("nothing is asked", CHECK_AFTER_MS / 2, () => asked.length === 0);
        await allAsked();
      }
    },
    30_000 + PAUSES * 20_000,
  );

  it(
    `takes no lease from who spoke while it was stopped (${PAUSES} times)`,
    async () => {
      const broker = await bench.brokerProcess();
      const admin = await bench.admin(broker.url, "work");
      await admin.request("group.update", { group: "g", leaseMs: LEASE_MS });
      const producer = await bench.producer({ url: broker.url, group: "shop" });
      const raw = await RawClient.open(broker.url);
      bench.later(() => raw.close());
      const topics = [{ topic: "work" }];
      await raw.ask({ type: "subscribe", subscription: 1, group: "g", topics });
      raw.say({ type: "credit", subscription: 1, messages: 10_000, bytes: 1_000_000 });
      const deliveries = () =>
        raw.frames.flatMap((frame) => (frame.type === "deliver" ? frame.deliveries : []));
      for (let round = 1; round <= PAUSES; round++) {
        for (let body = 0; body < MESSAGES; body++) await producer.send({ topic: "work", body });
        await waitFor("all deliveries", () => deliveries().length === MESSAGES * round);
        const tokens = deliveries()
          .slice(-MESSAGES)
          .map(({ token }) => token);
        process.kill(broker.program.pid, "SIGSTOP");
        const acking = raw.ask({ type: "ack", tokens });
        await pass(PAUSE_MS);
        process.kill(broker.program.pid, "SIGCONT");
        expect(await acking).toMatchObject({ type: "ok" });
        await pass(300);
        expect(deliveries()).toHaveLength(MESSAGES * round);
      }
      const { topics: read } = await admin.request("group.describe", { group: "g" });
      expect(read[0]?.lag).toBe(0);
    },
    30_000 + PAUSES * 20_000,
  );
});

describe("a wall clock that jumps", () => {
  const jumps = Array.from({ length: PAUSES }, () => [HOUR_S, -HOUR_S]).flat();
  // In a short run one jump while it runs and one while it does not.
  const whileRunning = PAUSES === 1 ? [HOUR_S] : jumps;
  const whileStopped = PAUSES === 1 ? [-HOUR_S] : jumps;

  itUnless(
    noFakeClock(),
    `moves no check and no lease, also across a restart (${whileRunning.length} and ${whileStopped.length} jumps)`,
    async () => {
      const clock = new FakeClock(newFolder());
      const broker = await bench.brokerProcess({}, clock.environment);
      await bench.admin(broker.url, "t", "work");
      const { asked, leave, allAsked } = await createShop(broker.url);
      const { delivered, finish } = await atWork(broker.url, MESSAGES);
      for (const jump of whileRunning) {
        await leave();
        clock.jumpTo(jump);
        await staysTrue("nothing is asked", CHECK_AFTER_MS / 2, () => asked.length === 0);
        await allAsked();
      }
      await finish();
      expect(delivered).toHaveLength(MESSAGES);

      for (const jump of whileStopped) {
        await leave();
        await broker.kill();
        clock.jumpTo(jump);
        await broker.restart();
        await staysTrue("nothing is asked", CHECK_AFTER_MS / 2, () => asked.length === 0);
        await allAsked();
      }
    },
    60_000 + jumps.length * 20_000,
  );
});
