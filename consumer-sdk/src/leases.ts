/**
 * The deliveries that this consumer holds, and when their leases are renewed. One timer for all.
 *
 * Invariants
 * - Z1 A lease is renewed at half its time, whether its handler runs or has yet to start.
 * - Z2 A lease whose time is over here is lost, even if no word of the broker says so: after a pause of
 *   this process, or while the broker is silent, somebody else may have the message by now.
 */
import type { Environment, Timer } from "@escrowmq/protocol/client";
import type { Delivery } from "./delivery.ts";

/** Leases are looked at this often, or eight times in the shortest of them. */
const LOOK_EVERY_MS = 1_000;
const LOOKS_PER_LEASE = 8;

export interface LeaseEvents {
  renew(deliveries: readonly Delivery[]): void;
  expired(delivery: Delivery): void;
  /** At each look while anything is held. */
  looked(nowMs: number): void;
}

export class Leases {
  readonly #environment: Environment;
  readonly #events: LeaseEvents;
  readonly #held = new Map<string, Delivery>();
  #everyMs = LOOK_EVERY_MS;
  #timer: Timer | null = null;

  constructor(environment: Environment, events: LeaseEvents) {
    this.#environment = environment;
    this.#events = events;
  }

  hold(delivery: Delivery): void {
    this.#held.set(delivery.token, delivery);
    this.#everyMs = Math.min(this.#everyMs, delivery.leaseMs / LOOKS_PER_LEASE);
    if (this.#timer === null) this.#lookLater();
  }

  /** True if it was held. */
  drop(delivery: Delivery): boolean {
    return this.#held.delete(delivery.token);
  }

  all(): Delivery[] {
    return [...this.#held.values()];
  }

  stop(): void {
    this.#timer?.stop();
    this.#timer = null;
  }

  #lookLater(): void {
    this.#timer = this.#environment.startTimer(() => {
      this.#timer = null;
      if (this.#held.size === 0) return;
      this.#lookLater();
      this.#look(this.#environment.nowMs());
    }, this.#everyMs);
  }

  #look(nowMs: number): void {
    const due: Delivery[] = [];
    for (const delivery of this.#held.values()) {
      // Z2
      if (nowMs >= delivery.leasedUntilMs) this.#events.expired(delivery);
      else if (delivery.renewal === "automatic" && nowMs >= delivery.renewAtMs) due.push(delivery);
    }
    if (due.length > 0) this.#events.renew(due);
    this.#events.looked(nowMs);
  }
}
