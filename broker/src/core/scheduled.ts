/**
 * The messages that wait for their time, in columns: some 115 bytes each, and nothing to the garbage collector.
 * They are in no topic yet; a `due` record takes the first of them into its own. Those that stand behind a
 * reservation of their key (key-queues.ts) wait here, too: their time comes with a verdict.
 *
 * Invariants
 * - S1 They come in the order of their times, and those of one time in the order in which that was given to them:
 *   live, after a replay and after a checkpoint alike, so that a `due` record always names the first one.
 * - S2 Each is found by its message's id. Ids are the producers': any number may have the same. The hash table
 *   holds one row for each id, because it bears few equal hashes; of an id with several rows the others stand
 *   in a map of their own, which is empty as long as producers keep to their word.
 * - S3 A row is used again once its message is due or recalled. Topics have numbers from 1 on; 0: a free row.
 * - S4 The lowest block of each stretch of rows is known, or is looked for when somebody asks: so that to ask
 *   for the lowest of all costs a step a stretch, and not one a message.
 */
import { Alarms, NEVER } from "./alarms.ts";
import { Chain, frozenPlaces, Links, Slots } from "./chain.ts";
import { Column, Values } from "./columns.ts";
import { type IdHash, idOfWords } from "./id-hash.ts";
import { invariant } from "./invariant.ts";
import { NOWHERE, Places } from "./places.ts";
import type { Place } from "./records.ts";

export interface ScheduledMessage {
  readonly id: string;
  readonly topicNo: number;
  readonly place: Place;
  readonly bytes: number;
  /** NEVER: not before a verdict. */
  readonly dueAtMs: number;
  /** By what it is ordered, 0: by nothing. */
  readonly key: number;
  /** Where it stands in the queue of its key (key-queues.ts), or NOTHING. */
  readonly position: number;
}

/** The ids that SDKs make have 32 characters; longer ones are kept as they are. */
const WORDS = 8;
const keyOf = ({ block, slot }: Place): string => `${block}.${slot}`;

/** Rows of which the lowest block is known together (S4). */
const STRETCH = 512;
const NO_BLOCK = Number.POSITIVE_INFINITY;
/** With fewer rows than this nothing is worth to be given back. */
const ROWS_KEPT = 4_096;

const scratch = new Uint32Array(WORDS);

/** Some of them, as they stood when `save` was called. */
export interface ScheduledPart {
  readonly ids: readonly string[];
  /** NUMBERS for each: float64, in the machine's order. */
  readonly numbers: Uint8Array;
}

/** Topic, block, slot, bytes, time, key, position. */
const NUMBERS = 7;

/** What a part says. */
export function* readScheduled(part: ScheduledPart): Generator<ScheduledMessage> {
  // The bytes may stand anywhere in a file's, and numbers begin at multiples of eight.
  const numbers = new Float64Array(part.numbers.slice().buffer);
  for (const [at, id] of part.ids.entries()) {
    const [topicNo = 0, block = 0, slot = 0, bytes = 0, dueAtMs = 0, key = 0, position = 0] =
      numbers.subarray(at * NUMBERS, (at + 1) * NUMBERS);
    yield { id, topicNo, place: { block, slot }, bytes, dueAtMs, key, position };
  }
}

export class Scheduled {
  readonly #hash: IdHash;
  readonly #places = new Places();
  readonly #slots = new Slots();
  /** Ids with several rows: all of them, by place (S2). */
  readonly #twins = new Map<string, Map<string, number>>();
  readonly #links = new Links();
  /** In the order in which they were scheduled (S1). */
  readonly #order = new Chain(this.#links);
  readonly #alarms = new Alarms();
  /** WORDS for each; of a longer id nothing. */
  readonly #words = new Column(Uint32Array);
  readonly #longIds = new Values("");
  readonly #topicNo = new Column(Uint32Array);
  readonly #block = new Column(Float64Array);
  readonly #slot = new Column(Uint32Array);
  readonly #bytes = new Column(Uint32Array);
  readonly #dueAtMs = new Column(Float64Array);
  /** Both filled only as far as there are any: most messages have no key that matters here. */
  readonly #key = new Column(Uint32Array);
  readonly #position = new Column(Float64Array);
  /** What is a number, in the order of a saved row. */
  readonly #numbers = [
    this.#topicNo,
    this.#block,
    this.#slot,
    this.#bytes,
    this.#dueAtMs,
    this.#key,
    this.#position,
  ];
  /** By stretch (S4); NaN: not known. */
  #lows: number[] = [];
  #totalBytes = 0;

  constructor(hash: IdHash) {
    this.#hash = hash;
  }

  get size(): number {
    return this.#order.size;
  }

  get totalBytes(): number {
    return this.#totalBytes;
  }

  /** When the first one is due; infinite without any. */
  get nextAtMs(): number {
    return this.#alarms.nextAtMs;
  }

  /** The one that is due first (S1), or NOWHERE. */
  get first(): number {
    return this.#alarms.first;
  }

  /** The one of this row, which is in use. */
  at(row: number): ScheduledMessage {
    return {
      id: this.#idAt(row),
      topicNo: this.#topicNo.at(row),
      place: this.placeOf(row),
      bytes: this.#bytes.at(row),
      dueAtMs: this.#dueAtMs.at(row),
      key: this.#key.at(row),
      position: this.#position.at(row),
    };
  }

  placeOf(row: number): Place {
    return { block: this.#block.at(row), slot: this.#slot.at(row) };
  }

  /** The rows of a topic. It goes through all; the one at hand may be removed. */
  *ofTopic(topicNo: number): Generator<number> {
    for (const row of this.#order.places()) if (this.#topicNo.at(row) === topicNo) yield row;
  }

  /** Those of this id in this topic, in the order of their places. */
  find(topicNo: number, id: string): readonly number[] {
    const row = this.#rowOf(id);
    const rows = row === NOWHERE ? [] : [...(this.#twins.get(id)?.values() ?? [row])];
    return rows
      .filter((one) => this.#topicNo.at(one) === topicNo)
      .sort((one, other) => this.#compare(one, other));
  }

  /** The one of this id that stands at `place`, or NOWHERE. */
  findAt(id: string, place: Place): number {
    const twins = this.#twins.get(id);
    if (twins !== undefined) return twins.get(keyOf(place)) ?? NOWHERE;
    const row = this.#rowOf(id);
    const isThere =
      row !== NOWHERE && this.#block.at(row) === place.block && this.#slot.at(row) === place.slot;
    return isThere ? row : NOWHERE;
  }

  /** Its row. */
  add({ id, topicNo, place, bytes, dueAtMs, key, position }: ScheduledMessage): number {
    const hash = this.#hash;
    invariant(hash.read(id), "an id is 1 to 64 ASCII characters");
    const row = this.#slots.take();
    const isLong = hash.wordCount > WORDS;
    for (let at = 0; at < WORDS; at++) {
      const isSaid = !isLong && at < hash.wordCount;
      this.#words.set(row * WORDS + at, isSaid ? (hash.words[at] ?? 0) : 0);
    }
    this.#longIds.set(row, isLong ? id : "");
    this.#topicNo.set(row, topicNo);
    this.#block.set(row, place.block);
    this.#slot.set(row, place.slot);
    this.#bytes.set(row, bytes);
    this.#dueAtMs.set(row, dueAtMs);
    this.#key.setSparse(row, key);
    this.#position.setSparse(row, position);
    this.#enlist(id, row);
    this.#order.append(row);
    if (dueAtMs !== NEVER) this.#alarms.set(row, dueAtMs);
    this.#totalBytes += bytes;
    this.#cameTo(row, place.block);
    return row;
  }

  /** It was due, and stands in the queue of its key from now on, behind all others that have its position. */
  queue(row: number, position: number): void {
    this.#dueAtMs.set(row, NEVER);
    this.#alarms.cancel(row);
    this.#position.setSparse(row, position);
    this.#toEnd(row);
  }

  /** It comes behind all others of this time (S1). One that has a time keeps it. */
  release(row: number, atMs: number): void {
    if (this.#dueAtMs.at(row) !== NEVER) return;
    this.#dueAtMs.set(row, atMs);
    this.#alarms.set(row, atMs);
    this.#toEnd(row);
  }

  #toEnd(row: number): void {
    this.#order.remove(row);
    this.#order.append(row);
  }

  /** It is due, recalled, or gone with its topic. */
  remove(row: number): void {
    invariant(this.#topicNo.at(row) !== 0, "only a scheduled message is removed");
    this.#strike(this.#idAt(row), row);
    this.#order.remove(row);
    this.#alarms.cancel(row);
    this.#totalBytes -= this.#bytes.at(row);
    this.#left(row);
    this.#topicNo.set(row, 0);
    this.#key.setSparse(row, 0);
    this.#position.setSparse(row, 0);
    this.#block.set(row, NO_BLOCK);
    this.#longIds.set(row, "");
    this.#slots.giveBack(row);
    if (this.size === 0 && this.#topicNo.length > ROWS_KEPT) this.#clear();
  }

  /** The same bytes stand here, too, and are read here from now on. */
  move(row: number, { block, slot }: Place): void {
    const twins = this.#twins.size === 0 ? undefined : this.#twins.get(this.#idAt(row));
    twins?.delete(keyOf(this.placeOf(row)));
    twins?.set(keyOf({ block, slot }), row);
    this.#left(row);
    this.#block.set(row, block);
    this.#slot.set(row, slot);
    this.#cameTo(row, block);
  }

  /** No block before this one holds any of them; infinite without any. */
  get lowestBlock(): number {
    let lowest = NO_BLOCK;
    for (let no = 0; no < this.#lows.length; no++) lowest = Math.min(lowest, this.#lowOf(no));
    return lowest;
  }

  /**
   * The rows of those that stand before `block`; null after a stretch without any more. Between two steps
   * anybody may add, remove and move: what comes or goes then may be told or not.
   */
  *rowsBefore(block: number): Generator<number | null> {
    for (let no = 0; no < this.#lows.length; no++) {
      const end = this.#lowOf(no) < block ? (no + 1) * STRETCH : no * STRETCH;
      for (let row = no * STRETCH; row < end; row++)
        if (this.#block.at(row) < block && this.#topicNo.at(row) !== 0) yield row;
      yield null;
    }
  }

  /** By topic: when its first one is due. It goes through all of them. */
  nextAtMsByTopic(): Map<number, number> {
    const next = new Map<number, number>();
    if (this.size === 0) return next;
    for (let row = 0; row < this.#topicNo.length; row++) {
      const topicNo = this.#topicNo.at(row);
      const dueAtMs = this.#dueAtMs.at(row);
      if (topicNo !== 0 && dueAtMs < (next.get(topicNo) ?? NO_BLOCK)) next.set(topicNo, dueAtMs);
    }
    return next;
  }

  /** All as they are now, in parts of at most `countMax` that may be taken later, one by one, until `thaw` (W1). */
  save(countMax: number): Iterable<ScheduledPart> {
    const words = this.#words.freeze();
    const longIds = this.#longIds.freeze();
    const numbers = this.#numbers.map((column) => column.freeze());
    const rows = frozenPlaces(this.#order.first, this.#links.next.freeze());
    let left = this.size;
    return (function* (): Generator<ScheduledPart> {
      while (left > 0) {
        const count = Math.min(left, countMax);
        left -= count;
        const ids: string[] = [];
        const saved = new Float64Array(count * NUMBERS);
        for (let at = 0; at < count; at++) {
          const row = rows.next().value as number;
          for (let word = 0; word < WORDS; word++) scratch[word] = words.at(row * WORDS + word);
          ids.push(longIds.at(row) || idOfWords(scratch, WORDS));
          for (let column = 0; column < NUMBERS; column++)
            saved[at * NUMBERS + column] = numbers[column]?.at(row) ?? 0;
        }
        yield { ids, numbers: new Uint8Array(saved.buffer) };
      }
    })();
  }

  thaw(): void {
    this.#words.thaw();
    this.#longIds.thaw();
    this.#links.next.thaw();
    for (const column of this.#numbers) column.thaw();
  }

  /** The row that stands in the hash table for all of this id, or NOWHERE. */
  #rowOf(id: string): number {
    const hash = this.#hash;
    if (this.#places.size === 0 || !hash.read(id)) return NOWHERE;
    const places = this.#places;
    for (let row = places.first(hash.hash); row !== NOWHERE; row = places.next())
      if (this.#isOf(row, id)) return row;
    return NOWHERE;
  }

  #enlist(id: string, row: number): void {
    const known = this.#rowOf(id);
    this.#hash.read(id);
    if (known === NOWHERE) return this.#places.add(this.#hash.hash, row);
    const twins = this.#twins.get(id) ?? new Map([[keyOf(this.placeOf(known)), known]]);
    this.#twins.set(id, twins);
    twins.set(keyOf(this.placeOf(row)), row);
  }

  #strike(id: string, row: number): void {
    const twins = this.#twins.get(id);
    twins?.delete(keyOf(this.placeOf(row)));
    if (twins?.size === 1) this.#twins.delete(id);
    if (this.#rowOf(id) !== row) return;
    this.#places.remove(this.#hash.hash, row);
    const [next] = twins?.values() ?? [];
    if (next !== undefined) this.#places.add(this.#hash.hash, next);
  }

  #isOf(row: number, id: string): boolean {
    const { words, wordCount } = this.#hash;
    const longId = this.#longIds.at(row);
    if (longId !== "" || wordCount > WORDS) return longId === id;
    for (let at = 0; at < WORDS; at++) {
      const word = at < wordCount ? (words[at] ?? 0) : 0;
      if (this.#words.at(row * WORDS + at) !== word) return false;
    }
    return true;
  }

  #idAt(row: number): string {
    for (let at = 0; at < WORDS; at++) scratch[at] = this.#words.at(row * WORDS + at);
    return this.#longIds.at(row) || idOfWords(scratch, WORDS);
  }

  #compare(one: number, other: number): number {
    return this.#block.at(one) - this.#block.at(other) || this.#slot.at(one) - this.#slot.at(other);
  }

  #cameTo(row: number, block: number): void {
    const no = Math.floor(row / STRETCH);
    this.#lows[no] = Math.min(this.#lows[no] ?? NO_BLOCK, block);
  }

  #left(row: number): void {
    const no = Math.floor(row / STRETCH);
    if (this.#lows[no] === this.#block.at(row)) this.#lows[no] = Number.NaN;
  }

  #lowOf(no: number): number {
    const known = this.#lows[no] ?? NO_BLOCK;
    if (!Number.isNaN(known)) return known;
    const end = Math.min((no + 1) * STRETCH, this.#block.length);
    let low = NO_BLOCK;
    for (let row = no * STRETCH; row < end; row++) low = Math.min(low, this.#block.at(row));
    this.#lows[no] = low;
    return low;
  }

  /** After a burst nothing of it is kept. */
  #clear(): void {
    this.#slots.clear();
    this.#links.clear();
    this.#longIds.clear();
    this.#words.clear();
    this.#lows = [];
    for (const column of this.#numbers) column.clear();
  }
}
