/** The oracle's own reading of what waits for its time: in the order of the times, and nobody else's affair. */
import type { Place, RecordOf, Timing } from "../../broker/src/core/records.ts";
import { type LedgerScheduled, placeKey } from "./ledger-facts.ts";
import { demand } from "./violation.ts";

export class LedgerSchedule {
  /** By where it was scheduled; the first one was scheduled first. */
  readonly all = new Map<string, LedgerScheduled>();
  /** Topic number and message id of all that was recalled. */
  readonly recalled = new Set<string>();

  /** False: the message is visible now. */
  add(timing: Timing | undefined, topicNo: number, place: Place, fromMs: number): boolean {
    if (timing === undefined) return false;
    const { id, delayMs, deliverAtMs } = timing;
    const dueAtMs = deliverAtMs > 0 ? deliverAtMs : fromMs + delayMs;
    if (dueAtMs <= fromMs) return false;
    this.all.set(placeKey(place), { id, topicNo, place, movedTo: null, dueAtMs });
    return true;
  }

  /** D13: never before its time, and never after one that is due later. `nowMs`: as in Ledger.apply. */
  due({ topicNo, place }: RecordOf<"due">, nowMs: number): LedgerScheduled {
    const one = this.#at(place);
    demand(one?.topicNo === topicNo, "D14", () => `${placeKey(place)} is due, but does not wait`);
    const early = one.dueAtMs - nowMs;
    demand(early <= 0, "D13", () => `${one.id} becomes visible ${early} ms before its time`);
    for (const other of this.all.values())
      demand(other.dueAtMs >= one.dueAtMs, "D13", () => `${one.id} passes ${other.id}`);
    this.all.delete(placeKey(one.place));
    return one;
  }

  recall({ topicNo, messageId, places }: RecordOf<"recalled">): void {
    const these = this.of(topicNo, messageId);
    demand(these.length > 0, "D14", () => `${messageId} is recalled, but does not wait`);
    demand(these.length === places.length, "D14", () => `not all of ${messageId} is recalled`);
    for (const { place } of these) this.all.delete(placeKey(place));
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

  #at(place: Place): LedgerScheduled | undefined {
    const key = placeKey(place);
    for (const one of this.all.values()) if (placeKey(one.movedTo ?? one.place) === key) return one;
    return undefined;
  }
}
