/** Plays every scenario of this folder. UPDATE_SCENARIOS=1 rewrites what they expect. */
import { readdirSync, readFileSync, writeFileSync } from "node:fs";
import { expect, test } from "vitest";
import { play } from "../support/sim-scenario.ts";

const scenarios = readdirSync(import.meta.dirname).filter((file) => file.endsWith(".txt"));

test.each(scenarios)("%s goes as it says", (file) => {
  const path = `${import.meta.dirname}/${file}`;
  const expected = readFileSync(path, "utf8");
  const happened = play(expected);
  if (process.env.UPDATE_SCENARIOS === "1") writeFileSync(path, happened);
  else expect(happened).toBe(expected);
});
