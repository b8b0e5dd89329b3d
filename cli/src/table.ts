/**
 * Tables for people. On a terminal that is too narrow for all of it a table says less: columns that say nothing go
 * first, then those that may be spared; long texts are cut or wrapped. Into a pipe it says everything.
 *
 * Invariants
 * - P1 Text in cells is escaped here, after which colour is added; a caller cannot forget it.
 * - P3 What names a thing, to be copied into the next command, is never cut.
 */
import Table from "cli-table3";
import { escapeText } from "./escape.ts";

export type Style = "bold" | "dim" | "red" | "green" | "yellow" | "cyan" | "magenta";

export interface Column<Row> {
  readonly head: string;
  readonly of: (row: Row) => string;
  readonly align?: "right";
  readonly style?: (row: Row) => Style | undefined;
  /** It may be left out; of several the lowest goes first. */
  readonly spare?: number;
  /** How a long text is made to fit. Only one column of a table. */
  readonly fit?: "cut" | "wrap";
}

/** One column with its cells. */
interface Strip<Row> {
  readonly column: Column<Row>;
  readonly cells: readonly string[];
  readonly width: number;
}

type Paint = (style: Style | undefined, text: string) => string;

const GAP = 3;
const NARROW_GAP = 2;
/** A text is worth its column with so much of it. */
const FIT_WIDTH_MIN = 24;

export function tableText<Row>(
  columns: readonly Column<Row>[],
  rows: readonly Row[],
  width: number,
  paint: Paint,
): string {
  const strips = columns.map((column) => stripOf(column, rows));
  const isRoomy = total(strips, GAP, naturalWidth) <= width;
  const shown = isRoomy ? strips : fitting(strips, width);
  const gap = isRoomy ? GAP : NARROW_GAP;
  const spared = strips.filter((strip) => !shown.includes(strip) && saysSomething(strip));
  const heads = spared.map(({ column }) => column.head).join(", ");
  const hint = heads === "" ? "" : `\n${paint("dim", `Not shown here: ${heads}. --json has all.`)}`;
  const left = width - total(shown, gap, (strip) => (strip.column.fit ? 0 : strip.width));
  return draw(isRoomy ? shown : shown.map((strip) => fitted(strip, left)), rows, gap, paint) + hint;
}

function stripOf<Row>(column: Column<Row>, rows: readonly Row[]): Strip<Row> {
  const cells = rows.map((row) => escapeText(column.of(row)));
  return { column, cells, width: Math.max(column.head.length, ...cells.map(lengthOf)) };
}

/** Characters; that some take two columns, and some none, matters little here. */
const lengthOf = (text: string): number => [...text].length;

const naturalWidth = ({ width }: Strip<never>): number => width;

const widthMin = ({ column, width }: Strip<never>): number =>
  column.fit === undefined ? width : Math.min(width, FIT_WIDTH_MIN);

const total = (
  strips: readonly Strip<never>[],
  gap: number,
  widthOf: (strip: Strip<never>) => number,
): number => strips.reduce((sum, strip) => sum + widthOf(strip) + gap, -gap);

const SAYS_NOTHING = new Set(["", "0", "-", "0 B"]);
const saysSomething = ({ cells }: Strip<never>): boolean =>
  cells.some((cell) => !SAYS_NOTHING.has(cell));

function fitting<Row>(strips: readonly Strip<Row>[], width: number): readonly Strip<Row>[] {
  const rank = (strip: Strip<Row>): number =>
    (saysSomething(strip) ? 100 : 0) + (strip.column.spare ?? 0);
  const spares = strips
    .filter(({ column }) => column.spare !== undefined)
    .sort((one, other) => rank(one) - rank(other));
  let shown = strips;
  for (const spare of spares) {
    if (total(shown, NARROW_GAP, widthMin) <= width) break;
    shown = shown.filter((strip) => strip !== spare);
  }
  return shown;
}

function fitted<Row>(strip: Strip<Row>, left: number): Strip<Row> {
  const { fit } = strip.column;
  if (fit === undefined) return strip;
  const width = Math.max(left, widthMin(strip));
  const cells = strip.cells.map((cell) => (fit === "cut" ? cut(cell, width) : wrap(cell, width)));
  return { ...strip, cells };
}

const cut = (text: string, width: number): string =>
  lengthOf(text) <= width ? text : `${[...text].slice(0, width - 1).join("")}…`;

/** A word that is longer than a line stays whole: it may be a command or a path. */
function wrap(text: string, width: number): string {
  const lines: string[] = [];
  for (const word of text.split(" ")) {
    const line = lines.at(-1);
    if (line !== undefined && lengthOf(line) + 1 + lengthOf(word) <= width)
      lines.splice(-1, 1, `${line} ${word}`);
    else lines.push(word);
  }
  return lines.join("\n");
}

const NO_LINES = {
  top: "",
  "top-mid": "",
  "top-left": "",
  "top-right": "",
  bottom: "",
  "bottom-mid": "",
  "bottom-left": "",
  "bottom-right": "",
  left: "",
  "left-mid": "",
  mid: "",
  "mid-mid": "",
  right: "",
  "right-mid": "",
};

function draw<Row>(
  strips: readonly Strip<Row>[],
  rows: readonly Row[],
  gap: number,
  paint: Paint,
): string {
  const table = new Table({
    head: strips.map(({ column }) => paint("dim", column.head)),
    chars: { ...NO_LINES, middle: " ".repeat(gap) },
    colAligns: strips.map(({ column }) => column.align ?? "left"),
    style: { "padding-left": 0, "padding-right": 0, head: [], border: [], compact: true },
  });
  for (const [at, row] of rows.entries())
    table.push(strips.map(({ column, cells }) => paint(column.style?.(row), cells[at] ?? "")));
  return withoutTrailingSpaces(table.toString());
}

export const withoutTrailingSpaces = (text: string): string => text.replace(/[ ]+$/gm, "");
