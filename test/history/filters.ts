/**
 * Filters, by a reading of their own. That what matches is delivered is D2 (queue.ts).
 *
 * Rules
 * - D18 What does not match a group's filter is never delivered to it.
 */
import { partsOf } from "./deliveries.ts";
import type { History } from "./history.ts";

export function filterProblems(history: History): string[] {
  const problems: string[] = [];
  for (const { key, message } of history.reads.values())
    if (!history.mayWant(partsOf(key).group, message))
      problems.push(`D18: ${key} was delivered: ${message}, which does not match`);
  return problems;
}
