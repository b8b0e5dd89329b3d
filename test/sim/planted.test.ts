/**
 * Checkers checked: each planted bug is found by the auditor, and not by the engine's own assertions alone.
 * PLANTED_REPORT=1 prints after how many seeds, and by which promise.
 */
import { expect, test } from "vitest";
import { InvariantError } from "../../broker/src/core/invariant.ts";
import { MUTATIONS } from "./mutations.ts";
import { Violation } from "./violation.ts";
import { World, type WorldOptions } from "./world.ts";

const SEEDS_MAX = 150;

function seedsUntilFound(options: WorldOptions): { seeds: number; by: string } {
  for (let seed = 0; seed < SEEDS_MAX; seed++) {
    try {
      new World(seed, options).run();
    } catch (error) {
      if (error instanceof Violation) return { seeds: seed + 1, by: error.message };
      // The engine noticed by itself. That is well, but not what is tested here.
      if (!(error instanceof InvariantError)) throw error;
    }
  }
  return { seeds: Number.POSITIVE_INFINITY, by: "nobody" };
}

test.each(Object.entries(MUTATIONS))(
  "found: %s",
  (name, options) => {
    const { seeds, by } = seedsUntilFound(options);
    if (process.env.PLANTED_REPORT === "1") console.log(`${seeds} | ${name} | ${by}`);
    expect(seeds).toBeLessThanOrEqual(SEEDS_MAX);
  },
  60_000,
);
