/** Operators' requests that only look. */
import type { ClientFrames, GroupView, TopicView } from "@escrowmq/protocol";
import { deadLetterTopic } from "@escrowmq/protocol/names";
import { refuseGroup, refuseTopic } from "./administer.ts";
import type { Core } from "./core.ts";
import { groupsBehind, pausedGroups } from "./retention-views.ts";
import { findTransaction, NOT_FOUND } from "./transact.ts";
import type { Turn } from "./turn.ts";
import type { ConnectionId, Inspection } from "./types.ts";
import * as views from "./views.ts";

/** As many as people read. */
const STANDING_SHOWN_MAX = 20;

type Page<Type extends "topic.list" | "group.list" | "producer.list"> = ClientFrames[Type];

export function listTopics(
  core: Core,
  turn: Turn,
  from: ConnectionId,
  frame: Page<"topic.list">,
): void {
  const { topicsByName, scheduled } = core.state;
  // Once for the page: it goes through all that is scheduled.
  const nextDue = scheduled.nextAtMsByTopic();
  const view = (name: string): TopicView | null => {
    const topic = topicsByName.get(name);
    return topic === undefined ? null : views.topicView(core, topic, turn.nowMs, nextDue);
  };
  const weigh = (topic: TopicView | null): number => 1 + (topic?.groups.length ?? 0) / 5;
  const value = views.pageOfNames(topicsByName.keys(), frame, view, weigh);
  turn.ok(from, frame.id, { value });
}

export function describeTopic(
  core: Core,
  turn: Turn,
  from: ConnectionId,
  frame: ClientFrames["topic.describe"],
): void {
  const topic = core.state.topicsByName.get(frame.topic);
  if (topic === undefined) return refuseTopic(turn, from, frame.id, frame.topic);
  turn.ok(from, frame.id, { value: views.topicView(core, topic, turn.nowMs) });
}

export function listGroups(
  core: Core,
  turn: Turn,
  from: ConnectionId,
  frame: Page<"group.list">,
): void {
  const { groupsByName, groups } = core.state;
  // Instances stand in the description of their group: there may be many.
  const names = [...groups.values()].filter((one) => one.instance === null).map(({ name }) => name);
  const view = (name: string): GroupView | null => {
    const group = groupsByName.get(name);
    return group === undefined ? null : views.groupView(core, group, turn.nowMs);
  };
  const weigh = (group: GroupView | null): number =>
    3 + (group?.topics ?? []).reduce(weightOf, 0) + (group?.consumers.length ?? 0);
  const value = views.pageOfNames(names, frame, view, weigh);
  turn.ok(from, frame.id, { value });
}

const weightOf = (sum: number, { filter }: GroupView["topics"][number]): number =>
  sum + 1 + filter.length / 32;

export function describeGroup(
  core: Core,
  turn: Turn,
  from: ConnectionId,
  frame: ClientFrames["group.describe"],
): void {
  const group = core.state.groupsByName.get(frame.group);
  if (group === undefined) return refuseGroup(turn, from, frame.id, frame.group);
  turn.ok(from, frame.id, { value: views.groupView(core, group, turn.nowMs, INSTANCES_SHOWN) });
}

/** As many as people read; each of them can be described by itself. */
const INSTANCES_SHOWN = 100;

export function listProducers(
  core: Core,
  turn: Turn,
  from: ConnectionId,
  frame: Page<"producer.list">,
): void {
  const value = views.pageOfNames(views.producerNames(core), frame, (name) =>
    views.producerView(core, name, turn.nowMs),
  );
  turn.ok(from, frame.id, { value });
}

export function listTransactions(
  core: Core,
  turn: Turn,
  from: ConnectionId,
  frame: ClientFrames["tx.list"],
): void {
  turn.ok(from, frame.id, { value: views.transactionPage(core, frame, turn.nowMs) });
}

/** The inspector: the log is read from the prepare on. */
export function showTransaction(
  core: Core,
  turn: Turn,
  from: ConnectionId,
  frame: ClientFrames["tx.show"],
): void {
  const found = findTransaction(core, frame.transactionId);
  if (found === null) return turn.refuse(from, frame.id, "TX_NOT_FOUND", NOT_FOUND);
  const { transactionId } = frame;
  turn.send({
    kind: "inspect",
    to: from,
    re: frame.id,
    inspection: {
      kind: "timeline",
      value: views.transactionView(core, transactionId, found, turn.nowMs),
      transactionId,
      fromBlock: found.decision === null ? found.transaction.block : found.decision.preparedBlock,
      toBlock: core.state.block,
    },
  });
}

export function listDeadLetters(
  core: Core,
  turn: Turn,
  from: ConnectionId,
  frame: ClientFrames["dlq.list"],
): void {
  if (!core.state.groupsByName.has(frame.group))
    return refuseGroup(turn, from, frame.id, frame.group);
  const dead = core.state.topicsByName.get(deadLetterTopic(frame.group));
  turn.ok(from, frame.id, { value: views.deadLetterPage(core, dead, frame) });
}

export function showDeadLetter(
  core: Core,
  turn: Turn,
  from: ConnectionId,
  frame: ClientFrames["dlq.show"],
): void {
  const dead = core.state.topicsByName.get(deadLetterTopic(frame.group));
  const origin = dead?.origins.get(frame.offset);
  if (dead === undefined || origin === undefined)
    return turn.refuse(
      from,
      frame.id,
      "DEAD_LETTER_NOT_FOUND",
      "There is no dead letter at this offset.",
    );
  const value = views.deadLetterView(core, dead, frame.offset, origin);
  const inspection = { kind: "message", value, place: dead.placeOf(frame.offset) } as const;
  turn.send({ kind: "inspect", to: from, re: frame.id, inspection });
}

export function figures(
  core: Core,
  turn: Turn,
  from: ConnectionId,
  frame: ClientFrames["stats" | "doctor"],
): void {
  const value = views.stats(core, turn.nowMs);
  const inspection: Inspection =
    frame.type === "stats"
      ? { kind: "stats", value }
      : {
          kind: "doctor",
          value,
          groups: groupsBehind(core, turn.nowMs),
          paused: pausedGroups(core, turn.nowMs),
          standing: core.windows.standing().slice(0, STANDING_SHOWN_MAX),
          reserving: views.oldestReserving(core, turn.nowMs),
        };
  turn.send({ kind: "inspect", to: from, re: frame.id, inspection });
}
