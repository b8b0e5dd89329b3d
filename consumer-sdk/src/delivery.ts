/**
 * One delivery, from its arrival to its end.
 *
 * Invariants
 * - J1 It ends once: settled, joined, or lost; whoever comes second is told STALE_DELIVERY or ignored.
 * - J2 Its token is only ever used on the connection that brought it.
 * - J3 What few handlers ask for (signal, text, JSON) costs nothing until it is asked for.
 */
import {
  type BrokerFrames,
  CORRELATION_HEADER,
  decodeMessage,
  EscrowError,
  INBOX_HEADER,
  LIMITS,
} from "@escrowmq/protocol";
import { type Codec, encodeBody, json, type Topic, text } from "@escrowmq/protocol/client";
import type { ManualMessage, Origin } from "./message.ts";
import type { RetryOptions } from "./throws.ts";

export type DeliveryFrame = BrokerFrames["deliver"]["deliveries"][number];

/** leased: it may still be settled. settled: its end was sent. joined: a transaction decides. lost: another's. */
export type DeliveryState = "leased" | "settled" | "joined" | "lost";

/** What a delivery asks of its consumer. `ended` gets the broker's answer. */
export interface Settler {
  ack(delivery: Delivery, ended: Ended | null): void;
  retry(delivery: Delivery, options: RetryOptions, ended: Ended | null): void;
  bury(delivery: Delivery, reason: string, ended: Ended | null): void;
  release(delivery: Delivery, ended: Ended | null): void;
  extend(delivery: Delivery, leaseMs: number | undefined, ended: Ended): void;
  joined(delivery: Delivery): void;
  reply(inbox: string, correlation: string, body: Uint8Array): Promise<void>;
}

export type Ended = (error: EscrowError | null) => void;

export class Delivery implements ManualMessage<unknown> {
  readonly id: string;
  readonly topic: string;
  readonly offset: number;
  readonly key: string | undefined;
  readonly tag: string | undefined;
  readonly headers: Readonly<Record<string, string>>;
  readonly body: unknown;
  readonly raw: Uint8Array;
  readonly attempt: number;
  readonly atMs: number;
  readonly delayMs: number | undefined;
  readonly ttlMs: number | undefined;
  readonly origin: Origin | undefined;
  readonly token: string;
  /** Encoded, as credit counts it. */
  readonly bytes: number;
  readonly leaseMs: number;
  readonly arrivedAtMs: number;
  leasedUntilMs: number;
  /** When to renew the lease, as long as that is the consumer's business. */
  renewAtMs: number;
  renewal: "automatic" | "manual" = "automatic";
  state: DeliveryState = "leased";
  /** Called once, when it is settled, joined or lost. */
  onOver: (() => void) | null = null;
  readonly #settler: Settler;
  readonly #deliverAtMs: number | undefined;
  #abort: AbortController | null = null;
  #over: EscrowError | null = null;

  /** Throws what the message's decoder or the topic's codec throws. */
  constructor(frame: DeliveryFrame, topic: Topic<unknown>, nowMs: number, settler: Settler) {
    const message = decodeMessage(frame.message);
    this.id = message.id;
    this.topic = frame.topic;
    this.offset = frame.offset;
    this.key = message.key;
    this.tag = message.tag;
    this.headers = message.headers ?? {};
    // A copy: whoever keeps a message for long must not keep all that came with it.
    this.raw = new Uint8Array(message.body);
    this.body = topic.codec.decode(this.raw);
    this.attempt = frame.attempt;
    this.atMs = frame.atMs;
    this.delayMs = message.delayMs;
    this.ttlMs = message.ttlMs;
    this.#deliverAtMs = message.deliverAtMs;
    this.origin = frame.origin;
    this.token = frame.token;
    this.bytes = frame.message.length;
    this.leaseMs = frame.leaseMs;
    this.arrivedAtMs = nowMs;
    this.leasedUntilMs = nowMs + frame.leaseMs;
    this.renewAtMs = nowMs + frame.leaseMs / 2;
    this.#settler = settler;
  }

  text(): string {
    return text.decode(this.raw);
  }

  json<T = unknown>(): T {
    // The caller's claim about data from outside, as with any JSON.
    return json.decode(this.raw) as T;
  }

  get deliverAt(): Date | undefined {
    return this.#deliverAtMs === undefined ? undefined : new Date(this.#deliverAtMs);
  }

  get signal(): AbortSignal {
    this.#abort ??= new AbortController();
    if (this.#over !== null) this.#abort.abort(this.#over);
    return this.#abort.signal;
  }

  joined(): void {
    if (this.state !== "settled") this.#settler.joined(this);
  }

  get isRequest(): boolean {
    return this.#address() !== null;
  }

  async reply<T>(body: T, codec?: Codec<T>): Promise<void> {
    const address = this.#address();
    if (address === null) throw new EscrowError("NOT_A_REQUEST");
    const data = encodeBody(codec === undefined ? this.topic : { name: this.topic, codec }, body);
    if (data.length > LIMITS.replyBytesMax)
      throw new EscrowError(
        "BODY_TOO_LARGE",
        `A reply may have at most ${LIMITS.replyBytesMax} bytes.`,
      );
    await this.#settler.reply(address.inbox, address.correlation, data);
  }

  #address(): { readonly inbox: string; readonly correlation: string } | null {
    const { [INBOX_HEADER]: inbox, [CORRELATION_HEADER]: correlation } = this.headers;
    return inbox === undefined || correlation === undefined ? null : { inbox, correlation };
  }

  ack(): Promise<void> {
    return this.#settled((ended) => this.#settler.ack(this, ended));
  }

  retry(options: RetryOptions = {}): Promise<void> {
    return this.#settled((ended) => this.#settler.retry(this, options, ended));
  }

  bury(reason: string): Promise<void> {
    return this.#settled((ended) => this.#settler.bury(this, reason, ended));
  }

  release(): Promise<void> {
    return this.#settled((ended) => this.#settler.release(this, ended));
  }

  extend(leaseMs?: number): Promise<void> {
    return this.#settled((ended) => this.#settler.extend(this, leaseMs, ended));
  }

  /** Tells the handler that it works on what is no longer its own. */
  abort(error: EscrowError): void {
    this.#over ??= error;
    this.#abort?.abort(this.#over);
  }

  #settled(settle: (ended: Ended) => void): Promise<void> {
    return new Promise((resolve, reject) => {
      // J1
      if (this.state !== "leased") throw this.#over ?? new EscrowError("STALE_DELIVERY");
      settle((error) => {
        if (error === null) resolve();
        else reject(error);
      });
    });
  }
}
