/**
 * Messages that were called back before they were visible.
 *
 * Rules
 * - D14 A message whose recall was ok is visible to nobody, before and for ever.
 */
import type { Final } from "./final.ts";
import type { History } from "./history.ts";

/** Not visible, but accounted for: its recall was ok, or nobody knows. */
export const recalledIn = ({ recalls }: History): Set<string> =>
  new Set(recalls.flatMap(({ message, outcome }) => (outcome === "fail" ? [] : [message])));

export const surelyRecalledIn = ({ recalls }: History): Set<string> =>
  new Set(recalls.flatMap(({ message, outcome }) => (outcome === "ok" ? [message] : [])));

export function recallProblems(history: History, { visible, waiting }: Final): string[] {
  const ok = surelyRecalledIn(history);
  const problems: string[] = [];
  for (const id of waiting) if (ok.has(id)) problems.push(`D14: ${id} was recalled, and waits`);
  for (const [topic, ids] of visible)
    for (const id of ids)
      if (ok.has(id)) problems.push(`D14: ${id} was recalled, and is in ${topic}`);
  for (const { key, message } of history.reads.values())
    if (ok.has(message)) problems.push(`D14: ${message} was recalled, and delivered: ${key}`);
  return problems;
}
