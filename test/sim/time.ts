/** Virtual time: it jumps from event to event, and costs nothing while nothing happens. */
import { Alarms } from "../../broker/src/core/alarms.ts";
import { Slots } from "../../broker/src/core/chain.ts";

export class Time {
  readonly #alarms = new Alarms();
  readonly #slots = new Slots();
  /** By the place of their alarm. */
  readonly #callbacks: (() => void)[] = [];
  #nowMs = 1_000_000;

  get nowMs(): number {
    return this.#nowMs;
  }

  after(ms: number, callback: () => void): void {
    this.at(this.#nowMs + ms, callback);
  }

  /** What is to happen at the same time happens in the order in which it was asked for. */
  at(atMs: number, callback: () => void): void {
    const place = this.#slots.take();
    this.#callbacks[place] = callback;
    this.#alarms.set(place, atMs);
  }

  /** Lets everything happen that is to happen within `ms`. */
  run(ms: number): void {
    const untilMs = this.#nowMs + ms;
    while (this.#alarms.nextAtMs <= untilMs) {
      this.#nowMs = this.#alarms.nextAtMs;
      const place = this.#alarms.takeDue(this.#nowMs);
      this.#slots.giveBack(place);
      this.#callbacks[place]?.();
    }
    this.#nowMs = untilMs;
  }
}
