import type { WireMessage } from "@escrowmq/protocol";
import type { NewMessage, NewTiming } from "../core/types.ts";
import { orderOf } from "./order-of.ts";

/** A message that came, as the core looks at it. */
export class Arrived implements NewMessage {
  readonly id: string;
  readonly topic: string;
  readonly bodyBytes: number;
  readonly data: Uint8Array;
  readonly timing?: NewTiming;
  readonly #key: string | undefined;

  constructor(message: WireMessage, data: Uint8Array) {
    const { id, topic, key, body, delayMs = 0, deliverAtMs = 0, ttlMs = 0 } = message;
    this.id = id;
    this.topic = topic;
    this.bodyBytes = body.length;
    this.data = data;
    this.#key = key;
    if (delayMs + deliverAtMs + ttlMs > 0) this.timing = { delayMs, deliverAtMs, ttlMs };
  }

  get key(): number {
    return orderOf(this.#key);
  }
}
