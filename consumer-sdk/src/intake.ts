/**
 * Deliveries on their way from the broker to a reader: decoded, counted against the credit, waiting.
 *
 * Invariants
 * - U3 What no reader was given goes back to the broker as it came: not an attempt.
 * - U4 What cannot be decoded is buried with its reason and reaches no reader.
 * - U5 A delivery is finished once in the window: when it goes back, is buried, is lost before a reader
 *   took it, or when its reader says so.
 */
import { EscrowError } from "@escrowmq/protocol";
import type { Topic } from "@escrowmq/protocol/client";
import { type Credit, CreditWindow } from "./credit-window.ts";
import { Delivery, type DeliveryFrame } from "./delivery.ts";
import { type ConsumerOptions, topicsOf } from "./options.ts";
import { Queue } from "./queue.ts";
import type { Settlements } from "./settlements.ts";

/** Messages that wait longer than this for a handler go back, but for one for each handler. */
const STALLED_AFTER_MS = 1_000;

export interface IntakeEvents {
  unreadable(topic: string, offset: number, error: EscrowError): void;
  /** There is room for more. */
  finished(): void;
}

export class Intake {
  readonly #topics: ReadonlyMap<string, Topic<unknown>>;
  readonly #nowMs: () => number;
  readonly #settlements: Settlements;
  readonly #events: IntakeEvents;
  readonly #window: CreditWindow;
  readonly #waiting = new Queue<Delivery>();
  /** Of the reader; 0 while there is none. */
  #concurrency = 0;
  #taken = 0;

  constructor(
    options: ConsumerOptions,
    nowMs: () => number,
    settlements: Settlements,
    events: IntakeEvents,
  ) {
    this.#topics = topicsOf(options);
    this.#nowMs = nowMs;
    this.#settlements = settlements;
    this.#events = events;
    this.#window = new CreditWindow(options.maxBytesInFlight);
  }

  /** Messages given to readers and not finished. */
  get taken(): number {
    return this.#taken;
  }

  /** A reader is there. */
  open(concurrency: number): void {
    this.#concurrency = concurrency;
    this.#window.serve(concurrency);
  }

  /** The reader is gone: what waits and what still comes goes back (U3). */
  shut(): void {
    this.#concurrency = 0;
    this.#giveBackBeyond(0);
  }

  /** On a new connection nothing is granted yet. */
  connected(): void {
    this.#window.connected();
  }

  accept(frames: readonly DeliveryFrame[]): void {
    const nowMs = this.#nowMs();
    for (const frame of frames) {
      this.#window.delivered(frame.message.length);
      if (this.#concurrency === 0) this.#refuse(frame);
      else this.#accept(frame, nowMs);
    }
  }

  /** The next message for a reader, which has to say `finished` for it. */
  take(): Delivery | undefined {
    for (;;) {
      const delivery = this.#waiting.shift();
      if (delivery === undefined) return undefined;
      if (delivery.state === "leased") {
        this.#window.started(this.#nowMs(), delivery.arrivedAtMs);
        this.#taken++;
        return delivery;
      }
      this.#window.finished(delivery.bytes);
    }
  }

  finished(delivery: Delivery): void {
    this.#taken--;
    this.#window.finished(delivery.bytes);
    this.#events.finished();
  }

  /** The connection is gone, and with it the leases of all that waits. */
  lost(): void {
    for (const delivery of this.#waiting.takeBeyond(0)) this.#window.finished(delivery.bytes);
  }

  /** What to grant the broker now, if anything. */
  grant(): Credit | null {
    return this.#concurrency === 0 ? null : this.#window.grant();
  }

  /** Other consumers of the group may be free for what stalls here. */
  giveBackStalled(nowMs: number): void {
    const oldest = this.#waiting.peek();
    if (oldest === undefined || nowMs - oldest.arrivedAtMs <= STALLED_AFTER_MS) return;
    this.#window.shrink(nowMs);
    this.#giveBackBeyond(this.#concurrency);
  }

  #accept(frame: DeliveryFrame, nowMs: number): void {
    const topic = this.#topics.get(frame.topic);
    try {
      if (topic === undefined) throw new EscrowError("TOPIC_NOT_FOUND");
      const delivery = new Delivery(frame, topic, nowMs, this.#settlements);
      this.#settlements.take(delivery);
      this.#waiting.push(delivery);
    } catch (cause) {
      // U4. Whatever the codec threw: the same bytes would not decode at the next attempt either.
      const why = cause instanceof Error ? cause.message : String(cause);
      const error = new EscrowError("DECODE_FAILED", `DECODE_FAILED: ${why}`, { cause });
      this.#settlements.buryUnreadable(frame.token, error.message);
      this.#window.finished(frame.message.length);
      this.#events.unreadable(frame.topic, frame.offset, error);
    }
  }

  #refuse(frame: DeliveryFrame): void {
    this.#settlements.releaseToken(frame.token);
    this.#window.finished(frame.message.length);
  }

  #giveBackBeyond(count: number): void {
    for (const delivery of this.#waiting.takeBeyond(count)) {
      if (delivery.state === "leased") this.#settlements.release(delivery, null);
      this.#window.finished(delivery.bytes);
    }
  }
}
