/** What filters match: a table to learn the language from. PROTOCOL.md, "Filters", has the rules. */
import { describe, expect, test } from "vitest";
import { type MessageHead, parseFilter } from "../../broker/src/filter/filter.ts";

const head = (
  headers: Readonly<Record<string, string>> = {},
  more: { readonly tag?: string; readonly key?: string } = {},
): MessageHead => ({ id: "m-1", topic: "orders", headers, ...more });

const tagged = (tag: string): MessageHead => head({}, { tag });
const a = (value: string): MessageHead => head({ a: value });
const NOTHING: MessageHead = { id: "m-1", topic: "orders" };

type Row = readonly [
  filter: string,
  matching: readonly MessageHead[],
  others: readonly MessageHead[],
];

function judgedAsInTable(rows: readonly Row[]): void {
  test.each(rows)("%s", (text, matching, others) => {
    const filter = parseFilter(text);
    expect(filter.text).toBe(text);
    for (const one of matching) expect([one, filter.matches(one)]).toEqual([one, true]);
    for (const one of others) expect([one, filter.matches(one)]).toEqual([one, false]);
  });
}

describe("a list of tags matches a tag that is in it, and * everything", () => {
  judgedAsInTable([
    ["*", [NOTHING, tagged("paid"), tagged("")], []],
    [" * ", [NOTHING], []],
    ["paid", [tagged("paid")], [NOTHING, tagged("Paid"), tagged("paid "), tagged("")]],
    [
      "paid || refunded",
      [tagged("paid"), tagged("refunded")],
      [tagged("paid || refunded"), NOTHING],
    ],
    ["paid||refunded||paid", [tagged("paid"), tagged("refunded")], [tagged("lost")]],
    ["größe || 金額", [tagged("größe"), tagged("金額")], [tagged("grösse")]],
    ["TAGS", [tagged("TAGS")], [tagged("paid")]],
    ["order.paid-2:eu", [tagged("order.paid-2:eu")], [NOTHING]],
  ]);
});

describe("numbers are compared as numbers", () => {
  judgedAsInTable([
    ["sql: a > 5", [a("6"), a("5.1"), a("1e9"), a("+6")], [a("5"), a("-6"), NOTHING]],
    ["sql: a >= 5", [a("5"), a("5.0"), a("50e-1")], [a("4.99")]],
    ["sql: a < 5", [a("4"), a("-1"), a(".5"), a("5e-1")], [a("5"), a("10")]],
    ["sql: a <= -1.5", [a("-1.5"), a("-2")], [a("-1")]],
    ["sql: a = 3", [a("3"), a("3.0"), a("+3"), a("003"), a("30e-1")], [a("4"), a("3x")]],
    ["sql: a <> 3", [a("4"), a("3.5")], [a("3"), a("3.00"), a("three"), NOTHING]],
    ["sql: 5 < a", [a("6")], [a("5")]],
    ["sql: 5 >= a", [a("5"), a("4")], [a("6")]],
    ["sql: a > b", [head({ a: "10", b: "9" })], [head({ a: "9", b: "10" }), a("10")]],
    ["sql: a BETWEEN 2 AND 10", [a("2"), a("10"), a("3.3")], [a("1"), a("11"), a("x"), NOTHING]],
    ["sql: a NOT BETWEEN 2 AND 10", [a("1"), a("11")], [a("2"), a("x"), NOTHING]],
    ["sql: a between b and 10", [head({ a: "5", b: "5" })], [head({ a: "5", b: "6" }), a("5")]],
    ["sql: a IN (1, 2.5, -3)", [a("1.0"), a("2.50"), a("-3")], [a("2"), a("one"), NOTHING]],
    ["sql: a > 3.1E10", [a("31415000000")], [a("31000000000")]],
    ["sql: a = 5.", [a("5")], [a("5.5")]],
  ]);
});

describe("a text that has not quite the form of a number is none, whatever is asked", () => {
  const none = [
    "",
    " 3",
    "3 ",
    "0x3",
    "3L",
    "1_000",
    "Infinity",
    "-Infinity",
    "NaN",
    "1e999",
    "--3",
  ];
  const filters = ["sql: a < 9e9", "sql: NOT a < 9e9", "sql: a <> 3", "sql: a NOT IN (9)"];
  test.each(none)("'%s'", (text) => {
    for (const filter of filters) expect(parseFilter(filter).matches(a(text))).toBe(false);
  });

  test("nor is one of more than 64 characters", () => {
    const filter = parseFilter("sql: a = 0");
    expect(filter.matches(a("0".repeat(64)))).toBe(true);
    expect(filter.matches(a("0".repeat(65)))).toBe(false);
  });
});

describe("texts are compared character by character", () => {
  judgedAsInTable([
    ["sql: a = 'eu'", [a("eu")], [a("EU"), a("eu "), a(""), NOTHING]],
    ["sql: a = ''", [a("")], [a(" "), NOTHING]],
    ["sql: a = '3'", [a("3")], [a("3.0"), a("03")]],
    ["sql: 'eu' = a", [a("eu")], [a("us")]],
    ["sql: a <> 'eu'", [a("us"), a("")], [a("eu"), NOTHING]],
    ["sql: a = 'it''s'", [a("it's")], [a("it''s")]],
    ["sql: a = '''''tag'''''", [a("''tag''")], [a("tag")]],
    ["sql: a IN ('eu', 'us')", [a("eu"), a("us")], [a("cn"), NOTHING]],
    ["sql: a NOT IN ('eu', 'us')", [a("cn"), a("")], [a("eu"), NOTHING]],
    ["sql: a = b", [head({ a: "x", b: "x" })], [head({ a: "3", b: "3.0" }), a("x"), NOTHING]],
    ["sql: a <> b", [head({ a: "3", b: "3.0" })], [head({ a: "x", b: "x" }), a("x")]],
    ["sql: a = 'x\ty\n'", [a("x\ty\n")], [a("x y ")]],
  ]);
});

describe("truth is written true and false", () => {
  judgedAsInTable([
    ["sql: a = TRUE", [a("true"), a("TRUE"), a("True")], [a("false"), a("1"), a("yes"), NOTHING]],
    ["sql: a = FALSE", [a("false"), a("FALSE")], [a("true"), a("0"), a("no"), a(""), NOTHING]],
    ["sql: a <> TRUE", [a("false")], [a("true"), a("other"), NOTHING]],
    ["sql: FALSE = a", [a("false")], [a("true")]],
    ["sql: a", [a("true")], [a("false"), a("a"), NOTHING]],
    ["sql: NOT a", [a("false")], [a("true"), a("a"), NOTHING]],
    ["sql: TRUE", [NOTHING], []],
    ["sql: FALSE", [], [NOTHING, a("true")]],
    ["sql: NOT FALSE", [NOTHING], []],
  ]);
});

describe("what a message does not have is unknown, and only IS NULL knows it", () => {
  judgedAsInTable([
    ["sql: a IS NULL", [NOTHING, head({ b: "1" })], [a(""), a("1")]],
    ["sql: a IS NOT NULL", [a(""), a("1")], [NOTHING]],
    ["sql: NOT a IS NULL", [a("1")], [NOTHING]],
    ["sql: a = 1 OR b = 1", [a("1"), head({ b: "1" })], [NOTHING, a("2")]],
    ["sql: NOT (a = 1 AND b = 1)", [a("2"), head({ a: "x", b: "2" })], [a("1"), NOTHING]],
    ["sql: NOT (a = 1 OR b = 1)", [head({ a: "2", b: "2" })], [a("2"), a("1"), NOTHING]],
    ["sql: a > 1 OR b = 'x'", [head({ a: "no number", b: "x" })], [head({ a: "no number" })]],
    ["sql: a IS NULL OR a = 'hello'", [NOTHING, a("hello")], [a("abc")]],
    ["sql: constructor IS NULL AND toString IS NULL", [NOTHING, a("1")], []],
    ['sql: "__proto__" IS NULL', [NOTHING, a("1")], []],
    ["sql: constructor = 'x'", [head({ constructor: "x" } as Record<string, string>)], [a("1")]],
  ]);
});

describe("NOT binds closer than AND, AND closer than OR", () => {
  const abc = (a: string, b: string, c: string) => head({ a, b, c });
  judgedAsInTable([
    ["sql: a OR b AND c", [abc("true", "false", "false")], [abc("false", "true", "false")]],
    ["sql: (a OR b) AND c", [abc("true", "false", "true")], [abc("true", "false", "false")]],
    ["sql: NOT a AND b", [abc("false", "true", "false")], [abc("false", "false", "false")]],
    ["sql: NOT (a AND b)", [abc("true", "false", "false")], [abc("true", "true", "false")]],
    ["sql: NOT a = 1", [abc("2", "", "")], [abc("1", "", "")]],
    ["sql: NOT NOT a", [abc("true", "", "")], [abc("false", "", "")]],
    ["sql: a BETWEEN 1 AND 2 AND b = 3", [abc("1", "3", "")], [abc("1", "4", "")]],
    ["sql:a='1'and(b=2)", [abc("1", "2", "")], [abc("1", "3", "")]],
    ["SQL:\n\ta = 1\r\n  AnD b = 2 ", [abc("1", "2", "")], [abc("2", "2", "")]],
  ]);
});

describe("LIKE compares the whole text, % for any characters and _ for one", () => {
  judgedAsInTable([
    ["sql: a LIKE 'eu'", [a("eu")], [a("eu-1"), a("EU"), NOTHING]],
    ["sql: a LIKE 'eu%'", [a("eu"), a("eu-1")], [a("the eu"), NOTHING]],
    ["sql: a LIKE '%eu'", [a("eu"), a("the eu")], [a("eu-1")]],
    ["sql: a LIKE '%eu%'", [a("eu"), a("the eu-1")], [a("e-u")]],
    ["sql: a LIKE 'a%b%c'", [a("abc"), a("a-b-b-c")], [a("acb"), a("ab"), a("abcd")]],
    ["sql: a LIKE 'aa%aa'", [a("aaaa"), a("aabaa")], [a("aaa"), a("aa")]],
    ["sql: a LIKE '%aab%aab'", [a("aabaab"), a("aaabxaaab")], [a("aabab"), a("aab")]],
    ["sql: a LIKE '%'", [a(""), a("x")], [NOTHING]],
    ["sql: a LIKE ''", [a("")], [a("x")]],
    ["sql: a LIKE '_'", [a("x"), a("é"), a("🙂")], [a(""), a("xy"), a("🙂🙂")]],
    ["sql: a LIKE '%_'", [a("x"), a("x🙂")], [a("")]],
    ["sql: a LIKE '_%_'", [a("xy"), a("🙂🙂")], [a("x"), a("🙂")]],
    ["sql: a LIKE '%a_c%'", [a("aac"), a("xabcx"), a("aabaxc🙂")], [a("ac"), a("abbc")]],
    ["sql: a LIKE '%_🙂_%'", [a("x🙂x"), a("🙂🙂🙂")], [a("🙂🙂")]],
    ["sql: a NOT LIKE 'eu%'", [a("us")], [a("eu"), NOTHING]],
    ["sql: a LIKE '100!%' ESCAPE '!'", [a("100%")], [a("100"), a("1000"), a("100!%")]],
    ["sql: a LIKE 'a!_!!%' ESCAPE '!'", [a("a_!"), a("a_!x")], [a("ab!"), a("a!_!!")]],
    ["sql: a LIKE '100%%' ESCAPE '%'", [a("100%")], [a("100"), a("100%%")]],
    ["sql: a LIKE '.*'", [a(".*")], [a("x"), a("")]],
    ["sql: a LIKE '[a-z]%'", [a("[a-z]1")], [a("abc")]],
  ]);
});

describe("CONTAINS, STARTSWITH and ENDSWITH look for a text as it stands", () => {
  judgedAsInTable([
    ["sql: a CONTAINS 'eu'", [a("eu"), a("the eu-1")], [a("e-u"), NOTHING]],
    ["sql: a NOT CONTAINS 'eu'", [a("us")], [a("the eu"), NOTHING]],
    ["sql: a CONTAINS '%_'", [a("50%_"), a("%_%")], [a("50%"), a("xx")]],
    ["sql: a STARTSWITH 'eu'", [a("eu"), a("eu-1")], [a("the eu"), NOTHING]],
    ["sql: a NOT STARTSWITH 'eu'", [a("the eu")], [a("eu-1"), NOTHING]],
    ["sql: a ENDSWITH 'eu'", [a("eu"), a("the eu")], [a("eu-1"), a("u"), NOTHING]],
    ["sql: a not endswith 'eu'", [a("eu-1"), a("")], [a("the eu"), NOTHING]],
  ]);
});

describe("names are headers, but for TAGS and KEYS", () => {
  const both = head(
    { TAGS: "header", tags: "small", "a b": "1", 'say "it"': "2" },
    { tag: "paid", key: "k-1" },
  );
  judgedAsInTable([
    ["sql: TAGS = 'paid'", [both], [tagged("lost"), NOTHING]],
    ["sql: TAGS IN ('paid', 'lost') AND KEYS STARTSWITH 'k-'", [both], [tagged("paid")]],
    ["sql: TAGS IS NULL AND KEYS IS NULL", [NOTHING], [both]],
    ["sql: \"TAGS\" = 'header'", [both], [tagged("header")]],
    ["sql: tags = 'small'", [both], [tagged("small")]],
    ['sql: "a b" = 1', [both], [NOTHING]],
    ['sql: "say ""it""" = 2', [both], [NOTHING]],
    ['sql: "and" = 1 AND "LIKE" = 2', [head({ and: "1", LIKE: "2" })], [NOTHING]],
    ["sql: A = 1", [head({ A: "1" })], [a("1")]],
    ["sql: $a_1 = 1", [head({ $a_1: "1" })], [NOTHING]],
    ["sql: \"content-type\" = 'x'", [head({ "content-type": "x" })], [NOTHING]],
  ]);
});
