/**
 * Groups that an operator has paused.
 *
 * Rules
 * - D16 Who begins to read for a group while it is paused gets nothing until somebody has asked for its return. (What
 *   was on its way before the pause still comes to those who read then.)
 */
import type { GroupPause, History } from "./history.ts";

export function pauseProblems({ groupPauses, reads }: History): string[] {
  const problems: string[] = [];
  const spans = groupPauses.flatMap((pause) => spanOf(pause, groupPauses));
  if (spans.length === 0) return problems;
  for (const { key, deliveries } of reads.values())
    for (const { reader, at } of deliveries)
      for (const { group, from, to } of spans)
        if (group === reader.group && reader.beganAt > from && at < to)
          problems.push(`D16: ${key} was delivered, and the group was paused`);
  return problems;
}

interface Span {
  readonly group: string;
  /** The group is paused for sure after this, and before that. */
  readonly from: number;
  readonly to: number;
}

function spanOf(pause: GroupPause, all: readonly GroupPause[]): readonly Span[] {
  const { group, isPaused, outcome, invokedAt, endedAt: from } = pause;
  if (!isPaused || outcome !== "ok") return [];
  // One that was asked for before may still happen as long as nobody knows how it ended.
  const resumed = all.filter(
    (one) =>
      !one.isPaused && one.group === group && one.outcome !== "fail" && one.endedAt > invokedAt,
  );
  const to = Math.min(...resumed.map((one) => one.invokedAt), Number.POSITIVE_INFINITY);
  return to > from ? [{ group, from, to }] : [];
}
