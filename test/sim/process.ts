/**
 * One run of the broker's process, and the clock that it has: what it waits for happens only while it lives,
 * and not while it is stopped (SIGSTOP, a paused virtual machine).
 *
 * Its clock keeps the rules of broker/src/server/clock.ts: it runs with the monotonic clock from what the wall
 * clock said at the start, never falls behind the last block, and stands still while the process is stopped.
 */
import type { Clock, Timer } from "../../broker/src/server/clock.ts";
import type { Random } from "./random.ts";
import type { Time } from "./time.ts";

/** A pause that the heartbeat notices, and how much of it passes nevertheless. */
const PAUSE_MS = 1_500;
const HEARTBEAT_MS = 500;

export class Process implements Clock {
  readonly #time: Time;
  readonly #random: Random;
  readonly #startMs: number;
  #baseMs: number;
  #pausedMs = 0;
  #stoppedUntilMs = 0;
  #isAlive = true;
  /** What came while it was stopped. */
  #waiting: (() => void)[] = [];

  /** `wallMs`: what the wall clock says now. */
  constructor(time: Time, random: Random, wallMs: number) {
    this.#time = time;
    this.#random = random;
    this.#startMs = time.nowMs;
    this.#baseMs = wallMs;
  }

  get isAlive(): boolean {
    return this.#isAlive;
  }

  kill(): void {
    this.#isAlive = false;
  }

  stop(ms: number): void {
    const { nowMs } = this.#time;
    if (this.#stoppedUntilMs > nowMs) return;
    this.#stoppedUntilMs = nowMs + ms;
    this.#time.at(this.#stoppedUntilMs, () => {
      if (ms > PAUSE_MS) this.#pausedMs += ms - HEARTBEAT_MS;
      this.#time.touch();
      for (const callback of this.#waiting.splice(0)) callback();
    });
  }

  /** Now, or when the process goes on; never, if it does not. */
  wake(callback: () => void): void {
    if (!this.#isAlive) return;
    this.#time.touch();
    if (this.#stoppedUntilMs <= this.#time.nowMs && this.#waiting.length === 0) return callback();
    this.#waiting.push(() => {
      if (this.#isAlive) callback();
    });
  }

  after(ms: number, callback: () => void): void {
    this.#time.after(ms, () => this.wake(callback));
  }

  nowMs(): number {
    return Math.floor(this.#baseMs + this.monotonicMs() - this.#pausedMs);
  }

  wallMs(): number {
    return this.nowMs();
  }

  monotonicMs(): number {
    return this.#time.nowMs - this.#startMs;
  }

  startAfter(atMs: number): void {
    const nowMs = this.nowMs();
    if (nowMs <= atMs) this.#baseMs += atMs - nowMs + 1;
  }

  setTimer(callback: () => void, delayMs: number): Timer {
    let isOn = true;
    this.after(Math.max(0, delayMs), () => {
      if (isOn) callback();
    });
    return {
      cancel: () => {
        isOn = false;
      },
    };
  }

  repeat(callback: () => void, everyMs: number): Timer {
    let timer: Timer;
    const again = (): void => {
      timer = this.setTimer(() => {
        again();
        callback();
      }, everyMs);
    };
    again();
    return { cancel: () => timer.cancel() };
  }

  soon(callback: () => void): void {
    this.after(this.#random.next(), callback);
  }
}
