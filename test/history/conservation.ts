/**
 * B1: what went in is accounted for. For each topic, by the broker's own figures:
 * the messages of ok operations <= visible + half + scheduled + queued + recalled + those of what was rolled back
 * <= the messages of ok operations and of those whose outcome nobody knows. What may have been recalled, or
 * may never have been there, counts on the left only.
 */
import type { Final } from "./final.ts";
import type { History, Prepare } from "./history.ts";
import { recalledIn, surelyRecalledIn } from "./recalls.ts";

interface Sums {
  ok: number;
  asked: number;
  rolledBack: number;
}

export function conservationProblems(history: History, final: Final): string[] {
  const problems: string[] = [];
  const sums = new Map<string, Sums>();
  for (const batch of batchesOf(history, final)) add(sums, history, batch);
  const recalledAtMost = byTopic(recalledIn(history), history, final);
  const recalledAtLeast = byTopic(surelyRecalledIn(history), history, final);
  for (const { topic, nextOffset, halfMessages, scheduled, queued } of final.accounts) {
    const goneAtMost = recalledAtMost.get(topic) ?? 0;
    const goneAtLeast = recalledAtLeast.get(topic) ?? 0;
    const { ok, asked, rolledBack } = sums.get(topic) ?? { ok: 0, asked: 0, rolledBack: 0 };
    const there = nextOffset + halfMessages + scheduled + queued + rolledBack;
    const figures = `${nextOffset} visible + ${halfMessages} half + ${scheduled} scheduled + ${queued} queued + ${goneAtLeast} to ${goneAtMost} recalled + ${rolledBack} rolled back`;
    if (there + goneAtMost < ok)
      problems.push(`B1: ${topic} took ${ok} messages, and has ${figures}`);
    if (there + goneAtLeast > asked)
      problems.push(`B1: ${topic} was given ${asked} messages, and has ${figures}`);
    const ids = final.visible.get(topic);
    if (ids !== undefined && ids.length !== nextOffset)
      problems.push(`B1: ${topic} has ${ids.length} messages, and counts ${nextOffset}`);
  }
  return problems;
}

/** Of these the ones that are not visible, and that no transaction holds that was not committed. */
function byTopic(
  recalled: ReadonlySet<string>,
  history: History,
  { visible, transactions }: Final,
): Map<string, number> {
  const seen = new Set([...visible.values()].flat());
  const lost = new Set<string>();
  for (const { id, steps } of history.transactions.values())
    if (transactions.get(id) !== "committed")
      for (const step of steps)
        if (step.kind === "prepare") for (const message of step.messages) lost.add(message);
  const counts = new Map<string, number>();
  for (const message of recalled) {
    if (seen.has(message) || lost.has(message)) continue;
    const topic = history.messages.get(message)?.topic ?? "";
    counts.set(topic, (counts.get(topic) ?? 0) + 1);
  }
  return counts;
}

interface Batch {
  /** The messages of an ok operation. */
  readonly ok: readonly string[];
  /** All that may have got in. */
  readonly asked: readonly string[];
  readonly isRolledBack: boolean;
}

/** One for each id: the same again is no more. */
function* batchesOf({ sends, transactions }: History, final: Final): Iterable<Batch> {
  const byId = new Map<string, Batch>();
  for (const { id, messages, outcome } of sends) {
    const known = byId.get(id) ?? { ok: [], asked: [], isRolledBack: false };
    const ok = outcome === "ok" ? messages : known.ok;
    byId.set(id, { ...known, ok, asked: outcome === "fail" ? known.asked : messages });
  }
  yield* byId.values();
  for (const { id, steps } of transactions.values()) {
    const prepares = steps.filter(
      (step): step is Prepare => step.kind === "prepare" && step.outcome !== "fail",
    );
    const asked = [...new Set(prepares.flatMap(({ messages }) => messages))];
    const ok = prepares.find(({ outcome }) => outcome === "ok")?.messages ?? [];
    const state = final.transactions.get(id) ?? "none";
    yield { ok, asked, isRolledBack: state === "rolledBack" };
  }
}

function add(sums: Map<string, Sums>, history: History, { ok, asked, isRolledBack }: Batch): void {
  const sumOf = (message: string): Sums => {
    const topic = history.messages.get(message)?.topic ?? "";
    const sum = sums.get(topic) ?? { ok: 0, asked: 0, rolledBack: 0 };
    sums.set(topic, sum);
    return sum;
  };
  for (const message of asked) sumOf(message).asked++;
  for (const message of ok) {
    sumOf(message).ok++;
    // Of a prepare that nobody heard of it is not known what was rolled back.
    if (isRolledBack) sumOf(message).rolledBack++;
  }
}
