/**
 * Points in time for the rows of a table, one for each at most: a heap of places in columns, 24 bytes
 * each, where a deadline of its own (deadlines.ts) takes five times that.
 *
 * Invariants
 * - H1 Each place knows where it stands in the heap, so that cancelling costs O(log n).
 * - H2 Equal times come out in the order in which they were set: same input, same output.
 */
import { Column } from "./columns.ts";
import { NOWHERE } from "./places.ts";

/** With fewer places than this nothing is worth to be given back. */
const PLACES_KEPT = 4_096;

export class Alarms {
  /** Places; the first `#size` of them. */
  readonly #heap = new Column(Uint32Array);
  /** By place: where in the heap it stands, plus 1; 0: it is not there. */
  readonly #index = new Column(Uint32Array);
  readonly #atMs = new Column(Float64Array);
  readonly #order = new Column(Float64Array);
  #size = 0;
  #nextOrder = 0;

  get size(): number {
    return this.#size;
  }

  get nextAtMs(): number | null {
    return this.#size === 0 ? null : this.#atMs.at(this.#heap.at(0));
  }

  /** When this place is due, if it was set. */
  atMsOf(place: number): number {
    return this.#atMs.at(place);
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
    this.#order.set(place, this.#nextOrder++);
    this.#put(place, this.#size++);
    this.#rise(this.#size - 1);
  }

  /** One that is not set, or was due, stays so. */
  cancel(place: number): void {
    const index = this.#index.at(place) - 1;
    if (index < 0) return;
    this.#index.set(place, 0);
    const last = this.#heap.at(--this.#size);
    if (this.#size === 0 && this.#heap.length > PLACES_KEPT) this.#clear();
    if (last === place) return;
    this.#put(last, index);
    this.#rise(index);
    this.#sink(this.#index.at(last) - 1);
  }

  /** Takes out the earliest place that is due, or gives NOWHERE. */
  takeDue(nowMs: number): number {
    const place = this.#heap.at(0);
    if (this.#size === 0 || this.#atMs.at(place) > nowMs) return NOWHERE;
    this.cancel(place);
    return place;
  }

  #put(place: number, index: number): void {
    this.#heap.set(index, place);
    this.#index.set(place, index + 1);
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
      if (below >= this.#size) break;
      if (below + 1 < this.#size && this.#isBefore(this.#heap.at(below + 1), this.#heap.at(below)))
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

  /** After a burst nothing of it is kept. */
  #clear(): void {
    for (const column of [this.#heap, this.#index, this.#atMs, this.#order]) column.clear();
  }
}
