/**
 * The broker's clock and its timers: the only place that reads them.
 *
 * Broker time looks like ms since 1970 but runs with the monotonic clock: a jump of the wall clock moves
 * nothing, and it never goes back, not across a restart either (C5).
 */
export interface Clock {
  /** Broker time, whole ms since 1970. */
  nowMs(): number;
  /** For measuring how long something took, in ms with fractions. */
  monotonicMs(): number;
  /** Never falls behind `atMs` from now on: called once after recovery. */
  startAfter(atMs: number): void;
  setTimer(callback: () => void, delayMs: number): Timer;
}

export interface Timer {
  cancel(): void;
}

/** setTimeout fires at once beyond this. */
const TIMER_MS_MAX = 2_147_483_647;

export function systemClock(): Clock {
  const startMs = performance.now();
  let baseMs = Date.now();
  const monotonicMs = (): number => performance.now() - startMs;
  const nowMs = (): number => Math.floor(baseMs + monotonicMs());
  return {
    nowMs,
    monotonicMs,
    startAfter: (atMs) => {
      if (nowMs() <= atMs) baseMs += atMs - nowMs() + 1;
    },
    setTimer: (callback, delayMs) => {
      const timer = setTimeout(callback, Math.min(Math.max(0, delayMs), TIMER_MS_MAX));
      return { cancel: () => clearTimeout(timer) };
    },
  };
}
