/**
 * Deterministic simulation: whole worlds from seeds, with faults, audited at every step.
 * Long form: SIM_SEEDS=10000 SIM_FROM=0 npx vitest run test/sim/sim.test.ts
 */
import { expect, test } from "vitest";
import { type Outcome, World } from "./world.ts";

const FROM = Number(process.env.SIM_FROM ?? 0);
const SEEDS = Number(process.env.SIM_SEEDS ?? 100);

async function run(seed: number): Promise<Outcome> {
  try {
    return await new World(seed).run();
  } catch (error) {
    const text = error instanceof Error ? error.stack : String(error);
    throw new Error(
      `Seed ${seed}: ${text}\nRerun: SIM_FROM=${seed} SIM_SEEDS=1 npx vitest run test/sim/sim.test.ts`,
    );
  }
}

test(`${SEEDS} worlds from seed ${FROM} on keep every promise`, {
  timeout: 7_200_000,
}, async () => {
  const total: Record<string, number> = {};
  const add = (name: string, count: number): void => {
    total[name] = (total[name] ?? 0) + count;
  };
  for (let seed = FROM; seed < FROM + SEEDS; seed++) {
    const { steps, virtualMs, counts } = await run(seed);
    add("steps", steps);
    add("virtualMs", virtualMs);
    for (const [name, count] of Object.entries(counts)) add(name, count);
  }
  // A world in which nothing happens keeps every promise, too.
  if (SEEDS >= 100)
    for (const [name, count] of Object.entries(total)) expect(count, name).toBeGreaterThan(0);
  if (process.env.SIM_SEEDS !== undefined) console.log(total);
});

test.each([1, 2, 3].map((at) => FROM + at))("seed %i twice gives the same trace", async (seed) => {
  const one = await new World(seed, { isTraced: true }).run();
  const other = await new World(seed, { isTraced: true }).run();
  expect(one).toEqual(other);
});
