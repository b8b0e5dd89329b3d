/**
 * The SIGKILL loop (reliability, layer L5): a broker process under mixed load is killed at random moments and
 * restarted on the same directory, and an oracle outside of it compares what was answered with what is there.
 *
 *   KILLS=100 SEED=7 npx vitest run test/e2e/kill.test.ts
 *
 * The seed fixes the load's choices and the moments of the kills; what falls where is the machine's affair.
 */
import { verifyStore } from "@escrowmq/broker";
import { createConsumer } from "@escrowmq/consumer";
import { type AdminClient, connectAdmin } from "@escrowmq/protocol/client";
import { describe, expect, it } from "vitest";
import { useBench } from "../support/e2e-broker.ts";
import { History, readKey } from "../support/e2e-history.ts";
import { Load, settled } from "../support/e2e-load.ts";
import { GROUPS, LEASE_MS, PRODUCER_GROUP, TOPICS } from "../support/e2e-load-world.ts";
import { type Final, type FinalState, judge } from "../support/e2e-oracle.ts";
import { Random } from "../support/e2e-random.ts";
import { RawClient } from "../support/e2e-raw-client.ts";
import { waitFor } from "../support/e2e-wait.ts";

const KILLS = Number(process.env.KILLS ?? 10);
const SEED = Number(process.env.SEED ?? Date.now() % 1_000_000_007);
const MIB = 1_048_576;
/** Of pino. */
const ERROR_LEVEL = 50;
const bench = useBench();

/** Everything that is visible, read by a group of its own. */
async function readAll(
  url: string,
  admin: AdminClient,
): Promise<ReadonlyMap<string, readonly string[]>> {
  const visible = new Map<string, string[]>(TOPICS.map((topic) => [topic, []]));
  const subscribe = TOPICS.map((topic) => ({ topic }));
  const auditor = await createConsumer({ url, group: "auditor", subscribe, concurrency: 256 });
  void auditor.run(({ topic, offset, id }) => {
    const ids = visible.get(topic) ?? [];
    ids[offset] = id;
  });
  for (const [topic, ids] of visible) {
    const { nextOffset } = await admin.request("topic.describe", { topic });
    await waitFor(`all of ${topic}`, () => Object.keys(ids).length === nextOffset, 60_000);
  }
  await auditor.close();
  return visible;
}

async function statesOf(url: string, history: History): Promise<ReadonlyMap<string, FinalState>> {
  const raw = await RawClient.open(url);
  const states = new Map<string, FinalState>();
  const ids = [...history.transactions.keys()];
  for (let from = 0; from < ids.length; from += 1_000) {
    const asked = ids.slice(from, from + 1_000).map(async (transactionId) => {
      const group = PRODUCER_GROUP;
      const answer = await raw.ask({ type: "verdict", transactionId, group, verdict: "unknown" });
      states.set(transactionId, answer.type === "ok" ? (answer.state ?? "none") : "none");
    });
    await Promise.all(asked);
  }
  raw.close();
  return states;
}

async function deadIn(admin: AdminClient): Promise<ReadonlySet<string>> {
  const dead = new Set<string>();
  for (const group of GROUPS) {
    let after: string | undefined;
    do {
      const page = await admin.request("dlq.list", { group, limit: 1_000, after });
      for (const { topic, originOffset } of page.items)
        dead.add(readKey(group, topic, originOffset));
      after = page.next;
    } while (after !== undefined);
  }
  return dead;
}

async function topicsOf(admin: AdminClient): Promise<ReadonlySet<string>> {
  const { items } = await admin.request("topic.list", { limit: 1_000 });
  return new Set(items.map(({ topic }) => topic));
}

interface LogLine {
  readonly level: number;
  readonly msg: string;
  readonly ms?: number;
}

/** The last line of a process that was killed may be cut off. */
const logOf = (stderr: string): LogLine[] =>
  stderr
    .split("\n")
    .slice(0, -1)
    .map((line): LogLine => JSON.parse(line));

const recoveryMs = (stderr: string): number =>
  logOf(stderr).find(({ msg }) => msg === "recovered")?.ms ?? Number.NaN;

const part = (sorted: readonly number[], share: number): number =>
  Math.round(sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))] ?? 0);

describe("a broker that is killed again and again under load", () => {
  it(
    `keeps everything that it answered (${KILLS} kills, seed ${SEED})`,
    async () => {
      const random = new Random(SEED);
      const broker = await bench.brokerProcess({
        logLevel: "info",
        policy: { checkIntervalMs: 200, checkAttemptsMax: 1_000_000 },
        // Small, so that kills meet checkpoints and new segments.
        checkpointEveryBytes: 3 * MIB,
        segmentBytesMax: 8 * MIB,
      });
      const setup = await bench.admin(broker.url, ...TOPICS);
      for (const group of GROUPS)
        await setup.request("group.update", { group, leaseMs: LEASE_MS, attemptsMax: 1_000 });
      await setup.close();
      const history = new History();
      const load = new Load({ url: broker.url, history, random, parallel: 96 });
      bench.later(() => load.close());
      await load.connect();
      load.start();

      const startMs = performance.now();
      const readyMs: number[] = [];
      const recoveredMs: number[] = [];
      const complaints: string[] = [];
      let aliveMs = 0;
      for (let kill = 0; kill < KILLS; kill++) {
        const sinceMs = performance.now();
        const atMs = sinceMs + random.between(200, 1_600);
        await waitFor("the moment", () => performance.now() > atMs);
        const dying = broker.kill();
        await load.disconnect();
        await dying;
        for (const { level, msg } of logOf(broker.program.stderr))
          if (level >= ERROR_LEVEL) complaints.push(msg);
        aliveMs += performance.now() - sinceMs;
        const restartMs = performance.now();
        await broker.restart();
        readyMs.push(performance.now() - restartMs);
        recoveredMs.push(recoveryMs(broker.program.stderr));
        await load.connect();
      }
      await load.end();
      const admin = await connectAdmin({ url: broker.url });
      await settled(admin, 60_000);
      const final: Final = {
        groups: GROUPS,
        leaseMs: LEASE_MS,
        visible: await readAll(broker.url, admin),
        transactions: await statesOf(broker.url, history),
        dead: await deadIn(admin),
        topics: await topicsOf(admin),
      };
      await admin.close();
      await load.close();
      expect((await broker.kill("SIGTERM")).code).toBe(0);

      for (const times of [readyMs, recoveredMs]) times.sort((one, other) => one - other);
      const { ok, info, fail } = history.counts;
      const seconds = (performance.now() - startMs) / 1_000;
      console.info(
        `kill loop: seed ${SEED}, ${KILLS} kills, ${ok} ops acked, ${info} unknown, ${fail} refused, ` +
          `${Math.round((ok / aliveMs) * 1_000)} acked/s while alive, ${history.transactions.size} transactions, ` +
          `ready again p50 ${part(readyMs, 0.5)} ms p99 ${part(readyMs, 0.99)} ms (recovery p50 ${part(recoveredMs, 0.5)} ms p99 ${part(recoveredMs, 0.99)} ms), ${seconds.toFixed(0)} s`,
      );
      expect(complaints).toEqual([]);
      const problems = judge(history, final);
      expect(problems.slice(0, 20), `${problems.length} problems`).toEqual([]);
      expect((await verifyStore(broker.dataDir)).problems).toEqual([]);
    },
    60_000 + KILLS * 10_000,
  );
});
