/**
 * How deliveries end, as frames: acks and releases of one turn of the event loop share a frame, retries
 * and burials have their own.
 *
 * Invariants
 * - X1 A delivery is settled on the connection that brought it or not at all (J2): a lost connection has
 *   given all its leases back, and their tokens name nothing any more.
 * - X2 Every settlement that was begun is counted in `unconfirmed` until its answer, so that a drain
 *   knows when the broker has it all.
 */
import { EscrowError, LIMITS } from "@escrowmq/protocol";
import {
  type Calls,
  type Environment,
  type OkFrame,
  type Outcome,
  shortReason,
} from "@escrowmq/protocol/client";
import type { Delivery, Ended, Settler } from "./delivery.ts";
import { Leases } from "./leases.ts";
import type { RetryOptions } from "./throws.ts";

export interface SettlementEvents {
  /** A settlement came too late, or failed; the message will be delivered again. */
  failed(delivery: Delivery, error: EscrowError): void;
  /** Something was confirmed. */
  confirmed(): void;
  looked(nowMs: number): void;
}

interface WaitingAck {
  readonly delivery: Delivery;
  readonly ended: Ended | null;
}

interface WaitingRelease {
  readonly token: string;
  readonly ended: Ended | null;
}

const SETTLING = { onReconnect: "fail", isPatient: true } as const;

export class Settlements implements Settler {
  readonly #calls: Calls;
  readonly #environment: Environment;
  readonly #events: SettlementEvents;
  readonly #leases: Leases;
  #acks: WaitingAck[] = [];
  #releases: WaitingRelease[] = [];
  #unconfirmed = 0;

  constructor(calls: Calls, environment: Environment, events: SettlementEvents) {
    this.#calls = calls;
    this.#environment = environment;
    this.#events = events;
    this.#leases = new Leases(environment, {
      renew: (deliveries) => this.#renew(deliveries),
      expired: (delivery) => this.#lose(delivery, new EscrowError("STALE_DELIVERY")),
      looked: (nowMs) => events.looked(nowMs),
    });
  }

  get unconfirmed(): number {
    return this.#unconfirmed;
  }

  take(delivery: Delivery): void {
    this.#leases.hold(delivery);
  }

  ack(delivery: Delivery, ended: Ended | null): void {
    this.#begin(delivery);
    this.#acks.push({ delivery, ended });
    this.#calls.link.connection?.schedule();
  }

  retry(delivery: Delivery, { delayMs, reason }: RetryOptions, ended: Ended | null): void {
    this.#begin(delivery);
    const fields = {
      token: delivery.token,
      ...(delayMs === undefined ? {} : { delayMs: legalDelayMs(delayMs) }),
      ...(reason === undefined ? {} : { reason: shortReason(reason) }),
    };
    this.#calls.start(
      (id) => ({ type: "retry", id, ...fields }),
      SETTLING,
      (outcome) => this.#confirm([{ delivery, ended }], outcome),
    );
  }

  bury(delivery: Delivery, reason: string, ended: Ended | null): void {
    this.#begin(delivery);
    this.#bury(delivery.token, reason, (outcome) => this.#confirm([{ delivery, ended }], outcome));
  }

  /** For a message that cannot be read: there is no delivery to show to anybody. */
  buryUnreadable(token: string, reason: string): void {
    this.#unconfirmed++;
    this.#bury(token, reason, () => this.#confirmed(1));
  }

  /** Gives it back at once; not an attempt. */
  release(delivery: Delivery, ended: Ended | null): void {
    this.#begin(delivery);
    this.#release(delivery.token, ended);
  }

  /** For a message that nobody was shown. */
  releaseToken(token: string): void {
    this.#unconfirmed++;
    this.#release(token, null);
  }

  #release(token: string, ended: Ended | null): void {
    this.#releases.push({ token, ended });
    this.#calls.link.connection?.schedule();
  }

  extend(delivery: Delivery, leaseMs: number | undefined, ended: Ended): void {
    this.#extend([delivery], leaseMs, (outcome) => {
      if (outcome.kind === "refused") ended(outcome.error);
      else ended(isStale(outcome.frame, delivery) ? new EscrowError("STALE_DELIVERY") : null);
    });
  }

  /** Twice is not worse than once: who asked takes the first. */
  async reply(inbox: string, correlation: string, body: Uint8Array): Promise<void> {
    await this.#calls.request((id) => ({ type: "reply", id, inbox, correlation, body }), {
      onReconnect: "resend",
      isPatient: true,
    });
  }

  joined(delivery: Delivery): void {
    this.#end(delivery, "joined");
  }

  /** Sends what was gathered in this turn. */
  gather(): void {
    const settled = this.#acks;
    const released = this.#releases;
    this.#acks = [];
    this.#releases = [];
    for (const acks of chunks(settled)) {
      const tokens = acks.map(({ delivery }) => delivery.token);
      this.#calls.start(
        (id) => ({ type: "ack", id, tokens }),
        SETTLING,
        (outcome) => this.#confirm(acks, outcome),
      );
    }
    for (const releases of chunks(released)) {
      const tokens = releases.map(({ token }) => token);
      this.#calls.start(
        (id) => ({ type: "release", id, tokens }),
        SETTLING,
        (outcome) => this.#released(releases, outcome),
      );
    }
  }

  /** The connection is gone, and all leases with it (X1). */
  lost(cause: EscrowError): void {
    const why = "The connection was lost; the lease went back.";
    const error =
      cause.code === "CLOSED" ? cause : new EscrowError("STALE_DELIVERY", why, { cause });
    for (const delivery of this.#leases.all()) this.#lose(delivery, error);
    const acks = this.#acks;
    const releases = this.#releases;
    this.#acks = [];
    this.#releases = [];
    this.#confirm(acks, { kind: "refused", error });
    this.#released(releases, { kind: "refused", error });
  }

  stop(): void {
    this.#leases.stop();
  }

  /** Counted first: whoever hears of the end must not find everything confirmed already (X2). */
  #begin(delivery: Delivery): void {
    this.#unconfirmed++;
    this.#end(delivery, "settled");
  }

  #end(delivery: Delivery, state: "settled" | "joined" | "lost"): void {
    delivery.state = state;
    if (this.#leases.drop(delivery)) delivery.onOver?.();
  }

  #lose(delivery: Delivery, error: EscrowError): void {
    delivery.abort(error);
    this.#end(delivery, "lost");
  }

  #bury(token: string, reason: string, settle: (outcome: Outcome) => void): void {
    const why = shortReason(reason);
    this.#calls.start((id) => ({ type: "bury", id, token, reason: why }), SETTLING, settle);
  }

  #confirm(settled: readonly WaitingAck[], outcome: Outcome): void {
    const errorOf = errorsIn(outcome);
    for (const { delivery, ended } of settled) {
      const why = errorOf(delivery.token);
      if (why !== null) this.#events.failed(delivery, why);
      ended?.(why);
    }
    this.#confirmed(settled.length);
  }

  /** One that came too late is no failure: the delivery is over, which is what was asked for. */
  #released(releases: readonly WaitingRelease[], outcome: Outcome): void {
    const errorOf = errorsIn(outcome);
    for (const { token, ended } of releases) ended?.(errorOf(token));
    this.#confirmed(releases.length);
  }

  #confirmed(count: number): void {
    if (count === 0) return;
    this.#unconfirmed -= count;
    this.#events.confirmed();
  }

  #renew(due: readonly Delivery[]): void {
    for (const deliveries of chunks(due)) this.#extend(deliveries, undefined, () => undefined);
  }

  #extend(
    deliveries: readonly Delivery[],
    leaseMs: number | undefined,
    answered: (outcome: Outcome) => void,
  ): void {
    const askedAtMs = this.#environment.nowMs();
    // Should no answer come, it is tried again before the lease is over.
    for (const delivery of deliveries) delivery.renewAtMs = askedAtMs + delivery.leaseMs / 4;
    const fields = {
      tokens: deliveries.map(({ token }) => token),
      ...(leaseMs === undefined ? {} : { leaseMs }),
    };
    this.#calls.start(
      (id) => ({ type: "extend", id, ...fields }),
      { onReconnect: "fail" },
      (outcome) => {
        if (outcome.kind === "ok") this.#extended(deliveries, outcome.frame, leaseMs, askedAtMs);
        answered(outcome);
      },
    );
  }

  /** Counted from the question, not from the answer: the broker's lease began no earlier. */
  #extended(
    deliveries: readonly Delivery[],
    frame: OkFrame,
    leaseMs: number | undefined,
    askedAtMs: number,
  ): void {
    for (const delivery of deliveries) {
      if (delivery.state !== "leased") continue;
      if (isStale(frame, delivery)) {
        this.#lose(delivery, new EscrowError("STALE_DELIVERY"));
        continue;
      }
      const ms = leaseMs ?? delivery.leaseMs;
      delivery.leasedUntilMs = askedAtMs + ms;
      delivery.renewAtMs = askedAtMs + ms / 2;
    }
  }
}

/** What became of each token in one answer: null, or why it did not count. */
function errorsIn(outcome: Outcome): (token: string) => EscrowError | null {
  if (outcome.kind === "refused") return () => outcome.error;
  const stale = new Set(outcome.frame.stale);
  return (token) => (stale.has(token) ? new EscrowError("STALE_DELIVERY") : null);
}

const isStale = ({ stale = [] }: OkFrame, { token }: Delivery): boolean => stale.includes(token);

const legalDelayMs = (ms: number): number =>
  Number.isFinite(ms) ? Math.round(Math.min(Math.max(0, ms), LIMITS.delayMsMax)) : 0;

/** In pieces that one frame may carry. */
function* chunks<T>(items: readonly T[]): Generator<readonly T[]> {
  for (let from = 0; from < items.length; from += LIMITS.settleTokensMax)
    yield items.length <= LIMITS.settleTokensMax
      ? items
      : items.slice(from, from + LIMITS.settleTokensMax);
}
