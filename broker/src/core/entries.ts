/**
 * What every cursor has in hand and not settled, in columns: some 75 bytes for each message. The rows of a
 * cursor are chained by kind (cursor.ts); an `Entry` is made when somebody asks for one.
 *
 * Invariants
 * - E1 A row is used again once its message is settled: an Entry is not kept beyond that.
 * - E2 A row is found by its cursor and offset, if and only if the message is unsettled there.
 */
import { Chain, frozenPlaces, Links, Slots } from "./chain.ts";
import { Column, type FrozenColumn, type FrozenValues, Values, Words } from "./columns.ts";
import { NOWHERE, Places } from "./places.ts";

/** What is held comes last: so it is loaded last (lanes.ts, Q2). */
export const KINDS = ["leased", "ready", "waiting", "pending", "held"] as const;
export type Kind = (typeof KINDS)[number];

export type EntryState =
  | { readonly kind: "leased"; readonly deliveryNo: number }
  | { readonly kind: "ready" }
  | { readonly kind: "waiting"; readonly readyAtMs: number }
  /** The ack joined an undecided transaction: no redelivery, whatever the lease does (T9). */
  | { readonly kind: "pending" }
  /** Another message of its key comes first (lanes.ts). */
  | { readonly kind: "held" };

/** With fewer rows than this nothing is worth to be given back. */
const ROWS_KEPT = 4_096;

export class Entries {
  readonly links = new Links();
  /** Of lanes: only what has a key stands in one. */
  readonly laneLinks = new Links();
  readonly cursorNo = new Column(Uint32Array);
  readonly offset = new Column(Float64Array);
  readonly deliveries = new Column(Uint32Array);
  readonly failures = new Column(Uint32Array);
  /** Place in KINDS. */
  readonly kind = new Column(Uint8Array);
  /** Leased: the delivery's; waiting: when it is ready. */
  readonly number = new Column(Float64Array);
  readonly reason = new Values("");
  /** Leased: by whom, known only while running; null between recovery and the `opened` record. */
  readonly holder = new Values<unknown>(null);
  /** By what it is ordered, else 0. Filled only as far as there is one: who has no order does not pay for it. */
  readonly #key = new Column(Uint32Array);
  readonly #places = new Places();
  readonly #slots = new Slots();
  readonly #all = [
    this.cursorNo,
    this.offset,
    this.deliveries,
    this.failures,
    this.kind,
    this.number,
    this.reason,
    this.holder,
  ];

  get size(): number {
    return this.#places.size;
  }

  newChains(): readonly Chain[] {
    return KINDS.map(() => new Chain(this.links));
  }

  find(cursorNo: number, offset: number): number {
    const places = this.#places;
    for (let place = places.first(hashOf(cursorNo, offset)); place !== NOWHERE; ) {
      if (this.offset.at(place) === offset && this.cursorNo.at(place) === cursorNo) return place;
      place = places.next();
    }
    return NOWHERE;
  }

  /** The caller chains it. */
  add(cursorNo: number, row: EntryRow): number {
    const place = this.#slots.take();
    this.#places.add(hashOf(cursorNo, row.offset), place);
    this.cursorNo.set(place, cursorNo);
    this.offset.set(place, row.offset);
    this.deliveries.set(place, row.deliveries);
    this.failures.set(place, row.failures);
    this.kind.set(place, KINDS.indexOf(row.kind));
    this.number.set(place, row.number);
    this.reason.set(place, row.reason);
    this.setKey(place, row.key);
    return place;
  }

  keyOf(place: number): number {
    return this.#key.at(place);
  }

  setKey(place: number, key: number): void {
    this.#key.setSparse(place, key);
  }

  /** The caller has taken it out of its chain. */
  remove(place: number): void {
    this.#places.remove(hashOf(this.cursorNo.at(place), this.offset.at(place)), place);
    // An alarm that is still set for this place must not find it waiting.
    this.number.set(place, 0);
    this.reason.set(place, "");
    this.holder.set(place, null);
    this.setKey(place, 0);
    this.#slots.giveBack(place);
    if (this.size === 0 && this.offset.length > ROWS_KEPT) this.#clear();
  }

  kindOf(place: number): Kind {
    return KINDS[this.kind.at(place)] ?? "ready";
  }

  /** As all rows are now, until `thaw` (W1). */
  freeze(): FrozenEntries {
    return {
      next: this.links.next.freeze(),
      numbers: [this.offset, this.deliveries, this.failures, this.kind, this.number].map((one) =>
        one.freeze(),
      ),
      reason: this.reason.freeze(),
      key: this.#key.freeze(),
    };
  }

  thaw(): void {
    for (const column of [this.links.next, this.#key, ...this.#all]) column.thaw();
  }

  /** After a burst nothing of it is kept. */
  #clear(): void {
    this.#slots.clear();
    this.links.clear();
    this.laneLinks.clear();
    for (const column of [this.#key, ...this.#all]) column.clear();
  }
}

/** One unsettled message, as an object for the moment (E1). */
export class Entry {
  readonly place: number;
  readonly #rows: Entries;

  constructor(rows: Entries, place: number) {
    this.#rows = rows;
    this.place = place;
  }

  get cursorNo(): number {
    return this.#rows.cursorNo.at(this.place);
  }

  get offset(): number {
    return this.#rows.offset.at(this.place);
  }

  get deliveries(): number {
    return this.#rows.deliveries.at(this.place);
  }

  get failures(): number {
    return this.#rows.failures.at(this.place);
  }

  /** 0: none by which it is ordered. */
  get key(): number {
    return this.#rows.keyOf(this.place);
  }

  /** Why the last delivery failed; "" at first. */
  get reason(): string {
    return this.#rows.reason.at(this.place);
  }

  get kind(): Kind {
    return this.#rows.kindOf(this.place);
  }

  get state(): EntryState {
    const { kind } = this;
    const number = this.#rows.number.at(this.place);
    if (kind === "leased") return { kind, deliveryNo: number };
    return kind === "waiting" ? { kind, readyAtMs: number } : { kind };
  }

  get holder(): unknown {
    return this.#rows.holder.at(this.place);
  }

  set holder(holder: unknown) {
    this.#rows.holder.set(this.place, holder);
  }
}

export interface EntryRow {
  readonly offset: number;
  readonly deliveries: number;
  readonly failures: number;
  readonly kind: Kind;
  /** Leased: the delivery's; waiting: when it is ready; else 0. */
  readonly number: number;
  readonly reason: string;
  /** 0: none by which it is ordered. */
  readonly key: number;
}

export interface FrozenEntries {
  readonly next: FrozenColumn;
  readonly numbers: readonly FrozenColumn[];
  readonly reason: FrozenValues<string>;
  readonly key: FrozenColumn;
}

/** Some of a cursor's, as they stood when they were frozen. */
export interface EntriesPart {
  readonly cursorNo: number;
  readonly reasons: readonly string[];
  /** For each the place of its reason, offset, deliveries, failures, kind and number: float64. */
  readonly numbers: Uint8Array;
  /** For each its key: uint32. Absent: none has one. */
  readonly keys?: Uint8Array;
}

const WIDTH = 6;

/** The rows of these chains' first places on, in parts of at most `countMax`. */
export function* saveEntries(
  cursorNo: number,
  firsts: readonly number[],
  { next, numbers, reason, key }: FrozenEntries,
  countMax: number,
): Generator<EntriesPart> {
  let rows: number[] = [];
  let keys: number[] = [];
  let reasons = new Words();
  const part = (): EntriesPart => {
    const bytes = new Uint8Array(Float64Array.from(rows).buffer);
    const saved = { cursorNo, reasons: reasons.slice(0, reasons.count), numbers: bytes };
    return keys.some((one) => one !== 0)
      ? { ...saved, keys: new Uint8Array(Uint32Array.from(keys).buffer) }
      : saved;
  };
  for (const first of firsts) {
    for (const place of frozenPlaces(first, next)) {
      rows.push(reasons.numberOf(reason.at(place)));
      for (const column of numbers) rows.push(column.at(place));
      keys.push(key.at(place));
      if (rows.length < countMax * WIDTH) continue;
      yield part();
      rows = [];
      keys = [];
      reasons = new Words();
    }
  }
  if (rows.length > 0) yield part();
}

/** What a part says. */
export function* readEntries({ reasons, numbers, keys }: EntriesPart): Generator<EntryRow> {
  // The bytes may stand anywhere in a file's, and numbers begin at multiples of eight.
  const rows = new Float64Array(numbers.slice().buffer);
  const keyOf = keys === undefined ? null : new Uint32Array(keys.slice().buffer);
  for (let at = 0; at < rows.length; at += WIDTH) {
    const [reason = 0, offset = 0, deliveries = 0, failures = 0, kind = 0, number = 0] =
      rows.subarray(at, at + WIDTH);
    yield {
      offset,
      deliveries,
      failures,
      kind: KINDS[kind] ?? "ready",
      number,
      reason: reasons[reason] ?? "",
      key: keyOf?.[at / WIDTH] ?? 0,
    };
  }
}

/** Nobody chooses offsets, so that no key is needed. */
function hashOf(cursorNo: number, offset: number): number {
  let hash = Math.imul(cursorNo, 0x9e37_79b1) ^ (offset | 0) ^ Math.floor(offset / 2 ** 32);
  hash = Math.imul(hash ^ (hash >>> 16), 0x85eb_ca6b);
  hash = Math.imul(hash ^ (hash >>> 13), 0xc2b2_ae35);
  return (hash ^ (hash >>> 16)) >>> 0;
}
