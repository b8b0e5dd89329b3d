/**
 * Reads of blocks for deliveries and checks, so many bytes at a time: a thousand consumers that read old
 * messages would else hold a thousand blocks in memory. And the questions that endpoints are asked.
 *
 * Invariants
 * - What runs holds at most the share together; one alone always runs. The others wait in their order.
 */
export class Reading {
  readonly #bytesMax: number;
  readonly #waiting: { readonly bytes: number; readonly start: () => void }[] = [];
  #bytes = 0;

  constructor(bytesMax: number) {
    this.#bytesMax = bytesMax;
  }

  get bytes(): number {
    return this.#bytes;
  }

  /** Runs `task` when there is room for what it will hold; its bytes are free again when it has ended. */
  async run<Result>(bytes: number, task: () => Promise<Result>): Promise<Result> {
    if (!this.#fits(bytes) || this.#waiting.length > 0)
      await new Promise<void>((start) => this.#waiting.push({ bytes, start }));
    else this.#bytes += bytes;
    try {
      return await task();
    } finally {
      this.#bytes -= bytes;
      this.#startNext();
    }
  }

  #fits(bytes: number): boolean {
    return this.#bytes === 0 || this.#bytes + bytes <= this.#bytesMax;
  }

  #startNext(): void {
    for (let next = this.#waiting[0]; next !== undefined; next = this.#waiting[0]) {
      if (!this.#fits(next.bytes)) return;
      this.#waiting.shift();
      // Counted here and not when it goes on: else two could take the same room.
      this.#bytes += next.bytes;
      next.start();
    }
  }
}

/** Bytes of questions that wait for an answer elsewhere. */
export class Asking {
  readonly #bytesMax: number;
  #bytes = 0;

  constructor(bytesMax: number) {
    this.#bytesMax = bytesMax;
  }

  get bytes(): number {
    return this.#bytes;
  }

  /** False: there is no room for it now. One alone always has. */
  hold(bytes: number): boolean {
    if (this.#bytes > 0 && this.#bytes + bytes > this.#bytesMax) return false;
    this.#bytes += bytes;
    return true;
  }

  release(bytes: number): void {
    this.#bytes -= bytes;
  }
}
