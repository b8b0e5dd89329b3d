/**
 * The queue as a whole: what went in comes out, once, and nothing else does.
 *
 * Rules
 * - D1 Nothing is visible that nobody sent, or in another topic.  T3 Each message has one place.
 * - I3 Of a send all messages are visible or none; of a transaction all, exactly if it is committed (T1).
 * - I1 A send that was ok is there.  E2 One that failed is not. (There is, too, what waits for others' verdicts; D20.)
 * - D2 Each group was given each visible message that its filter lets pass (D18), unless an operator or
 *   retention took it.
 */
import type { Final } from "./final.ts";
import {
  type History,
  type Intervention,
  type Prepare,
  readKey,
  type Transaction,
} from "./history.ts";
import { recalledIn } from "./recalls.ts";

export function queueProblems(history: History, final: Final): string[] {
  const places = placesIn(final);
  const problems = [...strangers(history, final), ...doubles(places)];
  const recalled = recalledIn(history);
  const there = new Set([...places.keys(), ...final.waiting]);
  for (const { id, messages, outcome } of sendsById(history)) {
    const visible = messages.filter((message) => there.has(message)).length;
    const isWhole = messages.every((message) => there.has(message) || recalled.has(message));
    if (visible > 0 && !isWhole) problems.push(`I3: half of the send ${id} is visible`);
    if (outcome === "ok" && visible === 0 && !isWhole)
      problems.push(`I1: the send ${id} was ok and is lost`);
    if (outcome === "fail" && visible > 0)
      problems.push(`E2: the send ${id} failed and is visible`);
  }
  for (const transaction of history.transactions.values())
    problems.push(...transactionProblems(transaction, there, recalled, final));
  for (const topic of history.topics)
    if (!final.topics.has(topic)) problems.push(`I1: the topic ${topic} is lost`);
  return [...problems, ...unread(history, final)];
}

/** By message: its topics, one for each place. */
function placesIn({ visible }: Final): Map<string, string[]> {
  const places = new Map<string, string[]>();
  for (const [topic, ids] of visible)
    for (const id of ids) places.set(id, [...(places.get(id) ?? []), topic]);
  return places;
}

function* strangers({ messages }: History, { visible }: Final): Iterable<string> {
  for (const [topic, ids] of visible)
    for (const id of ids) {
      const said = messages.get(id);
      if (said === undefined) yield `D1: ${topic} holds ${id}, which nobody sent`;
      else if (said.topic !== topic) yield `D1: ${topic} holds ${id}, which was for ${said.topic}`;
    }
}

function* doubles(places: ReadonlyMap<string, readonly string[]>): Iterable<string> {
  for (const [id, topics] of places)
    if (topics.length > 1) yield `T3: ${id} has ${topics.length} places`;
}

/** The same send again is the same one: it was ok if it ever was. */
function sendsById({ sends }: History) {
  const byId = new Map<string, (typeof sends)[number]>();
  const rank = { fail: 0, info: 1, ok: 2 } as const;
  for (const send of sends) {
    const known = byId.get(send.id);
    if (known === undefined || rank[send.outcome] > rank[known.outcome]) byId.set(send.id, send);
  }
  return byId.values();
}

function transactionProblems(
  { id, steps }: Transaction,
  there: ReadonlySet<string>,
  recalled: ReadonlySet<string>,
  { transactions }: Final,
): string[] {
  const state = transactions.get(id) ?? "none";
  const contents = steps.filter((step): step is Prepare => step.kind === "prepare");
  const isWhole = ({ messages }: Prepare): boolean =>
    messages.every((message) => there.has(message) || recalled.has(message));
  const visible = new Set(
    contents.flatMap(({ messages }) => messages.filter((one) => there.has(one))),
  );
  if (state !== "committed")
    return visible.size === 0
      ? []
      : [`T1: ${visible.size} messages of ${id} are visible: it is ${state}`];
  const fits = contents.some(
    (one) => isWhole(one) && [...visible].every((message) => one.messages.includes(message)),
  );
  return fits ? [] : [`I3: not all messages of ${id}, or too many, are visible: it is committed`];
}

function* unread(history: History, { groups, visible, standings }: Final): Iterable<string> {
  const taken = takenBy(history.interventions);
  for (const group of groups)
    for (const [topic, ids] of visible) {
      if (taken.has(`${group} ${topic}`)) continue;
      for (const [offset, id] of ids.entries()) {
        const key = readKey(group, topic, offset);
        if (!history.mustWant(group, id)) continue;
        const standing = standings.get(key) ?? "settled";
        if (standing === "settled" && !history.reads.has(key) && !taken.has(key))
          yield `D2: ${key} was settled and never delivered`;
      }
    }
  for (const [key, { message }] of history.reads) {
    const { topic, offset } = placeOf(key);
    const ids = visible.get(topic);
    if (ids !== undefined && ids[offset] !== message)
      yield `T1: ${key} was delivered: ${message}, and is ${ids[offset] ?? "nothing"} in the end`;
  }
}

/** What an operator may have taken past a group: all of a topic, one message, a dead letter whose deliveries were lost. */
const takenBy = (interventions: readonly Intervention[]): Set<string> =>
  new Set(
    interventions.flatMap(({ kind, group, topic, offset }) => {
      if (kind === "reset") return [`${group} ${topic}`];
      return (kind === "purge" || kind === "skip") && offset !== null
        ? [readKey(group, topic, offset)]
        : [];
    }),
  );

function placeOf(key: string): { topic: string; offset: number } {
  const at = key.lastIndexOf("@");
  return { topic: key.slice(key.indexOf(" ") + 1, at), offset: Number(key.slice(at + 1)) };
}
