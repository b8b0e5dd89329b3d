/**
 * Virtual time: it jumps from event to event, and costs nothing while nothing happens. Between two events
 * everything that promises can bring about has happened.
 */
import { Alarms } from "../../broker/src/core/alarms.ts";
import { Slots } from "../../broker/src/core/chain.ts";
import { demand } from "./violation.ts";

/** A world has some thousand events in all; at one moment a few hundred. */
const EVENTS_AT_ONCE_MAX = 100_000;

export class Time {
  readonly #alarms = new Alarms();
  readonly #slots = new Slots();
  /** By the place of their alarm. */
  readonly #callbacks: (() => void)[] = [];
  #nowMs = 1_000_000;
  #fault: unknown = null;
  #isTouched = false;
  /** Events since the clock last moved. */
  #atOnce = 0;

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
    // What was begun between two runs may bring about the first event of this one.
    await this.#keepPromises();
    this.#demandNoFault();
    while (this.#alarms.nextAtMs <= untilMs) {
      this.#advance(this.#alarms.nextAtMs);
      const place = this.#alarms.takeDue(this.#nowMs);
      this.#slots.giveBack(place);
      this.#callbacks[place]?.();
      if (this.#isTouched) await this.#keepPromises();
      this.#demandNoFault();
    }
    this.#nowMs = untilMs;
  }

  #advance(toMs: number): void {
    this.#atOnce = toMs > this.#nowMs ? 0 : this.#atOnce + 1;
    // Somebody goes round in circles, and the world would never end.
    demand(this.#atOnce < EVENTS_AT_ONCE_MAX, "Y2", () => `time stands still at ${toMs}`);
    this.#nowMs = toMs;
  }

  /** Node comes back here only when no promise has anything left to do. */
  async #keepPromises(): Promise<void> {
    await new Promise((resolve) => setImmediate(resolve));
    this.#isTouched = false;
  }

  #demandNoFault(): void {
    if (this.#fault !== null) throw this.#fault;
  }
}
