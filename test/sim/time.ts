/** Virtual time: it jumps from event to event, and costs nothing while nothing happens. */
import { Deadlines } from "../../broker/src/core/deadlines.ts";

export class Time {
  readonly #events = new Deadlines<() => void>();
  #nowMs = 1_000_000;

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

  /** Lets everything happen that is to happen within `ms`. */
  run(ms: number): void {
    const untilMs = this.#nowMs + ms;
    for (;;) {
      const atMs = this.#events.nextAtMs;
      if (atMs === null || atMs > untilMs) break;
      this.#nowMs = atMs;
      this.#events.takeDue(atMs)?.();
    }
    this.#nowMs = untilMs;
  }
}
