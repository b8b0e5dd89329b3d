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
}

type Stand = Reservation | LedgerScheduled;

const isMessage = (stand: Stand): stand is LedgerScheduled => "place" in stand;

type Keyed = Pick<LedgerMessage, "topicNo" | "key">;

const nameOf = ({ topicNo, key }: Keyed): string => `${topicNo} ${key}`;

export class LedgerKeys {
  readonly #queues = new Map<string, Stand[]>();
  /** How many messages ever stood behind others; of these, how many were due then, and were called back. */
  readonly met = { waited: 0, dueWaiting: 0, recalledWaiting: 0, movedWaiting: 0 };

  /** Somebody stands there: whoever comes with this key stands behind. */
  isTaken(message: Keyed): boolean {
    return message.key !== undefined && this.#queues.has(nameOf(message));
  }

  /** In the order of the prepares; a key that it has twice is reserved once. */
  reserve(transactionId: string, messages: readonly LedgerMessage[]): void {
    for (const message of messages) {
      if (message.key === undefined || message.isDelayed) continue;
      const queue = this.#of(message);
      if (placeOf(queue, transactionId) < 0) queue.push({ transactionId });
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
  pass(message: LedgerScheduled): void {
    const [first] = this.#of(message);
    demand(first !== undefined, "D20", () => `${message.id} waits for nobody`);
    demand(
      first === message,
      "D20",
      () =>
        `${message.id} is visible before ${isMessage(first) ? first.id : `${first.transactionId} is decided`}`,
    );
    this.leave(message);
  }

  leave(message: LedgerScheduled): void {
    const queue = this.#of(message);
    queue.splice(queue.indexOf(message), 1);
    this.#dropEmpty(message);
  }

  /** It is decided. */
  end(transactionId: string, messages: readonly LedgerMessage[], atMs: number): void {
    for (const message of messages) {
      if (!this.isTaken(message)) continue;
      const queue = this.#of(message);
      const at = placeOf(queue, transactionId);
      if (at >= 0) queue.splice(at, 1);
      this.#release(message, atMs);
      this.#dropEmpty(message);
    }
  }

  /** The transactions behind which a message stands, before the next of the key; once a key. */
  get blocking(): string[] {
    const found: string[] = [];
    for (const queue of this.#queues.values())
      for (const [at, stand] of queue.entries()) {
        const next = queue[at + 1];
        if (!isMessage(stand) && next !== undefined && isMessage(next))
          found.push(stand.transactionId);
      }
    return found;
  }

  /** Once a transaction and key. */
  get reserved(): number {
    let reserved = 0;
    for (const queue of this.#queues.values())
      for (const stand of queue) if (!isMessage(stand)) reserved++;
    return reserved;
  }

  #of(message: Keyed): Stand[] {
    const queue = this.#queues.get(nameOf(message)) ?? [];
    this.#queues.set(nameOf(message), queue);
    return queue;
  }

  #dropEmpty(message: Keyed): void {
    if (this.#of(message).length === 0) this.#queues.delete(nameOf(message));
  }

  /** What stands behind no transaction any more is due now. */
  #release(message: Keyed, atMs: number): void {
    for (const stand of this.#of(message)) {
      if (!isMessage(stand)) return;
      stand.dueAtMs = Math.min(stand.dueAtMs, atMs);
    }
  }
}

const placeOf = (queue: readonly Stand[], transactionId: string): number =>
  queue.findIndex((stand) => !isMessage(stand) && stand.transactionId === transactionId);
