/**
 * A heap of points in time: the one place where time becomes work. Whoever wants to be woken puts a
 * deadline here; the shell owns the only timer and sleeps until `nextAtMs`.
 *
 * Invariants
 * - H1 Each live deadline knows its place in the heap, so that cancelling costs O(log n).
 * - H2 Equal times come out in the order in which they were put in: same input, same output.
 */
export interface Deadline<T> {
  readonly atMs: number;
  readonly what: T;
  /** Place in the heap; -1 once it is due or cancelled. */
  index: number;
  readonly order: number;
}

export class Deadlines<T> {
  readonly #heap: Deadline<T>[] = [];
  #order = 0;

  get size(): number {
    return this.#heap.length;
  }

  get nextAtMs(): number | null {
    return this.#heap[0]?.atMs ?? null;
  }

  add(atMs: number, what: T): Deadline<T> {
    const deadline = { atMs, what, index: this.#heap.length, order: this.#order++ };
    this.#heap.push(deadline);
    this.#rise(deadline);
    return deadline;
  }

  /** Cancelling twice, or after it was due, does nothing. */
  cancel(deadline: Deadline<T>): void {
    const { index } = deadline;
    if (index < 0) return;
    deadline.index = -1;
    const last = this.#heap.pop();
    if (last === undefined || last === deadline) return;
    last.index = index;
    this.#heap[index] = last;
    this.#rise(last);
    this.#sink(last);
  }

  /** Takes out the earliest deadline that is due, or returns null. */
  takeDue(nowMs: number): T | null {
    const first = this.#heap[0];
    if (first === undefined || first.atMs > nowMs) return null;
    this.cancel(first);
    return first.what;
  }

  #rise(deadline: Deadline<T>): void {
    while (deadline.index > 0) {
      const parent = this.#heap[(deadline.index - 1) >> 1];
      if (parent === undefined || isBefore(parent, deadline)) return;
      this.#swap(parent, deadline);
    }
  }

  #sink(deadline: Deadline<T>): void {
    for (;;) {
      const left = this.#heap[deadline.index * 2 + 1];
      const right = this.#heap[deadline.index * 2 + 2];
      const child =
        right !== undefined && left !== undefined && isBefore(right, left) ? right : left;
      if (child === undefined || isBefore(deadline, child)) return;
      this.#swap(deadline, child);
    }
  }

  #swap(upper: Deadline<T>, lower: Deadline<T>): void {
    [upper.index, lower.index] = [lower.index, upper.index];
    this.#heap[upper.index] = upper;
    this.#heap[lower.index] = lower;
  }
}

const isBefore = <T>(one: Deadline<T>, other: Deadline<T>): boolean =>
  one.atMs < other.atMs || (one.atMs === other.atMs && one.order < other.order);
