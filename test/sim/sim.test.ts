/**
 * Deterministic simulation: whole worlds from seeds, with faults, audited at every step.
 * Long form: SIM_SEEDS=10000 SIM_FROM=0 npx vitest run test/sim/sim.test.ts
 */
import { expect, test } from "vitest";
import { World } from "./world.ts";

const FROM = Number(process.env.SIM_FROM ?? 0);
const SEEDS = Number(process.env.SIM_SEEDS ?? 150);

function run(seed: number) {
  try {
    return new World(seed).run();
  } catch (error) {
    const text = error instanceof Error ? error.stack : String(error);
    throw new Error(
      `Seed ${seed}: ${text}\nRerun: SIM_FROM=${seed} SIM_SEEDS=1 npx vitest run test/sim/sim.test.ts`,
    );
  }
}

test(`${SEEDS} worlds from seed ${FROM} on keep every promise`, { timeout: 7_200_000 }, () => {
  const total = { steps: 0, virtualMs: 0, crashes: 0, deliveries: 0, acks: 0, verdicts: 0 };
  const retention = { retired: 0, expired: 0, removed: 0 };
  for (let seed = FROM; seed < FROM + SEEDS; seed++) {
    const { steps, virtualMs, crashes, counts, ...retained } = run(seed);
    for (const name of ["retired", "expired", "removed"] as const)
      retention[name] += retained[name];
    total.steps += steps;
    total.virtualMs += virtualMs;
    total.crashes += crashes;
    total.deliveries += counts.deliveries ?? 0;
    total.acks += counts.acks ?? 0;
    total.verdicts += counts.verdicts ?? 0;
  }
  if (SEEDS >= 100) {
    // A world in which nothing happens keeps every promise, too.
    for (const count of [...Object.values(total), ...Object.values(retention)])
      expect(count / SEEDS).toBeGreaterThan(1);
  }
  if (process.env.SIM_SEEDS !== undefined) console.log(total, retention);
});

test.each([1, 2, 3].map((at) => FROM + at))("seed %i twice gives the same trace", (seed) => {
  const [one, other] = [1, 2].map(() => new World(seed, { isTraced: true }).run());
  expect(one).toEqual(other);
});
