/**
 * One group's progress in one topic: the delivery state machine.
 *
 *   (fresh) --deliver--> leased --ack--> settled
 *                        leased --return--> ready again | waiting(readyAtMs) --deliver--> leased
 *                        leased --join--> pending --commit--> settled, --rollback--> ready again
 *                        leased --bury--> settled here, visible in the dead-letter topic
 *
 * Invariants
 * - V1 An offset below `nextOffset` without an entry is settled (or expired); there is no other record of it.
 *   So acks in any order cost O(1), and memory grows with what is in flight, not with what was read.
 * - V2 At most one valid delivery per offset (D3): the one whose number the leased entry holds.
 * - V3 Delivery numbers only grow, through resets and replays too, so no token is ever valid twice.
 * - V4 `deliveries` rises by exactly one per delivery; `failures` counts those that used up an attempt, and
 *   what a consumer is told is `failures + 1`: giving back at shutdown is not an attempt (D6).
 * - V5 `expired` counts each message that retention took before this group had settled it, exactly once.
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
import { NOWHERE } from "./places.ts";
import type { ReturnCause } from "./records.ts";

export interface CursorState {
  readonly no: number;
  readonly groupNo: number;
  readonly topicNo: number;
  readonly nextOffset: number;
  readonly nextDeliveryNo: number;
  readonly expired: number;
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

  /** Messages that an instance goes on without. */
  get abandoned(): number {
    return this.#abandoned;
  }

  /** All that it will never be given. */
  get lost(): number {
    return this.#expired + this.#abandoned;
  }

  get counts(): Readonly<Record<Kind, number>> {
    const [leased, ready, waiting, pending] = this.#chains.map(({ size }) => size);
    return { leased: leased ?? 0, ready: ready ?? 0, waiting: waiting ?? 0, pending: pending ?? 0 };
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
   * it comes anyway, as a fresh message or as one already under way.
   */
  replay(offset: number): void {
    const isThere = this.#entries.find(this.no, offset) !== NOWHERE;
    if (isThere || offset >= this.#nextOffset) return;
    this.#add({ offset, deliveries: 0, failures: 0, kind: "ready", number: 0, reason: "" });
  }

  /**
   * Retention took the messages from `first` to before `before`; `fresh` of them this group had not been
   * given yet. What was revived before stays. Tells how many are lost to this group.
   */
  expire(first: number, before: number, fresh: number): number {
    let lost = fresh;
    for (const place of this.#placesBetween(first, before)) {
      const kind = this.#entries.kindOf(place);
      invariant(kind === "ready" || kind === "waiting", "what is under way does not expire");
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
  }

  /** Its rows are free again: it is reset, or deleted. */
  clear(): void {
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
    const { no, groupNo, topicNo, nextOffset, nextDeliveryNo, expired, abandoned, told } = this;
    return { no, groupNo, topicNo, nextOffset, nextDeliveryNo, expired, abandoned, told };
  }

  /** The entries as they are in `frozen`, which is of this moment, in parts that may be taken later. */
  saveEntries(frozen: FrozenEntries, countMax: number): Iterable<EntriesPart> {
    const firsts = this.#chains.map(({ first }) => first);
    return saveEntries(this.no, firsts, frozen, countMax);
  }

  load(saved: CursorState): void {
    this.#nextDeliveryNo = saved.nextDeliveryNo;
    this.#expired = saved.expired;
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
    this.#add({ offset, deliveries: 1, failures: 0, kind: "leased", number, reason: "" });
  }

  #add(row: EntryRow): void {
    this.#chain(row.kind).append(this.#entries.add(this.no, row));
  }

  #leave(place: number): void {
    this.#chain(this.#entries.kindOf(place)).remove(place);
    this.#entries.remove(place);
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
