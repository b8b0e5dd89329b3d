/**
 * Keys whose next place belongs to undecided transactions that asked for it, and the messages that came to those
 * keys since: they are visible when the verdict is there, and in that order. One queue for each topic and key:
 *
 *   position 7        7.5        8             9                 positions are the numbers of reservations
 *   reserved by t1    messages   was t2's      reserved by t3    (own messages of one stand half a step before it)
 *   messages          of t2      messages      messages
 *
 * Invariants
 * - K1 What stands behind a reservation is not visible before the transaction is decided. With the commit the
 *   transaction's own messages of the key come into its place, in front of what stands behind it.
 * - K2 What stands behind none any more is visible one by one: the first of the queue is the head, which is due at
 *   once, and alone has a time. What comes meanwhile stands behind it. So a verdict costs the same whatever waits.
 * - K3 A position of the queue that is not reserved holds messages; a queue without positions is not there.
 * - K4 A message stays at its position until it is visible, and those of one position stand in the order in which
 *   the table has them (scheduled.ts), but the head before all. So the queues are in no record and no checkpoint:
 *   they are built again as transactions and messages are loaded.
 *
 * Keys are known by a hash of 32 bits: two that share one wait for each other, and that is all.
 */
import { invariant } from "./invariant.ts";
import { NOWHERE } from "./places.ts";

/** The position of a message that stands in no queue, and the number of no reservation. */
export const NOTHING = 0;

interface Position {
  readonly at: number;
  /** Whose it is; null: its transaction is decided, or it never was one's. */
  transactionId: string | null;
  /** Of messages; those before `from` are visible. */
  readonly rows: number[];
  from: number;
}

type KeyQueue = Position[];

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
  reserve(topicNo: number, key: number, reservationNo: number, transactionId: string): void {
    const queue = this.#make(topicNo, key);
    if (queue.at(-1)?.at === reservationNo) return;
    queue.push({ at: reservationNo, transactionId, rows: [], from: 0 });
    this.#reserved++;
  }

  /** Where a message of this key stands that comes now, or comes into the place of `reservationNo`; or NOTHING. */
  positionFor(topicNo: number, key: number, reservationNo = NOTHING): number {
    const queue = this.#find(topicNo, key);
    if (queue === undefined) return NOTHING;
    const own = placeOf(queue, reservationNo);
    if (queue[own]?.at !== reservationNo) return queue.at(-1)?.at ?? NOTHING;
    return own === 0 ? NOTHING : reservationNo - 0.5;
  }

  /** `isHead`: it was the head when it was saved (K4). */
  enter(topicNo: number, key: number, position: number, row: number, isHead: boolean): void {
    const { rows } = openPosition(this.#make(topicNo, key), position);
    if (isHead) rows.unshift(row);
    else rows.push(row);
  }

  /** It is visible, or never will be. */
  leave(topicNo: number, key: number, position: number, row: number): void {
    const queue = this.#find(topicNo, key) ?? [];
    const found = queue[placeOf(queue, position)];
    invariant(found?.at === position, "a queued message stands in the queue of its key");
    const at = found.rows.indexOf(row, found.from);
    if (at === found.from) found.from++;
    else found.rows.splice(at, 1);
    this.#tidy(topicNo, key, found);
  }

  /** The transaction is decided; its own messages stand in its place. */
  end(topicNo: number, key: number, reservationNo: number): void {
    const queue = this.#find(topicNo, key) ?? [];
    const found = queue[placeOf(queue, reservationNo)];
    if (found?.at !== reservationNo || found.transactionId === null) return;
    found.transactionId = null;
    this.#reserved--;
    this.#tidy(topicNo, key, found);
  }

  /** The row of the first message, if it stands behind nothing; or NOWHERE. */
  headOf(topicNo: number, key: number): number {
    const first = this.#find(topicNo, key)?.[0];
    if (first === undefined || first.transactionId !== null) return NOWHERE;
    return first.rows[first.from] ?? NOWHERE;
  }

  /** How many messages stand behind a reservation, and before the next one of the key. */
  countBehind(topicNo: number, key: number, reservationNo: number): number {
    const queue = this.#find(topicNo, key) ?? [];
    const own = placeOf(queue, reservationNo);
    return queue[own]?.at === reservationNo ? countFrom(queue, own) : 0;
  }

  /** Of the transactions behind which something stands the one that was prepared first, or null. */
  get oldestBlocking(): string | null {
    let oldest: Position | null = null;
    for (const queues of this.#topics.values())
      for (const queue of queues.values()) {
        const first = queue.findIndex(
          ({ transactionId }, place) => transactionId !== null && countFrom(queue, place) > 0,
        );
        const found = queue[first];
        if (found !== undefined && found.at < (oldest?.at ?? Number.POSITIVE_INFINITY))
          oldest = found;
      }
    return oldest?.transactionId ?? null;
  }

  #find(topicNo: number, key: number): KeyQueue | undefined {
    return this.#topics.get(topicNo)?.get(key);
  }

  #make(topicNo: number, key: number): KeyQueue {
    let queues = this.#topics.get(topicNo);
    if (queues === undefined) {
      queues = new Map();
      this.#topics.set(topicNo, queues);
    }
    let queue = queues.get(key);
    if (queue === undefined) {
      queue = [];
      queues.set(key, queue);
    }
    return queue;
  }

  /** K3. */
  #tidy(topicNo: number, key: number, { at, transactionId, rows, from }: Position): void {
    if (transactionId !== null || from < rows.length) return;
    const queues = this.#topics.get(topicNo);
    const queue = queues?.get(key);
    queue?.splice(placeOf(queue, at), 1);
    if (queue?.length === 0) queues?.delete(key);
    if (queues?.size === 0) this.#topics.delete(topicNo);
  }
}

/** It is made if it is not there. */
function openPosition(queue: KeyQueue, at: number): Position {
  const place = placeOf(queue, at);
  const found = queue[place];
  if (found?.at === at) return found;
  const made: Position = { at, transactionId: null, rows: [], from: 0 };
  queue.splice(place, 0, made);
  return made;
}

/** Where this position stands, or would. */
function placeOf(queue: KeyQueue, position: number): number {
  let low = 0;
  let high = queue.length;
  while (low < high) {
    const middle = (low + high) >>> 1;
    if ((queue[middle]?.at ?? 0) < position) low = middle + 1;
    else high = middle;
  }
  return low;
}

/** Messages from a reservation on to the next one. */
function countFrom(queue: KeyQueue, reserved: number): number {
  let count = 0;
  for (let place = reserved; place < queue.length; place++) {
    const { transactionId, rows, from } = queue[place] as Position;
    if (place > reserved && transactionId !== null) break;
    count += rows.length - from;
  }
  return count;
}
