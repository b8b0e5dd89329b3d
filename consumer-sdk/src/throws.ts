/** What a handler throws to choose how its delivery ends. Any other throw is a retry by the group's policy. */
export interface RetryOptions {
  /** Until the next delivery, 0 ms to a year. Default: the next step of the group's ladder. */
  readonly delayMs?: number | undefined;
  /** Kept with the attempt, at most 512 characters. */
  readonly reason?: string | undefined;
  readonly cause?: unknown;
}

/** Deliver it again later. Counts as an attempt. */
export class Retry extends Error {
  override readonly name = "Retry";
  readonly delayMs: number | undefined;
  readonly reason: string | undefined;

  constructor({ delayMs, reason, cause }: RetryOptions = {}) {
    super(reason ?? "retry", cause === undefined ? undefined : { cause });
    this.delayMs = delayMs;
    this.reason = reason;
  }
}

/** Never deliver it again: it goes to the group's dead-letter topic, with the reason. */
export class Bury extends Error {
  override readonly name = "Bury";
  readonly reason: string;

  constructor(reason: string, options?: { readonly cause?: unknown }) {
    super(reason, options);
    this.reason = reason;
  }
}

/**
 * Give it back as it came: not an attempt, nor a failure. It is delivered again at once, perhaps to this consumer,
 * so it is for one that is about to stop; a handler that always throws it goes round in circles.
 */
export class Release extends Error {
  override readonly name = "Release";

  constructor() {
    super("release");
  }
}

// By name, because `instanceof` fails across duplicate installs of this package.
export const isRetry = (error: unknown): error is Retry =>
  error instanceof Error && error.name === "Retry" && "delayMs" in error;

export const isBury = (error: unknown): error is Bury =>
  error instanceof Error && error.name === "Bury" && "reason" in error;

export const isRelease = (error: unknown): error is Release =>
  error instanceof Error && error.name === "Release";
