/**
 * After faults have ended and it has been quiet for long enough, everything has come to its end.
 *
 * Rules
 * - C1 Nothing is undecided, and nothing parked where somebody could say.
 * - D2 Each group has settled everything, but what hangs on a parked transaction.
 */
import type { Final } from "./final.ts";
import type { History } from "./history.ts";

export function livenessProblems(history: History, final: Final): string[] {
  const problems: string[] = [];
  const { mayStayParked } = final.terms;
  for (const [id, state] of final.transactions)
    if (state === "undecided" || (state === "parked" && !mayStayParked))
      problems.push(`C1: ${id} is ${state} for ever`);
  for (const [key, standing] of final.standings) {
    if (standing !== "unsettled") continue;
    const joins = history.reads.get(key)?.joins ?? [];
    const isHeld = joins.some(
      ({ transaction }) => final.transactions.get(transaction.id) === "parked",
    );
    if (!isHeld) problems.push(`D2: ${key} is settled by nobody, for ever`);
  }
  return problems;
}
