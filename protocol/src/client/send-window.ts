/**
 * Sends and prepares leave as far as the broker's window goes; the others wait here, in their order. So
 * what a broker cannot take yet does not fill the sockets, in front of the verdicts and acks that follow.
 *
 * Invariants
 * - S1 What is out has at most the window's bytes, or is one request: a large one goes alone.
 * - S2 Requests leave in the order in which they came.
 */
import { LIMITS } from "../limits.ts";

interface Sized {
  readonly bytes: number;
}

export class SendWindow<Request extends Sized> {
  readonly #leave: (request: Request) => void;
  readonly #waiting = new Set<Request>();
  #bytesMax: number = LIMITS.windowBytesMax;
  #bytes = 0;

  /** `leave` sends a request whose turn has come. */
  constructor(leave: (request: Request) => void) {
    this.#leave = leave;
  }

  isWaiting(request: Request): boolean {
    return this.#waiting.has(request);
  }

  offer(request: Request): void {
    if (this.#waiting.size === 0 && this.#fits(request)) this.#out(request);
    else this.#waiting.add(request);
  }

  /** One that was out is answered, or will be sent again later. */
  returned({ bytes }: Request): void {
    this.#bytes -= bytes;
    this.#move();
  }

  /** One that waits is not to be sent any more. */
  withdraw(request: Request): void {
    // It may have been the one that did not fit.
    if (this.#waiting.delete(request)) this.#move();
  }

  resize(bytesMax: number): void {
    this.#bytesMax = bytesMax;
    this.#move();
  }

  /** The connection is gone, and with it what was out and what the broker said. */
  reset(): void {
    this.#waiting.clear();
    this.#bytes = 0;
    this.#bytesMax = LIMITS.windowBytesMax;
  }

  #fits({ bytes }: Request): boolean {
    return this.#bytes === 0 || this.#bytes + bytes <= this.#bytesMax;
  }

  #out(request: Request): void {
    this.#bytes += request.bytes;
    this.#leave(request);
  }

  #move(): void {
    for (const request of this.#waiting) {
      if (!this.#fits(request)) return;
      this.#waiting.delete(request);
      this.#out(request);
    }
  }
}
