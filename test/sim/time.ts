/**
 * Virtual time: it jumps from event to event, and costs nothing while nothing happens. Between two events
 * everything that promises can bring about has happened.
 */
import { Deadlines } from "../../broker/src/core/deadlines.ts";

export class Time {
  readonly #events = new Deadlines<() => void>();
  #nowMs = 1_000_000;
  #fault: unknown = null;
  #isTouched = false;

  get nowMs(): number {
    return this.#nowMs;
  }

  after(ms: number, callback: () => void): void {
    this.at(this.#nowMs + ms, callback);
  }

  /** What is to happen at the same time happens in the order in which it was asked for. */
  at(atMs: number, callback: () => void): void {
    this.#events.add(atMs, callback);
  }

  /** Ends the run. Who is called by the broker must say it here: the broker takes what is thrown for a fault of its own. */
  fail(fault: unknown): void {
    this.#fault ??= fault;
  }

  /** The broker has run: it may have promises to keep. */
  touch(): void {
    this.#isTouched = true;
  }

  /** Lets everything happen that is to happen within `ms`. */
  async run(ms: number): Promise<void> {
    const untilMs = this.#nowMs + ms;
    for (;;) {
      const atMs = this.#events.nextAtMs;
      if (atMs === null || atMs > untilMs) break;
      this.#nowMs = atMs;
      this.#events.takeDue(atMs)?.();
      if (this.#isTouched) await promisesKept();
      this.#isTouched = false;
      if (this.#fault !== null) throw this.#fault;
    }
    this.#nowMs = untilMs;
  }
}

/** Node comes back here only when no promise has anything left to do. */
const promisesKept = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));
