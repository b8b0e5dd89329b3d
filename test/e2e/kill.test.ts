/**
 * The SIGKILL loop (reliability, layer L5): a broker process under mixed load is killed at named points and at
 * random moments, and restarted on the same directory; an oracle outside of it compares what was answered with
 * what is there.
 *
 *   KILLS=1000 SEED=7 npx vitest run test/e2e/kill.test.ts
 *
 * The seed fixes the load's choices and the moments of the kills; what falls where is the machine's affair.
 */
import { rmSync } from "node:fs";
import { verifyStore } from "@escrowmq/broker";
import { createAdmin } from "@escrowmq/protocol/client";
import { describe, expect, it } from "vitest";
import { History, type Operation, type Transaction } from "../history/history.ts";
import { judge } from "../history/judge.ts";
import { type BrokerProcess, useBench } from "../support/e2e-broker.ts";
import { finalOf } from "../support/e2e-final.ts";
import { Load, settled } from "../support/e2e-load.ts";
import { setUpLoad } from "../support/e2e-load-world.ts";
import { Random } from "../support/e2e-random.ts";
import { waitFor } from "../support/e2e-wait.ts";
import {
  diesByItself,
  isOfStart,
  type KillPoint,
  POINTS_OF_WRITING,
  startTowards,
} from "../support/kill-points.ts";

const IS_LONG = process.env.KILLS !== undefined;
/** Besides the named points. */
const CHANCES_OF_SHORT = 3;
const KILLS = Number(process.env.KILLS ?? POINTS_OF_WRITING.length + CHANCES_OF_SHORT);
/** Before the first kill: a thousand sends and more, which checkpoints have in common from then on. */
const OPERATIONS_FIRST = 4_000;
/** Operations that producers have under way at once. */
const PARALLEL = 24;
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

/** Kills of one store; then another one is begun, so that what the oracle keeps stays small. */
const KILLS_OF_A_ROUND = 50;
/** What a life lasts that is not ended at a named point. */
const LIFE_MS = [200, 1_600] as const;
/** Within which it should come to its point: a new segment takes the longest. */
const POINT_WITHIN_MS = 30_000;
const START_WITHIN_MS = 300;

const isReserving = ({ steps }: Transaction): boolean =>
  steps.some((step) => step.kind === "prepare" && step.reservesKeys && step.outcome === "ok");

/** What all rounds came to. */
class Figures {
  readonly readyMs: number[] = [];
  readonly recoveredMs: number[] = [];
  readonly met = new Map<KillPoint, number>();
  readonly missed: KillPoint[] = [];
  kills = 0;
  acked = 0;
  unknown = 0;
  refused = 0;
  aliveMs = 0;
  /** What is rare, by name: a load in which it never happened would promise what it does not test. */
  readonly rare = new Map<string, number>();

  add(history: History, lapsed: number): void {
    const { ok, info, fail } = history.counts;
    this.acked += ok;
    this.unknown += info;
    this.refused += fail;
    const isOk = ({ outcome }: Operation): boolean => outcome === "ok";
    const interventions = history.interventions.filter(isOk);
    for (const { kind } of interventions) this.#adds(kind, 1);
    this.#adds("pause", history.groupPauses.filter((one) => one.isPaused && isOk(one)).length);
    this.#adds("reserve", [...history.transactions.values()].filter(isReserving).length);
    this.#adds("recall", history.recalls.filter(isOk).length);
    this.#adds("reply", history.talk.heard);
    this.#adds("gap", history.heard.gaps);
    this.#adds("lapse", lapsed);
  }

  #adds(name: string, count: number): void {
    this.rare.set(name, (this.rare.get(name) ?? 0) + count);
  }

  print(): void {
    for (const times of [this.readyMs, this.recoveredMs]) times.sort((one, other) => one - other);
    const { readyMs, recoveredMs } = this;
    const named = [...this.met.values()].reduce((sum, times) => sum + times, 0);
    console.info(
      `kill loop: seed ${SEED}, ${this.kills} kills, ${named} of them at ${this.met.size} named points, ` +
        `${this.acked} ops acked, ${this.unknown} unknown, ${this.refused} refused, ` +
        `${Math.round((this.acked / this.aliveMs) * 1_000)} acked/s while alive, ` +
        `ready again p50 ${part(readyMs, 0.5)} ms p99 ${part(readyMs, 0.99)} ms (recovery p50 ${part(recoveredMs, 0.5)} ms p99 ${part(recoveredMs, 0.99)} ms)` +
        `; ${[...this.rare].map(([name, times]) => `${name} ${times}`).join(", ")}` +
        (this.missed.length === 0 ? "" : `; not come to: ${this.missed.join(", ")}`),
    );
  }
}

/** One store and its load, killed again and again. */
class Round {
  readonly #broker: BrokerProcess;
  readonly #load: Load;
  readonly #random: Random;
  readonly #figures: Figures;
  readonly complaints: string[] = [];

  constructor(broker: BrokerProcess, load: Load, random: Random, figures: Figures) {
    this.#broker = broker;
    this.#load = load;
    this.#random = random;
    this.#figures = figures;
  }

  /** From a start to a kill: at the point, or at any moment. */
  async live(point: KillPoint | null): Promise<void> {
    if (await this.start(point)) {
      const sinceMs = performance.now();
      await this.#untilDeath(point);
      this.#figures.aliveMs += performance.now() - sinceMs;
    } else this.#met(point);
    this.#figures.kills++;
    const dying = this.#broker.kill();
    await this.#load.disconnect();
    await dying;
    for (const { level, msg } of logOf(this.#broker.program.stderr))
      if (level >= ERROR_LEVEL) this.complaints.push(msg);
  }

  /** False: it died before it was ready. */
  async start(point: KillPoint | null): Promise<boolean> {
    const startMs = performance.now();
    if (!(await startTowards(this.#broker, point))) return false;
    this.#figures.readyMs.push(performance.now() - startMs);
    this.#figures.recoveredMs.push(recoveryMs(this.#broker.program.stderr));
    // It may say that it is ready in the moment before it dies.
    if (point !== null && isOfStart(point) && (await diesByItself(this.#broker, START_WITHIN_MS)))
      return false;
    await this.#load.connect();
    return true;
  }

  async #untilDeath(point: KillPoint | null): Promise<void> {
    if (point !== null) {
      if (await diesByItself(this.#broker, isOfStart(point) ? 0 : POINT_WITHIN_MS))
        return this.#met(point);
      this.#figures.missed.push(point);
    }
    const atMs = performance.now() + this.#random.between(...LIFE_MS);
    await waitFor("the moment", () => performance.now() > atMs);
  }

  #met(point: KillPoint | null): void {
    if (point !== null) this.#figures.met.set(point, (this.#figures.met.get(point) ?? 0) + 1);
  }
}

/** Those that read a checkpoint last: then there is one. */
const shuffled = (points: readonly KillPoint[], random: Random): KillPoint[] =>
  points
    .map((point) => ({ point, at: point === "start: checkpoint opened" ? 1 : random.next() }))
    .sort((one, other) => one.at - other.at)
    .map(({ point }) => point);

/** Every named point once, in any order, and as many moments of chance; then again. */
function planOf(kills: number, random: Random): readonly (KillPoint | null)[] {
  const plan: (KillPoint | null)[] = [];
  while (plan.length < kills) {
    const points = shuffled(POINTS_OF_WRITING, random);
    const chances = IS_LONG ? points.length : CHANCES_OF_SHORT;
    plan.push(...points, ...new Array<null>(chances).fill(null));
  }
  return plan.slice(0, kills);
}

async function round(plan: readonly (KillPoint | null)[], random: Random, figures: Figures) {
  const broker = await bench.brokerProcess({
    logLevel: "info",
    policy: { checkIntervalMs: 200, checkAttemptsMax: 1_000_000 },
    // Small, so that kills meet checkpoints and new segments.
    checkpointEveryBytes: MIB / 2,
    segmentBytesMax: 1.5 * MIB,
  });
  const setup = await bench.admin(broker.url);
  await setUpLoad(setup);
  await setup.close();
  await broker.kill();
  const history = new History();
  const load = new Load({ url: broker.url, history, random, parallel: PARALLEL });
  bench.later(() => load.close());
  const killed = new Round(broker, load, random, figures);
  await killed.start(null);
  load.start();
  await waitFor("as much as fills a part of a pack", () => history.counts.ok > OPERATIONS_FIRST);
  await broker.kill();
  await load.disconnect();
  for (const point of plan) await killed.live(point);
  await killed.start(null);
  await load.end();
  const admin = await createAdmin({ url: broker.url });
  await settled(admin, 60_000);
  const final = await finalOf(broker.url, admin, history);
  const { lapsed } = await admin.request("stats", {});
  await admin.close();
  await load.close();
  expect((await broker.kill("SIGTERM")).code).toBe(0);
  figures.add(history, lapsed);
  expect(killed.complaints).toEqual([]);
  const problems = judge(history, final);
  expect(problems.slice(0, 20), `${problems.length} problems`).toEqual([]);
  expect((await verifyStore(broker.dataDir)).problems).toEqual([]);
  rmSync(broker.dataDir, { recursive: true });
}

describe("a broker that is killed again and again under load", () => {
  it(
    `keeps everything that it answered (${KILLS} kills, seed ${SEED})`,
    async () => {
      const random = new Random(SEED);
      const plan = planOf(KILLS, random);
      const figures = new Figures();
      for (let from = 0; from < KILLS; from += KILLS_OF_A_ROUND)
        await round(plan.slice(from, from + KILLS_OF_A_ROUND), random, figures);
      figures.print();
      if (!IS_LONG) expect(figures.missed).toEqual([]);
      expect(figures.met.size).toBe(Math.min(POINTS_OF_WRITING.length, KILLS));
    },
    60_000 + KILLS * 10_000,
  );
});
