/** PROTOCOL.md is normative: its tables and the code say the same, in both directions. */
import { readFileSync } from "node:fs";
import { describe, expect, test } from "vitest";
import { ERROR_TABLE } from "../../protocol/src/errors.ts";
import type { Fields } from "../../protocol/src/fields.ts";
import {
  BROKER_FRAMES,
  CLIENT_FRAMES,
  PROTOCOL_VERSION,
  SUBPROTOCOL,
} from "../../protocol/src/frames.ts";
import { LIMIT_TABLE } from "../../protocol/src/limits.ts";
import { MESSAGE_FIELDS } from "../../protocol/src/message.ts";

const document = readFileSync(new URL("../../protocol/PROTOCOL.md", import.meta.url), "utf8");

/** The text below each heading of one level, by heading. */
function sections(text: string, marks: string): Map<string, string> {
  const found = new Map<string, string>();
  for (const part of text.split(new RegExp(`^${marks} `, "m")).slice(1)) {
    const end = part.indexOf("\n");
    found.set(part.slice(0, end).replaceAll("`", ""), part.slice(end));
  }
  return found;
}

/** The rows of the table with these columns, cells without their back-ticks. */
function tableRows(text: string, ...columns: string[]): string[][] {
  const head = `| ${columns.join(" | ")} |\n`;
  const at = text.indexOf(head);
  if (at < 0) return [];
  const [lines = ""] = text.slice(at + head.length).split("\n\n", 1);
  return lines
    .split("\n")
    .slice(1)
    .filter((line) => line.startsWith("|"))
    .map((line) =>
      line
        .slice(2, -2)
        .split(" | ")
        .map((cell) => cell.replaceAll("`", "")),
    );
}

const chapters = sections(document, "##");
const chapter = (name: string): string => {
  const text = chapters.get(name);
  if (text === undefined) throw new Error(`PROTOCOL.md has no chapter "${name}".`);
  return text;
};

/** Fields as the document's rows; those of a map in a list stand below it with their path. */
function rowsOf(fields: Fields, path = ""): string[][] {
  return Object.entries(fields).flatMap(([name, field]) => {
    const row = [path + name, field.says, field.isOptional ? "optional" : "required"];
    const inner = field.fields ?? field.item?.fields;
    const innerPath = `${path}${name}${field.item === undefined ? "." : "[]."}`;
    return inner === undefined ? [row] : [row, ...rowsOf(inner, innerPath)];
  });
}

const fieldRows = (text: string) => tableRows(text, "field", "holds", "presence");

describe.each<[string, Readonly<Record<string, Fields>>]>([
  ["Frames from the client", CLIENT_FRAMES],
  ["Frames from the broker", BROKER_FRAMES],
])("%s", (name, table) => {
  const documented = sections(chapter(name), "####");

  test("are the frames of the code, all of them and no others", () => {
    expect([...documented.keys()].sort()).toEqual(Object.keys(table).sort());
  });

  test.each(Object.entries(table))("%s has the fields of the code", (type, fields) => {
    expect(fieldRows(documented.get(type) ?? "")).toEqual(rowsOf(fields));
  });

  test("each say what they are for", () => {
    for (const [type, text] of documented)
      expect([type, text.trim().split("\n")[0]?.startsWith("|")]).toEqual([type, false]);
  });

  test("name only error codes that exist", () => {
    const named = [...chapter(name).matchAll(/\b[A-Z]+(?:_[A-Z]+)+\b/g)].map(([code]) => code);
    expect(named.filter((code) => !Object.hasOwn(ERROR_TABLE, code))).toEqual([]);
  });
});

test("the encoded message has the fields of the code", () => {
  expect(fieldRows(chapter("The encoded message"))).toEqual(rowsOf(MESSAGE_FIELDS));
});

test("the error table is that of the code", () => {
  const yesOrNo = (is: boolean) => (is ? "yes" : "no");
  expect(tableRows(chapter("Errors"), "code", "meaning", "retriable", "closes")).toEqual(
    Object.entries(ERROR_TABLE).map(([code, kind]) => [
      code,
      kind.meaning,
      yesOrNo(kind.isRetriable),
      yesOrNo(kind.closes),
    ]),
  );
});

test("the limits table is that of the code", () => {
  expect(tableRows(chapter("Limits"), "limit", "value", "unit", "reason")).toEqual(
    Object.entries(LIMIT_TABLE).map(([name, limit]) => [
      name,
      String(limit.value),
      limit.unit,
      limit.reason,
    ]),
  );
});

test("numbers in the text are those of the tables", () => {
  const { batchFramesMax, bodyBytesMax, helloWithinMs, pingEveryMs } = LIMIT_TABLE;
  expect(chapter("Transport")).toContain(`1 to ${batchFramesMax.value} frames`);
  expect(chapter("Transport")).toContain(`every ${pingEveryMs.value / 1_000} s`);
  expect(chapter("The life of a connection")).toContain(`within ${helloWithinMs.value / 1_000} s`);
  const credit = (bodyBytesMax.value + 32_768).toLocaleString("en");
  expect(chapter("Rules")).toContain(`${credit} bytes`);
});

test("version and subprotocol are those of the code", () => {
  expect(document).toContain(`# The EscrowMQ protocol, version ${PROTOCOL_VERSION}`);
  expect(chapter("Transport")).toContain(SUBPROTOCOL);
});

test("every link within the document leads somewhere", () => {
  const anchors = [...document.matchAll(/^#+ (.+)$/gm)].map(([, title = ""]) =>
    title
      .toLowerCase()
      .replaceAll(/[^\w\s-]/g, "")
      .replaceAll(" ", "-"),
  );
  const links = [...document.matchAll(/\]\(#([^)]+)\)/g)].map(([, anchor = ""]) => anchor);
  expect(links.filter((link) => !anchors.includes(link))).toEqual([]);
});
