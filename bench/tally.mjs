/** What one producer process counts during one run of its load. */
import { nowMs } from "./clock.mjs";
import { Histogram } from "./histogram.mjs";

/** In the closed loop each sixteenth message carries its time: enough for p99, and it costs little. */
const STAMP_EVERY = 16;
const FAILURES_MAX = 10_000;

export class Tally {
  #begun = 0;
  #operations = 0;
  #failed = 0;
  #failures = new Map();
  #latency = new Histogram();
  #lateness = new Histogram();

  wantsStamp() {
    return this.#begun++ % STAMP_EVERY === 0;
  }

  ended(startMs) {
    this.#operations++;
    this.#latency.record(nowMs() - startMs);
  }

  /** The open loop's own inexactness: how long after the intended moment it began. */
  late(ms) {
    this.#lateness.record(ms);
  }

  /** Refusals are counted by their code. Throws when there are so many that nothing is measured. */
  failed(error) {
    const code = String(error?.code ?? error?.message ?? error).slice(0, 120);
    this.#failures.set(code, (this.#failures.get(code) ?? 0) + 1);
    if (++this.#failed > FAILURES_MAX) throw error;
  }

  get report() {
    return {
      operations: this.#operations,
      failures: Object.fromEntries(this.#failures),
      latency: this.#latency.plain,
      lateness: this.#lateness.plain,
    };
  }
}
