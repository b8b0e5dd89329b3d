/**
 * What a field of a frame may hold. A `Field<T>` reads an unknown value as a T or says why not;
 * the types of all frames follow from their fields, so that type and check cannot drift apart.
 *
 * Invariants
 * - F1 Nothing from the wire is spread or kept: known fields are copied one by one, unknown ones ignored.
 * - F2 A refusal is a `Refused` with the field's path; values of the peer never stand in it.
 */
import { LIMITS } from "./limits.ts";
import { isMessageId, isName, isTopicName, isTransactionId } from "./names.ts";
import { isWellFormed } from "./well-formed.ts";

export interface Field<T> {
  /** The value, or a thrown `Refused`. */
  readonly read: (value: unknown) => T;
  /** For the table in PROTOCOL.md. */
  readonly says: string;
  readonly isOptional: boolean;
  /** Of a list: what each item is. */
  readonly item?: Field<unknown>;
  /** Of a map with known keys: what they hold. */
  readonly fields?: Fields;
}

export type Fields = Readonly<Record<string, Field<unknown>>>;
type ValueOf<F> = F extends Field<infer T> ? T : never;
type OptionalNames<F extends Fields> = {
  [Name in keyof F]: undefined extends ValueOf<F[Name]> ? Name : never;
}[keyof F];
/** The values that `fields` read; a field that may be undefined may also be left out. */
export type ValuesOf<F extends Fields> = {
  readonly [Name in Exclude<keyof F, OptionalNames<F>>]: ValueOf<F[Name]>;
} & { readonly [Name in OptionalNames<F>]?: ValueOf<F[Name]> };

/** A field that does not hold what it must. The path is put together only when there is one to tell. */
export class Refused extends Error {
  readonly path: readonly string[];
  readonly says: string;

  constructor(says: string, path: readonly string[] = []) {
    super(`${path.join(".")} must be ${says}`);
    this.says = says;
    this.path = path;
  }
}

const refuse = (says: string): never => {
  throw new Refused(says);
};

function field<T>(says: string, accepts: (value: unknown) => boolean): Field<T> {
  return {
    says,
    isOptional: false,
    read: (value) => (accepts(value) ? (value as T) : refuse(says)),
  };
}

const utf8Bytes = (text: string): number => {
  let bytes = text.length;
  for (let at = 0; at < text.length; at++) {
    const unit = text.charCodeAt(at);
    if (unit >= 0x80) bytes += unit >= 0x800 && (unit < 0xd800 || unit > 0xdfff) ? 2 : 1;
  }
  return bytes;
};

export const text = (bytesMax: number): Field<string> =>
  field(
    `text of at most ${bytesMax} bytes`,
    (v) =>
      typeof v === "string" &&
      (v.length * 3 <= bytesMax || utf8Bytes(v) <= bytesMax) &&
      isWellFormed(v),
  );

/** Characters are Unicode code points, so that every language counts the same. */
export const characters = (max: number): Field<string> =>
  field(
    `text of at most ${max} characters`,
    (v) =>
      typeof v === "string" &&
      v.length <= max * 2 &&
      (v.length <= max || [...v].length <= max) &&
      isWellFormed(v),
  );

export const name: Field<string> = field("a name", (v) => typeof v === "string" && isName(v));
export const topicName: Field<string> = field(
  "a topic name",
  (v) => typeof v === "string" && isTopicName(v),
);
export const messageId: Field<string> = field(
  "a message id",
  (v) => typeof v === "string" && isMessageId(v),
);
export const transactionId: Field<string> = field(
  "a transaction id of 22 to 64 characters",
  (v) => typeof v === "string" && isTransactionId(v),
);

export const integer = (min: number, max: number): Field<number> =>
  field(
    `an integer from ${min} to ${max}`,
    (v) => Number.isSafeInteger(v) && (v as number) >= min && (v as number) <= max,
  );

export const count: Field<number> = integer(0, Number.MAX_SAFE_INTEGER);

export const boolean: Field<boolean> = field("true or false", (v) => typeof v === "boolean");

export const bytes = (max: number): Field<Uint8Array> =>
  field(`at most ${max} bytes`, (v) => v instanceof Uint8Array && v.length <= max);

export const oneOf = <const T extends string>(...words: readonly T[]): Field<T> =>
  field(
    words.map((word) => `"${word}"`).join(" or "),
    (v) => typeof v === "string" && (words as readonly string[]).includes(v),
  );

export function optional<T>(of: Field<T>): Field<T | undefined> {
  return {
    ...of,
    isOptional: true,
    read: (value) => (value === undefined || value === null ? undefined : of.read(value)),
  };
}

export function list<T>(of: Field<T>, itemsMin: number, itemsMax: number): Field<readonly T[]> {
  const says = `a list of ${itemsMin} to ${itemsMax}, each ${of.says}`;
  return {
    says,
    isOptional: false,
    item: of,
    read: (value) => {
      if (!Array.isArray(value) || value.length < itemsMin || value.length > itemsMax)
        return refuse(says);
      const items = new Array<T>(value.length);
      for (let at = 0; at < value.length; at++) items[at] = of.read(value[at]);
      return items;
    },
  };
}

export function record<F extends Fields>(fields: F): Field<ValuesOf<F>> {
  const entries = entriesOf(fields);
  const says = `a map of ${Object.keys(fields).join(", ")}`;
  return {
    says,
    isOptional: false,
    fields,
    read: (value) => {
      if (
        typeof value !== "object" ||
        value === null ||
        Array.isArray(value) ||
        value instanceof Uint8Array
      )
        return refuse(says);
      return readFields(entries, value as Record<string, unknown>, {}) as ValuesOf<F>;
    },
  };
}

/** Headers: names and values are text; `HEADERS_TOO_LARGE` is told apart from a malformed map by the caller. */
export const headers: Field<Readonly<Record<string, string>>> = {
  says: "a map of text to text",
  isOptional: false,
  read: (value) => {
    if (
      typeof value !== "object" ||
      value === null ||
      Array.isArray(value) ||
      value instanceof Uint8Array
    )
      return refuse("a map of text to text");
    const read: Record<string, string> = {};
    for (const [key, item] of Object.entries(value)) {
      if (typeof item !== "string" || !isWellFormed(item) || !isHeaderName(key))
        return refuse("a map of text to text");
      read[key] = item;
    }
    return read;
  },
};

// Setting `__proto__` would set no header but lose it silently; the pre-scan refuses it on the wire, too.
const isHeaderName = (key: string): boolean =>
  key !== "" && key !== "__proto__" && isWellFormed(key);

export const headersBytes = (of: Readonly<Record<string, string>>): number => {
  let total = 0;
  for (const key of Object.keys(of)) total += utf8Bytes(key) + utf8Bytes(of[key] ?? "");
  return total;
};

/** Plain data of an answer to an operator: what msgpack can say, within the pre-scan's limits. */
export const plain: Field<unknown> = {
  says: "plain data",
  isOptional: false,
  read: (value) => value,
};

export type FieldEntries = readonly (readonly [name: string, field: Field<unknown>])[];

/** The fields of a frame as a list: made once, walked for every frame. */
export const entriesOf = (fields: Fields): FieldEntries => Object.entries(fields);

/** Copies the known fields, one by one, into `to` (F1). */
export function readFields(
  entries: FieldEntries,
  from: Record<string, unknown>,
  to: Record<string, unknown>,
): Record<string, unknown> {
  let at = 0;
  try {
    for (; at < entries.length; at++) {
      const entry = entries[at];
      if (entry !== undefined) to[entry[0]] = entry[1].read(from[entry[0]]);
    }
  } catch (error) {
    if (!(error instanceof Refused)) throw error;
    throw new Refused(error.says, [entries[at]?.[0] ?? "", ...error.path]);
  }
  return to;
}

export const LEASE_MS = integer(LIMITS.leaseMsMin, LIMITS.leaseMsMax);
export const DELAY_MS = integer(0, LIMITS.delayMsMax);
export const REASON = characters(LIMITS.reasonCharactersMax);
