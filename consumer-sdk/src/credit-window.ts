/**
 * How much the broker may have under way to this consumer. Pure.
 *
 * Invariants
 * - M1 Granted and unused + held <= the window, in messages and in bytes, but for a window that shrank:
 *   what was granted cannot be taken back.
 * - M2 Nothing held means that the whole window is granted: a message of any legal size gets through.
 * - M3 The window follows the handlers: it grows while they use it up in no time, and goes back to twice
 *   the concurrency as soon as messages wait, so that a slow consumer does not hoard work.
 */
import { LIMITS } from "@escrowmq/protocol";

/** A window that is used up faster than this is too small to bridge the way to the broker. */
const USED_UP_WITHIN_MS = 100;
/** A message that waited here longer than this would have been better off with another consumer. */
const WAITED_TOO_LONG_MS = 250;
const MESSAGES_MAX = 8_192;
const BYTES_MAX = 33_554_432;
/** Grants are gathered until a quarter of the window has come together. */
const GATHERED_SHARE = 4;

export interface Credit {
  readonly messages: number;
  readonly bytes: number;
}

export class CreditWindow {
  readonly #bytes: number;
  #messagesMin = 0;
  #messages = 0;
  #granted = { messages: 0, bytes: 0 };
  #held = { messages: 0, bytes: 0 };
  #startedSince = 0;
  #sinceMs = 0;

  constructor(bytesMax: number = BYTES_MAX) {
    this.#bytes = bytesMax;
  }

  /** Somebody reads with this concurrency. */
  serve(concurrency: number): void {
    this.#messagesMin = Math.min(concurrency * 2, LIMITS.creditMessagesMax);
    this.#messages = this.#messagesMin;
  }

  /** Messages wait too long. */
  shrink(nowMs: number): void {
    this.#messages = this.#messagesMin;
    this.#since(nowMs);
  }

  /** On a new connection nothing is granted; what handlers still hold stays held. */
  connected(): void {
    this.#granted = { messages: 0, bytes: 0 };
  }

  delivered(bytes: number): void {
    this.#granted.messages = Math.max(0, this.#granted.messages - 1);
    this.#granted.bytes = Math.max(0, this.#granted.bytes - bytes);
    this.#held.messages++;
    this.#held.bytes += bytes;
  }

  finished(bytes: number): void {
    this.#held.messages--;
    this.#held.bytes -= bytes;
  }

  /** A handler was given a message that arrived at `arrivedAtMs`. */
  started(nowMs: number, arrivedAtMs: number): void {
    if (nowMs - arrivedAtMs > WAITED_TOO_LONG_MS) {
      this.shrink(nowMs);
      return;
    }
    if (++this.#startedSince < this.#messages) return;
    if (nowMs - this.#sinceMs < USED_UP_WITHIN_MS)
      this.#messages = Math.max(this.#messagesMin, Math.min(this.#messages * 2, MESSAGES_MAX));
    this.#since(nowMs);
  }

  /** What to grant now, or null. The caller must send it. */
  grant(): Credit | null {
    const messages = this.#messages - this.#granted.messages - this.#held.messages;
    const bytes = this.#bytes - this.#granted.bytes - this.#held.bytes;
    if (messages <= 0 && bytes <= 0) return null;
    const isWorthIt =
      messages * GATHERED_SHARE >= this.#messages || bytes * GATHERED_SHARE >= this.#bytes;
    // M2
    if (!isWorthIt && this.#held.messages > 0) return null;
    const credit = { messages: Math.max(0, messages), bytes: Math.max(0, bytes) };
    this.#granted.messages += credit.messages;
    this.#granted.bytes += credit.bytes;
    return credit;
  }

  #since(nowMs: number): void {
    this.#startedSince = 0;
    this.#sinceMs = nowMs;
  }
}
