/**
 * Conditions as data, and what they come to for a message. SQL's logic has three values: what cannot be told
 * (there is no such header; it is no number) is unknown, and so is its opposite.
 *
 * Invariants
 * - J2 Judging never throws and changes nothing: it is the same for the same head, now and in a year.
 */
import { lookUp, type MessageHead, type Source } from "./head.ts";
import { readNumber } from "./numbers.ts";
import { fits, type Pattern } from "./pattern.ts";

/** So that AND is the least of its parts, OR the greatest, and NOT what is left to YES. */
export const NO = 0;
export const UNKNOWN = 1;
export const YES = 2;
export type Truth = typeof NO | typeof UNKNOWN | typeof YES;

export type Order = "<" | "<=" | ">" | ">=" | "=";

export type Condition =
  | { readonly kind: "constant"; readonly truth: Truth }
  | { readonly kind: "and"; readonly of: readonly Condition[] }
  | { readonly kind: "or"; readonly of: readonly Condition[] }
  | { readonly kind: "not"; readonly of: Condition }
  | { readonly kind: "isNull"; readonly source: Source }
  | { readonly kind: "flag"; readonly source: Source; readonly is: boolean }
  | { readonly kind: "sameText"; readonly source: Source; readonly as: Source | string }
  | {
      readonly kind: "number";
      readonly source: Source;
      readonly order: Order;
      readonly than: Source | number;
    }
  | { readonly kind: "oneOfTexts"; readonly source: Source; readonly texts: ReadonlySet<string> }
  | {
      readonly kind: "oneOfNumbers";
      readonly source: Source;
      readonly numbers: ReadonlySet<number>;
    }
  | { readonly kind: "like"; readonly source: Source; readonly pattern: Pattern };

export function judge(condition: Condition, head: MessageHead): Truth {
  switch (condition.kind) {
    case "constant":
      return condition.truth;
    case "and":
      return least(condition.of, head);
    case "or":
      return greatest(condition.of, head);
    case "not":
      return (YES - judge(condition.of, head)) as Truth;
    case "isNull":
      return lookUp(condition.source, head) === undefined ? YES : NO;
    case "flag":
      return flag(lookUp(condition.source, head), condition.is);
    case "sameText":
      return sameText(lookUp(condition.source, head), textOf(condition.as, head));
    case "number":
      return compare(
        numberOf(condition.source, head),
        condition.order,
        numberOf(condition.than, head),
      );
    case "oneOfTexts":
      return oneOfTexts(lookUp(condition.source, head), condition.texts);
    case "oneOfNumbers":
      return oneOfNumbers(numberOf(condition.source, head), condition.numbers);
    case "like":
      return like(lookUp(condition.source, head), condition.pattern);
    default:
      return condition satisfies never;
  }
}

function least(conditions: readonly Condition[], head: MessageHead): Truth {
  let found: Truth = YES;
  for (const condition of conditions) {
    const truth = judge(condition, head);
    if (truth === NO) return NO;
    if (truth < found) found = truth;
  }
  return found;
}

function greatest(conditions: readonly Condition[], head: MessageHead): Truth {
  let found: Truth = NO;
  for (const condition of conditions) {
    const truth = judge(condition, head);
    if (truth === YES) return YES;
    if (truth > found) found = truth;
  }
  return found;
}

const truthOf = (is: boolean): Truth => (is ? YES : NO);

const textOf = (as: Source | string, head: MessageHead): string | undefined =>
  typeof as === "string" ? as : lookUp(as, head);

/** NaN: there is none, or it is no number. */
function numberOf(of: Source | number, head: MessageHead): number {
  if (typeof of === "number") return of;
  const value = lookUp(of, head);
  return value === undefined ? Number.NaN : readNumber(value);
}

const sameText = (left: string | undefined, right: string | undefined): Truth =>
  left === undefined || right === undefined ? UNKNOWN : truthOf(left === right);

const oneOfTexts = (value: string | undefined, texts: ReadonlySet<string>): Truth =>
  value === undefined ? UNKNOWN : truthOf(texts.has(value));

const oneOfNumbers = (value: number, numbers: ReadonlySet<number>): Truth =>
  Number.isNaN(value) ? UNKNOWN : truthOf(numbers.has(value));

const like = (value: string | undefined, pattern: Pattern): Truth =>
  value === undefined ? UNKNOWN : truthOf(fits(pattern, value));

/** `true` and `false`, in letters of any size; any other text is neither. */
function flag(value: string | undefined, is: boolean): Truth {
  if (value === undefined || value.length < 4 || value.length > 5) return UNKNOWN;
  const word = value.toLowerCase();
  return word === "true" || word === "false" ? truthOf((word === "true") === is) : UNKNOWN;
}

function compare(left: number, order: Order, right: number): Truth {
  if (Number.isNaN(left) || Number.isNaN(right)) return UNKNOWN;
  switch (order) {
    case "<":
      return truthOf(left < right);
    case "<=":
      return truthOf(left <= right);
    case ">":
      return truthOf(left > right);
    case ">=":
      return truthOf(left >= right);
    case "=":
      return truthOf(left === right);
    default:
      return order satisfies never;
  }
}
