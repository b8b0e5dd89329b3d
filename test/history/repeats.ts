/**
 * Why a message came again, and under which number.
 *
 * Rules
 * - D5 Every repeat has a cause: a retry, a release, a rolled back join, a lease that ended, a reader that
 *   left, an operator.
 * - D6 No delivery comes twice; attempts rise by one for each that was used up, and begin again when an
 *   operator brings a message back.
 */
import { partsOf } from "./deliveries.ts";
import type { Final } from "./final.ts";
import type { Delivery, History, Intervention, Read } from "./history.ts";

export function repeatProblems(history: History, final: Final): string[] {
  const problems: string[] = [];
  for (const read of history.reads.values()) {
    const deliveries = [...read.deliveries].sort((one, other) => one.deliveryNo - other.deliveryNo);
    for (const [at, one] of deliveries.entries()) {
      const next = deliveries[at + 1];
      if (next === undefined) break;
      const problem = problemOf(read, one, next, history.interventions, final);
      if (problem !== null) problems.push(problem);
    }
  }
  return problems;
}

function problemOf(
  read: Read,
  one: Delivery,
  next: Delivery,
  interventions: readonly Intervention[],
  { terms }: Final,
): string | null {
  const { key } = read;
  if (one.deliveryNo === next.deliveryNo) return `D6: a delivery of ${key} came twice`;
  if (interventions.some((each) => isAbout(each, key) && isBetween(each, one, next))) return null;
  const rise = next.attempt - one.attempt;
  const isUsedUp = one.ends.some(({ kind, outcome }) => kind === "retry" && outcome === "ok");
  if (rise < (isUsedUp ? 1 : 0) || (rise > 1 && !terms.losesDeliveries))
    return `D6: attempt ${next.attempt} of ${key} followed attempt ${one.attempt}`;
  const isGivenBack = one.ends.some(
    ({ kind, outcome }) => (kind === "retry" || kind === "release") && outcome !== "fail",
  );
  const isJoined = read.joins.some(({ delivery }) => delivery === one);
  const isExpired = next.atMs - one.atMs > one.leaseMs - terms.latenessMs;
  const hasLeft = one.reader.endedAt < next.at;
  if (isGivenBack || isJoined || isExpired || hasLeft) return null;
  const ms = Math.round(next.atMs - one.atMs);
  const ends = one.ends.map(({ kind, outcome }) => `${kind} ${outcome}`).join() || "nothing";
  return `D5: ${key} came again ${ms} ms after attempt ${one.attempt}, and nobody knows why (it was answered ${ends}, its lease was ${one.leaseMs} ms)`;
}

/**
 * A reset explains whatever was under way when it was made, too. A dead letter that comes back was not: its last
 * delivery was over.
 */
const isBetween = (
  { kind, outcome, invokedAt, endedAt }: Intervention,
  one: Delivery,
  next: Delivery,
) =>
  kind !== "skip" &&
  outcome !== "fail" &&
  invokedAt < next.at &&
  (kind === "reset" || endedAt > one.at);

function isAbout({ group, topic, offset }: Intervention, key: string): boolean {
  const parts = partsOf(key);
  if (parts.group !== group || parts.topic !== topic) return false;
  return offset === null || offset === parts.offset;
}
