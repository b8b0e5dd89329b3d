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
import { EscrowError, type RequestFrame, type TransactionState } from "@escrowmq/protocol";
import { type Calls, type Logger, shortReason } from "@escrowmq/protocol/client";
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
   * ack's delivery is over, NO_CHECKER, TX_CONFLICT, UNDECIDED_LIMIT, TX_ALREADY_ROLLED_BACK,
   * UNREACHABLE when nothing was sent, and OUTCOME_UNKNOWN when no answer came.
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
  /** Stops waiting; a prepared transaction is left to its verdict or the check-back. */
  readonly signal?: AbortSignal;
  /** 22 to 64 of `A-Z a-z 0-9 _ -`, unguessable. Default: 128 random bits. */
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
  readonly encode: (messages: readonly OutgoingMessage[]) => Uint8Array[];
}

type ScopeState =
  | { readonly kind: "open" }
  | { readonly kind: "preparing"; readonly answered: Promise<unknown> }
  | { readonly kind: "prepared" }
  /** The broker refused, or nothing was sent: it holds nothing of this transaction. */
  | { readonly kind: "refused" }
  | { readonly kind: "inDoubt" };

export class Scope implements Transaction {
  readonly id: string;
  readonly #context: ScopeContext;
  readonly #options: TransactionOptions;
  #state: ScopeState = { kind: "open" };
  #hasEnded = false;

  constructor(id: string, context: ScopeContext, options: TransactionOptions) {
    this.id = id;
    this.#context = context;
    this.#options = options;
  }

  async prepare<T extends readonly unknown[]>(
    messages: OutgoingMessages<T>,
    { acks = [] }: PrepareOptions = {},
  ): Promise<Prepared> {
    if (this.#state.kind !== "open" || this.#hasEnded) throw new EscrowError("NESTED_PREPARE");
    if (messages.length === 0 && acks.length === 0)
      throw new EscrowError("INVALID_ARGUMENT", "There is nothing to prepare.");
    const encoded = this.#context.encode(messages);
    // From here it may reach the broker.
    const answered = this.#prepare(
      encoded,
      acks.map(({ token }) => token),
    );
    this.#state = { kind: "preparing", answered };
    try {
      const prepared = await answered;
      if (prepared.state === "rolledBack") throw new EscrowError("TX_ALREADY_ROLLED_BACK");
      this.#state = { kind: "prepared" };
      for (const ack of acks) ack.joined?.();
      return prepared;
    } catch (error) {
      // V4
      this.#state = { kind: EscrowError.is(error, "OUTCOME_UNKNOWN") ? "inDoubt" : "refused" };
      throw error;
    }
  }

  /** The callback resolved. */
  async succeed(): Promise<TransactionResult> {
    const kind = await this.#end();
    if (kind === "inDoubt") return { state: "pending", id: this.id };
    if (kind !== "prepared") return { state: "empty", id: this.id };
    const isDelivered = await this.#say("commit");
    return { state: isDelivered ? "committed" : "pending", id: this.id };
  }

  /** The callback threw. Returns for a Rollback, and throws anything else again (V2). */
  async fail(error: unknown): Promise<TransactionResult> {
    const kind = await this.#end();
    if (!isRollback(error)) throw error;
    const { reason } = error;
    const mayBeHeld = kind === "prepared" || kind === "inDoubt";
    const isDelivered = !mayBeHeld || (await this.#say("rollback", reason));
    return isDelivered
      ? { state: "rolledBack", id: this.id, reason }
      : { state: "pending", id: this.id };
  }

  async #prepare(messages: Uint8Array[], acks: string[]): Promise<Prepared> {
    const { calls, group } = this.#context;
    const { checkAfterMs, onUndecided, signal } = this.#options;
    const frame = { transactionId: this.id, group, messages, acks, checkAfterMs, onUndecided };
    const { duplicate, state } = await calls.request(
      (id): RequestFrame => ({ type: "prepare", id, ...frame }),
      { onReconnect: "resend", signal },
    );
    return { duplicate: duplicate === true, state: state ?? "undecided" };
  }

  /** After this nothing more can be prepared; a prepare that nobody awaited is waited for. */
  async #end(): Promise<ScopeState["kind"]> {
    this.#hasEnded = true;
    if (this.#state.kind === "preparing") {
      try {
        await this.#state.answered;
      } catch {
        // prepare() has given it to the callback; here only the state that it led to counts.
      }
      // Lets prepare(), which waits for the same answer, note it first.
      await Promise.resolve();
    }
    return this.#state.kind;
  }

  /** True: the broker has it. False: it is still on its way (V3). Rejects when the broker contradicts. */
  #say(verdict: "commit" | "rollback", reason?: string): Promise<boolean> {
    const { calls, group, logger } = this.#context;
    const { signal } = this.#options;
    const transactionId = this.id;
    return new Promise((resolve, reject) => {
      const late = (): void => {
        signal?.removeEventListener("abort", late);
        resolve(false);
      };
      calls.start(
        (id) => ({
          type: "verdict",
          id,
          transactionId,
          group,
          verdict,
          ...(reason === undefined || reason === "" ? {} : { reason: shortReason(reason) }),
        }),
        { onReconnect: "resend", isPatient: true, onLate: late },
        (outcome) => {
          signal?.removeEventListener("abort", late);
          if (outcome.kind === "ok") resolve(true);
          else if (isUndelivered(outcome.error)) resolve(false);
          else if (verdict === "rollback" && outcome.error.code === "TX_NOT_FOUND") resolve(true);
          else {
            // Said here as well, because after `late` nobody hears the rejection.
            const { code, message } = outcome.error;
            logger.error({ transactionId, verdict, code }, `the verdict was refused: ${message}`);
            reject(outcome.error);
          }
        },
      );
      if (signal?.aborted === true) late();
      else signal?.addEventListener("abort", late, { once: true });
    });
  }
}

const isRollback = (error: unknown): error is Rollback =>
  error instanceof Error && error.name === "Rollback" && "reason" in error;

const isUndelivered = (error: EscrowError): boolean =>
  error.code === "CLOSED" || error.code === "OUTCOME_UNKNOWN" || error.code === "UNREACHABLE";
