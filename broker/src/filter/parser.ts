/**
 * Expressions, read by descent: one method for each rule of the grammar in PROTOCOL.md, "Filters". What is read is
 * a condition that can be judged; what could never be true, or not mean what it seems to, is refused here.
 *
 * Invariants
 * - J5 Each token is read once; the depth of the calls is bounded by `filterDepthMax`.
 */
import { LIMITS } from "@escrowmq/protocol";
import { type Condition, NO, type Order, YES } from "./condition.ts";
import { type Source, sourceOf } from "./head.ts";
import { containing, endingWith, likePattern, type Pattern, startingWith } from "./pattern.ts";
import { refuse } from "./refusal.ts";
import { type Mark, type Token, tokensOf } from "./tokens.ts";

/** One side of a comparison. */
type Operand =
  | { readonly kind: "source"; readonly at: number; readonly source: Source }
  | { readonly kind: "text"; readonly at: number; readonly value: string }
  | { readonly kind: "number"; readonly at: number; readonly value: number }
  | { readonly kind: "flag"; readonly at: number; readonly value: boolean };

const COMPARISONS = ["=", "<>", "<", "<=", ">", ">="] as const;
type Comparison = (typeof COMPARISONS)[number];

/** `3 < a` is `a > 3`. */
const TURNED: Readonly<Record<Comparison, Comparison>> = {
  "=": "=",
  "<>": "<>",
  "<": ">",
  "<=": ">=",
  ">": "<",
  ">=": "<=",
};

const EXPECTED_CONDITION = "a condition is expected, such as region = 'eu'";

/** The condition that stands in `text` from `from` on, to its end. */
export function parseExpression(text: string, from: number): Condition {
  return new Parser(text, from).whole();
}

class Parser {
  readonly #text: string;
  readonly #tokens: readonly Token[];
  #next = 0;
  #depth = 0;
  #conditions = 0;

  constructor(text: string, from: number) {
    this.#text = text;
    this.#tokens = tokensOf(text, from);
  }

  whole(): Condition {
    const condition = this.#disjunction();
    if (this.#token.kind !== "end") this.#refuse("AND, OR or the end is expected");
    return condition;
  }

  #disjunction(): Condition {
    const first = this.#conjunction();
    if (!this.#isHere("OR")) return first;
    const of = [first];
    while (this.#takes("OR")) of.push(this.#conjunction());
    return { kind: "or", of };
  }

  #conjunction(): Condition {
    const first = this.#negation();
    if (!this.#isHere("AND")) return first;
    const of = [first];
    while (this.#takes("AND")) of.push(this.#negation());
    return { kind: "and", of };
  }

  #negation(): Condition {
    const { at } = this.#token;
    if (!this.#takes("NOT")) return this.#simple();
    return not(this.#deeper(at, () => this.#negation()));
  }

  #simple(): Condition {
    const { at } = this.#token;
    if (this.#takes("(")) {
      const inner = this.#deeper(at, () => this.#disjunction());
      this.#expect(")", "AND, OR or a closing parenthesis is expected");
      return inner;
    }
    if (++this.#conditions > LIMITS.filterConditionsMax)
      this.#refuse(`there are more than ${LIMITS.filterConditionsMax} conditions`);
    return this.#test(this.#operand(EXPECTED_CONDITION));
  }

  /** What is said of the operand that was just read. */
  #test(left: Operand): Condition {
    const comparison = COMPARISONS.find((sign) => this.#takes(sign));
    if (comparison !== undefined) return this.#comparison(left, comparison);
    if (this.#takes("IS")) return this.#isNull(this.#sourceOf(left));
    if (this.#takes("NOT")) {
      const condition = this.#keyword(left);
      if (condition !== null) return not(condition);
      return this.#refuse("BETWEEN, IN, LIKE, CONTAINS, STARTSWITH or ENDSWITH is expected");
    }
    return this.#keyword(left) ?? this.#bare(left);
  }

  /** The tests that may have a NOT before them. */
  #keyword(left: Operand): Condition | null {
    if (this.#takes("BETWEEN")) return this.#between(this.#sourceOf(left));
    if (this.#takes("IN")) return this.#oneOf(this.#sourceOf(left));
    if (this.#takes("LIKE")) return this.#like(this.#sourceOf(left));
    if (this.#takes("CONTAINS")) return this.#part(this.#sourceOf(left), containing);
    if (this.#takes("STARTSWITH")) return this.#part(this.#sourceOf(left), startingWith);
    if (this.#takes("ENDSWITH")) return this.#part(this.#sourceOf(left), endingWith);
    return null;
  }

  #bare(operand: Operand): Condition {
    switch (operand.kind) {
      case "source":
        return { kind: "flag", source: operand.source, is: true };
      case "flag":
        return { kind: "constant", truth: operand.value ? YES : NO };
      case "text":
      case "number":
        return refuse(this.#text, operand.at, "a constant alone is no condition");
      default:
        return operand satisfies never;
    }
  }

  #comparison(left: Operand, sign: Comparison): Condition {
    const right = this.#operand("a name or a constant is expected");
    if (left.kind !== "source" && right.kind === "source")
      return this.#compare(right.source, TURNED[sign], left);
    if (left.kind === "source") return this.#compare(left.source, sign, right);
    return refuse(this.#text, left.at, "one side of a comparison is a name");
  }

  #compare(source: Source, sign: Comparison, right: Operand): Condition {
    if (sign === "<>") return not(this.#equal(source, right));
    if (sign === "=") return this.#equal(source, right);
    return { kind: "number", source, order: sign, than: this.#numberOf(right) };
  }

  #equal(source: Source, right: Operand): Condition {
    switch (right.kind) {
      case "source":
        return { kind: "sameText", source, as: right.source };
      case "text":
        return { kind: "sameText", source, as: right.value };
      case "number":
        return number(source, "=", right.value);
      case "flag":
        return { kind: "flag", source, is: right.value };
      default:
        return right satisfies never;
    }
  }

  #isNull(source: Source): Condition {
    const isNot = this.#takes("NOT");
    this.#expect("NULL", "NULL or NOT NULL is expected");
    return isNot ? not({ kind: "isNull", source }) : { kind: "isNull", source };
  }

  #between(source: Source): Condition {
    const { at } = this.#token;
    const low = this.#numberOf(this.#operand("a number or a name is expected"));
    this.#expect("AND", "AND and the upper bound are expected");
    const high = this.#numberOf(this.#operand("a number or a name is expected"));
    if (typeof low === "number" && typeof high === "number" && low > high)
      refuse(this.#text, at, "the lower bound is above the upper one");
    return { kind: "and", of: [number(source, ">=", low), number(source, "<=", high)] };
  }

  #oneOf(source: Source): Condition {
    this.#expect("(", "a list in parentheses is expected");
    const texts = new Set<string>();
    const numbers = new Set<number>();
    do this.#item(texts, numbers);
    while (this.#takes(","));
    this.#expect(")", "a comma or a closing parenthesis is expected");
    return numbers.size === 0
      ? { kind: "oneOfTexts", source, texts }
      : { kind: "oneOfNumbers", source, numbers };
  }

  #item(texts: Set<string>, numbers: Set<number>): void {
    const item = this.#operand("a text or a number is expected");
    if (item.kind === "text") texts.add(item.value);
    else if (item.kind === "number") numbers.add(item.value);
    else refuse(this.#text, item.at, "a text or a number is expected");
    if (texts.size > 0 && numbers.size > 0)
      refuse(this.#text, item.at, "a list holds texts or numbers, not both");
  }

  #like(source: Source): Condition {
    const { at, value } = this.#patternText();
    const escapeWith = this.#takes("ESCAPE") ? this.#escape() : null;
    return { kind: "like", source, pattern: likePattern(value, escapeWith, this.#text, at) };
  }

  #escape(): string {
    const token = this.#token;
    if (token.kind !== "text" || [...token.value].length !== 1)
      return this.#refuse("one character in single quotes is expected");
    this.#next++;
    return token.value;
  }

  #part(source: Source, patternOf: (text: string) => Pattern): Condition {
    const { at, value } = this.#patternText();
    // RocketMQ never finds it, a mathematician always does.
    if (value === "") refuse(this.#text, at, "the empty text is in every text");
    return { kind: "like", source, pattern: patternOf(value) };
  }

  #patternText(): { readonly at: number; readonly value: string } {
    const token = this.#token;
    if (token.kind !== "text") return this.#refuse("a text in single quotes is expected");
    if ([...token.value].length > LIMITS.filterPatternCharactersMax)
      this.#refuse(`a pattern is longer than ${LIMITS.filterPatternCharactersMax} characters`);
    this.#next++;
    return token;
  }

  #operand(expected: string): Operand {
    const token = this.#token;
    switch (token.kind) {
      case "name":
        this.#next++;
        return { kind: "source", at: token.at, source: sourceOf(token.name, token.isQuoted) };
      case "text":
      case "number":
        this.#next++;
        return token;
      case "mark":
        return this.#flag(token, expected);
      case "end":
        return this.#refuse(expected);
      default:
        return token satisfies never;
    }
  }

  #flag({ at, mark }: { readonly at: number; readonly mark: Mark }, expected: string): Operand {
    if (this.#takes("TRUE")) return { kind: "flag", at, value: true };
    if (this.#takes("FALSE")) return { kind: "flag", at, value: false };
    if (mark === "NULL") this.#refuse("nothing is equal to NULL; write IS NULL or IS NOT NULL");
    return this.#refuse(
      /^[A-Z]/.test(mark)
        ? `${expected}; a header called ${mark} stands in double quotes`
        : expected,
    );
  }

  #sourceOf(operand: Operand): Source {
    if (operand.kind === "source") return operand.source;
    return refuse(this.#text, operand.at, "a name is expected before this test");
  }

  #numberOf(operand: Operand): Source | number {
    if (operand.kind === "source") return operand.source;
    if (operand.kind === "number") return operand.value;
    return refuse(this.#text, operand.at, "<, <=, >, >= and BETWEEN compare numbers only");
  }

  #deeper(at: number, read: () => Condition): Condition {
    if (++this.#depth > LIMITS.filterDepthMax)
      refuse(this.#text, at, `it is nested more than ${LIMITS.filterDepthMax} deep`);
    const condition = read();
    this.#depth--;
    return condition;
  }

  get #token(): Token {
    // The end is never taken, so there is always one.
    return this.#tokens[this.#next] ?? { kind: "end", at: this.#text.length };
  }

  #isHere(mark: Mark): boolean {
    const token = this.#token;
    return token.kind === "mark" && token.mark === mark;
  }

  #takes(mark: Mark): boolean {
    const isHere = this.#isHere(mark);
    if (isHere) this.#next++;
    return isHere;
  }

  #expect(mark: Mark, reason: string): void {
    if (!this.#takes(mark)) this.#refuse(reason);
  }

  #refuse(reason: string): never {
    return refuse(this.#text, this.#token.at, reason);
  }
}

const not = (of: Condition): Condition => ({ kind: "not", of });

const number = (source: Source, order: Order, than: Source | number): Condition => ({
  kind: "number",
  source,
  order,
  than,
});
