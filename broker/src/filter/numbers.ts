/**
 * When a text is a number. Headers are text, so this decides each numeric comparison: a sign at most, digits
 * with at most one point, an exponent at most; no space, no hex, no word such as Infinity.
 */

/** So that a header of 16 KiB costs no more than a number; no number needs more. */
const NUMBER_CHARACTERS_MAX = 64;

const isNumberCharacter = (unit: number): boolean =>
  (unit >= 0x30 && unit <= 0x39) ||
  unit === 0x2e ||
  unit === 0x2b ||
  unit === 0x2d ||
  unit === 0x45 ||
  unit === 0x65;

/** The number that the text says; NaN: it says none, or one that no double holds. */
export function readNumber(text: string): number {
  if (text.length === 0 || text.length > NUMBER_CHARACTERS_MAX) return Number.NaN;
  // `Number` knows the form, but also takes spaces, hex and words.
  for (let at = 0; at < text.length; at++)
    if (!isNumberCharacter(text.charCodeAt(at))) return Number.NaN;
  const value = Number(text);
  return Number.isFinite(value) ? value : Number.NaN;
}
