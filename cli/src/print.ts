/**
 * What goes to stdout and stderr: tables (table.ts) and cards for people, JSON for programs.
 *
 * Invariants
 * - P1 Text in cards is escaped here, after which colour is added; a caller cannot forget it.
 * - P2 stdout holds the answer and nothing else; notes and errors go to stderr.
 */
import { styleText } from "node:util";
import type { Page } from "@escrowmq/protocol";
import { escapeText, jsonText, shellWord } from "./escape.ts";
import { localTime, zonedTime } from "./format.ts";
import type { Io, Sink } from "./io.ts";
import { type Column, type Style, tableText, withoutTrailingSpaces } from "./table.ts";

export type { Column, Style } from "./table.ts";

export interface CardLine {
  readonly label: string;
  /** Several stand below each other. */
  readonly text: string | readonly string[];
  readonly style?: Style | undefined;
}

export interface PageText<Row> {
  readonly columns: readonly Column<Row>[];
  /** What to do when there is nothing. */
  readonly empty: string;
  /** The command that made the page, to be repeated with --after. */
  readonly command: string;
  readonly isFirst: boolean;
}

export class Printer {
  readonly isJson: boolean;
  readonly #io: Io;
  readonly #hasColour: boolean;
  /** Of tables. */
  readonly #width: number;

  constructor(io: Io, isJson: boolean) {
    this.#io = io;
    this.isJson = isJson;
    this.#width = io.isTty.stdout ? io.columns : Number.POSITIVE_INFINITY;
    this.#hasColour =
      !isJson && io.isTty.stdout && (io.env.NO_COLOR ?? "") === "" && io.env.TERM !== "dumb";
  }

  line(text: string): void {
    this.#io.stdout.write(`${text}\n`);
  }

  /** Resolves when the line has been handed over, so that what rests on it may follow. */
  lineWritten(text: string): Promise<void> {
    return written(this.#io.stdout, `${text}\n`);
  }

  note(text: string): void {
    this.#io.stderr.write(`${text}\n`);
  }

  /** The raw answer for programs, `human` for people. */
  answer(value: unknown, human: string): void {
    this.line(this.isJson ? jsonText(value, 2) : human);
  }

  /** One page of a listing, and how to get the next one. */
  page<Row>(page: Page<Row>, text: PageText<Row>): void {
    if (page.items.length > 0 || this.isJson)
      this.answer(page, this.table(text.columns, page.items));
    else this.line(text.isFirst ? text.empty : "No more.");
    if (page.next !== undefined && !this.isJson)
      this.note(`There is more: ${text.command} --after ${shellWord(page.next)}`);
  }

  table<Row>(columns: readonly Column<Row>[], rows: readonly Row[]): string {
    return tableText(columns, rows, this.#width, (style, text) => this.paint(style, text));
  }

  /** Labels and values below a title that the caller has made safe. */
  card(title: string, lines: readonly CardLine[]): string {
    const width = Math.max(...lines.map((line) => line.label.length));
    const shown = lines.flatMap(({ label, text, style }) =>
      (typeof text === "string" ? [text] : text).map((part, at) => {
        const name = this.paint("dim", (at === 0 ? label : "").padEnd(width));
        return `  ${name}   ${this.paint(style, escapeText(part))}`;
      }),
    );
    return withoutTrailingSpaces([title, ...shown].join("\n"));
  }

  paint(style: Style | undefined, text: string): string {
    return style === undefined || !this.#hasColour || text === ""
      ? text
      : styleText(style, text, { validateStream: false });
  }

  localTime(atMs: number): string {
    return localTime(atMs, this.#io.clock.utcOffsetMinutes(atMs));
  }

  zonedTime(atMs: number): string {
    return zonedTime(atMs, this.#io.clock.utcOffsetMinutes(atMs));
  }
}

function written(sink: Sink, text: string): Promise<void> {
  return new Promise((resolve, reject) => {
    sink.write(text, (error) =>
      error === undefined || error === null ? resolve() : reject(error),
    );
  });
}
