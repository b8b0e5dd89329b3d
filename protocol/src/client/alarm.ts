/** One timer for many times: it rings for the earliest that was asked for. */
import type { Environment, Timer } from "./environment.ts";

/** Times may be met this much late, so that many of them share one ring. */
const GAP_MS = 20;

export class Alarm {
  readonly #environment: Environment;
  readonly #ring: (nowMs: number) => void;
  #timer: Timer | null = null;
  #atMs = Number.POSITIVE_INFINITY;

  constructor(environment: Environment, ring: (nowMs: number) => void) {
    this.#environment = environment;
    this.#ring = ring;
  }

  /** Rings at this time or before; infinity asks for nothing. */
  ringBy(atMs: number): void {
    if (atMs >= this.#atMs) return;
    this.#timer?.stop();
    this.#atMs = atMs;
    const waitMs = Math.max(GAP_MS, Math.ceil(atMs - this.#environment.nowMs()));
    this.#timer = this.#environment.startTimer(() => {
      this.stop();
      this.#ring(this.#environment.nowMs());
    }, waitMs);
  }

  stop(): void {
    this.#timer?.stop();
    this.#timer = null;
    this.#atMs = Number.POSITIVE_INFINITY;
  }
}
