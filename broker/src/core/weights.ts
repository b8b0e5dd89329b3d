/**
 * The turns of a subscription's topics when they are not all worth the same: a turn has as many messages as the
 * topic's weight. While all have something to deliver, each gets its part of every round, so none starves; what
 * one does not need goes to the others at once.
 *
 * Invariants
 * - Y2 A turn begins with a delivery. So a feed that cannot deliver never keeps others waiting, and each wake of
 *   those that waited was paid for by a message.
 */
export class Weights<Feed> {
  readonly #of: ReadonlyMap<Feed, number>;
  #last: Feed | null = null;
  #left = 0;

  constructor(of: ReadonlyMap<Feed, number>) {
    this.#of = of;
  }

  /** Whose turn it is; null: the last one is over, and whoever comes next may begin. */
  get current(): Feed | null {
    return this.#left > 0 ? this.#last : null;
  }

  /** Messages that the feed's turn still has, or would have. */
  turnOf(feed: Feed): number {
    return this.current === feed ? this.#left : (this.#of.get(feed) ?? 1);
  }

  took(feed: Feed, messages: number): void {
    this.#left = this.turnOf(feed) - messages;
    this.#last = feed;
  }

  /** It could deliver no more: the rest of its turn is nobody's. */
  end(): void {
    this.#left = 0;
  }
}
