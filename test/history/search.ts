/**
 * Is there an order of these operations that explains what everybody saw? The search of Wing and Gong, with
 * Lowe's memory, for histories of one key, which are short.
 *
 * An operation takes effect at one moment between its invocation and its end; one whose end is not known (info)
 * takes effect at any moment after its invocation, or never.
 */
import type { Operation } from "./history.ts";

export interface Machine<Step extends Operation, State> {
  readonly start: State;
  /** The states that may follow when the step takes effect now; none: it cannot have been so. */
  readonly next: (state: State, step: Step) => readonly State[];
  /** The same text for the same state. */
  readonly textOf: (state: State) => string;
}

/** Null: there is such an order. Else the first step, by its end, that nothing explains any more. */
export function unexplained<Step extends Operation, State>(
  machine: Machine<Step, State>,
  steps: readonly Step[],
): Step | null {
  if (isExplained(machine, steps)) return null;
  const ended = steps
    .filter(({ endedAt }) => endedAt !== Number.POSITIVE_INFINITY)
    .sort((one, other) => one.endedAt - other.endedAt);
  for (const last of ended) {
    const until = steps
      .filter(({ invokedAt }) => invokedAt <= last.endedAt)
      .map((step) =>
        step.endedAt <= last.endedAt
          ? step
          : { ...step, outcome: "info" as const, endedAt: Number.POSITIVE_INFINITY },
      );
    if (!isExplained(machine, until)) return last;
  }
  return ended.at(-1) ?? null;
}

function isExplained<Step extends Operation, State>(
  { start, next, textOf }: Machine<Step, State>,
  steps: readonly Step[],
): boolean {
  const done = new Array<boolean>(steps.length).fill(false);
  const seen = new Set<string>();
  const explore = (state: State): boolean => {
    const deadlineAt = firstEnd(steps, done);
    if (deadlineAt === Number.POSITIVE_INFINITY) return true;
    const key = `${textOf(state)} ${done.map(Number).join("")}`;
    if (seen.has(key)) return false;
    seen.add(key);
    for (const [at, step] of steps.entries()) {
      // What was invoked after another one had ended came after it.
      if (done[at] || step.invokedAt > deadlineAt) continue;
      done[at] = true;
      for (const following of next(state, step)) if (explore(following)) return true;
      done[at] = false;
    }
    return false;
  };
  return explore(start);
}

/** The end of what ended first of what is left; infinite: all that is left may never have happened. */
function firstEnd(steps: readonly Operation[], done: readonly boolean[]): number {
  let first = Number.POSITIVE_INFINITY;
  for (const [at, { endedAt }] of steps.entries())
    if (!done[at] && endedAt < first) first = endedAt;
  return first;
}
