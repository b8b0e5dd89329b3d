/**
 * Lists of places, linked through columns: a place is put behind the others, and taken out wherever it
 * stands, at the same small cost for one and for a million.
 *
 * Invariants
 * - N1 A place stands in at most one chain over the same links, and once. Whoever walks a chain and takes
 *   places out of it asks for the next one before.
 * - N2 Between two steps of a `walk` anybody may append and remove: it goes on with what follows then.
 */
import { Column, type FrozenColumn } from "./columns.ts";
import { NOWHERE } from "./places.ts";

/** By place: the one behind it and the one before it, plus 1; 0: there is none. */
export class Links {
  readonly next = new Column(Uint32Array);
  readonly previous = new Column(Uint32Array);

  clear(): void {
    this.next.clear();
    this.previous.clear();
  }
}

export class Chain {
  readonly #links: Links;
  #first = 0;
  #last = 0;
  #size = 0;
  /** What each walk comes to next. */
  #walks: { next: number }[] = [];

  constructor(links: Links) {
    this.#links = links;
  }

  get size(): number {
    return this.#size;
  }

  get first(): number {
    return this.#first - 1;
  }

  get last(): number {
    return this.#last - 1;
  }

  /** NOWHERE behind the last one. */
  after(place: number): number {
    return this.#links.next.at(place) - 1;
  }

  append(place: number): void {
    const { next, previous } = this.#links;
    // Other tables may have more places than these links have seen.
    while (next.length <= place) {
      next.push(0);
      previous.push(0);
    }
    next.set(place, 0);
    previous.set(place, this.#last);
    if (this.#last === 0) this.#first = place + 1;
    else next.set(this.#last - 1, place + 1);
    this.#last = place + 1;
    this.#size++;
  }

  remove(place: number): void {
    const { next, previous } = this.#links;
    const behind = next.at(place);
    const before = previous.at(place);
    for (const walk of this.#walks) if (walk.next === place) walk.next = behind - 1;
    if (before === 0) this.#first = behind;
    else next.set(before - 1, behind);
    if (behind === 0) this.#last = before;
    else previous.set(behind - 1, before);
    this.#size--;
  }

  *places(): Generator<number> {
    for (let place = this.first; place !== NOWHERE; ) {
      const behind = this.after(place);
      yield place;
      place = behind;
    }
  }

  /** As `places`, but for who comes back later for the next one (N2). It must be ended, or closed. */
  *walk(): Generator<number> {
    const walk = { next: this.first };
    this.#walks.push(walk);
    try {
      while (walk.next !== NOWHERE) {
        const place = walk.next;
        walk.next = this.after(place);
        yield place;
      }
    } finally {
      this.#walks = this.#walks.filter((one) => one !== walk);
    }
  }
}

/** The places of a chain as it was when its links were frozen. */
export function* frozenPlaces(first: number, next: FrozenColumn): Generator<number> {
  for (let place = first; place !== NOWHERE; place = next.at(place) - 1) yield place;
}

/** Gives places out, those that were given back first. */
export class Slots {
  #free: number[] = [];
  #end = 0;

  get used(): number {
    return this.#end - this.#free.length;
  }

  take(): number {
    return this.#free.pop() ?? this.#end++;
  }

  giveBack(place: number): void {
    this.#free.push(place);
  }

  /** Of all that were given out none is in use. */
  clear(): void {
    this.#free = [];
    this.#end = 0;
  }
}
