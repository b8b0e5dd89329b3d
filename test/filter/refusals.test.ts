/** Bad filters are refused with the first character that is wrong, and the reason. */
import { describe, expect, test } from "vitest";
import { parseFilter } from "../../broker/src/filter/filter.ts";
import { EscrowError } from "../../protocol/src/errors.ts";
import { LIMITS } from "../../protocol/src/limits.ts";

function refusalOf(text: string): EscrowError {
  try {
    parseFilter(text);
  } catch (error) {
    if (EscrowError.is(error, "FILTER_INVALID")) return error;
    throw error;
  }
  throw new Error(`It is not refused: ${text.slice(0, 200)}`);
}

/** `^` stands below the character that is named. */
const REFUSED: readonly (readonly [filter: string, below: string, reason: RegExp])[] = [
  ["", "^", /a tag is expected/],
  ["  ", "  ^", /a tag is expected/],
  ["a ||", "    ^", /a tag is expected/],
  ["a || || b", "     ^", /a tag is expected/],
  ["a | b", " ^", /sql: TAGS/],
  ["a|b", " ^", /sql: TAGS/],
  ["a || *", "     ^", /sql: TAGS/],
  ["a > 5", " ^", /sql: TAGS/],
  ["a='x'", " ^", /sql: TAGS/],
  ["a\u0000b", " ^", /sql: TAGS/],
  ["sql:", "    ^", /a condition is expected/],
  ["sql:   ", "       ^", /a condition is expected/],
  ["sql: a =", "        ^", /a name or a constant/],
  ["sql: a = ", "         ^", /a name or a constant/],
  ["sql: = 1", "     ^", /a condition is expected/],
  ["sql: a = 1 b = 2", "           ^", /AND, OR or the end/],
  ["sql: a = b = c", "           ^", /AND, OR or the end/],
  ["sql: a = 1 AND", "              ^", /a condition is expected/],
  [
    "sql: a = 1 AND OR b",
    "               ^",
    /"?a condition is expected.*OR stands in double quotes/,
  ],
  ["sql: and = 1", "     ^", /AND stands in double quotes/],
  ["sql: (a = 1", "           ^", /closing parenthesis/],
  ["sql: a = 1)", "          ^", /AND, OR or the end/],
  ["sql: ()", "      ^", /a condition is expected/],
  ["sql: (a) = 1", "         ^", /AND, OR or the end/],
  ["sql: 'x'", "     ^", /constant alone/],
  ["sql: 5", "     ^", /constant alone/],
  ["sql: 1 = 1", "     ^", /one side/],
  ["sql: 'x' IS NULL", "     ^", /a name is expected before/],
  ["sql: 5 BETWEEN 1 AND 9", "     ^", /a name is expected before/],
  ["sql: NULL", "     ^", /IS NULL/],
  ["sql: a = NULL", "         ^", /IS NULL/],
  ["sql: a IS", "         ^", /NULL or NOT NULL/],
  ["sql: a IS 5", "          ^", /NULL or NOT NULL/],
  ["sql: a IS NOT TRUE", "              ^", /NULL or NOT NULL/],
  ["sql: a NOT = 1", "           ^", /BETWEEN, IN, LIKE/],
  ["sql: a NOT NULL", "           ^", /BETWEEN, IN, LIKE/],
  ["sql: a > 'x'", "         ^", /numbers only/],
  ["sql: 'x' < a", "     ^", /numbers only/],
  ["sql: a >= TRUE", "          ^", /numbers only/],
  ["sql: a BETWEEN 'a' AND 'b'", "               ^", /numbers only/],
  ["sql: a BETWEEN 1 AND 'b'", "                     ^", /numbers only/],
  ["sql: a BETWEEN 10 AND 0", "               ^", /above the upper/],
  ["sql: a BETWEEN 1", "                ^", /AND and the upper bound/],
  ["sql: a IN 1", "          ^", /list in parentheses/],
  ["sql: a IN ()", "           ^", /a text or a number/],
  ["sql: a IN (1,)", "             ^", /a text or a number/],
  ["sql: a IN (b)", "           ^", /a text or a number/],
  ["sql: a IN (TRUE)", "           ^", /a text or a number/],
  ["sql: a IN (1, 'x')", "              ^", /not both/],
  ["sql: a IN (1 2)", "             ^", /comma/],
  ["sql: a LIKE 5", "            ^", /text in single quotes/],
  ['sql: a LIKE "x"', "            ^", /text in single quotes/],
  ["sql: a LIKE 'x' ESCAPE 'ab'", "                       ^", /one character/],
  ["sql: a LIKE 'x' ESCAPE ''", "                       ^", /one character/],
  ["sql: a LIKE 'x!' ESCAPE '!'", "            ^", /ends with its escape/],
  ["sql: a LIKE 'x!y' ESCAPE '!'", "            ^", /behind the escape/],
  ["sql: a CONTAINS ''", "                ^", /empty text/],
  ["sql: a STARTSWITH b", "                  ^", /text in single quotes/],
  ["sql: a = 'x", "         ^", /no closing quote/],
  ["sql: a = 'x''", "         ^", /no closing quote/],
  ['sql: "a = 1', "     ^", /no closing quote/],
  ['sql: "" = 1', "     ^", /not empty/],
  ["sql: a != 1", "       ^", /written <>/],
  ["sql: a == 1", "       ^", /written =/],
  ["sql: a && b", "       ^", /written AND/],
  ["sql: a || b", "       ^", /written OR/],
  ["sql: !a", "     ^", /written NOT/],
  ["sql: a = 100L", "            ^", /number ends before/],
  ["sql: a = 1.2.3", "            ^", /number ends before/],
  ["sql: a = 0x10", "          ^", /number ends before/],
  ["sql: a > - 5", "         ^", /means nothing/],
  ["sql: a = 9007199254740992", "         ^", /not exact/],
  ["sql: a = 1e999", "         ^", /too large/],
  ["sql: a + 1 = 2", "       ^", /means nothing/],
  ["sql: a-b = 2", "      ^", /means nothing/],
  ["sql: a = 1;", "          ^", /means nothing/],
  ["sql: a = 1 -- b", "           ^", /means nothing/],
  ["sql: größe = 1", "       ^", /means nothing/],
  ["sql: '🙂' = '🙂' AND", "     ^", /one side/],
  ["sql: a = '🙂' AND", "                ^", /a condition is expected/],
];

describe("a bad filter is refused", () => {
  test.each(REFUSED)("%s", (text, below, reason) => {
    const { detail, message } = refusalOf(text);
    expect([detail.position, detail.reason]).toEqual([
      below.indexOf("^"),
      expect.stringMatching(reason),
    ]);
    expect(message).toContain(`at character ${detail.position}: ${detail.reason}`);
  });

  test("and its own words are not said back, which may be anything", () => {
    const { message } = refusalOf("sql: secret = 'word' AND \u001b[31m");
    for (const own of ["secret", "word", "\u001b"]) expect(message).not.toContain(own);
  });

  test("if it holds half a character", () => {
    expect(refusalOf("sql: a = '\ud83d'").detail.reason).toMatch(/half a character/);
  });
});

describe("the limits of a filter", () => {
  const { filterCharactersMax, filterConditionsMax, filterDepthMax, filterPatternCharactersMax } =
    LIMITS;

  /** The largest that is taken, and one that is one larger. */
  const LIMITED: readonly (readonly [name: string, make: (size: number) => string, max: number])[] =
    [
      ["characters", (size) => `sql: a = '${"x".repeat(size - 11)}'`, filterCharactersMax],
      [
        "characters, an emoji being one",
        (size) => `sql: a = '${"🙂".repeat(size - 11)}'`,
        filterCharactersMax,
      ],
      ["conditions", (size) => `sql: ${Array(size).fill("a=1").join(" OR ")}`, filterConditionsMax],
      ["parentheses", (size) => `sql: ${"(".repeat(size)}a${")".repeat(size)}`, filterDepthMax],
      ["NOTs", (size) => `sql: ${"NOT ".repeat(size)}a`, filterDepthMax],
      [
        "characters of LIKE",
        (size) => `sql: a LIKE '${"%".repeat(size)}'`,
        filterPatternCharactersMax,
      ],
      [
        "characters of CONTAINS",
        (size) => `sql: a CONTAINS '${"🙂".repeat(size)}'`,
        filterPatternCharactersMax,
      ],
      ["bytes of a tag", (size) => "x".repeat(size), LIMITS.tagBytesMax],
    ];

  test.each(LIMITED)("%s", (_, make, max) => {
    expect(() => parseFilter(make(max))).not.toThrow();
    expect(refusalOf(make(max + 1)).detail.reason).toContain(`${max}`);
  });

  test("in characters, told by the first one that is too many", () => {
    for (const letter of ["x", "🙂"])
      for (const more of [1, 100_000])
        expect(refusalOf(letter.repeat(filterCharactersMax + more)).detail).toEqual({
          position: filterCharactersMax,
          reason: `it is longer than ${filterCharactersMax} characters`,
        });
  });

  test("parentheses beside each other are not deep, and a long IN is one condition", () => {
    parseFilter(`sql: ${Array(60).fill("(a=1)").join(" AND ")}`);
    parseFilter(`sql: a IN (${Array(400).fill("1").join(",")})`);
  });
});
