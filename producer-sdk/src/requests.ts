/**
 * Requests that wait for a reply. The request is an ordinary message; its reply comes to the inbox of this
 * connection, and to nowhere else.
 *
 * Invariants
 * - A1 Each request has one outcome: the first reply, or an error that says why none will come.
 * - A2 With the connection its inbox is gone: what waits there is told at once, and not at its time.
 * - A3 What waits is bounded.
 */
import { CORRELATION_HEADER, EscrowError, INBOX_HEADER } from "@escrowmq/protocol";
import type { Calls, Environment, Timer } from "@escrowmq/protocol/client";
import { type Codec, json, text } from "@escrowmq/protocol/client";
import type { OutgoingMessage } from "./message.ts";

export interface RequestMessage<T, R> extends OutgoingMessage<T> {
  /** How long the reply may take; the message's `ttlMs`, too, if it names none. Default: the client's `requestTimeoutMs`. */
  readonly timeoutMs?: number | undefined;
  /** Reads the reply's body. Default: bytes. */
  readonly reply?: Codec<R> | undefined;
  readonly signal?: AbortSignal | undefined;
}

export interface Answer<R = Uint8Array> {
  /** Of the request's message. */
  readonly id: string;
  readonly body: R;
  readonly raw: Uint8Array;
  /** The body as UTF-8 text. Throws when it is none. */
  text(): string;
  /** The body as JSON; `T` is what the caller says it is. Throws when it is none. */
  json<T = unknown>(): T;
}

/** Enough for any pool of callers; beyond it somebody does not await. */
const WAITING_MAX = 10_000;

interface Waiting {
  readonly resolve: (body: Uint8Array) => void;
  readonly reject: (error: unknown) => void;
}

export class Requests {
  readonly #calls: Calls;
  readonly #environment: Environment;
  /** By correlation. */
  readonly #waiting = new Map<string, Waiting>();
  /** Of the present connection. */
  #inbox: Promise<string> | null = null;

  constructor(calls: Calls, environment: Environment) {
    this.#calls = calls;
    this.#environment = environment;
  }

  get size(): number {
    return this.#waiting.size;
  }

  /** `send` sends the message with these headers, unless it is aborted first. */
  async ask(
    correlation: string,
    options: { readonly timeoutMs: number; readonly signal?: AbortSignal | undefined },
    send: (headers: Readonly<Record<string, string>>, signal: AbortSignal) => Promise<unknown>,
  ): Promise<Uint8Array> {
    // A3
    if (this.#waiting.size >= WAITING_MAX)
      throw new EscrowError("OVERLOADED", `${WAITING_MAX} requests wait for replies.`);
    if (this.#waiting.has(correlation))
      throw new EscrowError("INVALID_ARGUMENT", "A request with this id waits for its reply.");
    const giveUp = new AbortController();
    const reply = this.#wait(correlation, options, giveUp);
    this.#openInbox()
      .then((inbox) =>
        send({ [INBOX_HEADER]: inbox, [CORRELATION_HEADER]: correlation }, giveUp.signal),
      )
      .catch((error: unknown) => this.#waiting.get(correlation)?.reject(error));
    return reply;
  }

  /** A second reply is to a delivery that came twice: nobody waits for it (A1). */
  replied(correlation: string, body: Uint8Array): void {
    this.#waiting.get(correlation)?.resolve(body);
  }

  // A2
  lost(cause: EscrowError): void {
    this.#inbox = null;
    const error =
      cause.code === "CLOSED" ? cause : new EscrowError("INBOX_LOST", undefined, { cause });
    for (const { reject } of [...this.#waiting.values()]) reject(error);
  }

  #wait(
    correlation: string,
    {
      timeoutMs,
      signal,
    }: { readonly timeoutMs: number; readonly signal?: AbortSignal | undefined },
    giveUp: AbortController,
  ): Promise<Uint8Array> {
    return new Promise((resolve, reject) => {
      const aborted = (): void =>
        waiting.reject(new EscrowError("CLOSED", undefined, { cause: signal?.reason }));
      const end = (): void => {
        this.#waiting.delete(correlation);
        timer.stop();
        signal?.removeEventListener("abort", aborted);
        giveUp.abort();
      };
      const waiting: Waiting = {
        resolve: (body) => {
          end();
          resolve(body);
        },
        reject: (error) => {
          end();
          reject(error);
        },
      };
      const timer: Timer = this.#environment.startTimer(
        () => waiting.reject(new EscrowError("NO_REPLY")),
        timeoutMs,
      );
      this.#waiting.set(correlation, waiting);
      signal?.addEventListener("abort", aborted, { once: true });
      if (signal?.aborted === true) aborted();
    });
  }

  #openInbox(): Promise<string> {
    if (this.#inbox !== null) return this.#inbox;
    const opening = this.#calls
      .request((id) => ({ type: "inbox", id }), { onReconnect: "resend" })
      .then(({ inbox = "" }) => inbox);
    this.#inbox = opening;
    // The next request tries again.
    opening.catch(() => {
      if (this.#inbox === opening) this.#inbox = null;
    });
    return opening;
  }
}

export function answerOf<R>(id: string, raw: Uint8Array, codec: Codec<R> | undefined): Answer<R> {
  return {
    id,
    raw,
    body: decoded(raw, codec),
    text: () => text.decode(raw),
    // The caller's claim about data from outside, as with any JSON.
    json: <T>() => json.decode(raw) as T,
  };
}

function decoded<R>(raw: Uint8Array, codec: Codec<R> | undefined): R {
  // Without a codec R is Uint8Array.
  if (codec === undefined) return raw as R;
  try {
    return codec.decode(raw);
  } catch (cause) {
    throw new EscrowError("DECODE_FAILED", undefined, { cause });
  }
}
