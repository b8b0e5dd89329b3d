/**
 * After faults have ended and it has been quiet for long enough, everything has come to its end.
 *
 * Rules
 * - C1 Nothing is undecided, and nothing parked where somebody could say.
 * - D2 Each group has settled everything, but what hangs on a parked transaction, and in an ordered group what
 *   may stand behind that.
 */
import { partsOf } from "./deliveries.ts";
import type { Final } from "./final.ts";
import type { History, Read } from "./history.ts";

export function livenessProblems(history: History, final: Final): string[] {
  const problems: string[] = [];
  const { mayStayParked } = final.terms;
  for (const [id, state] of final.transactions)
    if (state === "undecided" || (state === "parked" && !mayStayParked))
      problems.push(`C1: ${id} is ${state} for ever`);
  const parked = new Set([...history.reads.values()].filter((read) => isParked(read, final)));
  const held = new Set([...parked].map(({ key }) => groupAndTopicOf(key)));
  for (const [key, standing] of final.standings) {
    if (standing !== "unsettled") continue;
    const read = history.reads.get(key);
    const isHeld = history.mayHold.has(partsOf(key).group) && held.has(groupAndTopicOf(key));
    if (!isHeld && (read === undefined || !parked.has(read)))
      problems.push(`D2: ${key} is settled by nobody, for ever`);
  }
  return problems;
}

const isParked = ({ joins }: Read, { transactions }: Final): boolean =>
  joins.some(({ transaction }) => transactions.get(transaction.id) === "parked");

function groupAndTopicOf(key: string): string {
  const { group, topic } = partsOf(key);
  return `${group} ${topic}`;
}
