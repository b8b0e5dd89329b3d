/**
 * The turns of a subscription's topics when they are not all worth the same. A turn has as many messages as the
 * topic's weight; in a round each topic that has something gets one turn. So none starves, whatever comes in, and
 * what one does not need goes to the others at once.
 *
 * Invariants
 * - Y2 A feed waits only for one that is stirred then. That one delivers, or is passed over for this round, and
 *   its turn's end stirs those that waited: nobody waits for ever, and nobody is asked in vain without end.
 */
export class Weights<Feed> {
  readonly #of: ReadonlyMap<Feed, number>;
  /** Those that had their turn in this round. */
  readonly #served = new Set<Feed>();
  #last: Feed | null = null;
  #left = 0;
  /** Somebody waits for the end of a turn. */
  isAwaited = false;

  constructor(of: ReadonlyMap<Feed, number>) {
    this.#of = of;
  }

  /** Which of the others, that all have something, come before this one. */
  before(feed: Feed, others: readonly Feed[]): readonly Feed[] {
    const current = this.#left > 0 ? this.#last : null;
    if (current === feed) return [];
    if (current !== null && others.includes(current)) return [current];
    if (!this.#served.has(feed)) return [];
    const waiting = others.filter((other) => !this.#served.has(other));
    if (waiting.length === 0) this.#served.clear();
    return waiting;
  }

  /** Messages that the feed's turn still has, or would have. */
  turnOf(feed: Feed): number {
    return this.#left > 0 && this.#last === feed ? this.#left : (this.#of.get(feed) ?? 1);
  }

  /** True: its turn is over. */
  took(feed: Feed, messages: number): boolean {
    const left = this.turnOf(feed) - messages;
    if (this.#last !== null && this.#last !== feed && this.#left > 0) this.#served.add(this.#last);
    this.#last = feed;
    this.#left = left;
    if (left <= 0) this.#served.add(feed);
    return left <= 0;
  }

  /** It cannot deliver: it has had its turn in this round. */
  pass(feed: Feed): void {
    this.#served.add(feed);
    if (this.#last === feed) this.#left = 0;
  }
}
