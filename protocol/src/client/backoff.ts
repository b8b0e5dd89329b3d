/**
 * How long to wait before trying again. Pure: the jitter's source is an argument.
 *
 * Invariants
 * - W1 The wait never shrinks with the attempt, up to its maximum, for one and the same jitter.
 * - W2 At least half of the wait is certain and at most half of it is jitter, so that clients which
 *   lost the broker together neither hammer it nor come back together.
 */
export interface BackoffPolicy {
  /** The longest wait after the first failure. */
  readonly firstMs: number;
  /** The longest wait after any failure. */
  readonly maxMs: number;
}

/** Between two dials. */
export const REDIAL: BackoffPolicy = { firstMs: 100, maxMs: 10_000 };
/** Between two copies of a request that the broker refused for now. */
export const RESEND: BackoffPolicy = { firstMs: 50, maxMs: 2_000 };

/** The wait in ms after the `attempt`-th failure (1 for the first); `random` is in [0, 1). */
export function backoffMs(policy: BackoffPolicy, attempt: number, random: number): number {
  // Beyond 2^30 the doubling could only leave the range of numbers.
  const doublings = Math.min(attempt - 1, 30);
  const longestMs = Math.min(policy.maxMs, policy.firstMs * 2 ** doublings);
  return Math.round((longestMs / 2) * (1 + random));
}
