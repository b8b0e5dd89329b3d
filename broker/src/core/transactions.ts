/**
 * The undecided transactions, in columns: some 170 bytes each, and nothing to the garbage collector. A
 * `Transaction` is made when somebody asks for one, and reads and writes its row.
 *
 * Invariants
 * - Q1 A row is used again once its transaction is decided: what knows its number must let go of it before.
 * - Q2 They come in the order of their prepares, however rows are used again.
 * - Q3 Those with messages stand in a second order, that of their messages' places: a prepare and a move put
 *   one behind all others. So the first stands in the oldest block that any of them needs.
 */
import { Chain, frozenPlaces, Links, Slots } from "./chain.ts";
import { Column, Values, Words } from "./columns.ts";
import { ID_WORDS_MAX, type IdHash, idOfWords } from "./id-hash.ts";
import { invariant } from "./invariant.ts";
import { NOTHING } from "./key-queues.ts";
import { NOWHERE, Places } from "./places.ts";
import type { Place } from "./records.ts";
import type {
  HalfMessage,
  JoinedAck,
  Transaction,
  TransactionFacts,
  TransactionProgress,
} from "./transaction.ts";

/** Of most transactions a row says all: one message without timing, no acks. The others have this besides. */
interface Details {
  readonly messages: readonly HalfMessage[];
  readonly acks: readonly JoinedAck[];
  readonly reservationNo: number;
}

const ON_UNDECIDED = ["park", "rollback"] as const;
const PARKED = [null, "attempts", "age"] as const;
const NO_ACKS: readonly JoinedAck[] = [];
/** With fewer rows than this nothing is worth to be given back. */
const ROWS_KEPT = 4_096;

/** The columns, by place. */
class Rows {
  /** ID_WORDS_MAX for each. */
  readonly words = new Column(Uint32Array);
  readonly groups = new Values("");
  readonly details = new Values<Details | null>(null);
  readonly digest = new Column(Uint32Array);
  readonly preparedAtMs = new Column(Float64Array);
  readonly ageFromMs = new Column(Float64Array);
  readonly nextCheckAtMs = new Column(Float64Array);
  readonly block = new Column(Float64Array);
  /** The place of its first message. */
  readonly placeBlock = new Column(Float64Array);
  readonly placeSlot = new Column(Uint32Array);
  readonly bytes = new Column(Uint32Array);
  /** Of the only message, if there are no details. */
  readonly topicNo = new Column(Uint32Array);
  readonly checks = new Column(Uint32Array);
  readonly onUndecided = new Column(Uint8Array);
  readonly parked = new Column(Uint8Array);
  /** What is a number, in the order of a saved row. */
  readonly numbers = [
    this.digest,
    this.preparedAtMs,
    this.ageFromMs,
    this.nextCheckAtMs,
    this.block,
    this.placeBlock,
    this.placeSlot,
    this.bytes,
    this.topicNo,
    this.checks,
    this.onUndecided,
    this.parked,
  ];

  idAt(place: number): string {
    for (let at = 0; at < ID_WORDS_MAX; at++)
      scratch[at] = this.words.at(place * ID_WORDS_MAX + at);
    return idOfWords(scratch, ID_WORDS_MAX);
  }

  clear(): void {
    for (const column of [this.words, this.groups, this.details, ...this.numbers]) column.clear();
  }
}

const scratch = new Uint32Array(ID_WORDS_MAX);

/** One row, as an object. Not to be kept beyond its verdict (Q1). */
class Row implements Transaction {
  readonly rowNo: number;
  readonly #rows: Rows;
  #id: string | null;
  /** Of a transaction without details; it is asked for several times. */
  #only: readonly HalfMessage[] | null = null;

  constructor(rows: Rows, rowNo: number, id: string | null) {
    this.#rows = rows;
    this.rowNo = rowNo;
    this.#id = id;
  }

  get id(): string {
    this.#id ??= this.#rows.idAt(this.rowNo);
    return this.#id;
  }

  get group(): string {
    return this.#rows.groups.at(this.rowNo);
  }

  get digest(): number {
    return this.#rows.digest.at(this.rowNo);
  }

  get preparedAtMs(): number {
    return this.#rows.preparedAtMs.at(this.rowNo);
  }

  get block(): number {
    return this.#rows.block.at(this.rowNo);
  }

  get place(): Place {
    const { placeBlock, placeSlot } = this.#rows;
    return { block: placeBlock.at(this.rowNo), slot: placeSlot.at(this.rowNo) };
  }

  get bytes(): number {
    return this.#rows.bytes.at(this.rowNo);
  }

  get messages(): readonly HalfMessage[] {
    const details = this.#rows.details.at(this.rowNo);
    if (details !== null) return details.messages;
    this.#only ??= [{ topicNo: this.#rows.topicNo.at(this.rowNo), bytes: this.bytes }];
    return this.#only;
  }

  get acks(): readonly JoinedAck[] {
    return this.#rows.details.at(this.rowNo)?.acks ?? NO_ACKS;
  }

  get reservationNo(): number {
    return this.#rows.details.at(this.rowNo)?.reservationNo ?? NOTHING;
  }

  get onUndecided(): "park" | "rollback" {
    return ON_UNDECIDED[this.#rows.onUndecided.at(this.rowNo)] ?? "park";
  }

  get ageFromMs(): number {
    return this.#rows.ageFromMs.at(this.rowNo);
  }

  set ageFromMs(atMs: number) {
    this.#rows.ageFromMs.set(this.rowNo, atMs);
  }

  get checks(): number {
    return this.#rows.checks.at(this.rowNo);
  }

  set checks(count: number) {
    this.#rows.checks.set(this.rowNo, count);
  }

  get nextCheckAtMs(): number {
    return this.#rows.nextCheckAtMs.at(this.rowNo);
  }

  set nextCheckAtMs(atMs: number) {
    this.#rows.nextCheckAtMs.set(this.rowNo, atMs);
  }

  get parked(): "attempts" | "age" | null {
    return PARKED[this.#rows.parked.at(this.rowNo)] ?? null;
  }

  set parked(cause: "attempts" | "age" | null) {
    this.#rows.parked.set(this.rowNo, PARKED.indexOf(cause));
  }
}

/** Some of them, as they stood when `save` was called. */
export interface TransactionsPart {
  readonly ids: readonly string[];
  readonly groups: readonly string[];
  /** For each its place in `groups`, then its numbers: float64, in the machine's order. */
  readonly numbers: Uint8Array;
  readonly details: readonly (readonly [at: number, details: Details])[];
}

/** What a part says. */
export function* readPart(
  part: TransactionsPart,
): Generator<TransactionFacts & TransactionProgress> {
  // The bytes may stand anywhere in a file's, and numbers begin at multiples of eight.
  const numbers = new Float64Array(part.numbers.slice().buffer);
  const details = new Map(part.details);
  const width = numbers.length / part.ids.length;
  for (const [at, id] of part.ids.entries()) {
    const [group = 0, digest = 0, preparedAtMs = 0, ageFromMs = 0, nextCheckAtMs = 0, ...others] =
      numbers.subarray(at * width, (at + 1) * width);
    const [block = 0, placeBlock = 0, placeSlot = 0, bytes = 0, topicNo = 0, ...rest] = others;
    const [checks = 0, end = 0, parked = 0] = rest;
    const { messages, acks, reservationNo } = details.get(at) ?? {
      messages: [{ topicNo, bytes }],
      acks: NO_ACKS,
      reservationNo: NOTHING,
    };
    yield {
      id,
      group: part.groups[group] ?? "",
      digest,
      preparedAtMs,
      ageFromMs,
      nextCheckAtMs,
      block,
      place: { block: placeBlock, slot: placeSlot },
      messages,
      acks,
      reservationNo,
      checks,
      onUndecided: ON_UNDECIDED[end] ?? "park",
      parked: PARKED[parked] ?? null,
    };
  }
}

export class Transactions {
  readonly #hash: IdHash;
  readonly #places = new Places();
  readonly #slots = new Slots();
  readonly #links = new Links();
  /** In the order of prepares. */
  readonly #order = new Chain(this.#links);
  readonly #halfLinks = new Links();
  /** Those with messages, in the order of their places (Q3). */
  readonly #halves = new Chain(this.#halfLinks);
  /** Not after a checkpoint, which tells them in the order of their prepares. */
  #areHalvesSorted = true;
  readonly #rows = new Rows();
  /** The one that was asked for last: a step asks for the same one several times. */
  #last: Row | null = null;

  constructor(hash: IdHash) {
    this.#hash = hash;
  }

  get size(): number {
    return this.#order.size;
  }

  has(id: string): boolean {
    return this.#find(id) !== NOWHERE;
  }

  get(id: string): Transaction | undefined {
    if (this.#last?.id === id) return this.#last;
    const place = this.#find(id);
    if (place === NOWHERE) return undefined;
    this.#last = new Row(this.#rows, place, id);
    return this.#last;
  }

  /** The one of this place, which is in use. */
  at(place: number): Transaction {
    return new Row(this.#rows, place, null);
  }

  *values(): Generator<Transaction> {
    for (const place of this.#order.places()) yield this.at(place);
  }

  /**
   * Those with messages, in the order of their places (Q3). Between two steps anybody may add, remove and
   * move: those that are moved come again, at the end.
   */
  *halves(): Generator<Transaction> {
    this.#sortHalves();
    for (const place of this.#halves.walk()) yield this.at(place);
  }

  /** No block before this one holds messages of any of them; infinite without any. */
  get lowestBlock(): number {
    this.#sortHalves();
    const { first } = this.#halves;
    return first === NOWHERE ? Number.POSITIVE_INFINITY : this.#rows.placeBlock.at(first);
  }

  /** Its messages stand at `to` from now on, behind those of all others. */
  move({ rowNo }: Transaction, { block, slot }: Place): void {
    this.#rows.placeBlock.set(rowNo, block);
    this.#rows.placeSlot.set(rowNo, slot);
    this.#halves.remove(rowNo);
    this.#halves.append(rowNo);
  }

  /** The caller has made sure that it is not there. */
  add(facts: TransactionFacts & TransactionProgress, bytes: number): Transaction {
    const hash = this.#hash;
    invariant(hash.read(facts.id), "an id is 1 to 64 ASCII characters");
    const place = this.#slots.take();
    const rows = this.#rows;
    for (let at = 0; at < ID_WORDS_MAX; at++)
      rows.words.set(place * ID_WORDS_MAX + at, at < hash.wordCount ? (hash.words[at] ?? 0) : 0);
    this.#places.add(hash.hash, place);
    this.#order.append(place);
    const { messages, acks, reservationNo } = facts;
    const isPlain = messages.length === 1 && acks.length === 0 && messages[0]?.timing === undefined;
    rows.groups.set(place, facts.group);
    rows.details.set(place, isPlain ? null : { messages, acks, reservationNo });
    rows.digest.set(place, facts.digest);
    rows.preparedAtMs.set(place, facts.preparedAtMs);
    rows.ageFromMs.set(place, facts.ageFromMs);
    rows.nextCheckAtMs.set(place, facts.nextCheckAtMs);
    rows.block.set(place, facts.block);
    rows.placeBlock.set(place, facts.place.block);
    rows.placeSlot.set(place, facts.place.slot);
    rows.bytes.set(place, bytes);
    rows.topicNo.set(place, messages[0]?.topicNo ?? 0);
    rows.checks.set(place, facts.checks);
    rows.onUndecided.set(place, ON_UNDECIDED.indexOf(facts.onUndecided));
    rows.parked.set(place, PARKED.indexOf(facts.parked));
    if (messages.length > 0) {
      const { last } = this.#halves;
      if (last !== NOWHERE && this.#compare(place, last) < 0) this.#areHalvesSorted = false;
      this.#halves.append(place);
    }
    this.#last = new Row(rows, place, facts.id);
    return this.#last;
  }

  remove({ id, rowNo: place, messages }: Transaction): void {
    invariant(this.get(id)?.rowNo === place, "only a transaction that is there is removed");
    this.#last = null;
    this.#hash.read(id);
    this.#places.remove(this.#hash.hash, place);
    this.#order.remove(place);
    if (messages.length > 0) this.#halves.remove(place);
    this.#rows.groups.set(place, "");
    this.#rows.details.set(place, null);
    this.#slots.giveBack(place);
    if (this.size === 0 && this.#rows.digest.length > ROWS_KEPT) this.#clear();
  }

  /** All as they are now, in parts of at most `countMax` that may be taken later, one by one, until `thaw` (W1). */
  save(countMax: number): Iterable<TransactionsPart> {
    const words = this.#rows.words.freeze();
    const groups = this.#rows.groups.freeze();
    const details = this.#rows.details.freeze();
    const numbers = this.#rows.numbers.map((column) => column.freeze());
    const places = frozenPlaces(this.#order.first, this.#links.next.freeze());
    const width = numbers.length + 1;
    let left = this.size;
    return (function* (): Generator<TransactionsPart> {
      while (left > 0) {
        const count = Math.min(left, countMax);
        left -= count;
        const ids: string[] = [];
        const names = new Words();
        const saved = new Float64Array(count * width);
        const more: [number, Details][] = [];
        for (let at = 0; at < count; at++) {
          const place = places.next().value as number;
          for (let word = 0; word < ID_WORDS_MAX; word++)
            scratch[word] = words.at(place * ID_WORDS_MAX + word);
          ids.push(idOfWords(scratch, ID_WORDS_MAX));
          saved[at * width] = names.numberOf(groups.at(place));
          for (let column = 1; column < width; column++)
            saved[at * width + column] = numbers[column - 1]?.at(place) ?? 0;
          const detail = details.at(place);
          if (detail !== null) more.push([at, detail]);
        }
        yield {
          ids,
          groups: names.slice(0, names.count),
          numbers: new Uint8Array(saved.buffer),
          details: more,
        };
      }
    })();
  }

  thaw(): void {
    const { words, groups, details, numbers } = this.#rows;
    for (const column of [words, groups, details, this.#links.next, ...numbers]) column.thaw();
  }

  #sortHalves(): void {
    if (this.#areHalvesSorted) return;
    const sorted = [...this.#halves.places()].sort((one, other) => this.#compare(one, other));
    for (const place of sorted) {
      this.#halves.remove(place);
      this.#halves.append(place);
    }
    this.#areHalvesSorted = true;
  }

  /** By where their messages stand. */
  #compare(one: number, other: number): number {
    const { placeBlock, placeSlot } = this.#rows;
    return placeBlock.at(one) - placeBlock.at(other) || placeSlot.at(one) - placeSlot.at(other);
  }

  #find(id: string): number {
    const hash = this.#hash;
    if (this.size === 0 || !hash.read(id)) return NOWHERE;
    const places = this.#places;
    for (let place = places.first(hash.hash); place !== NOWHERE; place = places.next())
      if (this.#isAt(place)) return place;
    return NOWHERE;
  }

  #isAt(place: number): boolean {
    const { words, wordCount } = this.#hash;
    const start = place * ID_WORDS_MAX;
    for (let at = 0; at < wordCount; at++)
      if (this.#rows.words.at(start + at) !== words[at]) return false;
    return wordCount === ID_WORDS_MAX || this.#rows.words.at(start + wordCount) === 0;
  }

  /** After a burst nothing of it is kept. */
  #clear(): void {
    this.#slots.clear();
    this.#links.clear();
    this.#halfLinks.clear();
    this.#rows.clear();
  }
}
