/**
 * A hash table from hashes to places; the keys stand at the places, and the owner compares them.
 *
 *   for (let place = places.first(hash); place !== NOWHERE; place = places.next()) if (isSame(place)) …
 *
 * Extendible hashing: pages of a fixed size, found by the first bits of the hash; a page that is full is
 * split into two. So the table grows by a page at a time and never all at once, and no step takes longer
 * than moving one page (some microseconds), however many places there are.
 *
 * Invariants
 * - Y1 Places of equal hashes are all found, in no promised order. Between `first` and the last `next`
 *   nothing is added or removed.
 */
import { invariant } from "./invariant.ts";

export const NOWHERE = -1;

const SLOTS = 1_024;
const MASK = SLOTS - 1;
/** Above this searching in a page gets long. */
const FILLED_MAX = 768;
/** With a hash that nobody can foresee, pages this deep mean four thousand million places. */
const DEPTH_MAX = 22;

interface Page {
  /** Hash and place + 1 of each slot; 0: free. Searched from the slot that the last bits of the hash name. */
  readonly slots: Uint32Array;
  readonly depth: number;
  filled: number;
}

const newPage = (depth: number): Page => ({
  slots: new Uint32Array(SLOTS * 2),
  depth,
  filled: 0,
});

export class Places {
  #depth = 0;
  /** By the first `#depth` bits; a page of less depth stands here several times. */
  #pages: Page[] = [];
  #size = 0;
  #slots: Uint32Array = new Uint32Array(0);
  #hash = 0;
  #at = 0;

  get size(): number {
    return this.#size;
  }

  first(hash: number): number {
    if (this.#size === 0) return NOWHERE;
    this.#slots = this.#pageOf(hash).slots;
    this.#hash = hash;
    this.#at = (hash & MASK) - 1;
    return this.next();
  }

  next(): number {
    const slots = this.#slots;
    for (;;) {
      this.#at = (this.#at + 1) & MASK;
      const place = slots[this.#at * 2 + 1] ?? 0;
      if (place === 0) return NOWHERE;
      if (slots[this.#at * 2] === this.#hash) return place - 1;
    }
  }

  add(hash: number, place: number): void {
    if (this.#pages.length === 0) this.#pages.push(newPage(0));
    let page = this.#pageOf(hash);
    while (page.filled >= FILLED_MAX) {
      this.#split(page, hash);
      page = this.#pageOf(hash);
    }
    put(page, hash, place);
    this.#size++;
  }

  remove(hash: number, place: number): void {
    const page = this.#pageOf(hash);
    const { slots } = page;
    let hole = hash & MASK;
    while (slots[hole * 2 + 1] !== place + 1) {
      invariant(slots[hole * 2 + 1] !== 0, "only a place that is there is removed");
      hole = (hole + 1) & MASK;
    }
    // What was pushed behind the hole moves up, so that no search ends at it too early.
    for (let at = (hole + 1) & MASK; slots[at * 2 + 1] !== 0; at = (at + 1) & MASK) {
      const distance = (at - (slots[at * 2] ?? 0)) & MASK;
      if (distance < ((at - hole) & MASK)) continue;
      slots[hole * 2] = slots[at * 2] ?? 0;
      slots[hole * 2 + 1] = slots[at * 2 + 1] ?? 0;
      hole = at;
    }
    slots[hole * 2 + 1] = 0;
    page.filled--;
    if (--this.#size === 0) this.#clear();
  }

  /** After a burst nothing of it is kept. */
  #clear(): void {
    if (this.#pages.length > 1) this.#pages = [];
    this.#depth = this.#pages.length === 0 ? 0 : this.#depth;
  }

  #pageOf(hash: number): Page {
    const page = this.#pages[(hash >>> 1) >>> (31 - this.#depth)];
    invariant(page !== undefined, "every hash has a page");
    return page;
  }

  #split(page: Page, hash: number): void {
    invariant(page.depth < DEPTH_MAX, "hashes differ in their first bits");
    if (page.depth === this.#depth) this.#double();
    const depth = page.depth + 1;
    const halves = [newPage(depth), newPage(depth)] as const;
    const { slots } = page;
    for (let at = 0; at < SLOTS; at++) {
      const place = slots[at * 2 + 1] ?? 0;
      if (place === 0) continue;
      const one = slots[at * 2] ?? 0;
      put((one >>> (32 - depth)) & 1 ? halves[1] : halves[0], one, place - 1);
    }
    // The half of the page's row of entries each; a row is aligned to its length.
    const length = 2 ** (this.#depth - page.depth);
    const start = Math.floor(((hash >>> 1) >>> (31 - this.#depth)) / length) * length;
    this.#pages.fill(halves[0], start, start + length / 2);
    this.#pages.fill(halves[1], start + length / 2, start + length);
  }

  #double(): void {
    this.#pages = this.#pages.flatMap((page) => [page, page]);
    this.#depth++;
  }
}

function put(page: Page, hash: number, place: number): void {
  const { slots } = page;
  let at = hash & MASK;
  while (slots[at * 2 + 1] !== 0) at = (at + 1) & MASK;
  slots[at * 2] = hash;
  slots[at * 2 + 1] = place + 1;
  page.filled++;
}
