/**
 * All that the client takes from the world: sockets, time and chance. Tests pass their own, so that
 * none of them sleeps, listens or depends on luck.
 */
import { type Dial, platformDial } from "./dial.ts";

export interface Timer {
  stop(): void;
}

export interface Environment {
  readonly dial: Dial;
  /** Monotonic: it neither jumps nor goes back. */
  readonly nowMs: () => number;
  readonly startTimer: (run: () => void, afterMs: number) => Timer;
  /** Runs once the present turn of the event loop is over: what is sent in one turn travels together. */
  readonly afterTick: (run: () => void) => void;
  /** In [0, 1); for jitter only. */
  readonly random: () => number;
  /** Cryptographic randomness; for ids. */
  readonly fillRandom: (bytes: Uint8Array) => void;
}

export const platformEnvironment: Environment = {
  dial: platformDial,
  nowMs: () => performance.now(),
  startTimer: (run, afterMs) => {
    const timer = setTimeout(run, afterMs);
    return { stop: () => clearTimeout(timer) };
  },
  afterTick:
    typeof setImmediate === "function" ? (run) => setImmediate(run) : (run) => queueMicrotask(run),
  random: Math.random,
  fillRandom: (bytes) => {
    globalThis.crypto.getRandomValues(bytes);
  },
};
