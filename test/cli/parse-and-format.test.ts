/** Tables of the pure parts: what is read from the command line, and how values are written. */
import { describe, expect, test } from "vitest";
import { bodyText, escapeText, jsonText, lastWord, safe, shellWord } from "../../cli/src/escape.ts";
import { count, exactSpan, localTime, size, span, zonedTime } from "../../cli/src/format.ts";
import {
  byteSize,
  duration,
  durations,
  integer,
  pair,
  position,
  retention,
  retentionSize,
} from "../../cli/src/parse.ts";

const ESC = "\u001b";

describe("escaping", () => {
  test.each([
    [`${ESC}[31mred`, "\\x1b[31mred"],
    [`${ESC}]0;title\u0007`, "\\x1b]0;title\\x07"],
    ["line\nbreak\r\tend", "line\\nbreak\\r\\tend"],
    ["\u009b31m", "\\x9b31m"],
    ["a\u202eb", "a\\u202eb"],
    ["a\u2028b", "a\\u2028b"],
    ["lone \ud800 surrogate", "lone \\ud800 surrogate"],
    ["\u{e0041}", "\\u{e0041}"],
    ["plain äöü 漢字 👩\u200d💻", "plain äöü 漢字 👩\u200d💻"],
  ])("%j is shown as %s", (text, shown) => {
    expect(escapeText(text)).toBe(shown);
  });

  test("a template escapes what is inserted and keeps its own text", () => {
    expect(safe`topic\n${"a\nb"} has ${3}`).toBe("topic\na\\nb has 3");
  });

  test("a body that is no UTF-8 is shown in hex, and a long one is cut", () => {
    expect(bodyText(Uint8Array.of(0xff, 0x00))).toBe("<2 bytes, not UTF-8: ff00>");
    expect(bodyText(new Uint8Array(100).fill(0xff))).toBe(
      `<100 bytes, not UTF-8: ${"ff".repeat(64)}…>`,
    );
  });

  test("JSON that reaches a terminal holds no character that drives it, and reads back the same", () => {
    const value = { text: `${ESC}[31m\u009b\u202e\u{e0041}`, list: ["\n"] };
    const text = jsonText(value, 2);
    for (const character of [ESC, "\u009b", "\u202e", "\u{e0041}"])
      expect(text).not.toContain(character);
    expect(JSON.parse(text)).toEqual(value);
  });

  test("bytes in JSON are base64, and text as well when they are UTF-8", () => {
    expect(JSON.parse(jsonText({ a: Buffer.from("hi"), b: Uint8Array.of(0xff) }))).toEqual({
      a: { base64: "aGk=", text: "hi" },
      b: { base64: "/w==" },
    });
  });

  test("a proposed command can be pasted: odd words are quoted, an id that begins with a dash goes after --", () => {
    expect(shellWord("orders.eu-1")).toBe("orders.eu-1");
    expect(shellWord("it's; rm")).toBe("'it'\\''s; rm'");
    expect(lastWord("-abc")).toBe("-- -abc");
  });
});

describe("numbers and times for people", () => {
  test.each([
    [0, "0 ms"],
    [999, "999 ms"],
    [6_149, "6.1 s"],
    [59_999, "59.9 s"],
    [60_000, "1 m"],
    [133_000, "2 m 13 s"],
    [3_600_000, "1 h"],
    [273_600_000, "3 d 4 h"],
    [-5, "0 ms"],
  ])("%i ms is %s", (ms, shown) => {
    expect(span(ms)).toBe(shown);
  });

  test("a timeline's seconds are exact to the millisecond", () => {
    expect([4, 36_012, 133_000].map(exactSpan)).toEqual(["4 ms", "36.012 s", "2 m 13 s"]);
  });

  test("big numbers have narrow spaces, sizes have binary units", () => {
    expect([7, 1_234, 1_234_567].map(count)).toEqual(["7", "1\u202f234", "1\u202f234\u202f567"]);
    expect([0, 1_023, 1_536, 200 * 1_024, 3 * 1_024 ** 4].map(size)).toEqual([
      "0 B",
      "1\u202f023 B",
      "1.5 KiB",
      "200 KiB",
      "3.0 TiB",
    ]);
  });

  test("times are ISO 8601 in local time", () => {
    const atMs = Date.UTC(2025, 0, 31, 23, 30, 0, 250);
    expect(localTime(atMs, 60)).toBe("2025-02-01T00:30:00.250");
    expect(zonedTime(atMs, -210)).toBe("2025-01-31T20:00:00-03:30");
  });
});

describe("words of the command line", () => {
  test("retention has words for no limit", () => {
    expect(["7d", "forever"].map(retention)).toEqual([604_800_000, 3_153_600_000_000]);
    expect(["10GiB", "none"].map(retentionSize)).toEqual([10 * 2 ** 30, 0]);
  });

  test("durations and sizes are read with their units", () => {
    expect(["500ms", "30s", "1.5m", "2h", "1d"].map(duration)).toEqual([
      500, 30_000, 90_000, 7_200_000, 86_400_000,
    ]);
    expect(durations("1s,1m")).toEqual([1_000, 60_000]);
    expect(["2GiB", "1t"].map(byteSize)).toEqual([2 ** 31, 2 ** 40]);
    expect(["4096", "64KiB", "64k", "1MiB"].map(byteSize)).toEqual([
      4_096, 65_536, 65_536, 1_048_576,
    ]);
  });

  test("positions name the beginning, the end, an offset or a time", () => {
    expect(position("earliest")).toEqual({ from: "earliest" });
    expect(position("offset:12")).toEqual({ from: "offset", at: 12 });
    expect(position("time:2025-01-31T09:00:00+01:00")).toEqual({
      from: "time",
      at: Date.UTC(2025, 0, 31, 8),
    });
    expect(position("time:2025-01-31")).toEqual({
      from: "time",
      at: new Date(2025, 0, 31).getTime(),
    });
  });

  test("a value may hold further equal signs", () => {
    expect(pair("a=b=c")).toEqual({ name: "a", value: "b=c" });
  });

  test.each([
    ["duration", () => duration("30")],
    ["duration list", () => durations("1s,")],
    ["size", () => byteSize("1GB")],
    ["integer", () => integer(1, 9)("1e0")],
    ["integer out of range", () => integer(1, 9)("10")],
    ["pair", () => pair("=x")],
    ["position", () => position("offset:-1")],
    ["time", () => position("time:yesterday")],
    ["day that does not exist", () => position("time:2025-13-01")],
  ])("a bad %s is refused with what was expected", (_what, parse) => {
    expect(parse).toThrow(/^Expected /);
  });
});
