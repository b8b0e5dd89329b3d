/**
 * Points in time for the rows of a table, one for each row at most: the one place where time becomes work.
 * The shell owns the only timer, and sleeps until `nextAtMs`. 24 bytes each, in columns.
 *
 * Most alarms never go off: a transaction is committed, a delivery acked, milliseconds after theirs were
 * set. So those that were set last stand in a ring, where setting and cancelling write a few numbers.
 * What later ones push out of it goes into a heap, and all that is in it when one of them is due.
 *
 * Invariants
 * - H1 Each place knows where it stands, so that cancelling costs O(1) in the ring and O(log n) in the heap.
 * - H2 Equal times come out in the order in which they were set: same input, same output.
 * - H3 The ring's earliest time is known, or is looked for when somebody asks: that costs a look at those
 *   set since the oldest one that is still there, and is needed once for all that was cancelled meanwhile.
 * - H4 Memory is given back when nothing is set, but not before as many were set as there are places to fill again:
 *   an alarm that comes and goes alone costs the same in the millionth row.
 */
import { Column } from "./columns.ts";
import { NOWHERE } from "./places.ts";

export const NEVER = Number.POSITIVE_INFINITY;

/** More than are under way at once, so that few are pushed out; few enough to be moved in one go. */
const RING = 4_096;
const MASK = RING - 1;
/** With fewer places than this nothing is worth to be given back. */
const PLACES_KEPT = 4_096;

export class Alarms {
  /** Places, plus 1; 0: nobody. What was set as number n stands at n modulo RING. */
  readonly #ring = new Uint32Array(RING);
  /** Numbers of the first that may stand there, and of the next one. */
  #ringStart = 0;
  #ringEnd = 0;
  #ringSize = 0;
  /** The next number when memory was given back the last time. */
  #clearedAt = 0;
  /** Of none of them before it; of one of them, if it is certain (H3). */
  #ringAtMs = NEVER;
  #isRingCertain = true;
  /** Places; the first `#heapSize` of them. */
  readonly #heap = new Column(Uint32Array);
  #heapSize = 0;
  /** By place: where it stands, counted through the ring and then through the heap, plus 1; 0: nowhere. */
  readonly #index = new Column(Uint32Array);
  readonly #atMs = new Column(Float64Array);
  /** Of those in the heap: as which number it was set. */
  readonly #order = new Column(Float64Array);

  get size(): number {
    return this.#ringSize + this.#heapSize;
  }

  /** NEVER without any. */
  get nextAtMs(): number {
    if (!this.#isRingCertain) this.#findEarliest();
    return Math.min(this.#ringAtMs, this.#heapAtMs);
  }

  /** One that was set before is set anew. */
  set(place: number, atMs: number): void {
    this.cancel(place);
    while (this.#index.length <= place) {
      this.#index.push(0);
      this.#atMs.push(0);
      this.#order.push(0);
    }
    this.#atMs.set(place, atMs);
    this.#enterRing(place, atMs);
  }

  /** One that is not set, or was due, stays so. */
  cancel(place: number): void {
    const index = this.#index.at(place) - 1;
    if (index < 0) return;
    this.#index.set(place, 0);
    if (index < RING) this.#leaveRing(place, index);
    else this.#leaveHeap(place, index - RING);
    if (this.size === 0 && this.#index.length > PLACES_KEPT) this.#clear();
  }

  /** The earliest place, which stays where it is, or NOWHERE. */
  get first(): number {
    if (this.size === 0) return NOWHERE;
    if (this.nextAtMs >= this.#ringAtMs) while (this.#ringSize > 0) this.#pushOut();
    return this.#heap.at(0);
  }

  /** Takes out the earliest place that is due, or gives NOWHERE. */
  takeDue(nowMs: number): number {
    if (this.size === 0 || this.nextAtMs > nowMs) return NOWHERE;
    if (this.#ringAtMs <= nowMs) while (this.#ringSize > 0) this.#pushOut();
    const place = this.#heap.at(0);
    this.cancel(place);
    return place;
  }

  #enterRing(place: number, atMs: number): void {
    if (this.#ringEnd - this.#ringStart === RING) this.#pushOut();
    const at = this.#ringEnd++ & MASK;
    this.#ring[at] = place + 1;
    this.#ringSize++;
    this.#index.set(place, at + 1);
    if (atMs > this.#ringAtMs) return;
    this.#ringAtMs = atMs;
    this.#isRingCertain = true;
  }

  #leaveRing(place: number, at: number): void {
    this.#ring[at] = 0;
    if (this.#atMs.at(place) === this.#ringAtMs) this.#isRingCertain = false;
    if (--this.#ringSize > 0) return;
    this.#ringStart = this.#ringEnd;
    this.#ringAtMs = NEVER;
    this.#isRingCertain = true;
  }

  /** The one that was set first goes into the heap, if it is still there. */
  #pushOut(): void {
    const order = this.#ringStart++;
    const place = (this.#ring[order & MASK] ?? 0) - 1;
    if (place < 0) return;
    this.#leaveRing(place, order & MASK);
    this.#order.set(place, order);
    this.#heap.set(this.#heapSize, place);
    this.#rise(this.#heapSize++);
  }

  #findEarliest(): void {
    while (this.#ring[this.#ringStart & MASK] === 0) this.#ringStart++;
    this.#ringAtMs = NEVER;
    for (let at = this.#ringStart; at < this.#ringEnd; at++) {
      const place = (this.#ring[at & MASK] ?? 0) - 1;
      if (place >= 0) this.#ringAtMs = Math.min(this.#ringAtMs, this.#atMs.at(place));
    }
    this.#isRingCertain = true;
  }

  #leaveHeap(place: number, index: number): void {
    const last = this.#heap.at(--this.#heapSize);
    if (last === place) return;
    this.#put(last, index);
    this.#rise(index);
    this.#sink(this.#index.at(last) - 1 - RING);
  }

  get #heapAtMs(): number {
    return this.#heapSize === 0 ? NEVER : this.#atMs.at(this.#heap.at(0));
  }

  #put(place: number, index: number): void {
    this.#heap.set(index, place);
    this.#index.set(place, RING + index + 1);
  }

  #rise(from: number): void {
    let index = from;
    const place = this.#heap.at(index);
    while (index > 0) {
      const above = (index - 1) >> 1;
      const parent = this.#heap.at(above);
      if (!this.#isBefore(place, parent)) break;
      this.#put(parent, index);
      index = above;
    }
    this.#put(place, index);
  }

  #sink(from: number): void {
    let index = from;
    const place = this.#heap.at(index);
    for (;;) {
      let below = index * 2 + 1;
      if (below >= this.#heapSize) break;
      if (
        below + 1 < this.#heapSize &&
        this.#isBefore(this.#heap.at(below + 1), this.#heap.at(below))
      )
        below++;
      const child = this.#heap.at(below);
      if (!this.#isBefore(child, place)) break;
      this.#put(child, index);
      index = below;
    }
    this.#put(place, index);
  }

  #isBefore(one: number, other: number): boolean {
    const oneMs = this.#atMs.at(one);
    const otherMs = this.#atMs.at(other);
    return oneMs < otherMs || (oneMs === otherMs && this.#order.at(one) < this.#order.at(other));
  }

  /** After a burst nothing of it is kept (H4). */
  #clear(): void {
    if (this.#ringEnd - this.#clearedAt < this.#index.length) return;
    this.#clearedAt = this.#ringEnd;
    for (const column of [this.#heap, this.#index, this.#atMs, this.#order]) column.clear();
  }
}
