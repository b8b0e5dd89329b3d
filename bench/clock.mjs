/**
 * One clock for all processes of a measurement.
 *
 * Invariant: `nowMs()` of two processes on one machine may be subtracted. It rests on the system's
 * monotonic clock; `performance.now()` alone starts anew in each process.
 */
const originMs = Number(process.hrtime.bigint()) / 1e6 - performance.now();

/** Milliseconds of the machine's monotonic clock. */
export const nowMs = () => originMs + performance.now();

/** Resolves when the clock shows `atMs`, or soon after. */
export function reached(atMs) {
  return new Promise((resolve) => setTimeout(resolve, Math.max(0, atMs - nowMs())));
}

export const paused = (ms) => new Promise((resolve) => setTimeout(resolve, ms));
