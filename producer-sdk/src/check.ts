/**
 * Answering the broker's question "did it happen?", over whatever way the question came.
 *
 * Invariants
 * - H1 Only a handler's own "commit" or "rollback" is one. A throw, a late answer or any other value is
 *   "unknown", which changes nothing: the broker asks again.
 * - H2 Each check has its own time limit; one that hangs holds up no other.
 */
import type { Verdict } from "@escrowmq/protocol";
import type { Environment, Logger } from "@escrowmq/protocol/client";
import type { CheckedMessage } from "./message.ts";

/** The broker's question about one undecided transaction. */
export interface Check {
  /** The transaction's id: what `tx.id` was. */
  readonly id: string;
  /** 1 for the first check of this transaction. */
  readonly attempt: number;
  /** Since the prepare, in ms by the broker's clock. */
  readonly ageMs: number;
  /** The transaction's messages, decoded when first read. Empty when the operator chose ids only. */
  readonly messages: readonly CheckedMessage[];
  /** Aborts when the time for the answer is over. */
  readonly signal: AbortSignal;
}

/**
 * "commit" if the local transaction was committed, "rollback" if it can never be committed any more,
 * "unknown" if neither is certain yet.
 */
export type CheckHandler = (check: Check) => Verdict | Promise<Verdict>;

/** What a check is made of, before it is shown to the handler. */
export interface CheckQuestion {
  readonly id: string;
  readonly attempt: number;
  readonly ageMs: number;
  /** Called at most once. */
  readonly decodeMessages: () => readonly CheckedMessage[];
}

export interface CheckTerms {
  readonly onCheck: CheckHandler;
  readonly checkTimeoutMs: number;
  readonly startTimer: Environment["startTimer"];
  readonly logger: Logger;
}

/** Never rejects (H1). */
export function answerCheck(question: CheckQuestion, terms: CheckTerms): Promise<Verdict> {
  const { onCheck, checkTimeoutMs, startTimer, logger } = terms;
  const { id, attempt } = question;
  const check = new LazyCheck(question);
  return new Promise((resolve) => {
    const timer = startTimer(() => {
      logger.warn({ transactionId: id, attempt, checkTimeoutMs }, "onCheck took too long");
      check.expire();
      resolve("unknown");
    }, checkTimeoutMs);
    const answer = (verdict: Verdict): void => {
      timer.stop();
      resolve(verdict);
    };
    runHandler(onCheck, check).then(
      (verdict) => {
        if (!isVerdict(verdict))
          logger.error(
            { transactionId: id, attempt },
            "onCheck returned something else than a verdict",
          );
        answer(isVerdict(verdict) ? verdict : "unknown");
      },
      (error: unknown) => {
        logger.error({ transactionId: id, attempt, err: error }, "onCheck failed");
        answer("unknown");
      },
    );
  });
}

/** A handler that throws before its first await rejects like any other. */
const runHandler = async (onCheck: CheckHandler, check: Check): Promise<unknown> => onCheck(check);

const isVerdict = (value: unknown): value is Verdict =>
  value === "commit" || value === "rollback" || value === "unknown";

class LazyCheck implements Check {
  readonly id: string;
  readonly attempt: number;
  readonly ageMs: number;
  readonly #decodeMessages: () => readonly CheckedMessage[];
  #messages: readonly CheckedMessage[] | null = null;
  #abort: AbortController | null = null;
  #isExpired = false;

  constructor({ id, attempt, ageMs, decodeMessages }: CheckQuestion) {
    this.id = id;
    this.attempt = attempt;
    this.ageMs = ageMs;
    this.#decodeMessages = decodeMessages;
  }

  get messages(): readonly CheckedMessage[] {
    this.#messages ??= this.#decodeMessages();
    return this.#messages;
  }

  get signal(): AbortSignal {
    this.#abort ??= new AbortController();
    if (this.#isExpired) this.#abort.abort();
    return this.#abort.signal;
  }

  expire(): void {
    this.#isExpired = true;
    this.#abort?.abort();
  }
}
