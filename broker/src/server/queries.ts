/**
 * Questions that read much take turns: each holds a page of places and answers in memory, and a client could ask
 * thousands at once.
 *
 * Invariants
 * - Q3 At most RUNNING_MAX run, and at most WAITING_MAX wait, in their order; more are refused as OVERLOADED.
 */
import { EscrowError } from "@escrowmq/protocol";

/** One that is slow does not hold up the next. */
const RUNNING_MAX = 2;
/** About 10 MiB of places. */
const WAITING_MAX = 32;

export class Queries {
  #running = 0;
  readonly #waiting: (() => void)[] = [];

  async run<Result>(query: () => Promise<Result>): Promise<Result> {
    if (this.#running >= RUNNING_MAX) await this.#turn();
    else this.#running++;
    try {
      return await query();
    } finally {
      const next = this.#waiting.shift();
      // Handed on without being free in between: else somebody new could come first.
      if (next === undefined) this.#running--;
      else next();
    }
  }

  #turn(): Promise<void> {
    if (this.#waiting.length >= WAITING_MAX)
      throw new EscrowError("OVERLOADED", "Too many questions about messages wait for their turn.");
    return new Promise((resolve) => this.#waiting.push(resolve));
  }
}
