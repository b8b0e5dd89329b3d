/**
 * Order by key, of groups that are ordered from their beginning.
 *
 * Rules
 * - D9 Of a key a message is delivered only when those before it are settled: after it none of them comes
 *   again, and of each somebody had said how it ended.
 *
 * What an operator brought back, or took the group back to, has lost its place.
 */
import type { Final } from "./final.ts";
import { type History, type Intervention, type Read, readKey } from "./history.ts";

interface Place {
  readonly key: string;
  readonly read: Read | undefined;
}

export function orderProblems(history: History, final: Final): string[] {
  const moved = new Set(history.interventions.filter(isNoFailure).flatMap(movedBy));
  const problems: string[] = [];
  for (const group of final.groups) {
    if (!history.ordered.has(group)) continue;
    for (const [topic, ids] of final.visible) {
      if (moved.has(`${group} ${topic}`)) continue;
      for (const lane of lanesOf(history, group, topic, ids).values())
        problems.push(...laneProblems(final, lane, moved));
    }
  }
  return problems;
}

const isNoFailure = ({ outcome }: Intervention): boolean => outcome !== "fail";

const movedBy = ({ kind, group, topic, offset }: Intervention): string[] => {
  if (kind === "reset") return [`${group} ${topic}`];
  return offset === null ? [] : [readKey(group, topic, offset)];
};

/** By ordering key: the messages that the group wants, in their order. */
function lanesOf(
  history: History,
  group: string,
  topic: string,
  ids: readonly string[],
): Map<string, Place[]> {
  const lanes = new Map<string, Place[]>();
  for (const [offset, id] of ids.entries()) {
    const order = history.messages.get(id)?.key;
    if (order === undefined || !history.mustWant(group, id)) continue;
    const key = readKey(group, topic, offset);
    const lane = lanes.get(order) ?? [];
    lane.push({ key, read: history.reads.get(key) });
    lanes.set(order, lane);
  }
  return lanes;
}

function* laneProblems(
  final: Final,
  lane: readonly Place[],
  moved: ReadonlySet<string>,
): Iterable<string> {
  /** Of those before: the last delivery, and the end that was said last. */
  let last = { no: 0, key: "" };
  let open = { saidAt: 0, key: "" };
  for (const { key, read } of lane) {
    if (moved.has(key)) continue;
    const deliveries = read?.deliveries ?? [];
    const firstNo = Math.min(...deliveries.map(({ deliveryNo }) => deliveryNo));
    const firstAt = Math.min(...deliveries.map(({ at }) => at));
    if (firstNo < last.no) yield `D9: ${key} was delivered, and then ${last.key} before it`;
    if (firstAt < open.saidAt)
      yield `D9: ${key} was delivered, and nobody had settled ${open.key} before it`;
    const lastNo = Math.max(...deliveries.map(({ deliveryNo }) => deliveryNo));
    if (lastNo > last.no) last = { no: lastNo, key };
    const saidAt = saidToEndAt(final, key, read);
    if (saidAt > open.saidAt) open = { saidAt, key };
  }
}

/** When the end of a message was said first; 0: it may have come to it by itself. */
function saidToEndAt(
  { standings, transactions }: Final,
  key: string,
  read: Read | undefined,
): number {
  const standing = standings.get(key);
  if (standing === "dead" || standing === "gone") return 0;
  const ends = (read?.deliveries ?? [])
    .flatMap((delivery) => delivery.ends)
    .filter(({ kind, outcome }) => (kind === "ack" || kind === "bury") && outcome !== "fail")
    .map(({ invokedAt }) => invokedAt);
  const joins = (read?.joins ?? [])
    .filter(({ transaction }) => transactions.get(transaction.id) === "committed")
    .flatMap(({ transaction }) => transaction.steps)
    .filter(({ kind }) => kind === "prepare")
    .map(({ invokedAt }) => invokedAt);
  return Math.min(...ends, ...joins);
}
