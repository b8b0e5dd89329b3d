/**
 * One group's progress in one topic: the delivery state machine.
 *
 *   (fresh) --deliver--> leased --ack--> settled
 *                        leased --return--> ready again | waiting(readyAtMs) --deliver--> leased
 *                        leased --join--> pending --commit--> settled, --rollback--> ready again
 *                        leased --bury--> settled here, visible in the dead-letter topic
 *   (fresh) --taken in--> ready, or held --the one before it of its key is settled--> ready
 *
 * Invariants
 * - V1 An offset below `nextOffset` without an entry is settled (or expired); there is no other record of it.
 *   So acks in any order cost O(1), and memory grows with what is in flight, not with what was read.
 * - V2 At most one valid delivery per offset (D3): the one whose number the leased entry holds.
 * - V3 Delivery numbers only grow, through resets and replays too, so no token is ever valid twice.
 * - V4 `deliveries` rises by exactly one per delivery; `failures` counts those that used up an attempt, and
 *   what a consumer is told is `failures + 1`: giving back at shutdown is not an attempt (D6).
 * - V5 `expired` counts each message that retention took before this group had settled it, exactly once.
 * - V6 A cursor with a filter or an order takes messages in (`take`): what it passes over is settled, and is
 *   counted in `filtered`. What it takes in is an entry before it is delivered, with its place in its lane.
 * - V7 `revisitedBlock` is that of the last record that gave back what was settled. What is settled now and was
 *   settled in a later block has no more to tell: a trace may end there.
 * - V8 What stands before `lowestOffset` was never this group's: it began behind that, and was never reset to it.
 *   Dead letters that may come back go with their group.
 */
import type { Chain } from "./chain.ts";
import {
  Entries,
  type EntriesPart,
  Entry,
  type EntryRow,
  type FrozenEntries,
  KINDS,
  type Kind,
  readEntries,
  saveEntries,
} from "./entries.ts";
import { invariant } from "./invariant.ts";
import { Lanes } from "./lanes.ts";
import { NOWHERE } from "./places.ts";
import type { ReturnCause } from "./records.ts";

export interface CursorState {
  readonly no: number;
  readonly groupNo: number;
  readonly topicNo: number;
  readonly nextOffset: number;
  readonly nextDeliveryNo: number;
  readonly expired: number;
  readonly lapsed: number;
  readonly revisitedBlock: number;
  readonly lowestOffset: number;
  readonly filter: string;
  readonly filtered: number;
  readonly abandoned: number;
  readonly told: number;
}

export class Cursor {
  readonly no: number;
  readonly groupNo: number;
  readonly topicNo: number;
  #nextOffset: number;
  #nextDeliveryNo = 1;
  #expired = 0;
  #lapsed = 0;
  #revisitedBlock = 0;
  #lowestOffset: number;
  #filter = "";
  #filtered = 0;
  /** Only while the group is ordered. */
  #lanes: Lanes | null = null;
  #abandoned = 0;
  /** How many lost messages an instance knows of. */
  told = 0;
  readonly #entries: Entries;
  /** By kind. What is ready stands in the order in which it came back. */
  readonly #chains: readonly Chain[];

  constructor(
    no: number,
    groupNo: number,
    topicNo: number,
    nextOffset: number,
    entries: Entries = new Entries(),
  ) {
    this.no = no;
    this.groupNo = groupNo;
    this.topicNo = topicNo;
    this.#nextOffset = nextOffset;
    this.#lowestOffset = nextOffset;
    this.#entries = entries;
    this.#chains = entries.newChains();
  }

  get nextOffset(): number {
    return this.#nextOffset;
  }

  get nextDeliveryNo(): number {
    return this.#nextDeliveryNo;
  }

  /** Messages that retention took before this group had settled them (V5). */
  get expired(): number {
    return this.#expired;
  }

  /** Messages whose time to live was over before this group was sent them. */
  get lapsed(): number {
    return this.#lapsed;
  }

  get revisitedBlock(): number {
    return this.#revisitedBlock;
  }

  get lowestOffset(): number {
    return this.#lowestOffset;
  }

  /** "": every message matches. */
  get filter(): string {
    return this.#filter;
  }

  /** Messages that were passed over because they did not match (V6). */
  get filtered(): number {
    return this.#filtered;
  }

  get isOrdered(): boolean {
    return this.#lanes !== null;
  }

  /** Messages are looked at before they are delivered (V6). */
  get takesIn(): boolean {
    return this.#lanes !== null || this.#filter !== "";
  }

  /** Messages that an instance goes on without. */
  get abandoned(): number {
    return this.#abandoned;
  }

  /** All that it will never be given. */
  get lost(): number {
    return this.#expired + this.#abandoned;
  }

  get counts(): Readonly<Record<Kind, number>> {
    const [leased = 0, ready = 0, waiting = 0, pending = 0, held = 0] = this.#chains.map(
      ({ size }) => size,
    );
    return { leased, ready, waiting, pending, held };
  }

  get unsettled(): number {
    return this.#chains.reduce((total, { size }) => total + size, 0);
  }

  /** By kind, in the order of KINDS. The one at hand may be settled meanwhile. */
  *entries(): Generator<Entry> {
    for (const chain of this.#chains)
      for (const place of chain.places()) yield new Entry(this.#entries, place);
  }

  *waiting(): Generator<Entry> {
    for (const place of this.#chain("waiting").places()) yield new Entry(this.#entries, place);
  }

  entry(offset: number): Entry | undefined {
    const place = this.#entries.find(this.no, offset);
    return place === NOWHERE ? undefined : new Entry(this.#entries, place);
  }

  /** The entry of a delivery that is still valid (V2), else undefined. */
  leased(offset: number, deliveryNo: number): Entry | undefined {
    const entries = this.#entries;
    const place = entries.find(this.no, offset);
    const isValid =
      place !== NOWHERE &&
      entries.kindOf(place) === "leased" &&
      entries.number.at(place) === deliveryNo;
    return isValid ? new Entry(entries, place) : undefined;
  }

  get readyCount(): number {
    return this.#chain("ready").size;
  }

  get heldCount(): number {
    return this.#chain("held").size;
  }

  /** From the next message on that was not taken in. */
  setFilter(filter: string): void {
    this.#filter = filter;
  }

  /** What is unsettled stays as it is; with the order what is held is free. */
  setOrdered(isOrdered: boolean): void {
    if (isOrdered === this.isOrdered) return;
    this.#lanes = isOrdered ? new Lanes(this.#entries.laneLinks) : null;
    if (isOrdered) return;
    for (const place of this.#chain("held").places()) this.#become(place, "ready", 0);
    for (const chain of this.#chains)
      for (const place of chain.places()) this.#entries.setKey(place, 0);
  }

  /** Everything before `nextOffset` was looked at: these matched (V6). `keys`: theirs; none without an order. */
  take(
    nextOffset: number,
    offsets: readonly number[],
    keys: readonly number[],
    filtered: number,
  ): void {
    invariant(nextOffset > this.#nextOffset, "a message is taken in once");
    this.#nextOffset = nextOffset;
    this.#filtered += filtered;
    for (const [at, offset] of offsets.entries()) this.#add(freshRow(offset, keys[at] ?? 0));
  }

  /** Offsets that came back and may be delivered now, oldest first. */
  *readyAgain(): Generator<number> {
    for (const place of this.#chain("ready").places()) yield this.#entries.offset.at(place);
  }

  deliver(offset: number, deliveryNo: number): void {
    invariant(deliveryNo >= this.#nextDeliveryNo, "delivery numbers only grow");
    const entries = this.#entries;
    const place = entries.find(this.no, offset);
    if (place === NOWHERE) this.#deliverFirst(offset, deliveryNo);
    else {
      const kind = entries.kindOf(place);
      invariant(kind === "ready" || kind === "waiting", "only a ready message is delivered");
      entries.deliveries.set(place, entries.deliveries.at(place) + 1);
      this.#become(place, "leased", deliveryNo);
    }
    this.#nextDeliveryNo = deliveryNo + 1;
  }

  settle(offset: number): void {
    const place = this.#entries.find(this.no, offset);
    invariant(place !== NOWHERE, "only an unsettled message is settled");
    this.#leave(place);
  }

  /** Settled, because their time to live was over when they were about to be sent. */
  lapse(offsets: readonly number[]): void {
    for (const offset of offsets) this.settle(offset);
    this.#lapsed += offsets.length;
  }

  /** A message that was not given to the group yet becomes one that is ready; those before it did before. */
  takeIn(offset: number): void {
    invariant(offset >= this.#nextOffset, "only a fresh message is taken in");
    this.#nextOffset = offset + 1;
    this.#add(freshRow(offset, 0));
  }

  /** In this block something that was settled came back (V7). */
  revisit(block: number): void {
    this.#revisitedBlock = block;
  }

  /** Settled, and not done: counted. */
  abandon(offset: number): void {
    this.settle(offset);
    this.#abandoned++;
  }

  /** The ack joined a transaction. */
  join(offset: number): void {
    const place = this.#entries.find(this.no, offset);
    const isLeased = place !== NOWHERE && this.#entries.kindOf(place) === "leased";
    invariant(isLeased, "the message is leased");
    this.#become(place, "pending", 0);
  }

  giveBack(
    offset: number,
    cause: ReturnCause,
    readyAtMs: number,
    isCounted: boolean,
    reason: string,
  ): Entry {
    const entries = this.#entries;
    const place = entries.find(this.no, offset);
    invariant(place !== NOWHERE, "only an unsettled message is given back");
    if (isCounted) entries.failures.set(place, entries.failures.at(place) + 1);
    entries.reason.set(place, reason === "" ? cause : reason);
    if (readyAtMs > 0) this.#become(place, "waiting", readyAtMs);
    else this.#become(place, "ready", 0);
    return new Entry(entries, place);
  }

  /** A waiting message's time has come. Time passes by itself: there is no record of it. */
  ripen(offset: number): void {
    const place = this.#entries.find(this.no, offset);
    if (place !== NOWHERE && this.#entries.kindOf(place) === "waiting")
      this.#become(place, "ready", 0);
  }

  /**
   * A dead letter comes back into the group with its attempts set to 0. After a reset to before it,
   * it comes anyway, as a fresh message or as one already under way. Its place in the order is gone: it
   * stands behind all of its key.
   */
  replay(offset: number, key: number): void {
    const isThere = this.#entries.find(this.no, offset) !== NOWHERE;
    if (isThere || offset >= this.#nextOffset) return;
    this.#add(freshRow(offset, this.isOrdered ? key : 0));
  }

  /**
   * Retention took the messages from `first` to before `before`; `fresh` of them this group had not been
   * given yet. What was revived before stays. Tells how many are lost to this group.
   */
  expire(first: number, before: number, fresh: number): number {
    let lost = fresh;
    // All of them at once: each that goes may make another one ready.
    for (const place of [...this.#placesBetween(first, before)]) {
      const kind = this.#entries.kindOf(place);
      const isUnderWay = kind === "leased" || kind === "pending";
      invariant(!isUnderWay, "what is under way does not expire");
      this.#leave(place);
      lost++;
    }
    this.#nextOffset = Math.max(this.#nextOffset, before);
    this.#expired += lost;
    return lost;
  }

  /** The one at hand may be removed. On the shorter way: a group may have a million of either. */
  *#placesBetween(first: number, end: number): Generator<number> {
    const { offset } = this.#entries;
    if (end - first <= this.unsettled) {
      for (let at = first; at < end; at++) {
        const place = this.#entries.find(this.no, at);
        if (place !== NOWHERE) yield place;
      }
      return;
    }
    for (const chain of this.#chains)
      for (const place of chain.places()) {
        const at = offset.at(place);
        if (at >= first && at < end) yield place;
      }
  }

  /**
   * The first offset from `first` on, before `end`, with an entry of such a kind; else `end`. Looked for on
   * the shorter way, through the offsets or through the entries: a group may have a million of either.
   */
  firstOffset(first: number, end: number, kinds: readonly Kind[]): number {
    // Retention comes as far as what is held, and asks again each second: then that is the first.
    if (first < end && this.#has(first, kinds)) return first;
    const chains = kinds.map((kind) => this.#chain(kind));
    const { offset } = this.#entries;
    if (end - first <= chains.reduce((total, { size }) => total + size, 0)) {
      for (let at = first; at < end; at++) if (this.#has(at, kinds)) return at;
      return end;
    }
    let found = end;
    for (const chain of chains)
      for (const place of chain.places()) {
        const at = offset.at(place);
        if (at >= first && at < found) found = at;
      }
    return found;
  }

  /** Moves to `nextOffset`; every delivery under way is over. Refused before while an ack is pending (T9). */
  reset(nextOffset: number): void {
    invariant(this.#chain("pending").size === 0, "a cursor with pending acks is not reset");
    this.clear();
    this.#nextOffset = nextOffset;
    this.#lowestOffset = Math.min(this.#lowestOffset, nextOffset);
  }

  /** Its rows are free again: it is reset, or deleted. */
  clear(): void {
    this.#lanes?.clear();
    for (const chain of this.#chains) for (const place of chain.places()) this.#leave(place);
  }

  /** Everything leased goes back after a restart; the leases died with the connections. */
  restart(pausedMs: number): void {
    const { number, offset } = this.#entries;
    for (const place of this.#chain("waiting").places())
      number.set(place, number.at(place) + pausedMs);
    for (const place of this.#chain("leased").places())
      this.giveBack(offset.at(place), "restart", 0, false, "");
  }

  save(): CursorState {
    const { no, groupNo, topicNo, nextOffset, nextDeliveryNo, expired, filter } = this;
    const { lapsed, revisitedBlock, lowestOffset, filtered, abandoned, told } = this;
    const stands = { nextOffset, nextDeliveryNo, revisitedBlock, lowestOffset };
    const counts = { expired, lapsed, filtered, abandoned, told };
    return { no, groupNo, topicNo, filter, ...stands, ...counts };
  }

  /** The entries as they are in `frozen`, which is of this moment, in parts that may be taken later. */
  saveEntries(frozen: FrozenEntries, countMax: number): Iterable<EntriesPart> {
    const firsts = this.#chains.map(({ first }) => first);
    return saveEntries(this.no, firsts, frozen, countMax);
  }

  load(saved: CursorState): void {
    this.#nextDeliveryNo = saved.nextDeliveryNo;
    this.#expired = saved.expired;
    this.#lapsed = saved.lapsed;
    this.#revisitedBlock = saved.revisitedBlock;
    this.#lowestOffset = saved.lowestOffset;
    this.#filter = saved.filter;
    this.#filtered = saved.filtered;
    this.#abandoned = saved.abandoned;
    this.told = saved.told;
  }

  loadEntries(part: EntriesPart): void {
    for (const row of readEntries(part)) this.#add(row);
  }

  #has(offset: number, kinds: readonly Kind[]): boolean {
    const place = this.#entries.find(this.no, offset);
    return place !== NOWHERE && kinds.includes(this.#entries.kindOf(place));
  }

  #chain(kind: Kind): Chain {
    const chain = this.#chains[KINDS.indexOf(kind)];
    invariant(chain !== undefined, "every kind has a chain");
    return chain;
  }

  #deliverFirst(offset: number, number: number): void {
    invariant(offset >= this.#nextOffset, "a settled message is not delivered again");
    this.#nextOffset = offset + 1;
    this.#add({ offset, deliveries: 1, failures: 0, kind: "leased", number, reason: "", key: 0 });
  }

  #add(row: EntryRow): void {
    const entries = this.#entries;
    const place = entries.add(this.no, row);
    const isFirst = row.key === 0 || this.#lanes === null || this.#lanes.enter(row.key, place);
    if (!isFirst) entries.kind.set(place, KINDS.indexOf("held"));
    this.#chain(entries.kindOf(place)).append(place);
  }

  /** Q1: the next of its key may be delivered. */
  #leave(place: number): void {
    const key = this.#entries.keyOf(place);
    const next = key === 0 || this.#lanes === null ? NOWHERE : this.#lanes.leave(key, place);
    this.#chain(this.#entries.kindOf(place)).remove(place);
    this.#entries.remove(place);
    if (next !== NOWHERE) this.#become(next, "ready", 0);
  }

  #become(place: number, kind: Kind, number: number): void {
    const entries = this.#entries;
    const before = entries.kindOf(place);
    this.#chain(before).remove(place);
    if (before === "leased") entries.holder.set(place, null);
    entries.kind.set(place, KINDS.indexOf(kind));
    entries.number.set(place, number);
    this.#chain(kind).append(place);
  }
}

const freshRow = (offset: number, key: number): EntryRow => ({
  offset,
  deliveries: 0,
  failures: 0,
  kind: "ready",
  number: 0,
  reason: "",
  key,
});
