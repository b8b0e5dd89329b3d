/**
 * The oracle's own reading of what waits: for its time, in the order of the times and nobody else's affair (D13),
 * or for the verdicts of those who reserve its key (D20, ledger-keys.ts).
 */
import type { Place, RecordOf } from "../../broker/src/core/records.ts";
import { type LedgerMessage, type LedgerScheduled, placeKey } from "./ledger-facts.ts";
import { LedgerKeys } from "./ledger-keys.ts";
import { demand } from "./violation.ts";

/** What brings a message, and when. */
export interface Bringing {
  /** Its delay counts from here. */
  readonly fromMs: number;
  /** The block's. */
  readonly atMs: number;
  /** The transaction that is committed; null: it is sent. */
  readonly by: string | null;
}

export class LedgerSchedule {
  /** By where it was scheduled; the first one was scheduled first. */
  readonly all = new Map<string, LedgerScheduled>();
  /** Topic number and message id of all that was recalled. */
  readonly recalled = new Set<string>();
  readonly keys = new LedgerKeys();

  /** False: the message is visible now. */
  add(message: LedgerMessage, { fromMs, atMs, by }: Bringing): boolean {
    const { id, key, topicNo, place, timing, isDelayed, isBehind } = message;
    const { delayMs = 0, deliverAtMs = 0 } = timing ?? {};
    const dueAtMs = deliverAtMs > 0 ? deliverAtMs : fromMs + delayMs;
    const one = { id, key, topicNo, place, movedTo: null, dueAtMs, isQueued: false };
    const isLater = dueAtMs > fromMs;
    if (!isLater && !((isBehind || isDelayed) && this.keys.enter(one, by, atMs))) return false;
    this.all.set(placeKey(place), one);
    return true;
  }

  /** D13: never before its time, and never after one that is due later. `nowMs`: as in Ledger.apply. */
  due(record: RecordOf<"due">, nowMs: number, atMs: number): LedgerScheduled {
    const one = this.#waiting(record);
    if (one.isQueued) this.keys.pass(one, atMs);
    else {
      this.#demandTurn(one, nowMs);
      demand(!this.keys.isTaken(one), "D20", () => `${one.id} passes those who reserve its key`);
    }
    this.all.delete(placeKey(one.place));
    return one;
  }

  /** It is due, and stands behind those who reserve its key. */
  queued(record: RecordOf<"queued">, nowMs: number, atMs: number): void {
    const one = this.#waiting(record);
    demand(!one.isQueued, "D20", () => `${one.id} is made to wait twice`);
    this.#demandTurn(one, nowMs);
    const isIn = this.keys.enter(one, null, atMs);
    demand(isIn, "D20", () => `${one.id} is made to wait, and nobody reserves its key`);
    this.keys.met.dueWaiting++;
  }

  recall({ topicNo, messageId, places }: RecordOf<"recalled">, atMs: number): void {
    const these = this.of(topicNo, messageId);
    demand(these.length > 0, "D14", () => `${messageId} is recalled, but does not wait`);
    demand(these.length === places.length, "D14", () => `not all of ${messageId} is recalled`);
    for (const one of these) {
      this.all.delete(placeKey(one.place));
      if (!one.isQueued) continue;
      this.keys.leave(one, atMs);
      this.keys.met.recalledWaiting++;
    }
    this.recalled.add(`${topicNo} ${messageId}`);
  }

  move({ messageId, from }: { messageId: string; from: Place }, to: Place): void {
    const one = this.#at(from);
    demand(one?.id === messageId, "F2", () => `${messageId} is moved, but does not wait`);
    one.movedTo = to;
  }

  of(topicNo: number, id: string): LedgerScheduled[] {
    return [...this.all.values()].filter((one) => one.topicNo === topicNo && one.id === id);
  }

  get nextAtMs(): number {
    return Math.min(Number.POSITIVE_INFINITY, ...[...this.all.values()].map((one) => one.dueAtMs));
  }

  get neededBlock(): number {
    const blocks = [...this.all.values()].map(({ place, movedTo }) => (movedTo ?? place).block);
    return Math.min(Number.POSITIVE_INFINITY, ...blocks);
  }

  #waiting({ topicNo, place }: RecordOf<"due" | "queued">): LedgerScheduled {
    const one = this.#at(place);
    demand(one?.topicNo === topicNo, "D14", () => `${placeKey(place)} is due, but does not wait`);
    return one;
  }

  #demandTurn(one: LedgerScheduled, nowMs: number): void {
    const early = one.dueAtMs - nowMs;
    demand(early <= 0, "D13", () => `${one.id} becomes visible ${early} ms before its time`);
    for (const other of this.all.values())
      demand(
        other.isQueued || other.dueAtMs >= one.dueAtMs,
        "D13",
        () => `${one.id} passes ${other.id}`,
      );
  }

  #at(place: Place): LedgerScheduled | undefined {
    const key = placeKey(place);
    for (const one of this.all.values()) if (placeKey(one.movedTo ?? one.place) === key) return one;
    return undefined;
  }
}
