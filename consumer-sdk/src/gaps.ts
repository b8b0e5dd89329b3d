/**
 * What a broadcast instance has lost, told once in this process: the broker tells at least once, with totals.
 *
 * Invariants
 * - N1 Nothing lost is left untold; what was told on an earlier connection is not told again.
 */
import type { BrokerFrames } from "@escrowmq/protocol";
import type { Gap } from "./options.ts";

type Told = BrokerFrames["gap"]["gaps"];

export class Gaps {
  readonly #tell: (gap: Gap) => void;
  /** By topic: lost ever, as far as this process knows. */
  readonly #totals = new Map<string, number>();

  constructor(tell: (gap: Gap) => void) {
    this.#tell = tell;
  }

  // N1
  heard(told: Told): void {
    for (const { topic, lost, total } of told) {
      const known = this.#totals.get(topic);
      this.#totals.set(topic, total);
      const unheard = lost === undefined || known === undefined ? lost : total - known;
      if (unheard === undefined) this.#tell({ topic, lost: null });
      else if (unheard > 0) this.#tell({ topic, lost: unheard });
    }
  }
}
