/**
 * Frames on their way to one connection, gathered into WebSocket messages that the peer accepts.
 *
 * Invariants
 * - W1 No message has more frames, items or bytes than LIMITS say; frames keep their order.
 */
import { type BrokerFrame, type BrokerFrames, encodeBatch, LIMITS } from "@escrowmq/protocol";

/** Large enough to be cheap, small enough not to hold up what comes after. */
const MESSAGE_BYTES_TARGET = 65_536;
/** A frame without bodies. */
const FRAME_BYTES = 128;
const FRAME_ITEMS = 24;
const DELIVERY_ITEMS = 32;

export class Outbox {
  readonly #send: (data: Uint8Array) => void;
  #frames: BrokerFrame[] = [];
  #bytes = 0;
  #items = 0;

  constructor(send: (data: Uint8Array) => void) {
    this.#send = send;
  }

  add(frame: BrokerFrame, bodyBytes = 0, moreItems = 0): void {
    const items = FRAME_ITEMS + moreItems;
    const isFull =
      this.#frames.length >= LIMITS.batchFramesMax ||
      this.#items + items > LIMITS.batchItemsMax ||
      this.#bytes + bodyBytes > MESSAGE_BYTES_TARGET;
    if (isFull) this.flush();
    this.#frames.push(frame);
    this.#bytes += FRAME_BYTES + bodyBytes;
    this.#items += items;
  }

  /** Splits many deliveries into frames of a moderate size. */
  addDeliveries(subscription: number, deliveries: BrokerFrames["deliver"]["deliveries"]): void {
    let first = 0;
    let bytes = 0;
    for (const [at, { message }] of deliveries.entries()) {
      if (
        at > first &&
        (bytes + message.length > MESSAGE_BYTES_TARGET || at - first >= LIMITS.settleTokensMax)
      ) {
        this.#addDeliverFrame(subscription, deliveries.slice(first, at), bytes);
        first = at;
        bytes = 0;
      }
      bytes += message.length;
    }
    this.#addDeliverFrame(subscription, deliveries.slice(first), bytes);
  }

  flush(): void {
    if (this.#frames.length === 0) return;
    const frames = this.#frames;
    this.#frames = [];
    this.#bytes = 0;
    this.#items = 0;
    this.#send(encodeBatch(frames));
  }

  #addDeliverFrame(
    subscription: number,
    deliveries: BrokerFrames["deliver"]["deliveries"],
    bytes: number,
  ): void {
    if (deliveries.length > 0)
      this.add(
        { type: "deliver", subscription, deliveries },
        bytes,
        deliveries.length * DELIVERY_ITEMS,
      );
  }
}
