/**
 * Checkers checked: bugs as brokers really had them are planted, and each is found by the oracles, not only by
 * the engine's own assertions. A checker that never failed proves nothing.
 *
 * PLANTED_REPORT=1 prints the seed that finds each, and by which promise.
 */
import { expect, test } from "vitest";
import { InvariantError } from "../../broker/src/core/invariant.ts";
import { DELIVERY_BUGS } from "./planted/deliveries.ts";
import { DURABILITY_BUGS } from "./planted/durability.ts";
import { RETENTION_BUGS } from "./planted/retention.ts";
import { TRANSACTION_BUGS } from "./planted/transactions.ts";
import { Violation } from "./violation.ts";
import { World, type WorldOptions } from "./world.ts";

const SEEDS_MAX = Number(process.env.PLANTED_SEEDS ?? 1_000);
const PLANTED = {
  ...TRANSACTION_BUGS,
  ...DELIVERY_BUGS,
  ...DURABILITY_BUGS,
  ...RETENTION_BUGS,
};

async function foundAt(options: WorldOptions): Promise<{ seed: number; by: string }> {
  for (let seed = 0; seed < SEEDS_MAX; seed++) {
    try {
      await new World(seed, options).run();
    } catch (error) {
      if (error instanceof Violation) return { seed, by: error.message };
      // The engine noticed by itself. That is well, but not what is tested here.
      if (!(error instanceof InvariantError)) throw error;
    }
  }
  return { seed: Number.POSITIVE_INFINITY, by: "nobody" };
}

test.each(Object.entries(PLANTED))("found: %s", { timeout: 600_000 }, async (name, options) => {
  const { seed, by } = await foundAt(options);
  if (process.env.PLANTED_REPORT === "1") console.log(`${seed} | ${name} | ${by}`);
  expect(seed).toBeLessThan(SEEDS_MAX);
});
