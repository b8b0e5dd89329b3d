/** Filters against their reference: random expressions and heads, told in two ways. */
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { parseFilter } from "../../broker/src/filter/filter.ts";
import { heads, textOf, trees, verdictOf } from "./trees.ts";

const RUNS = Number(process.env.FILTER_RUNS ?? 4_000);

describe("a filter", () => {
  test("matches exactly the messages for which its reference is true", () => {
    fc.assert(
      fc.property(trees, fc.array(heads, { minLength: 1, maxLength: 5 }), (tree, messages) => {
        const text = textOf(tree);
        const filter = parseFilter(text);
        for (const head of messages)
          expect([text, head, filter.matches(head)]).toEqual([
            text,
            head,
            verdictOf(tree, head) === true,
          ]);
      }),
      { numRuns: RUNS },
    );
  });

  test("and its opposite never match the same message, and neither does what is unknown", () => {
    fc.assert(
      fc.property(trees, heads, (tree, head) => {
        const filter = parseFilter(textOf(tree));
        const opposite = parseFilter(textOf({ is: "not", of: tree }));
        const expected = { true: [true, false], false: [false, true], null: [false, false] };
        expect([filter.matches(head), opposite.matches(head)]).toEqual(
          expected[`${verdictOf(tree, head)}`],
        );
      }),
      { numRuns: RUNS },
    );
  });

  test("is tried with messages of all three kinds, each often enough to tell", () => {
    const seen = fc
      .sample(fc.tuple(trees, heads), { numRuns: 2_000, seed: 7 })
      .map(([tree, head]) => String(verdictOf(tree, head)));
    for (const verdict of ["true", "false", "null"])
      expect(seen.filter((one) => one === verdict).length).toBeGreaterThan(200);
  });

  test("means the same with parentheses around everything", () => {
    fc.assert(
      fc.property(trees, heads, (tree, head) => {
        const filter = parseFilter(textOf(tree));
        expect(parseFilter(textOf(tree, true)).matches(head)).toBe(filter.matches(head));
      }),
      { numRuns: RUNS / 4 },
    );
  });
});
