/**
 * The reference of the filter language: expressions as trees of their own, how each is written, and what it comes
 * to, told in another way than the broker's. Small and slow: LIKE tries everything, logic is a table, numbers are
 * read by the form that PROTOCOL.md gives. Whoever needs random filters or their meaning takes them from here.
 */
import fc from "fast-check";
import type { MessageHead } from "../../broker/src/filter/filter.ts";

export type Name = { readonly name: string; readonly is: "header" | "tag" | "key" };
export type Constant = string | number | boolean;
export type Sign = "=" | "<>" | "<" | "<=" | ">" | ">=";
export type Search = "CONTAINS" | "STARTSWITH" | "ENDSWITH";

export type Tree =
  | { readonly is: "and"; readonly left: Tree; readonly right: Tree }
  | { readonly is: "or"; readonly left: Tree; readonly right: Tree }
  | { readonly is: "not"; readonly of: Tree }
  | { readonly is: "constant"; readonly value: boolean }
  | { readonly is: "bare"; readonly name: Name }
  | { readonly is: "null"; readonly name: Name; readonly not: boolean }
  | {
      readonly is: "compare";
      readonly name: Name;
      readonly sign: Sign;
      readonly with: Constant | Name;
      readonly turned: boolean;
    }
  | {
      readonly is: "between";
      readonly name: Name;
      readonly low: number | Name;
      readonly high: number | Name;
      readonly not: boolean;
    }
  | {
      readonly is: "in";
      readonly name: Name;
      readonly items: readonly (string | number)[];
      readonly not: boolean;
    }
  | {
      readonly is: "like";
      readonly name: Name;
      readonly pattern: readonly LikePart[];
      readonly isEscaped: boolean;
      readonly not: boolean;
    }
  | {
      readonly is: "search";
      readonly name: Name;
      readonly by: Search;
      readonly text: string;
      readonly not: boolean;
    };

/** One character of a pattern that means itself, or a sign. */
export type LikePart = { readonly self: string } | "%" | "_";

/** Null: unknown. */
export type Verdict = boolean | null;

// --- what a tree comes to

export function verdictOf(tree: Tree, head: MessageHead): Verdict {
  switch (tree.is) {
    case "and":
      return not(either(not(verdictOf(tree.left, head)), not(verdictOf(tree.right, head))));
    case "or":
      return either(verdictOf(tree.left, head), verdictOf(tree.right, head));
    case "not":
      return not(verdictOf(tree.of, head));
    case "constant":
      return tree.value;
    case "bare":
      return truthIn(textIn(tree.name, head));
    case "null":
      return (textIn(tree.name, head) === null) !== tree.not;
    case "compare":
      return compared(tree.name, tree.sign, tree.with, head);
    case "between": {
      const low = compared(tree.name, ">=", tree.low, head, true);
      const high = compared(tree.name, "<=", tree.high, head, true);
      return maybeNot(tree.not, not(either(not(low), not(high))));
    }
    case "in":
      return maybeNot(
        tree.not,
        tree.items.map((item) => compared(tree.name, "=", item, head)).reduce(either),
      );
    case "like":
      return maybeNot(tree.not, liked(textIn(tree.name, head), tree.pattern));
    case "search":
      return maybeNot(tree.not, searched(textIn(tree.name, head), tree.by, tree.text));
    default:
      return tree satisfies never;
  }
}

const not = (verdict: Verdict): Verdict => (verdict === null ? null : !verdict);
const maybeNot = (is: boolean, verdict: Verdict): Verdict => (is ? not(verdict) : verdict);

function either(left: Verdict, right: Verdict): Verdict {
  if (left === true || right === true) return true;
  return left === null || right === null ? null : false;
}

function textIn({ name, is }: Name, head: MessageHead): string | null {
  if (is === "tag") return head.tag ?? null;
  if (is === "key") return head.key ?? null;
  const found = Object.entries(head.headers ?? {}).find(([header]) => header === name);
  return found === undefined ? null : found[1];
}

const NUMBER = /^[+-]?(\d+(\.\d*)?|\.\d+)([eE][+-]?\d+)?$/;

function numberIn(text: string | null): number | null {
  if (text === null || text.length > 64 || !NUMBER.test(text)) return null;
  const value = Number.parseFloat(text);
  return Math.abs(value) === Number.POSITIVE_INFINITY ? null : value;
}

function truthIn(text: string | null): Verdict {
  if (text === null) return null;
  if (/^true$/i.test(text)) return true;
  return /^false$/i.test(text) ? false : null;
}

const isName = (one: Constant | Name): one is Name => typeof one === "object";

function compared(
  name: Name,
  sign: Sign,
  other: Constant | Name,
  head: MessageHead,
  asNumbers = false,
): Verdict {
  const left = textIn(name, head);
  if (typeof other === "boolean") {
    const truth = truthIn(left);
    return truth === null ? null : sign === "=" ? truth === other : truth !== other;
  }
  const isOfNumbers = asNumbers || typeof other === "number" || (sign !== "=" && sign !== "<>");
  if (!isOfNumbers) {
    const right = isName(other) ? textIn(other, head) : other;
    return left === null || right === null ? null : (left === right) === (sign === "=");
  }
  const a = numberIn(left);
  const b = typeof other === "number" ? other : numberIn(textIn(other as Name, head));
  if (a === null || b === null) return null;
  const difference = Math.sign(a - b);
  const allowed = { "=": [0], "<>": [-1, 1], "<": [-1], "<=": [-1, 0], ">": [1], ">=": [0, 1] };
  return allowed[sign].some((one) => one === difference);
}

/** Tries everything. Texts here are short. */
function liked(text: string | null, pattern: readonly LikePart[]): Verdict {
  if (text === null) return null;
  const fits = (left: readonly string[], parts: readonly LikePart[]): boolean => {
    const [part, ...rest] = parts;
    if (part === undefined) return left.length === 0;
    if (part === "%")
      return Array.from({ length: left.length + 1 }, (_, at) => at).some((at) =>
        fits(left.slice(at), rest),
      );
    const [first, ...others] = left;
    return first !== undefined && (part === "_" || part.self === first) && fits(others, rest);
  };
  return fits([...text], pattern);
}

function searched(text: string | null, by: Search, wanted: string): Verdict {
  if (text === null) return null;
  const at = Array.from({ length: text.length + 1 }, (_, begin) => begin).filter(
    (begin) => text.slice(begin, begin + wanted.length) === wanted,
  );
  if (by === "CONTAINS") return at.length > 0;
  return at.includes(by === "STARTSWITH" ? 0 : text.length - wanted.length);
}

// --- how a tree is written

/** With the parentheses that it needs, and more of them where `isGenerous`. */
export function textOf(tree: Tree, isGenerous = false): string {
  return `sql: ${written(tree, 0, isGenerous)}`;
}

const RANKS = { or: 1, and: 2, not: 3 } as const;

function written(tree: Tree, rank: number, isGenerous: boolean): string {
  if (tree.is !== "and" && tree.is !== "or" && tree.is !== "not")
    return isGenerous ? `(${simple(tree)})` : simple(tree);
  const own = RANKS[tree.is];
  const text =
    tree.is === "not"
      ? `NOT ${written(tree.of, own, isGenerous)}`
      : `${written(tree.left, own, isGenerous)} ${tree.is} ${written(tree.right, own, isGenerous)}`;
  return own < rank || isGenerous ? `(${text})` : text;
}

type Simple = Exclude<Tree, { readonly left: Tree } | { readonly of: Tree }>;

function simple(tree: Simple): string {
  if (tree.is === "constant") return tree.value ? "TRUE" : "false";
  const name = nameText(tree.name);
  switch (tree.is) {
    case "bare":
      return name;
    case "null":
      return `${name} IS ${tree.not ? "NOT " : ""}NULL`;
    case "compare": {
      const other = constantText(tree.with);
      return tree.turned ? `${other} ${TURNED[tree.sign]} ${name}` : `${name}${tree.sign}${other}`;
    }
    case "between":
      return `${name}${notText(tree.not)} between ${constantText(tree.low)} AND ${constantText(tree.high)}`;
    case "in":
      return `${name}${notText(tree.not)} IN (${tree.items.map(constantText).join(", ")})`;
    case "like":
      return `${name}${notText(tree.not)} LIKE ${patternText(tree.pattern, tree.isEscaped)}`;
    case "search":
      return `${name}${notText(tree.not)} ${tree.by} ${constantText(tree.text)}`;
    default:
      return tree satisfies never;
  }
}

const TURNED = { "=": "=", "<>": "<>", "<": ">", "<=": ">=", ">": "<", ">=": "<=" } as const;

const notText = (is: boolean): string => (is ? " NOT" : "");

const PLAIN = /^[A-Za-z_$][A-Za-z0-9_$]*$/;
const RESERVED =
  /^(and|or|not|between|in|like|escape|is|null|true|false|contains|startswith|endswith)$/i;

const nameText = ({ name, is }: Name): string => {
  if (is !== "header") return is === "tag" ? "TAGS" : "KEYS";
  const isPlain = PLAIN.test(name) && !RESERVED.test(name) && name !== "TAGS" && name !== "KEYS";
  return isPlain ? name : `"${name.replaceAll('"', '""')}"`;
};

function constantText(one: Constant | Name): string {
  if (isName(one)) return nameText(one);
  return typeof one === "string" ? `'${one.replaceAll("'", "''")}'` : String(one);
}

function patternText(pattern: readonly LikePart[], isEscaped: boolean): string {
  const text = pattern
    .map((part) =>
      typeof part === "string" ? part : /[%_!]/.test(part.self) ? `!${part.self}` : part.self,
    )
    .join("");
  return `${constantText(text)}${isEscaped ? " ESCAPE '!'" : ""}`;
}

// --- random trees, and heads that have something to do with them

const NAMES = [
  "a",
  "b",
  "amount",
  "content-type",
  "TAGS",
  "and",
  "constructor",
  'say "it"',
  "größe",
];
const CHARACTERS = ["a", "b", "%", "_", "!", "'", "é", "🙂", "1", "0", " "];
const NUMBERS = [0, -1, 1, 3, 3.5, 100, 1e21, 2 ** 53 - 1];
const TEXTS = [
  "3",
  "3.0",
  "30e-1",
  "-1",
  "+1",
  ".5",
  "5.",
  "1e999",
  "0x10",
  " 3",
  "true",
  "FALSE",
  "eu",
  "",
];

const shortText = fc
  .array(fc.constantFrom(...CHARACTERS), { maxLength: 6 })
  .map((parts) => parts.join(""));
const text = fc.oneof(fc.constantFrom(...TEXTS), shortText);
const number = fc.oneof(fc.constantFrom(...NUMBERS), fc.integer({ min: -5, max: 5 }));

const name: fc.Arbitrary<Name> = fc.oneof(
  {
    weight: 6,
    arbitrary: fc.constantFrom(...NAMES).map((name) => ({ name, is: "header" as const })),
  },
  {
    weight: 1,
    arbitrary: fc.constantFrom<Name>({ name: "TAGS", is: "tag" }, { name: "KEYS", is: "key" }),
  },
);

const equality = fc.record({
  is: fc.constant("compare" as const),
  name,
  sign: fc.constantFrom("=" as const, "<>" as const),
  with: fc.oneof(text, number, fc.boolean(), name),
  turned: fc.boolean(),
});
const order = fc.record({
  is: fc.constant("compare" as const),
  name,
  sign: fc.constantFrom("<" as const, "<=" as const, ">" as const, ">=" as const),
  with: fc.oneof(number, name),
  turned: fc.boolean(),
});
const between = fc
  .record({
    is: fc.constant("between" as const),
    name,
    low: fc.oneof(number, name),
    high: fc.oneof(number, name),
    not: fc.boolean(),
  })
  .map((tree) =>
    typeof tree.low === "number" && typeof tree.high === "number" && tree.low > tree.high
      ? { ...tree, low: tree.high, high: tree.low }
      : tree,
  );
const like = fc
  .array(
    fc.oneof(
      fc.constantFrom("%" as const, "_" as const),
      fc.constantFrom(...CHARACTERS).map((self) => ({ self })),
    ),
    {
      maxLength: 6,
    },
  )
  .chain((pattern) =>
    fc.record({
      is: fc.constant("like" as const),
      name,
      pattern: fc.constant(pattern),
      // Without an escape character a sign cannot mean itself.
      isEscaped: pattern.some((part) => typeof part !== "string" && /[%_!]/.test(part.self))
        ? fc.constant(true)
        : fc.boolean(),
      not: fc.boolean(),
    }),
  );

const leaf: fc.Arbitrary<Tree> = fc.oneof(
  equality,
  order,
  between,
  like,
  fc.record({
    is: fc.constant("in" as const),
    name,
    items: fc.oneof(
      fc.array(text, { minLength: 1, maxLength: 4 }),
      fc.array(number, { minLength: 1, maxLength: 4 }),
    ),
    not: fc.boolean(),
  }),
  fc.record({
    is: fc.constant("search" as const),
    name,
    by: fc.constantFrom("CONTAINS" as const, "STARTSWITH" as const, "ENDSWITH" as const),
    text: shortText.filter((one) => one !== ""),
    not: fc.boolean(),
  }),
  fc.record({ is: fc.constant("null" as const), name, not: fc.boolean() }),
  fc.record({ is: fc.constant("bare" as const), name }),
  fc.record({ is: fc.constant("constant" as const), value: fc.boolean() }),
);

export const trees: fc.Arbitrary<Tree> = fc.letrec<{ tree: Tree }>((tie) => ({
  tree: fc.oneof(
    { depthSize: "small", withCrossShrink: true, maxDepth: 5 },
    leaf,
    fc.record({
      is: fc.constantFrom("and" as const, "or" as const),
      left: tie("tree"),
      right: tie("tree"),
    }),
    fc.record({ is: fc.constant("not" as const), of: tie("tree") }),
  ),
})).tree;

/** Most values have something to do with what the trees compare with. */
const value = fc.oneof(
  { weight: 3, arbitrary: text },
  { weight: 2, arbitrary: number.map(String) },
  { weight: 1, arbitrary: fc.string({ unit: "grapheme", maxLength: 8 }) },
);

export const heads: fc.Arbitrary<MessageHead> = fc
  .record(
    {
      id: fc.constant("m-1"),
      topic: fc.constant("orders"),
      key: value,
      tag: value,
      headers: fc.dictionary(fc.constantFrom(...NAMES), value, { maxKeys: NAMES.length }),
    },
    { requiredKeys: ["id", "topic"] },
  )
  .map((head) => head as MessageHead);
