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
import { invariant } from "./invariant.ts";
import type { ReturnCause } from "./records.ts";

export interface Entry<Lease> {
  readonly offset: number;
  deliveries: number;
  failures: number;
  /** Why the last delivery failed; "" at first. */
  reason: string;
  state: EntryState<Lease>;
}

export type EntryState<Lease> =
  /** `lease`: who holds it, known only while running; null between recovery and the `opened` record. */
  | { readonly kind: "leased"; readonly deliveryNo: number; lease: Lease | null }
  | { readonly kind: "ready" }
  | { readonly kind: "waiting"; readonly readyAtMs: number }
  /** The ack joined an undecided transaction: no redelivery, whatever the lease does (T9). */
  | { readonly kind: "pending" };

export interface CursorState {
  readonly no: number;
  readonly groupNo: number;
  readonly topicNo: number;
  readonly nextOffset: number;
  readonly nextDeliveryNo: number;
  readonly expired: number;
  /** offset, deliveries, failures, kind, deliveryNo or readyAtMs, reason. */
  readonly entries: readonly (readonly [
    number,
    number,
    number,
    EntryState<never>["kind"],
    number,
    string,
  ])[];
}

export class Cursor<Lease = unknown> {
  readonly no: number;
  readonly groupNo: number;
  readonly topicNo: number;
  #nextOffset: number;
  #nextDeliveryNo = 1;
  #expired = 0;
  readonly #entries = new Map<number, Entry<Lease>>();
  /** Offsets to be delivered again now, in the order in which they came back. */
  readonly #readyAgain = new Set<number>();
  readonly #counts = { leased: 0, ready: 0, waiting: 0, pending: 0 };

  constructor(no: number, groupNo: number, topicNo: number, nextOffset: number) {
    this.no = no;
    this.groupNo = groupNo;
    this.topicNo = topicNo;
    this.#nextOffset = nextOffset;
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

  get counts(): Readonly<Record<EntryState<Lease>["kind"], number>> {
    return this.#counts;
  }

  get unsettled(): number {
    return this.#entries.size;
  }

  entries(): IterableIterator<Entry<Lease>> {
    return this.#entries.values();
  }

  entry(offset: number): Entry<Lease> | undefined {
    return this.#entries.get(offset);
  }

  /** The entry of a delivery that is still valid (V2), else undefined. */
  leased(offset: number, deliveryNo: number): Entry<Lease> | undefined {
    const entry = this.#entries.get(offset);
    return entry?.state.kind === "leased" && entry.state.deliveryNo === deliveryNo
      ? entry
      : undefined;
  }

  /** Offsets that came back and may be delivered now, oldest first. */
  readyAgain(): IterableIterator<number> {
    return this.#readyAgain.values();
  }

  deliver(offset: number, deliveryNo: number): Entry<Lease> {
    const entry = this.#entries.get(offset) ?? this.#enter(offset);
    invariant(
      entry.state.kind === "ready" || entry.state.kind === "waiting",
      "only a ready message is delivered",
    );
    invariant(deliveryNo >= this.#nextDeliveryNo, "delivery numbers only grow");
    this.#nextDeliveryNo = deliveryNo + 1;
    entry.deliveries++;
    this.#become(entry, { kind: "leased", deliveryNo, lease: null });
    return entry;
  }

  settle(offset: number): void {
    const entry = this.#entries.get(offset);
    invariant(entry !== undefined, "only an unsettled message is settled");
    this.#leave(entry);
  }

  /** The ack joined a transaction. */
  join(offset: number): void {
    this.#become(this.#leasedEntry(offset), { kind: "pending" });
  }

  giveBack(
    offset: number,
    cause: ReturnCause,
    readyAtMs: number,
    isCounted: boolean,
    reason: string,
  ): Entry<Lease> {
    const entry = this.#entries.get(offset);
    invariant(entry !== undefined, "only an unsettled message is given back");
    if (isCounted) entry.failures++;
    entry.reason = reason === "" ? cause : reason;
    this.#become(entry, readyAtMs > 0 ? { kind: "waiting", readyAtMs } : { kind: "ready" });
    return entry;
  }

  /** A waiting message's time has come. Time passes by itself: there is no record of it. */
  ripen(offset: number): void {
    const entry = this.#entries.get(offset);
    if (entry?.state.kind === "waiting") this.#become(entry, { kind: "ready" });
  }

  /**
   * A dead letter comes back into the group with its attempts set to 0. After a reset to before it,
   * it comes anyway, as a fresh message or as one already under way.
   */
  replay(offset: number): void {
    if (this.#entries.has(offset) || offset >= this.#nextOffset) return;
    this.#add({ offset, deliveries: 0, failures: 0, reason: "", state: { kind: "ready" } });
  }

  /**
   * Retention took the messages from `first` to before `before`; `fresh` of them this group had not been
   * given yet. What was revived before stays. Tells how many are lost to this group.
   */
  expire(first: number, before: number, fresh: number): number {
    let lost = fresh;
    for (const entry of [...this.#entries.values()]) {
      if (entry.offset < first || entry.offset >= before) continue;
      const { kind } = entry.state;
      invariant(kind === "ready" || kind === "waiting", "what is under way does not expire");
      this.#leave(entry);
      lost++;
    }
    this.#nextOffset = Math.max(this.#nextOffset, before);
    this.#expired += lost;
    return lost;
  }

  /** Moves to `nextOffset`; every delivery under way is over. Refused before while an ack is pending (T9). */
  reset(nextOffset: number): void {
    invariant(this.#counts.pending === 0, "a cursor with pending acks is not reset");
    for (const entry of [...this.#entries.values()]) this.#leave(entry);
    this.#nextOffset = nextOffset;
  }

  /** Everything leased goes back after a restart; the leases died with the connections. */
  restart(pausedMs: number): void {
    for (const entry of this.#entries.values()) {
      const { state } = entry;
      if (state.kind === "leased") this.giveBack(entry.offset, "restart", 0, false, "");
      if (state.kind === "waiting")
        this.#become(entry, { kind: "waiting", readyAtMs: state.readyAtMs + pausedMs });
    }
  }

  save(): CursorState {
    return {
      no: this.no,
      groupNo: this.groupNo,
      topicNo: this.topicNo,
      nextOffset: this.#nextOffset,
      nextDeliveryNo: this.#nextDeliveryNo,
      expired: this.#expired,
      entries: [...this.#entries.values()].map(
        ({ offset, deliveries, failures, reason, state }) => [
          offset,
          deliveries,
          failures,
          state.kind,
          state.kind === "leased"
            ? state.deliveryNo
            : state.kind === "waiting"
              ? state.readyAtMs
              : 0,
          reason,
        ],
      ),
    };
  }

  load(saved: CursorState): void {
    this.#nextDeliveryNo = saved.nextDeliveryNo;
    this.#expired = saved.expired;
    for (const [offset, deliveries, failures, kind, number, reason] of saved.entries) {
      this.#add({ offset, deliveries, failures, reason, state: loadState(kind, number) });
    }
  }

  #leasedEntry(offset: number): Entry<Lease> {
    const entry = this.#entries.get(offset);
    invariant(entry?.state.kind === "leased", "the message is leased");
    return entry;
  }

  #enter(offset: number): Entry<Lease> {
    invariant(offset >= this.#nextOffset, "a settled message is not delivered again");
    this.#nextOffset = offset + 1;
    const entry: Entry<Lease> = {
      offset,
      deliveries: 0,
      failures: 0,
      reason: "",
      state: { kind: "ready" },
    };
    this.#add(entry);
    return entry;
  }

  #add(entry: Entry<Lease>): void {
    this.#entries.set(entry.offset, entry);
    this.#counts[entry.state.kind]++;
    if (entry.state.kind === "ready") this.#readyAgain.add(entry.offset);
  }

  #leave(entry: Entry<Lease>): void {
    this.#entries.delete(entry.offset);
    this.#counts[entry.state.kind]--;
    if (entry.state.kind === "ready") this.#readyAgain.delete(entry.offset);
  }

  #become(entry: Entry<Lease>, state: EntryState<Lease>): void {
    if (entry.state.kind === "ready") this.#readyAgain.delete(entry.offset);
    this.#counts[entry.state.kind]--;
    this.#counts[state.kind]++;
    entry.state = state;
    if (state.kind === "ready") this.#readyAgain.add(entry.offset);
  }
}

function loadState(kind: EntryState<never>["kind"], number: number): EntryState<never> {
  switch (kind) {
    case "leased":
      return { kind, deliveryNo: number, lease: null };
    case "waiting":
      return { kind, readyAtMs: number };
    case "ready":
    case "pending":
      return { kind };
  }
}
