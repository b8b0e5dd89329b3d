/**
 * The broker's clock and its timers: the only place that reads them.
 *
 * Broker time looks like ms since 1970 but runs with the monotonic clock: a jump of the wall clock moves
 * nothing, and it never goes back, not across a restart either (C5). While the process is stopped, or so busy
 * that it takes nothing, broker time stands still: what its peers said meanwhile waits in their sockets, and
 * leases and checks could otherwise run out before it is read.
 */
export interface Clock {
  /** Broker time, whole ms since 1970. */
  nowMs(): number;
  /** What other machines' clocks say, as far as this one knows: for what they compare with theirs. */
  wallMs(): number;
  /** For measuring how long something took, in ms with fractions. */
  monotonicMs(): number;
  /** Never falls behind `atMs` from now on: called once after recovery. */
  startAfter(atMs: number): void;
  setTimer(callback: () => void, delayMs: number): Timer;
  /** Again and again. Keeps no process alive. */
  repeat(callback: () => void, everyMs: number): Timer;
  /** After everything else that the event loop has found in this turn. */
  soon(callback: () => void): void;
}

export interface Timer {
  cancel(): void;
}

/** setTimeout fires at once beyond this. */
const TIMER_MS_MAX = 2_147_483_647;

/** How often a process that is well looks at its clock. */
const HEARTBEAT_MS = 500;
/** Longer without a look: it was stopped. Far from what garbage collection or a long step takes. */
const PAUSE_MS = 1_500;

/** Pauses are the process's and not a clock's: one watch for all clocks. */
class PauseWatch {
  #seenMs = performance.now();
  #pausedMs = 0;
  #heartbeat: NodeJS.Timeout | null = null;

  start(): void {
    this.#heartbeat ??= setInterval(() => this.look(performance.now()), HEARTBEAT_MS).unref();
  }

  /** How long the process was stopped in all until `monotonicMs`. */
  look(monotonicMs: number): number {
    const gapMs = monotonicMs - this.#seenMs;
    if (gapMs > PAUSE_MS) this.#pausedMs += gapMs - HEARTBEAT_MS;
    this.#seenMs = monotonicMs;
    return this.#pausedMs;
  }
}

const pauses = new PauseWatch();

export function systemClock(): Clock {
  pauses.start();
  const startMs = performance.now();
  const pausedBeforeMs = pauses.look(startMs);
  let baseMs = Date.now();
  const monotonicMs = (): number => performance.now() - startMs;
  const nowMs = (): number => {
    const runMs = monotonicMs();
    return Math.floor(baseMs + runMs - (pauses.look(startMs + runMs) - pausedBeforeMs));
  };
  return {
    nowMs,
    wallMs: () => Date.now(),
    monotonicMs,
    startAfter: (atMs) => {
      if (nowMs() <= atMs) baseMs += atMs - nowMs() + 1;
    },
    setTimer: (callback, delayMs) => {
      const timer = setTimeout(callback, Math.min(Math.max(0, delayMs), TIMER_MS_MAX));
      return { cancel: () => clearTimeout(timer) };
    },
    repeat: (callback, everyMs) => {
      const timer = setInterval(callback, everyMs).unref();
      return { cancel: () => clearInterval(timer) };
    },
    soon: (callback) => void setImmediate(callback),
  };
}
