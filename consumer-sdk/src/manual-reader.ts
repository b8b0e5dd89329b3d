/**
 * The sequential form: an iterator over messages that its user ends by hand.
 *
 * Invariants
 * - R1 One message at a time is renewed: the one that the loop's body works on. A message left behind
 *   without an end runs out, so that a forgotten ack shows as a redelivery and not as a stuck message.
 * - R2 Leaving the loop ends the reading; what waits goes back.
 */
import { EscrowError } from "@escrowmq/protocol";
import type { Delivery } from "./delivery.ts";
import type { Reader } from "./handler-reader.ts";
import type { Intake } from "./intake.ts";
import type { ManualMessage } from "./message.ts";

type Result = IteratorResult<ManualMessage<unknown>, undefined>;

interface Wish {
  readonly resolve: (result: Result) => void;
  readonly reject: (error: Error) => void;
}

type ManualState =
  | { readonly kind: "idle" }
  | { readonly kind: "wanting"; readonly wish: Wish }
  | { readonly kind: "ended"; readonly error: Error | null };

const DONE: Result = { done: true, value: undefined };

export class ManualReader implements Reader, AsyncIterableIterator<ManualMessage<unknown>> {
  readonly #intake: Intake;
  readonly #left: () => void;
  #current: Delivery | null = null;
  #state: ManualState = { kind: "idle" };

  /** `left` is called when the loop is left. */
  constructor(intake: Intake, left: () => void) {
    this.#intake = intake;
    this.#left = left;
  }

  [Symbol.asyncIterator](): this {
    return this;
  }

  next(): Promise<Result> {
    const state = this.#state;
    if (state.kind === "wanting")
      return Promise.reject(
        new EscrowError("INVALID_ARGUMENT", "The iterator is sequential: await one next() first."),
      );
    // R1
    if (this.#current !== null) this.#current.renewal = "manual";
    this.#current = null;
    if (state.kind === "ended")
      return state.error === null ? Promise.resolve(DONE) : Promise.reject(state.error);
    return new Promise((resolve, reject) => {
      this.#state = { kind: "wanting", wish: { resolve, reject } };
      this.pump();
    });
  }

  return(): Promise<Result> {
    if (this.#state.kind !== "ended") {
      this.end(null);
      this.#left();
    }
    return Promise.resolve(DONE);
  }

  pump(): void {
    if (this.#state.kind !== "wanting") return;
    const delivery = this.#intake.take();
    if (delivery === undefined) return;
    const { wish } = this.#state;
    this.#state = { kind: "idle" };
    this.#current = delivery;
    delivery.onOver = () => this.#intake.finished(delivery);
    wish.resolve({ done: false, value: delivery });
  }

  end(error: Error | null): void {
    const state = this.#state;
    if (state.kind === "ended") return;
    this.#state = { kind: "ended", error };
    if (state.kind !== "wanting") return;
    if (error === null) state.wish.resolve(DONE);
    else state.wish.reject(error);
  }
}
