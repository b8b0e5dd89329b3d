/**
 * The order of one cursor's keyed messages: a lane for each key, in which they stand as they were taken in.
 *
 * Invariants
 * - Q1 Only the first of a lane may be delivered, and stays the first until it is settled, whatever becomes
 *   of its deliveries; those behind it are held (D9).
 * - Q2 What is not held is loaded before what is, and that in the order in which it was: so the lanes are
 *   the same after a restart, without standing in a record.
 *
 * Keys are known by a hash of 32 bits: two that share one wait for each other, and that is all.
 */
import { Chain, type Links } from "./chain.ts";
import { NOWHERE } from "./places.ts";

export class Lanes {
  readonly #links: Links;
  readonly #lanes = new Map<number, Chain>();

  constructor(links: Links) {
    this.#links = links;
  }

  /** Behind all others of its key. True: there are none. */
  enter(key: number, place: number): boolean {
    let lane = this.#lanes.get(key);
    if (lane === undefined) {
      lane = new Chain(this.#links);
      this.#lanes.set(key, lane);
    }
    lane.append(place);
    return lane.size === 1;
  }

  /** The one that is the first now, and was held until then; or NOWHERE. */
  leave(key: number, place: number): number {
    const lane = this.#lanes.get(key);
    if (lane === undefined) return NOWHERE;
    const wasFirst = lane.first === place;
    lane.remove(place);
    if (lane.size === 0) this.#lanes.delete(key);
    return wasFirst ? lane.first : NOWHERE;
  }

  /** All leave at once, and none becomes the first. */
  clear(): void {
    this.#lanes.clear();
  }
}
