/** P9: a number that stands for everything that happened, to compare two runs of one seed. */
import type { Input } from "../../broker/src/core/types.ts";

export class Trace {
  readonly #isOn: boolean;
  #hash = 0x811c9dc5;

  constructor(isOn: boolean) {
    this.#isOn = isOn;
  }

  get hash(): string {
    return this.#hash.toString(16).padStart(8, "0");
  }

  add(input: Input, records: readonly unknown[], nowMs: number): void {
    if (!this.#isOn) return;
    const line = JSON.stringify([nowMs, input, records]);
    for (let at = 0; at < line.length; at++)
      this.#hash = Math.imul(this.#hash ^ line.charCodeAt(at), 0x01000193) >>> 0;
  }
}
