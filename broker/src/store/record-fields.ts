/**
 * The fields of a record as they are written and read back: positional, checked one by one, because
 * a field of the wrong type that got into the state would be found days later, as something else.
 */
import type { LoggedMessage, Place, RecordKind, RecordOf } from "../core/records.ts";

/** Caught where the block is known, and never seen outside the codec. */
export class Malformed extends Error {}

interface NameTable<Name extends string> {
  readonly numberOf: (name: Name) => number;
  readonly nameOf: (number: number) => Name;
}

/** Names are stored as their numbers, which never change. */
export function nameTable<Name extends string>(
  numbers: Readonly<Record<Name, number>>,
): NameTable<Name> {
  const names = new Map<number, Name>();
  for (const name of Object.keys(numbers) as Name[]) names.set(numbers[name], name);
  return {
    numberOf: (name) => numbers[name],
    nameOf: (number) => {
      const name = names.get(number);
      if (name === undefined) throw new Malformed(`there is no name of number ${number}`);
      return name;
    },
  };
}

/** [topicNo, bytes, topicNo, bytes, …]: no array per message. */
export function writeMessages(messages: readonly LoggedMessage[]): number[] {
  const flat: number[] = [];
  for (const message of messages) flat.push(message.topicNo, message.bytes);
  return flat;
}

/**
 * What messages say of their times: the ids, then four numbers for each: which message it is, and the three spans
 * and times; then, if one of them has a key that matters, the keys of all of these, and behind them whether they are
 * reserved, if so. Fields at the end of a record, and none where no message says anything.
 */
export function writeTimings(
  messages: readonly LoggedMessage[],
  reservesKeys?: true,
): readonly unknown[] {
  if (!messages.some(saysTimes)) return NO_FIELDS;
  const ids: string[] = [];
  const numbers: number[] = [];
  const keys: number[] = [];
  for (let at = 0; at < messages.length; at++) {
    const timing = messages[at]?.timing;
    if (timing === undefined) continue;
    ids.push(timing.id);
    numbers.push(at, timing.delayMs, timing.deliverAtMs, timing.ttlMs);
    keys.push(timing.key);
  }
  if (reservesKeys === true) return [ids, numbers, keys, reservesKeys];
  return keys.some((key) => key !== 0) ? [ids, numbers, keys] : [ids, numbers];
}

const saysTimes = ({ timing }: LoggedMessage): boolean => timing !== undefined;
const NO_FIELDS: readonly never[] = [];

export const writePlaces = (places: readonly Place[]): number[] =>
  places.flatMap(({ block, slot }) => [block, slot]);

/** Differences: neighbours mostly are, so that an offset costs one byte and not five. */
export function writeOffsets(offsets: readonly number[]): number[] {
  const steps: number[] = [];
  let previous = 0;
  for (const offset of offsets) {
    steps.push(offset - previous);
    previous = offset;
  }
  return steps;
}

/** A cursor over one record's fields; used again for the next record. */
export class FieldReader {
  #values: readonly unknown[] = [];
  #at = 0;

  begin(row: unknown): void {
    if (!Array.isArray(row)) throw new Malformed("a record is not an array");
    this.#values = row;
    this.#at = 0;
  }

  end(): void {
    if (this.#at !== this.#values.length)
      throw new Malformed(`a record has ${this.#values.length} fields instead of ${this.#at}`);
  }

  /** An optional field follows, which only stands at the end of a record. */
  get hasMore(): boolean {
    return this.#at < this.#values.length;
  }

  number(): number {
    const value = this.#values[this.#at++];
    if (typeof value === "number") return value;
    throw this.#wrong("a number");
  }

  text(): string {
    const value = this.#values[this.#at++];
    if (typeof value === "string") return value;
    throw this.#wrong("a text");
  }

  operatorAndReason(): { operator: string; reason: string } {
    return { operator: this.text(), reason: this.text() };
  }

  flag(): boolean {
    const value = this.#values[this.#at++];
    if (typeof value === "boolean") return value;
    throw this.#wrong("true or false");
  }

  /** A field that only stands there if it holds. */
  truth(): true {
    if (!this.flag()) throw this.#wrong("true");
    return true;
  }

  numbers(): number[] {
    const value = this.#values[this.#at++];
    if (Array.isArray(value) && value.every((one) => typeof one === "number")) return value;
    throw this.#wrong("an array of numbers");
  }

  texts(): string[] {
    const value = this.#values[this.#at++];
    if (Array.isArray(value) && value.every((one) => typeof one === "string")) return value;
    throw this.#wrong("an array of texts");
  }

  offsets(): number[] {
    const steps = this.numbers();
    let offset = 0;
    for (let i = 0; i < steps.length; i++) {
      offset += steps[i] ?? 0;
      steps[i] = offset;
    }
    return steps;
  }

  messages(): LoggedMessage[] {
    return this.pairs((topicNo, bytes) => ({ topicNo, bytes, data: null }));
  }

  /** Those before, with what `writeTimings` wrote of them. */
  timed(messages: LoggedMessage[]): LoggedMessage[] {
    if (!this.hasMore) return messages;
    const ids = this.texts();
    const all = this.groups(4, (numbers) => numbers);
    this.demand(ids.length > 0 && ids.length === all.length, "as long as the one before it");
    const keys = this.hasMore ? this.numbers() : null;
    this.demand(keys === null || keys.length === ids.length, "as long as the ids");
    for (const [place, id] of ids.entries()) {
      const [at = 0, delayMs = 0, deliverAtMs = 0, ttlMs = 0] = all[place] ?? [];
      const message = messages[at];
      if (message === undefined) throw this.#wrong("of a message that the record has");
      const timing = { id, key: keys?.[place] ?? 0, delayMs, deliverAtMs, ttlMs };
      messages[at] = { ...message, timing };
    }
    return messages;
  }

  places(): Place[] {
    return this.pairs((block, slot) => ({ block, slot }));
  }

  pairs<Pair>(make: (first: number, second: number) => Pair): Pair[] {
    const flat = this.numbers();
    if (flat.length % 2 !== 0) throw this.#wrong("an array of pairs");
    const pairs: Pair[] = [];
    for (let i = 0; i < flat.length; i += 2) pairs.push(make(flat[i] ?? 0, flat[i + 1] ?? 0));
    return pairs;
  }

  /** Numbers in groups of `size`. */
  groups<Group>(size: number, make: (group: readonly number[]) => Group): Group[] {
    const flat = this.numbers();
    if (flat.length % size !== 0) throw this.#wrong(`an array of groups of ${size}`);
    const groups: Group[] = [];
    for (let i = 0; i < flat.length; i += size) groups.push(make(flat.slice(i, i + size)));
    return groups;
  }

  /** An array of names, then one of as many numbers. */
  named<Named>(make: (name: string, number: number) => Named): Named[] {
    const names = this.texts();
    const numbers = this.numbers();
    if (names.length !== numbers.length) throw this.#wrong("as long as the one before it");
    return names.map((name, at) => make(name, numbers[at] ?? 0));
  }

  /** A value that may be null and has fields of its own. */
  nested<Value>(read: (fields: FieldReader) => Value): Value | null {
    const value = this.#values[this.#at++];
    if (value === null) return null;
    const fields = new FieldReader();
    fields.begin(value);
    const result = read(fields);
    fields.end();
    return result;
  }

  demand(isSo: boolean, what: string): void {
    if (!isSo) throw this.#wrong(what);
  }

  #wrong(what: string): Malformed {
    return new Malformed(`field ${this.#at} of a record is not ${what}`);
  }
}

/**
 * How one kind is written and read. `read` gets the fields after the code and fixes their
 * order.
 */
export interface Shape<Kind extends RecordKind> {
  readonly code: number;
  readonly write: (code: number, record: RecordOf<Kind>) => unknown[];
  readonly read: (fields: FieldReader) => RecordOf<Kind>;
}

export type Shapes<Kind extends RecordKind> = { readonly [One in Kind]: Shape<One> };
