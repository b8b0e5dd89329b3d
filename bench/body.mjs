/**
 * Message bodies: bytes that do not compress, the same for all systems, with the time of sending in
 * the first eight bytes of those that carry one.
 */
import { randomFillSync } from "node:crypto";

const NO_STAMP = 0;

export class Bodies {
  #template;

  constructor(bytes) {
    this.#template = randomFillSync(Buffer.allocUnsafeSlow(bytes));
    this.#template.writeDoubleLE(NO_STAMP, 0);
  }

  /** With a stamp a copy, because the client may still hold the last one. */
  make(stampMs) {
    if (stampMs === NO_STAMP) return this.#template;
    const body = Buffer.from(this.#template);
    body.writeDoubleLE(stampMs, 0);
    return body;
  }
}

/** When the message was sent, or was due; 0 when it does not say. */
export function stampOf(body) {
  return new DataView(body.buffer, body.byteOffset, 8).getFloat64(0, true);
}
