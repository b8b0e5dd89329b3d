/**
 * The turns of a subscription's topics when they are not all worth the same. A turn has as many messages as the
 * topic's weight; in a round each topic that has something gets one turn. So none starves, whatever comes in, and
 * what one does not need goes to the others at once.
 *
 * Invariants
 * - Y2 A feed waits only for one that is stirred then. That one delivers, and lets the next one come before it
 *   when its turn is over; or it cannot. Then it waits for the end of what is under way, and its turn with it; if
 *   nothing is, it is passed over for this round, and those that waited are stirred. Either way it is stuck: nobody
 *   asks it again before it delivers, or its consumer's credit or congestion changes, or nothing is under way any more.
 *   So nobody waits for ever, and nobody is asked in vain without end.
 */
export class Weights<Feed> {
  readonly #of: ReadonlyMap<Feed, number>;
  /** Those that had their turn in this round. */
  readonly #served = new Set<Feed>();
  #last: Feed | null = null;
  #left = 0;
  /** Those that could not deliver, and nothing has changed for them since. */
  readonly stuck = new Set<Feed>();
  /** Somebody waits for one that may turn out to have nothing to give. */
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
    this.#left = this.turnOf(feed) - messages;
    this.#last = feed;
    this.stuck.delete(feed);
    const isOver = this.#left <= 0;
    if (isOver) this.#served.add(feed);
    return isOver;
  }

  /** It cannot deliver: it has had its turn in this round. */
  pass(feed: Feed): void {
    this.#served.add(feed);
    if (this.#last === feed) this.#left = 0;
  }
}
