/**
 * The oracle's own reading of reserved keys: for each topic and key a plain list of who came, transactions that
 * reserve it and messages, in the order in which they are to be visible.
 *
 * D20: what stands behind a transaction is not visible, what stands behind none is at once, and from the front on.
 */
import type { LedgerMessage, LedgerScheduled } from "./ledger-facts.ts";
import { demand } from "./violation.ts";

interface Reservation {
  readonly transactionId: string;
  readonly topicNo: number;
  readonly key: string;
}

export interface LedgerReservation extends Reservation {
  /** Messages, before the next transaction that reserves the key. */
  readonly behind: number;
}

type Stand = Reservation | LedgerScheduled;

const isMessage = (stand: Stand): stand is LedgerScheduled => "place" in stand;

type Keyed = Pick<LedgerMessage, "topicNo" | "key">;

const nameOf = ({ topicNo, key }: Keyed): string => `${topicNo} ${key}`;

export class LedgerKeys {
  readonly #queues = new Map<string, Stand[]>();
  /** How many messages ever stood behind others; of these, how many were due then, and were called back. */
  readonly met = { waited: 0, dueWaiting: 0, recalledWaiting: 0 };

  /** Somebody stands there: whoever comes with this key stands behind. */
  isTaken(message: Keyed): boolean {
    return message.key !== undefined && this.#queues.has(nameOf(message));
  }

  /** In the order of the prepares; a key that it has twice is reserved once. */
  reserve(transactionId: string, messages: readonly LedgerMessage[]): void {
    for (const message of messages) {
      const { topicNo, key, isDelayed } = message;
      if (key === undefined || isDelayed) continue;
      const queue = this.#of(message);
      if (placeOf(queue, transactionId) < 0) queue.push({ transactionId, topicNo, key });
    }
  }

  /** True: it stands here now. In the place of the transaction that brings it, if that has one, or behind all. */
  enter(message: LedgerScheduled, by: string | null, atMs: number): boolean {
    if (!this.isTaken(message)) return false;
    const queue = this.#of(message);
    const own = by === null ? -1 : placeOf(queue, by);
    if (own === 0) return false;
    queue.splice(own < 0 ? queue.length : own, 0, message);
    message.isQueued = true;
    message.dueAtMs = Number.POSITIVE_INFINITY;
    this.met.waited++;
    this.#release(message, atMs);
    return true;
  }

  /** It becomes visible: it has to be the first. */
  pass(message: LedgerScheduled, atMs: number): void {
    const [first] = this.#of(message);
    demand(first !== undefined, "D20", () => `${message.id} waits for nobody`);
    demand(
      first === message,
      "D20",
      () =>
        `${message.id} is visible before ${isMessage(first) ? first.id : `${first.transactionId} is decided`}`,
    );
    this.leave(message, atMs);
  }

  leave(message: LedgerScheduled, atMs: number): void {
    const queue = this.#of(message);
    queue.splice(queue.indexOf(message), 1);
    this.#release(message, atMs);
  }

  /** It is decided. */
  end(transactionId: string, messages: readonly LedgerMessage[], atMs: number): void {
    for (const message of messages) {
      if (!this.isTaken(message)) continue;
      const queue = this.#of(message);
      const at = placeOf(queue, transactionId);
      if (at >= 0) queue.splice(at, 1);
      this.#release(message, atMs);
    }
  }

  /** Each once a key, in the order of their keys' first ones. */
  *reservations(): Iterable<LedgerReservation> {
    for (const queue of this.#queues.values())
      for (const [at, stand] of queue.entries()) {
        if (isMessage(stand)) continue;
        const next = queue.findIndex((other, where) => where > at && !isMessage(other));
        yield { ...stand, behind: (next < 0 ? queue.length : next) - at - 1 };
      }
  }

  #of(message: Keyed): Stand[] {
    const queue = this.#queues.get(nameOf(message)) ?? [];
    this.#queues.set(nameOf(message), queue);
    return queue;
  }

  /** What stands behind nobody any more is due now, one after the other. */
  #release(message: Keyed, atMs: number): void {
    const [first] = this.#of(message);
    if (first === undefined) this.#queues.delete(nameOf(message));
    else if (isMessage(first)) first.dueAtMs = Math.min(first.dueAtMs, atMs);
  }
}

const placeOf = (queue: readonly Stand[], transactionId: string): number =>
  queue.findIndex((stand) => !isMessage(stand) && stand.transactionId === transactionId);
