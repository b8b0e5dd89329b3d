/**
 * Deterministic simulation: whole worlds from seeds, with faults, audited at every step.
 * Long form: SIM_SEEDS=10000 SIM_FROM=0 npx vitest run test/sim/sim.test.ts
 * It goes on behind a seed that breaks a promise, names them all at the end, and says in between
 * how far it is: a world that hangs shows as a seed that nobody gets past.
 */
import { expect, test } from "vitest";
import { World } from "./world.ts";

const FROM = Number(process.env.SIM_FROM ?? 0);
const SEEDS = Number(process.env.SIM_SEEDS ?? 300);
const IS_LONG = process.env.SIM_SEEDS !== undefined;

const HOUR = 3_600_000;
const MINUTE = 60_000;
const PROGRESS_EVERY = 100;
/** More than this is one fault seen many times. */
const BROKEN_MAX = 20;

/** What all worlds together came to; the seeds that broke a promise, as text. */
class Total {
  readonly broken: string[] = [];
  readonly counts: Record<string, number> = {};
  readonly #cpu = process.cpuUsage();

  add(counts: Readonly<Record<string, number>>): void {
    for (const [name, count] of Object.entries(counts))
      this.counts[name] = (this.counts[name] ?? 0) + count;
  }

  addBroken(seed: number, error: unknown): void {
    const text = error instanceof Error ? error.stack : String(error);
    if (IS_LONG) process.stderr.write(`Seed ${seed}: ${error}\n`);
    this.broken.push(
      `Seed ${seed}: ${text}\nRerun: SIM_FROM=${seed} SIM_SEEDS=1 npx vitest run test/sim/sim.test.ts`,
    );
  }

  /** "200 worlds, the last 5199, 0 broken, 112 virtual hours per minute of CPU". */
  line(worlds: number): string {
    const { user, system } = process.cpuUsage(this.#cpu);
    const hours = (this.counts.virtualMs ?? 0) / HOUR;
    const minutes = (user + system) / 1000 / MINUTE;
    return `${worlds} worlds, the last ${FROM + worlds - 1}, ${this.broken.length} broken, ${(hours / minutes).toFixed(0)} virtual hours per minute of CPU`;
  }
}

test(`${SEEDS} worlds from seed ${FROM} on keep every promise`, {
  timeout: 7_200_000,
}, async () => {
  const total = new Total();
  for (let worlds = 1; worlds <= SEEDS && total.broken.length < BROKEN_MAX; worlds++) {
    const seed = FROM + worlds - 1;
    try {
      const { steps, virtualMs, counts } = await new World(seed).run();
      total.add({ ...counts, steps, virtualMs });
    } catch (error) {
      total.addBroken(seed, error);
    }
    if (IS_LONG && worlds % PROGRESS_EVERY === 0) process.stderr.write(`${total.line(worlds)}\n`);
  }
  expect(total.broken.join("\n\n")).toBe("");
  // A world in which nothing happens keeps every promise, too.
  if (SEEDS >= 100)
    for (const [name, count] of Object.entries(total.counts))
      expect(count, name).toBeGreaterThan(0);
  if (IS_LONG) console.log(total.counts);
});

test.each([1, 2, 3].map((at) => FROM + at))("seed %i twice gives the same trace", async (seed) => {
  const one = await new World(seed, { isTraced: true }).run();
  const other = await new World(seed, { isTraced: true }).run();
  expect(one).toEqual(other);
});
