/** First in, first out, without moving what stays at each step; and from the back, what came last. */
export class Queue<T> {
  #items: T[] = [];
  #head = 0;

  get length(): number {
    return this.#items.length - this.#head;
  }

  push(item: T): void {
    this.#items.push(item);
  }

  /** The oldest, which is taken out. */
  shift(): T | undefined {
    if (this.#head === this.#items.length) return undefined;
    const item = this.#items[this.#head++];
    // Half of it is behind the head: moving the rest costs less than what was taken.
    if (this.#head * 2 >= this.#items.length) {
      this.#items = this.#items.slice(this.#head);
      this.#head = 0;
    }
    return item;
  }

  peek(): T | undefined {
    return this.#items[this.#head];
  }

  /** All but the oldest `count`, which are taken out. */
  takeBeyond(count: number): T[] {
    return this.#items.splice(this.#head + count);
  }
}
