/**
 * One transaction's scope: prepare once, then the verdict that follows from how the callback ended.
 *
 * Invariants
 * - V1 "commit" is said only when the callback resolved and the prepare was answered ok.
 * - V2 "rollback" is said only for a thrown Rollback. Any other throw says nothing: whether the local
 *   transaction was committed is for the check-back to find out.
 * - V3 A verdict that could not be delivered in time is pending, not failed, and goes on being sent
 *   while the producer lives.
 * - V4 A prepare without an answer may have happened: without an answer nothing is called empty.
 */
import {
  EscrowError,
  type FinalVerdict,
  type RequestFrame,
  type TransactionState,
} from "@escrowmq/protocol";
import {
  type CallOptions,
  type Calls,
  type Logger,
  type Outcome,
  shortReason,
} from "@escrowmq/protocol/client";
import type { JoiningDelivery, OutgoingMessage } from "./message.ts";

/** Thrown by a transaction's callback when its local work was rolled back for certain. */
export class Rollback extends Error {
  override readonly name = "Rollback";
  readonly reason: string;

  constructor(reason = "") {
    super(reason);
    this.reason = reason;
  }
}

/** Messages of one call, each with the type of its own topic. */
export type OutgoingMessages<T extends readonly unknown[]> = {
  readonly [Place in keyof T]: OutgoingMessage<T[Place]>;
};

export interface PrepareOptions {
  /** Deliveries whose acks become final with the commit, and are given back with the rollback. */
  readonly acks?: readonly JoiningDelivery[];
}

export interface Prepared {
  /** The same transaction id had been prepared before with the same content. */
  readonly duplicate: boolean;
  readonly state: TransactionState;
}

/** What a transaction's callback is given. */
export interface Transaction {
  /** Write it into the local transaction: onCheck is asked by it. 32 hex digits. */
  readonly id: string;
  /**
   * Makes the messages durable and undecided: on disk, visible to nobody. Call it once, before the
   * local COMMIT. Rejects with NESTED_PREPARE when it is called again or after the callback ended,
   * ENCODE_FAILED, INVALID_MESSAGE and the like when a message cannot be sent, STALE_DELIVERY when an
   * ack's delivery is over, NO_CHECKER, TX_CONFLICT, UNDECIDED_LIMIT, RESERVATION_LIMIT,
   * TX_ALREADY_ROLLED_BACK, UNREACHABLE when nothing was sent, and OUTCOME_UNKNOWN when its answer was lost.
   */
  prepare<T extends readonly unknown[]>(
    messages: OutgoingMessages<T>,
    options?: PrepareOptions,
  ): Promise<Prepared>;
}

export interface TransactionOptions {
  /** When the first check may come, 0 to 3,600,000 ms after the prepare. Default: the broker's 6,000 ms. */
  readonly checkAfterMs?: number;
  /** What becomes of it when no check ever finds the verdict. Default "park": kept for an operator. */
  readonly onUndecided?: "park" | "rollback";
  /**
   * Reserves the next place of each key that its messages have, in their topics: what is sent, prepared or due there
   * later is visible after the verdict only, in the order in which it came. Messages without a key, or with a delay,
   * reserve nothing. A key is reserved for as long as the transaction is undecided, parked included. Default false.
   */
  readonly reserveKeys?: boolean;
  /** Stops waiting; a prepared transaction is left to its verdict or the check-back. */
  readonly signal?: AbortSignal;
  /**
   * 22 to 64 of `A-Z a-z 0-9 _ -`, unguessable, unique for ever. The same messages prepared again under it are
   * taken for the same transaction. Default: 128 random bits.
   */
  readonly transactionId?: string;
}

export type TransactionResult =
  /** Durable and visible. */
  | { readonly state: "committed"; readonly id: string }
  /** Nothing of it will ever be visible. */
  | { readonly state: "rolledBack"; readonly id: string; readonly reason: string }
  /** The verdict stands and is still on its way; if it never arrives the check-back finds it. */
  | { readonly state: "pending"; readonly id: string }
  /** Nothing was prepared. */
  | { readonly state: "empty"; readonly id: string };

export interface ScopeContext {
  readonly calls: Calls;
  readonly group: string;
  readonly logger: Logger;
  /** `givenId`: the transaction's, if the caller gave it. */
  readonly encode: (messages: readonly OutgoingMessage[], givenId?: string) => Uint8Array[];
}

/** How a scope ends: with a result, or with what the caller is to be thrown. */
export interface ScopeEnd {
  resolve(result: TransactionResult): void;
  reject(error: unknown): void;
}

type ScopeState =
  | "open"
  | "preparing"
  | "prepared"
  /** The broker refused, or nothing was sent: it holds nothing of this transaction. */
  | "refused"
  | "inDoubt";

/** Without promises of its own but for `prepare`'s: this is the hot path. */
export class Scope implements Transaction {
  readonly id: string;
  readonly #context: ScopeContext;
  readonly #options: TransactionOptions;
  readonly #end: ScopeEnd;
  #state: ScopeState = "open";
  #hasEnded = false;
  /** A verdict that came too late for the caller may still be answered. */
  #isTold = false;
  /** What to do once the prepare that nobody awaited is answered. */
  #whenAnswered: (() => void) | null = null;

  constructor(id: string, context: ScopeContext, options: TransactionOptions, end: ScopeEnd) {
    this.id = id;
    this.#context = context;
    this.#options = options;
    this.#end = end;
  }

  /** Runs the callback and gives the verdict that follows; `end` is told once. */
  run(work: (tx: Transaction) => Promise<unknown>): void {
    let working: Promise<unknown>;
    try {
      working = work(this);
    } catch (error) {
      this.#failed(error);
      return;
    }
    Promise.resolve(working).then(
      () => this.#succeeded(),
      (error: unknown) => this.#failed(error),
    );
  }

  prepare<T extends readonly unknown[]>(
    messages: OutgoingMessages<T>,
    { acks = NO_ACKS }: PrepareOptions = {},
  ): Promise<Prepared> {
    return new Promise((resolve, reject) => {
      if (this.#state !== "open" || this.#hasEnded) throw new EscrowError("NESTED_PREPARE");
      if (messages.length === 0 && acks.length === 0)
        throw new EscrowError("INVALID_ARGUMENT", "There is nothing to prepare.");
      const encoded = this.#context.encode(messages, this.#options.transactionId);
      // From here it may reach the broker.
      this.#state = "preparing";
      this.#prepare(encoded, acks, (prepared) => {
        if (prepared instanceof EscrowError) reject(prepared);
        else resolve(prepared);
        this.#whenAnswered?.();
      });
    });
  }

  #prepare(
    messages: Uint8Array[],
    acks: readonly JoiningDelivery[],
    answered: (prepared: Prepared | EscrowError) => void,
  ): void {
    const { calls, group } = this.#context;
    const { checkAfterMs, onUndecided, reserveKeys, signal } = this.#options;
    const transactionId = this.id;
    const tokens = acks.length === 0 ? undefined : acks.map(({ token }) => token);
    calls.start(
      (id): RequestFrame => ({
        type: "prepare",
        id,
        transactionId,
        group,
        messages,
        acks: tokens,
        checkAfterMs,
        onUndecided,
        reserveKeys,
      }),
      signal === undefined ? RESENT : { onReconnect: "resend", signal },
      (outcome) => answered(this.#prepared(outcome, acks)),
    );
  }

  #prepared(outcome: Outcome, acks: readonly JoiningDelivery[]): Prepared | EscrowError {
    if (outcome.kind === "refused") {
      // V4
      this.#state = outcome.error.code === "OUTCOME_UNKNOWN" ? "inDoubt" : "refused";
      return outcome.error;
    }
    const { duplicate, state = "undecided" } = outcome.frame;
    if (state === "rolledBack") {
      this.#state = "refused";
      return new EscrowError("TX_ALREADY_ROLLED_BACK");
    }
    this.#state = "prepared";
    for (const ack of acks) ack.joined?.();
    return { duplicate: duplicate === true, state };
  }

  #succeeded(): void {
    this.#settle(() => {
      const { id } = this;
      if (this.#state === "inDoubt") this.#resolve({ state: "pending", id });
      else if (this.#state === "prepared") this.#say("commit", { state: "committed", id });
      else this.#resolve({ state: "empty", id });
    });
  }

  /** V2: anything but a Rollback is thrown again. */
  #failed(error: unknown): void {
    this.#settle(() => {
      if (!isRollback(error)) return this.#reject(error);
      const { reason } = error;
      const result = { state: "rolledBack", id: this.id, reason } as const;
      const mayBeHeld = this.#state === "prepared" || this.#state === "inDoubt";
      if (mayBeHeld) this.#say("rollback", result, reason);
      else this.#resolve(result);
    });
  }

  /** After this nothing more can be prepared; a prepare that nobody awaited is waited for. */
  #settle(end: () => void): void {
    this.#hasEnded = true;
    if (this.#state === "preparing") this.#whenAnswered = end;
    else end();
  }

  #resolve(result: TransactionResult): void {
    if (this.#isTold) return;
    this.#isTold = true;
    this.#end.resolve(result);
  }

  #reject(error: unknown): void {
    if (this.#isTold) return;
    this.#isTold = true;
    this.#end.reject(error);
  }

  /** `done` once the broker has it, pending while it is on its way (V3); a rejection when it contradicts. */
  #say(verdict: FinalVerdict, done: TransactionResult, reason?: string): void {
    const { calls, group, logger } = this.#context;
    const { signal } = this.#options;
    const transactionId = this.id;
    const late = (): void => {
      signal?.removeEventListener("abort", late);
      this.#resolve({ state: "pending", id: transactionId });
    };
    const why = reason === undefined || reason === "" ? undefined : shortReason(reason);
    calls.start(
      (id) => ({ type: "verdict", id, transactionId, group, verdict, reason: why }),
      { onReconnect: "resend", isPatient: true, onLate: late },
      (outcome) => {
        signal?.removeEventListener("abort", late);
        if (outcome.kind === "ok") return this.#resolve(done);
        const { code, message } = outcome.error;
        if (isUndelivered(outcome.error)) return late();
        if (verdict === "rollback" && code === "TX_NOT_FOUND") return this.#resolve(done);
        // Said here as well, because after `late` nobody hears the rejection.
        logger.error({ transactionId, verdict, code }, `the verdict was refused: ${message}`);
        this.#reject(outcome.error);
      },
    );
    if (signal?.aborted === true) late();
    else signal?.addEventListener("abort", late, { once: true });
  }
}

const NO_ACKS: readonly JoiningDelivery[] = [];
const RESENT: CallOptions = { onReconnect: "resend" };

const isRollback = (error: unknown): error is Rollback =>
  error instanceof Error && error.name === "Rollback" && "reason" in error;

const isUndelivered = (error: EscrowError): boolean =>
  error.code === "CLOSED" || error.code === "OUTCOME_UNKNOWN" || error.code === "UNREACHABLE";
