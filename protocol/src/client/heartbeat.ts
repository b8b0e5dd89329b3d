/**
 * Finds a peer that is gone without having said so. Two pings without any sign of life between them,
 * and three seconds' grace for the second, mean that it is dead: 21 s at most.
 */
import { LIMITS } from "../limits.ts";
import type { Environment, Timer } from "./environment.ts";

/** A ping every third beat; the beat after it is where its pong has to have come. */
const BEATS_PER_PING = 3;
const BEAT_MS = LIMITS.pingEveryMs / BEATS_PER_PING;
const UNANSWERED_MAX = 2;

export class Heartbeat {
  readonly #environment: Environment;
  readonly #ping: () => void;
  readonly #isDead: () => void;
  #timer: Timer;
  #beats = 0;
  #unanswered = 0;

  constructor(environment: Environment, ping: () => void, isDead: () => void) {
    this.#environment = environment;
    this.#ping = ping;
    this.#isDead = isDead;
    this.#timer = environment.startTimer(() => this.#beat(), BEAT_MS);
  }

  /** Anything that arrives shows that the peer lives. */
  heard(): void {
    this.#unanswered = 0;
  }

  stop(): void {
    this.#timer.stop();
  }

  #beat(): void {
    // One timer at a time: after a pause of this process a single beat comes late, not all of them
    // at once, so that the pongs which waited in the socket are read before the next is counted.
    this.#timer = this.#environment.startTimer(() => this.#beat(), BEAT_MS);
    this.#beats++;
    const beat = this.#beats % BEATS_PER_PING;
    if (beat === 1 && this.#unanswered >= UNANSWERED_MAX) this.#isDead();
    if (beat !== 0) return;
    this.#unanswered++;
    this.#ping();
  }
}
