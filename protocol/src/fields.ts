/// <reference lib="es2024.string" />
/**
 * What a field of a frame may hold. A `Field<T>` reads an unknown value as a T or says why not;
 * the types of all frames follow from their fields, so that type and check cannot drift apart.
 *
 * Invariants
 * - F1 Nothing from the wire is spread or kept: known fields are copied one by one, unknown ones ignored.
 * - F2 A refusal is a `Refused` with the field's path; values of the peer never stand in it.
 */
import type { ErrorCode } from "./errors.ts";
import { LIMITS } from "./limits.ts";
import {
  isHeaderName,
  isKey,
  isMessageId,
  isName,
  isReaderName,
  isTag,
  isTopicName,
  isTransactionId,
} from "./names.ts";
import { KeptWords, type Reader } from "./reader.ts";

export interface Field<T> {
  /** The value, or a thrown `Refused`. */
  readonly read: (value: unknown) => T;
  /** The same, from bytes that are as they should be; at anything else the reader is in doubt. */
  readonly take: (from: Reader) => T;
  /** For the table in PROTOCOL.md. */
  readonly says: string;
  readonly isOptional: boolean;
  /** What it refuses has a code of its own. */
  readonly code?: ErrorCode;
  /** Of a list: what each item is. */
  readonly item?: Field<unknown>;
  /** Of a map with known keys: what they hold. */
  readonly fields?: Fields;
  readonly entries?: FieldEntries;
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
  /** Of the innermost field that has one. */
  readonly code: ErrorCode | undefined;

  constructor(says: string, path: readonly string[] = [], code?: ErrorCode) {
    super(`${path.join(".")} must be ${says}`);
    this.says = says;
    this.path = path;
    this.code = code;
  }
}

const refuse = (says: string): never => {
  throw new Refused(says);
};

function field<T>(
  says: string,
  accepts: (value: unknown) => boolean,
  take: (from: Reader) => T,
): Field<T> {
  return {
    says,
    isOptional: false,
    read: (value) => (accepts(value) ? (value as T) : refuse(says)),
    take,
  };
}

/** Text that is legal or not as a whole. The reader gives no text that is not well-formed. */
function textField(says: string, isLegal: (text: string) => boolean): Field<string> {
  return field(
    says,
    (value) => typeof value === "string" && isLegal(value) && isWellFormed(value),
    (from) => {
      const value = from.text();
      return from.isSure && isLegal(value) ? value : from.doubt();
    },
  );
}

/** The same, of a kind that comes again and again: few different ones in many frames. */
function wordField<T extends string>(says: string, isLegal: (text: string) => boolean): Field<T> {
  const kept = new KeptWords(isLegal);
  return field(
    says,
    (value) => typeof value === "string" && isLegal(value),
    (from) => from.word(kept) as T,
  );
}

/** Half a surrogate pair (a text cut in the middle of an emoji) is nothing that UTF-8 can say. */
const isWellFormed = (text: string): boolean => text.isWellFormed();

const utf8Bytes = (text: string): number => {
  let bytes = text.length;
  for (let at = 0; at < text.length; at++) {
    const unit = text.charCodeAt(at);
    if (unit >= 0x80) bytes += unit >= 0x800 && (unit < 0xd800 || unit > 0xdfff) ? 2 : 1;
  }
  return bytes;
};

const isWithin = (text: string, bytesMax: number): boolean =>
  text.length * 3 <= bytesMax || (text.length <= bytesMax && utf8Bytes(text) <= bytesMax);

export const text = (bytesMax: number): Field<string> =>
  textField(`text of at most ${bytesMax} bytes`, (v) => isWithin(v, bytesMax));

/** Characters are Unicode code points, so that every language counts the same. */
export const characters = (max: number): Field<string> =>
  textField(
    `text of at most ${max} characters`,
    (v) => v.length <= max * 2 && (v.length <= max || [...v].length <= max),
  );

const coded = <T>(code: ErrorCode, of: Field<T>): Field<T> => ({ ...of, code });

/** Of a group, of producers or of consumers. */
export const name: Field<string> = coded("INVALID_GROUP", wordField("a name", isName));
export const instanceName: Field<string> = coded("INVALID_INSTANCE", wordField("a name", isName));
/** A consumer group, or an instance of one. */
export const readerName: Field<string> = coded(
  "INVALID_GROUP",
  wordField("a reader name", isReaderName),
);
export const topicName: Field<string> = coded(
  "INVALID_TOPIC",
  wordField("a topic name", isTopicName),
);
/** Never a dead-letter topic: one that users make and send to. */
export const ownTopicName: Field<string> = coded("INVALID_TOPIC", wordField("a name", isName));
export const messageId: Field<string> = coded(
  "INVALID_MESSAGE_ID",
  textField("a message id", isMessageId),
);
export const transactionId: Field<string> = coded(
  "INVALID_TRANSACTION_ID",
  textField("a transaction id of 22 to 64 characters", isTransactionId),
);
export const key: Field<string> = coded(
  "INVALID_KEY",
  textField(
    `a key of 1 to ${LIMITS.keyBytesMax} bytes`,
    (v) => isWithin(v, LIMITS.keyBytesMax) && isKey(v),
  ),
);
export const tag: Field<string> = coded(
  "INVALID_TAG",
  textField(
    `a tag of 1 to ${LIMITS.tagBytesMax} bytes`,
    (v) => isWithin(v, LIMITS.tagBytesMax) && isTag(v),
  ),
);

export const integer = (min: number, max: number): Field<number> =>
  field(
    `an integer from ${min} to ${max}`,
    (v) => Number.isSafeInteger(v) && (v as number) >= min && (v as number) <= max,
    (from) => {
      const value = from.count();
      return from.isSure && value >= min && value <= max ? value : from.doubt();
    },
  );

export const count: Field<number> = integer(0, Number.MAX_SAFE_INTEGER);

export const boolean: Field<boolean> = field(
  "true or false",
  (v) => typeof v === "boolean",
  (from) => from.boolean(),
);

export const bytes = (max: number): Field<Uint8Array> =>
  field(
    `at most ${max} bytes`,
    (v) => v instanceof Uint8Array && v.length <= max,
    (from) => {
      const value = from.binary();
      return from.isSure && value.length <= max ? value : from.doubt();
    },
  );

export const oneOf = <const T extends string>(...words: readonly T[]): Field<T> =>
  wordField(words.map((word) => `"${word}"`).join(" or "), (v) =>
    (words as readonly string[]).includes(v),
  );

export function optional<T>(of: Field<T>): Field<T | undefined> {
  return {
    ...of,
    isOptional: true,
    read: (value) => (value === undefined || value === null ? undefined : of.read(value)),
    take: (from) => (from.takesNil() ? undefined : of.take(from)),
  };
}

export function list<T>(of: Field<T>, itemsMin: number, itemsMax: number): Field<readonly T[]> {
  const says = `a list of ${itemsMin} to ${itemsMax}, each ${of.says}`;
  return {
    says,
    isOptional: false,
    ...(of.code === undefined ? {} : { code: of.code }),
    item: of,
    read: (value) => {
      if (!Array.isArray(value) || value.length < itemsMin || value.length > itemsMax)
        return refuse(says);
      const items = new Array<T>(value.length);
      for (let at = 0; at < value.length; at++) items[at] = of.read(value[at]);
      return items;
    },
    take: (from) => {
      const length = from.arrayLength();
      if (!from.isSure || length < itemsMin || length > itemsMax) return from.doubt();
      const items: T[] = [];
      for (let at = 0; at < length && from.isSure; at++) items.push(of.take(from));
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
    entries,
    take: (from) => takeFields(entries, from, from.mapLength(), {}) as ValuesOf<F>,
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

const HEADERS = "a map of header names to text";

/** Headers: names and values are text; too many and too large ones are told apart by the caller. */
export const headers: Field<Readonly<Record<string, string>>> = {
  says: HEADERS,
  isOptional: false,
  code: "INVALID_HEADER",
  read: (value) => {
    if (
      typeof value !== "object" ||
      value === null ||
      Array.isArray(value) ||
      value instanceof Uint8Array
    )
      return refuse(HEADERS);
    const read: Record<string, string> = {};
    for (const [key, item] of Object.entries(value)) {
      if (typeof item !== "string" || !isWellFormed(item) || !isLegalHeader(key))
        return refuse(HEADERS);
      read[key] = item;
    }
    return read;
  },
  take: (from) => {
    const taken: Record<string, string> = {};
    for (let left = from.mapLength(); left > 0 && from.isSure; left--) {
      const key = from.word(HEADER_NAMES);
      if (!from.isSure || Object.hasOwn(taken, key)) return from.doubt();
      taken[key] = from.text();
    }
    return taken;
  },
};

const HEADER_NAMES = new KeptWords(
  (key) => key.length <= HEADER_NAME_KEPT_MAX && isLegalHeader(key),
);

const isLegalHeader = (key: string): boolean => isHeaderName(key) && isWellFormed(key);

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
  // Operators' answers are few: they go the careful way.
  take: (from) => from.doubt(),
};

export interface FieldEntry {
  readonly name: string;
  /** The name as MessagePack writes it, with its tag. */
  readonly key: Uint8Array;
  readonly field: Field<unknown>;
}

export type FieldEntries = readonly FieldEntry[];

/** The fields of a frame as a list: made once, walked for every frame. */
export const entriesOf = (fields: Fields): FieldEntries =>
  Object.entries(fields).map(([name, field]) => ({ name, key: encodedKey(name), field }));

const HEADER_NAME_KEPT_MAX = 64;
const utf8 = new TextEncoder();

/** A short ASCII text as MessagePack writes it. */
export function encodedKey(name: string): Uint8Array {
  const text = utf8.encode(name);
  return Uint8Array.of(0xa0 + text.length, ...text);
}

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
      if (entry !== undefined) to[entry.name] = entry.field.read(from[entry.name]);
    }
  } catch (error) {
    if (!(error instanceof Refused)) throw error;
    const { name = "", field } = entries[at] ?? {};
    throw new Refused(error.says, [name, ...error.path], error.code ?? field?.code);
  }
  return to;
}

/** The same from a map of `pairs` that holds known fields only, in the order of the table. */
export function takeFields(
  entries: FieldEntries,
  from: Reader,
  pairs: number,
  to: Record<string, unknown>,
): Record<string, unknown> {
  let left = pairs;
  for (let at = 0; at < entries.length; at++) {
    const entry = entries[at];
    if (entry === undefined) continue;
    if (left > 0 && from.takes(entry.key)) {
      left--;
      to[entry.name] = entry.field.take(from);
      if (!from.isSure) return to;
    } else if (entry.field.isOptional) to[entry.name] = undefined;
    else return from.doubt();
  }
  return left === 0 ? to : from.doubt();
}

export const LEASE_MS = integer(LIMITS.leaseMsMin, LIMITS.leaseMsMax);
export const DELAY_MS = integer(0, LIMITS.delayMsMax);
export const messageDelayMs = coded("INVALID_DELAY", DELAY_MS);
export const deliverAtMs = coded("INVALID_DELAY", count);
export const ttlMs = coded("INVALID_TTL", integer(1, LIMITS.delayMsMax));
export const REASON = characters(LIMITS.reasonCharactersMax);
