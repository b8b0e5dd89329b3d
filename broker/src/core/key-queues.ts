/**
 * Keys whose next place belongs to undecided transactions that asked for it, and the messages that came to those
 * keys since: they are visible when the verdict is there, and in that order.
 *
 *   reservation 7 | message, message | reservation 9 | message | …          one queue for each topic and key
 *
 * Invariants
 * - K1 What stands behind a reservation is not visible before the transaction is decided. With the commit the
 *   transaction's own messages of the key come into its place, in front of what stands behind it.
 * - K2 What stands behind none any more is released: due at once, and in the order of the queue. Whatever comes
 *   while some of it is not visible yet stands behind it.
 * - K3 A queue is there as long as something is reserved or released in it.
 * - K4 The messages behind one reservation come in the order in which the table has them (scheduled.ts), so that
 *   the queues stand in no record and no checkpoint: they are built again as transactions and messages are loaded.
 *
 * Keys are known by a hash of 32 bits: two that share one wait for each other, and that is all.
 */
import { invariant } from "./invariant.ts";

/** Behind what a message stands that stands behind no reservation any more; reservations have numbers from 1 on. */
export const RELEASED = -1;
/** It stands behind nothing. */
export const NOTHING = 0;

interface Reservation {
  readonly no: number;
  readonly transactionId: string;
  /** Rows of the messages behind it. */
  rows: number[];
}

interface KeyQueue {
  /** In the order of their prepares, and so of their numbers. */
  readonly reservations: Reservation[];
  released: number;
}

/** Where a message comes to stand. */
export interface QueuePlace {
  readonly topicNo: number;
  readonly key: number;
  /** NOTHING, RELEASED, or a reservation's number. */
  readonly behind: number;
}

export class KeyQueues {
  /** By topic number, then by key. */
  readonly #topics = new Map<number, Map<number, KeyQueue>>();
  #reserved = 0;

  /** Reservations, one for each transaction and key. */
  get reserved(): number {
    return this.#reserved;
  }

  /** No key is reserved: nobody needs to know keys. */
  get isEmpty(): boolean {
    return this.#topics.size === 0;
  }

  /** False: no key of the topic is. */
  isUsedIn(topicNo: number): boolean {
    return this.#topics.has(topicNo);
  }

  /** A key that a transaction names twice is reserved once. */
  reserve(topicNo: number, key: number, no: number, transactionId: string): void {
    const { reservations } = this.#make(topicNo, key);
    if (reservations.at(-1)?.no === no) return;
    reservations.push({ no, transactionId, rows: [] });
    this.#reserved++;
  }

  /** Behind what a message of this key stands that comes now; or one that comes into the place of `reservationNo`. */
  lastOf(topicNo: number, key: number, reservationNo = NOTHING): number {
    const queue = this.#topics.get(topicNo)?.get(key);
    if (queue === undefined) return NOTHING;
    const { reservations, released } = queue;
    const own = placeOf(reservations, reservationNo);
    const before = reservations[(own === null ? reservations.length : own) - 1];
    return before?.no ?? (released > 0 ? RELEASED : NOTHING);
  }

  enter({ topicNo, key, behind }: QueuePlace, row: number): void {
    if (behind === RELEASED) this.#make(topicNo, key).released++;
    else this.#reservation(topicNo, key, behind).rows.push(row);
  }

  /** It is visible, or never will be. */
  leave({ topicNo, key, behind }: QueuePlace, row: number): void {
    if (behind === RELEASED) this.#make(topicNo, key).released--;
    else {
      const { rows } = this.#reservation(topicNo, key, behind);
      rows.splice(rows.indexOf(row), 1);
    }
    this.#dropEmpty(topicNo, key);
  }

  /** The transaction is decided. What stood behind it, and behind what each of that stands from now on. */
  end(topicNo: number, key: number, no: number): { rows: readonly number[]; behind: number } {
    const queue = this.#topics.get(topicNo)?.get(key);
    const at = queue === undefined ? null : placeOf(queue.reservations, no);
    if (queue === undefined || at === null) return { rows: [], behind: NOTHING };
    const [ended] = queue.reservations.splice(at, 1);
    const before = queue.reservations[at - 1];
    const rows = ended?.rows ?? [];
    this.#reserved--;
    if (before === undefined) queue.released += rows.length;
    else for (const row of rows) before.rows.push(row);
    this.#dropEmpty(topicNo, key);
    return { rows, behind: before?.no ?? RELEASED };
  }

  /** How many messages stand behind a reservation, and before the next one of the key. */
  countBehind(topicNo: number, key: number, no: number): number {
    const reservations = this.#topics.get(topicNo)?.get(key)?.reservations ?? [];
    const at = placeOf(reservations, no);
    return at === null ? 0 : (reservations[at]?.rows.length ?? 0);
  }

  /** The transactions behind which something stands, once a key. */
  *blocking(): Generator<string> {
    for (const queues of this.#topics.values())
      for (const { reservations } of queues.values())
        for (const { transactionId, rows } of reservations)
          if (rows.length > 0) yield transactionId;
  }

  #make(topicNo: number, key: number): KeyQueue {
    let queues = this.#topics.get(topicNo);
    if (queues === undefined) {
      queues = new Map();
      this.#topics.set(topicNo, queues);
    }
    let queue = queues.get(key);
    if (queue === undefined) {
      queue = { reservations: [], released: 0 };
      queues.set(key, queue);
    }
    return queue;
  }

  #reservation(topicNo: number, key: number, no: number): Reservation {
    const reservations = this.#topics.get(topicNo)?.get(key)?.reservations ?? [];
    const reservation = reservations[placeOf(reservations, no) ?? -1];
    invariant(reservation !== undefined, "a message stands behind a reservation that is there");
    return reservation;
  }

  /** K3. */
  #dropEmpty(topicNo: number, key: number): void {
    const queues = this.#topics.get(topicNo);
    const queue = queues?.get(key);
    if (queues === undefined || queue === undefined) return;
    if (queue.reservations.length + queue.released > 0) return;
    queues.delete(key);
    if (queues.size === 0) this.#topics.delete(topicNo);
  }
}

/** Numbers rise. Null: it is not there. */
function placeOf(reservations: readonly Reservation[], no: number): number | null {
  let low = 0;
  let high = reservations.length;
  while (low < high) {
    const middle = (low + high) >>> 1;
    if ((reservations[middle]?.no ?? 0) < no) low = middle + 1;
    else high = middle;
  }
  return reservations[low]?.no === no ? low : null;
}
