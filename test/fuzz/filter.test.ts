/**
 * Hostile filters: whatever the text, it is read or refused with FILTER_INVALID, at once; and what is read judges
 * any message without throwing, in a time that the limits of filters bound.
 *
 *   FUZZ_FRAMES=20000000 SEED=7 npx vitest run test/fuzz/filter.test.ts
 */
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { type Filter, type MessageHead, parseFilter } from "../../broker/src/filter/filter.ts";
import { EscrowError } from "../../protocol/src/errors.ts";
import { LIMITS } from "../../protocol/src/limits.ts";
import { heads, textOf, trees } from "../filter/trees.ts";
import { seeded } from "../protocol/mutants.ts";
import { FRAMES, SEED } from "../support/fuzz-run.ts";

/** On a machine that has other things to do as well. */
const STALL_MS = 50;
const TEXTS = Math.round(FRAMES.session);

/** Null: refused. Throws whatever is thrown that is no refusal. */
function read(text: string): Filter | null {
  try {
    return parseFilter(text);
  } catch (error) {
    if (EscrowError.is(error, "FILTER_INVALID")) return null;
    throw new Error(`thrown on ${JSON.stringify(text)}`, { cause: error });
  }
}

/** A stall comes again with the same text; another process that had the core does not. */
function leastMs(run: () => void): number {
  let least = Number.POSITIVE_INFINITY;
  for (let time = 0; time < 5 && least > STALL_MS / 5; time++) {
    const startMs = performance.now();
    run();
    least = Math.min(least, performance.now() - startMs);
  }
  return least;
}

const PARTS = [
  ..."AND|OR|NOT|BETWEEN|IN|LIKE|ESCAPE|IS|NULL|TRUE|FALSE|CONTAINS|STARTSWITH|ENDSWITH".split("|"),
  ...["a", "TAGS", '"a b"', "'x'", "'%_%'", "''", "'!'", "1", "-2.5", "1e9", "(", ")", ","],
  ...[
    "=",
    "<>",
    "<",
    "<=",
    ">",
    ">=",
    "||",
    "*",
    "'",
    '"',
    "sql:",
    "\u0000",
    "é",
    "🙂",
    "\ud83d",
    "--",
  ],
];
/** The language's words in any order: much of it is nearly right. */
const soup = fc.array(fc.constantFrom(...PARTS), { maxLength: 30 }).map((parts) => parts.join(" "));

/** What happens to a right filter: a piece of it goes, comes twice, or gives way to another. */
function mutant(text: string, random: (max: number) => number): string {
  const at = random(text.length + 1);
  const end = Math.min(text.length, at + random(6));
  const by = ["", text.slice(at, end).repeat(2), PARTS[random(PARTS.length)] ?? ""][random(3)];
  return `${text.slice(0, at)}${by}${text.slice(end)}`;
}

describe("hostile text", () => {
  const arbitrary = fc.record({
    tree: trees,
    soup,
    noise: fc.string({ unit: "binary", maxLength: 60 }),
    head: heads,
  });

  it(`is read or refused by name (${TEXTS} texts, seed ${SEED})`, () => {
    const random = seeded(SEED);
    const seen = { read: 0, refused: 0 };
    const look = (text: string, head: MessageHead): void => {
      const filter = read(text);
      seen[filter === null ? "refused" : "read"]++;
      if (filter !== null) expect(typeof filter.matches(head)).toBe("boolean");
    };
    const samples = fc.sample(arbitrary, { numRuns: Math.ceil(TEXTS / 8), seed: SEED });
    for (const { tree, soup, noise, head } of samples) {
      const text = textOf(tree);
      for (const one of [soup, `sql: ${soup}`, noise, `sql:${noise}`]) look(one, head);
      for (let mutants = 0; mutants < 4; mutants++) look(mutant(text, random), head);
    }
    expect(Math.min(seen.read, seen.refused)).toBeGreaterThan(TEXTS / 20);
  });
});

const { filterCharactersMax } = LIMITS;
const many = (part: string, between: string, from = "sql: "): string => {
  const times = Math.floor((filterCharactersMax - from.length) / (part + between).length);
  return from + Array(Math.min(times, LIMITS.filterConditionsMax)).fill(part).join(between);
};

describe("text that is meant to be slow", () => {
  const x = "x".repeat(filterCharactersMax);
  const SLOW: readonly (readonly [name: string, text: string])[] = [
    ["too long by a megabyte", "(".repeat(1_048_576)],
    ["too long by a megabyte of emoji", "🙂".repeat(1_048_576)],
    ["opening parentheses", `sql: ${"(".repeat(filterCharactersMax - 5)}`],
    ["NOTs", `sql: ${"NOT ".repeat(500)}`],
    ["signs", `sql: ${"<".repeat(filterCharactersMax - 5)}`],
    ["quotes", `sql: ${"'".repeat(filterCharactersMax - 5)}`],
    ["digits", `sql: a = ${"1".repeat(2_000)}`],
    ["an exponent without end", `sql: a = 1e${"1".repeat(2_000)}`],
    ["bars", "|".repeat(filterCharactersMax)],
    ["tags", x.replaceAll("xx", "x|").replaceAll("|x", "||")],
    ["white space", `${" ".repeat(filterCharactersMax - 1)}x`],
    ["white space before no expression", `${"\t".repeat(filterCharactersMax - 4)}sqlx`],
  ];

  it.each(SLOW)("%s", (_, text) => {
    expect(leastMs(() => read(text))).toBeLessThan(STALL_MS);
  });
});

describe("a filter that is meant to be slow on a message that is meant to make it so", () => {
  const { filterPatternCharactersMax } = LIMITS;
  const letters = "a".repeat(LIMITS.headersBytesMax - 1);
  const head = { id: "m-1", topic: "orders", headers: { h: letters } };
  const run = (part: string, last: string): string =>
    `${part.repeat(Math.floor((filterPatternCharactersMax - 3) / part.length))}${last}`;
  const SLOW: readonly (readonly [name: string, text: string])[] = [
    ["many searches", many("h CONTAINS 'ab'", " OR ")],
    ["many searches with any character", many("h LIKE '%_ab%'", " OR ")],
    ["long searches", many(`h CONTAINS '${run("a", "b")}'`, " OR ")],
    ["long searches with any character", many(`h LIKE '%${run("_a", "b")}'`, " OR ")],
    ["much of anything", many(`h LIKE '${run("%a", "%b")}'`, " OR ")],
    ["much of anything and of any character", many(`h LIKE '${run("%_a", "%b")}'`, " OR ")],
    ["numbers that are none", many("h=1", " OR ")],
    ["lists", `sql: h IN (${many("'x'", ",", "")})`],
  ];

  it.each(SLOW)("%s", (_, text) => {
    const filter = parseFilter(text);
    expect(leastMs(() => filter.matches(head))).toBeLessThan(STALL_MS);
    expect(filter.matches(head)).toBe(false);
  });
});
