/**
 * Gives messages to a handler, so many at once, and settles each by how the handler ended.
 *
 * Invariants
 * - U1 At most `concurrency` handlers run at once.
 * - U2 A handler that resolved is acked, one that threw is retried, buried or released; none of it once its delivery
 *   has been settled, has joined a transaction or is lost.
 */
import type { Delivery } from "./delivery.ts";
import type { Intake } from "./intake.ts";
import type { Handler } from "./options.ts";
import type { Settlements } from "./settlements.ts";
import { isBury, isRelease, isRetry } from "./throws.ts";

/** Who takes messages from the intake. */
export interface Reader {
  /** There may be something to take. */
  pump(): void;
  /** No more will come. */
  end(error: Error | null): void;
}

export class HandlerReader implements Reader {
  readonly #handle: Handler<unknown>;
  readonly #concurrency: number;
  readonly #intake: Intake;
  readonly #settlements: Settlements;
  readonly #noteFailed: (delivery: Delivery, error: unknown) => void;
  readonly finished: Promise<void>;
  #finish: (error: Error | null) => void = () => undefined;
  #running = 0;

  constructor(
    handle: Handler<unknown>,
    concurrency: number,
    from: { readonly intake: Intake; readonly settlements: Settlements },
    noteFailed: (delivery: Delivery, error: unknown) => void,
  ) {
    this.#handle = handle;
    this.#concurrency = concurrency;
    this.#intake = from.intake;
    this.#settlements = from.settlements;
    this.#noteFailed = noteFailed;
    this.finished = new Promise((resolve, reject) => {
      this.#finish = (error) => (error === null ? resolve() : reject(error));
    });
  }

  pump(): void {
    while (this.#running < this.#concurrency) {
      const delivery = this.#intake.take();
      if (delivery === undefined) return;
      this.#start(delivery);
    }
  }

  end(error: Error | null): void {
    this.#finish(error);
  }

  #start(delivery: Delivery): void {
    this.#running++;
    let result: unknown;
    try {
      result = this.#handle(delivery, delivery);
    } catch (error) {
      this.#failed(delivery, error);
      return;
    }
    if (isThenable(result)) result.then(this.#later(delivery), this.#laterFailed(delivery));
    else this.#succeeded(delivery);
  }

  /** Only what ends later pumps again: the loop that started the others is still at work. */
  #later(delivery: Delivery): () => void {
    return () => {
      this.#succeeded(delivery);
      this.pump();
    };
  }

  #laterFailed(delivery: Delivery): (error: unknown) => void {
    return (error) => {
      this.#failed(delivery, error);
      this.pump();
    };
  }

  #succeeded(delivery: Delivery): void {
    if (delivery.state === "leased") this.#settlements.ack(delivery, null);
    this.#ended(delivery);
  }

  #failed(delivery: Delivery, error: unknown): void {
    if (!isRelease(error)) this.#noteFailed(delivery, error);
    if (delivery.state === "leased") this.#settleFailed(delivery, error);
    this.#ended(delivery);
  }

  #settleFailed(delivery: Delivery, error: unknown): void {
    if (isRelease(error)) this.#settlements.release(delivery, null);
    else if (isBury(error)) this.#settlements.bury(delivery, error.reason, null);
    else if (isRetry(error)) {
      const reason =
        error.reason ?? (error.cause === undefined ? undefined : reasonOf(error.cause));
      this.#settlements.retry(delivery, { delayMs: error.delayMs, reason }, null);
    } else this.#settlements.retry(delivery, { reason: reasonOf(error) }, null);
  }

  #ended(delivery: Delivery): void {
    this.#running--;
    this.#intake.finished(delivery);
  }
}

const isThenable = (value: unknown): value is PromiseLike<unknown> =>
  typeof value === "object" &&
  value !== null &&
  "then" in value &&
  typeof value.then === "function";

const reasonOf = (error: unknown): string =>
  error instanceof Error ? `${error.name}: ${error.message}` : String(error);
