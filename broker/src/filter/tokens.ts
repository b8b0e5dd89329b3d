/** The words, names, literals and signs of an expression, each with its place. */
import { readNumber } from "./numbers.ts";
import { refuse } from "./refusal.ts";

const WORDS = [
  "AND",
  "OR",
  "NOT",
  "BETWEEN",
  "IN",
  "LIKE",
  "ESCAPE",
  "IS",
  "NULL",
  "TRUE",
  "FALSE",
  "CONTAINS",
  "STARTSWITH",
  "ENDSWITH",
] as const;
/** The longer ones first: `<=` is not `<`. */
const SIGNS = ["<>", "<=", ">=", "=", "<", ">", "(", ")", ","] as const;

export type Mark = (typeof WORDS)[number] | (typeof SIGNS)[number];

export type Token =
  | { readonly kind: "mark"; readonly at: number; readonly mark: Mark }
  | {
      readonly kind: "name";
      readonly at: number;
      readonly name: string;
      readonly isQuoted: boolean;
    }
  | { readonly kind: "text"; readonly at: number; readonly value: string }
  | { readonly kind: "number"; readonly at: number; readonly value: number }
  | { readonly kind: "end"; readonly at: number };

interface Taken {
  readonly token: Token;
  readonly end: number;
}

/** What people write who come from other languages, and what it is called here. */
const ELSEWHERE: readonly (readonly [string, string])[] = [
  ["!=", "not equal is written <>"],
  ["==", "equal is written ="],
  ["&&", "and is written AND"],
  ["||", "or is written OR"],
  ["!", "not is written NOT"],
];

const SPACE = /[ \t\r\n\f]*/y;
const NAME = /[A-Za-z_$][A-Za-z0-9_$]*/y;
const NUMBER = /[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?/y;
const INTEGER = /^[+-]?[0-9]+$/;
/** What may not stand directly behind a number: then it is none. */
const GOES_ON = /[A-Za-z0-9_$."]/y;

/** All tokens of the expression that begins at `from`; the last one is the end. */
export function tokensOf(text: string, from: number): Token[] {
  const tokens: Token[] = [];
  let at = endOf(SPACE, text, from);
  while (at < text.length) {
    const { token, end } = takeToken(text, at);
    tokens.push(token);
    at = endOf(SPACE, text, end);
  }
  tokens.push({ kind: "end", at });
  return tokens;
}

/** Where the match that begins at `at` ends; `at`: there is none. */
function endOf(pattern: typeof SPACE, text: string, at: number): number {
  pattern.lastIndex = at;
  return pattern.test(text) ? pattern.lastIndex : at;
}

function takeToken(text: string, at: number): Taken {
  if (text[at] === "'") return takeText(text, at);
  if (text[at] === '"') return takeQuotedName(text, at);
  const nameEnd = endOf(NAME, text, at);
  if (nameEnd > at) return { token: wordOrName(text.slice(at, nameEnd), at), end: nameEnd };
  const numberEnd = endOf(NUMBER, text, at);
  if (numberEnd > at) return takeNumber(text, at, numberEnd);
  return takeSign(text, at);
}

function wordOrName(name: string, at: number): Token {
  const upper = name.toUpperCase();
  const word = WORDS.find((one) => one === upper);
  return word === undefined
    ? { kind: "name", at, name, isQuoted: false }
    : { kind: "mark", at, mark: word };
}

function takeNumber(text: string, at: number, end: number): Taken {
  if (endOf(GOES_ON, text, end) > end) refuse(text, end, "a number ends before this");
  const digits = text.slice(at, end);
  const value = readNumber(digits);
  if (Number.isNaN(value)) refuse(text, at, "the number is too large or too long");
  if (INTEGER.test(digits) && !Number.isSafeInteger(value))
    refuse(text, at, "an integer beyond 2^53 is not exact; compare it as text, in single quotes");
  return { token: { kind: "number", at, value }, end };
}

function takeSign(text: string, at: number): Taken {
  const isHere = (sign: string) => text.startsWith(sign, at);
  const elsewhere = ELSEWHERE.find(([sign]) => isHere(sign));
  if (elsewhere !== undefined) refuse(text, at, elsewhere[1]);
  const mark = SIGNS.find(isHere);
  if (mark === undefined) return refuse(text, at, "this character means nothing here");
  return { token: { kind: "mark", at, mark }, end: at + mark.length };
}

function takeText(text: string, at: number): Taken {
  const { content, end } = takeQuoted(text, at, "'", "the text has no closing quote");
  return { token: { kind: "text", at, value: content }, end };
}

function takeQuotedName(text: string, at: number): Taken {
  const { content, end } = takeQuoted(text, at, '"', "the name has no closing quote");
  if (content === "") refuse(text, at, "a name is not empty; a text stands in single quotes");
  return { token: { kind: "name", at, name: content, isQuoted: true }, end };
}

/** What stands between two quotes; a quote in it stands twice. */
function takeQuoted(
  text: string,
  at: number,
  quote: string,
  unclosed: string,
): { readonly content: string; readonly end: number } {
  let content = "";
  let begin = at + 1;
  for (;;) {
    const close = text.indexOf(quote, begin);
    if (close < 0) return refuse(text, at, unclosed);
    content += text.slice(begin, close);
    if (text[close + 1] !== quote) return { content, end: close + 1 };
    content += quote;
    begin = close + 2;
  }
}
