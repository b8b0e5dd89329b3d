/**
 * Which transactions reserve the keys of their messages, which messages that may stand behind them are called back,
 * and when an operator has enough of the waiting. Of chances of its own: in a world without all that everything is as it was.
 */
import type { Kinds } from "./kinds.ts";
import type { LedgerKeys } from "./ledger-keys.ts";
import { Random } from "./random.ts";

export class Reserving {
  readonly #random: Random;
  /** Of the transactions. */
  readonly #share: number;

  constructor(seed: number, { hasKeys }: Kinds) {
    this.#random = new Random(seed ^ 0x0d20_0d20);
    const isOn = hasKeys && this.#random.chance(0.7);
    this.#share = isOn ? this.#random.pick([0.15, 0.4, 0.8]) : 0;
  }

  /** What the next transaction asks for. */
  next(): boolean {
    return this.#random.chance(this.#share);
  }

  /** Said once more, it may be said otherwise: what was said first counts. */
  again(reserves: boolean): boolean {
    return this.#random.chance(this.#share / 4) ? !reserves : reserves;
  }

  /** Of the transactions that others wait for: the one that an operator decides now, if any. */
  toDecide(keys: LedgerKeys, share = 0.15): string | null {
    if (this.#share === 0 || !this.#random.chance(share)) return null;
    const blocking = [...keys.reservations()].filter(({ behind }) => behind > 0);
    return blocking.length === 0 ? null : this.#random.pick(blocking).transactionId;
  }

  /** Its sender may want it back, though it has no delay. */
  mayCallBack(key: string | undefined): boolean {
    return key !== undefined && this.#random.chance(this.#share / 2);
  }
}
