/**
 * The SIGKILL loop (reliability, layer L5): a broker process under mixed load is killed at random moments and
 * restarted on the same directory, and an oracle outside of it compares what was answered with what is there.
 *
 *   KILLS=100 SEED=7 npx vitest run test/e2e/kill.test.ts
 *
 * The seed fixes the load's choices and the moments of the kills; what falls where is the machine's affair.
 */
import { verifyStore } from "@escrowmq/broker";
import { connectAdmin } from "@escrowmq/protocol/client";
import { describe, expect, it } from "vitest";
import { History } from "../history/history.ts";
import { judge } from "../history/judge.ts";
import { useBench } from "../support/e2e-broker.ts";
import { finalOf } from "../support/e2e-final.ts";
import { Load, settled } from "../support/e2e-load.ts";
import { GROUPS, LEASE_MS, TOPICS } from "../support/e2e-load-world.ts";
import { Random } from "../support/e2e-random.ts";
import { waitFor } from "../support/e2e-wait.ts";

const KILLS = Number(process.env.KILLS ?? 10);
const SEED = Number(process.env.SEED ?? Date.now() % 1_000_000_007);
const MIB = 1_048_576;
/** Of pino. */
const ERROR_LEVEL = 50;
const bench = useBench();

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
      const final = await finalOf(broker.url, admin, history);
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
