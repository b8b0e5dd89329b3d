/**
 * Patterns on text: LIKE, CONTAINS, STARTSWITH, ENDSWITH. A pattern is its pieces, in their order, with
 * anything between two of them: the first one begins the text, the last one ends it.
 *
 * A character is a Unicode code point: `_` stands for a whole emoji.
 *
 * Invariants
 * - J1 No pattern becomes a RegExp, and nothing backtracks: a piece in the middle is taken where it comes first.
 *   The cost is at most a step for each character of the text and each 32 of the piece.
 */
import { ANY_ONE, Piece } from "./piece.ts";
import { refuse } from "./refusal.ts";

export interface Pattern {
  readonly first: Piece;
  readonly middle: readonly Piece[];
  /** Null: the first piece is the whole text. */
  readonly last: Piece | null;
}

const NOTHING = new Piece([]);

export function fits(pattern: Pattern, text: string): boolean {
  const { first, middle, last } = pattern;
  let at = first.endAt(text, 0);
  if (last === null) return at === text.length;
  for (const piece of middle) {
    if (at < 0) return false;
    at = piece.endAfter(text, at);
  }
  if (at < 0) return false;
  const begin = last.beginFromEnd(text);
  return begin >= at && last.endAt(text, begin) === text.length;
}

export const containing = (text: string): Pattern => ({
  first: NOTHING,
  middle: [pieceOf(text)],
  last: NOTHING,
});

export const startingWith = (text: string): Pattern => ({
  first: pieceOf(text),
  middle: [],
  last: NOTHING,
});

export const endingWith = (text: string): Pattern => ({
  first: NOTHING,
  middle: [],
  last: pieceOf(text),
});

const pieceOf = (text: string): Piece => new Piece(pointsOf(text));

const pointsOf = (text: string): number[] =>
  Array.from(text, (character) => character.codePointAt(0) ?? 0);

const PERCENT = 0x25;
const UNDERSCORE = 0x5f;

/** `at` is where the pattern stands in `source`, for the refusal. */
export function likePattern(
  pattern: string,
  escapeWith: string | null,
  source: string,
  at: number,
): Pattern {
  const pieces: number[][] = [[]];
  const escapePoint = escapeWith?.codePointAt(0);
  let isEscaped = false;
  for (const point of pointsOf(pattern)) {
    if (isEscaped) {
      if (point !== PERCENT && point !== UNDERSCORE && point !== escapePoint)
        refuse(source, at, "behind the escape character stands %, _ or itself");
      pieces.at(-1)?.push(point);
      isEscaped = false;
    } else if (point === escapePoint) isEscaped = true;
    else if (point === PERCENT) pieces.push([]);
    else pieces.at(-1)?.push(point === UNDERSCORE ? ANY_ONE : point);
  }
  if (isEscaped) refuse(source, at, "the pattern ends with its escape character");
  const [first = NOTHING, ...others] = pieces.map((points) => new Piece(points));
  const last = others.pop() ?? null;
  return { first, middle: others.filter(({ length }) => length > 0), last };
}
