/** Patterns on long texts, and of more than 32 characters: there another search is at work than on short ones. */
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { fits, likePattern } from "../../broker/src/filter/pattern.ts";

/** By a table: row n says for each length of the text whether the first n signs fit that much of it. */
function fitsByTable(pattern: string, text: string): boolean {
  const characters = [...text];
  let row = [true, ...characters.map(() => false)];
  for (const sign of pattern) {
    const next = [sign === "%" && row[0] === true];
    for (const [at, character] of characters.entries())
      next.push(
        sign === "%"
          ? row[at + 1] === true || next[at] === true
          : (sign === "_" || sign === character) && row[at] === true,
      );
    row = next;
  }
  return row.at(-1) === true;
}

const run = (max: number) =>
  fc.array(fc.constantFrom("a", "a", "b", "é", "🙂", "_"), { minLength: 1, maxLength: max });
const pattern = fc
  .array(run(70), { minLength: 1, maxLength: 4 })
  .map((runs) => runs.map((one) => one.join("")));

/** A text that the pattern fits, or would, had it not been changed in one place. */
const textFor = (runs: readonly string[], fillers: readonly string[], change: number | null) => {
  const parts = runs.flatMap((one, at) => [fillers[at] ?? "", one.replaceAll("_", "b")]);
  const characters = [...parts.join(""), ...(fillers.at(-1) ?? "")];
  if (change !== null && characters.length > 0) characters[change % characters.length] = "x";
  return characters.join("");
};

const filler = (max: number) =>
  fc.array(fc.constantFrom("a", "b", "🙂"), { maxLength: max }).map((parts) => parts.join(""));

describe.each([
  ["short", 20, 1_000],
  ["long", 1_500, 60],
] as const)("LIKE on %s texts", (_, max, numRuns) => {
  test("fits what a table of all possibilities says", () => {
    const seen = { true: 0, false: 0 };
    fc.assert(
      fc.property(
        pattern,
        fc.array(filler(max), { minLength: 5, maxLength: 5 }),
        fc.option(fc.nat(), { nil: null, freq: 2 }),
        fc.constantFrom("%", ""),
        fc.constantFrom("%", ""),
        (runs, fillers, change, before, behind) => {
          const like = `${before}${runs.join("%")}${behind}`;
          const outside = [before === "" ? "" : (fillers[0] ?? ""), ...fillers.slice(1, -1)];
          const text = textFor(runs, [...outside, behind === "" ? "" : (fillers[4] ?? "")], change);
          const expected = fitsByTable(like, text);
          seen[`${expected}`]++;
          expect([like, text, fits(likePattern(like, null, like, 0), text)]).toEqual([
            like,
            text,
            expected,
          ]);
        },
      ),
      { numRuns },
    );
    expect(Math.min(seen.true, seen.false)).toBeGreaterThan(numRuns / 20);
  });
});

describe("each character of a pattern counts, wherever it stands", () => {
  test.each([1, 2, 31, 32, 33, 63, 64, 65, 96, 250])("of %i characters", (length) => {
    const signs = Array.from({ length }, (_, at) => (at % 3 === 1 ? "_" : ("abé"[at % 2] ?? "a")));
    const pattern = likePattern(`%${signs.join("")}%`, null, "", 0);
    const text = signs.map((sign) => (sign === "_" ? "🙂" : sign));
    const around = (characters: readonly string[]) => `xx${characters.join("")}x`;
    expect(fits(pattern, around(text))).toBe(true);
    expect(fits(pattern, around(text.slice(1)))).toBe(false);
    for (const [at, sign] of signs.entries())
      if (sign !== "_") expect(fits(pattern, around(text.with(at, "y")))).toBe(false);
  });
});
