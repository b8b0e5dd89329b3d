/**
 * What operators did to a group, kept with it: why it is paused, and the last few changes with who and why. The
 * log has them all; these are what somebody asks for first who finds a group not where it was.
 */

/** Nothing is delivered to the group until it is resumed. */
export interface Pause {
  readonly atMs: number;
  readonly operator: string;
  readonly reason: string;
}

export interface GroupChange {
  readonly atMs: number;
  readonly what: "paused" | "resumed" | "reset" | "skipped";
  /** "" for what is not about a topic; of several topics the first. */
  readonly topic: string;
  /** reset: where it went on; skipped: the first one. */
  readonly offset: number;
  /** Topics that were reset, or messages that were skipped. */
  readonly count: number;
  readonly operator: string;
  readonly reason: string;
}

/** A screen of them; each costs what its reason does. */
const CHANGES_KEPT = 5;

/** With one more, the newest first. What one request did to several topics is one change. */
export function withChange(
  changes: readonly GroupChange[],
  change: GroupChange,
): readonly GroupChange[] {
  const [last, ...others] = changes;
  if (last !== undefined && isOneRequest(last, change))
    return [{ ...last, count: last.count + change.count }, ...others];
  return [change, ...changes].slice(0, CHANGES_KEPT);
}

const isOneRequest = (one: GroupChange, other: GroupChange): boolean =>
  one.what === "reset" &&
  other.what === "reset" &&
  one.atMs === other.atMs &&
  one.operator === other.operator &&
  one.reason === other.reason;
