/**
 * Operators' requests that change something: topics, groups, endpoints, transactions, dead letters.
 * Each that decides over somebody's messages carries who and why, and both go into the log.
 */
import type { CheckView, ClientFrames, ErrorCode } from "@escrowmq/protocol";
import { LIMITS } from "@escrowmq/protocol/limits";
import { deadLetterTopic } from "@escrowmq/protocol/names";
import type { Core } from "./core.ts";
import type { Group } from "./group.ts";
import type { GroupPolicy, TopicSettings } from "./records.ts";
import { openGroup } from "./settle.ts";
import type { Topic } from "./topic.ts";
import { answerDecided, decide, findTransaction, NOT_FOUND, refuseFull } from "./transact.ts";
import type { Transaction } from "./transaction.ts";
import type { Turn } from "./turn.ts";
import type { ConnectionId, Input } from "./types.ts";
import { groupView, topicView, transactionView } from "./views.ts";

export function createTopic(
  core: Core,
  turn: Turn,
  from: ConnectionId,
  frame: ClientFrames["topic.create"],
): void {
  const { state, policy } = core;
  if (state.topicsByName.has(frame.topic))
    return turn.refuse(from, frame.id, "TOPIC_EXISTS", `There is a topic ${frame.topic} already.`);
  if (refuseFull(core, turn, from, frame.id)) return;
  const topicNo = state.nextTopicNo;
  const defaults = { bodyBytesMax: LIMITS.bodyBytesMax, isPaused: false, ...policy.topic };
  const settings = settingsOf(frame, defaults);
  turn.log({ kind: "topicCreated", topicNo, topic: frame.topic, settings });
  turn.ok(from, frame.id, { value: topicView(core, state.topic(topicNo), turn.nowMs) });
}

export function updateTopic(
  core: Core,
  turn: Turn,
  from: ConnectionId,
  frame: ClientFrames["topic.update"],
): void {
  const topic = core.state.topicsByName.get(frame.topic);
  if (topic === undefined) return refuseTopic(turn, from, frame.id, frame.topic);
  const settings = settingsOf(frame, topic.settings);
  turn.log({ kind: "topicUpdated", topicNo: topic.no, settings });
  turn.ok(from, frame.id, { value: topicView(core, topic, turn.nowMs) });
}

const settingsOf = (
  frame: ClientFrames["topic.create" | "topic.update"],
  before: TopicSettings,
): TopicSettings => ({
  bodyBytesMax: frame.bodyBytesMax ?? before.bodyBytesMax,
  isPaused: frame.paused ?? before.isPaused,
  retentionMs: frame.retentionMs ?? before.retentionMs,
  retentionBytes: frame.retentionBytes ?? before.retentionBytes,
  unsettled: frame.unsettled ?? before.unsettled,
});

export function deleteTopic(
  core: Core,
  turn: Turn,
  from: ConnectionId,
  frame: ClientFrames["topic.delete"],
): void {
  const topic = core.state.topicsByName.get(frame.topic);
  if (topic === undefined) return refuseTopic(turn, from, frame.id, frame.topic);
  if (isInUse(core, topic))
    return turn.refuse(
      from,
      frame.id,
      "TOPIC_IN_USE",
      `The topic ${frame.topic} has undecided messages, pending acks or connected consumers.`,
    );
  if (refuseFull(core, turn, from, frame.id)) return;
  const scheduled = topic.scheduled + topic.queued;
  turn.log({
    kind: "topicDeleted",
    topicNo: topic.no,
    operator: frame.operator,
    reason: frame.reason,
  });
  turn.ok(from, frame.id, { value: { topic: frame.topic, scheduled } });
}

export function updateGroup(
  core: Core,
  turn: Turn,
  from: ConnectionId,
  frame: ClientFrames["group.update"],
): void {
  const group = openGroup(core, turn, frame.group);
  const policy: GroupPolicy = {
    leaseMs: frame.leaseMs ?? group.policy.leaseMs,
    attemptsMax: frame.attemptsMax ?? group.policy.attemptsMax,
    retryDelaysMs: frame.retryDelaysMs ?? group.policy.retryDelaysMs,
    jitterPercent: frame.jitterPercent ?? group.policy.jitterPercent,
    isOrdered: frame.ordered ?? group.policy.isOrdered,
  };
  turn.log({ kind: "groupUpdated", groupNo: group.no, group: group.name, policy });
  core.consumers.stirGroup(group);
  turn.ok(from, frame.id, { value: groupView(core, group, turn.nowMs) });
}

export function deleteGroup(
  core: Core,
  turn: Turn,
  from: ConnectionId,
  frame: ClientFrames["group.delete"],
): void {
  const group = core.state.groupsByName.get(frame.group);
  if (group === undefined) return refuseGroup(turn, from, frame.id, frame.group);
  const dead = core.state.topicsByName.get(deadLetterTopic(group.name));
  const instances = [...group.instances.values()];
  if (
    [...instances, group].some((one) => isRead(core, one)) ||
    (dead !== undefined && isInUse(core, dead))
  )
    return turn.refuse(
      from,
      frame.id,
      "GROUP_IN_USE",
      `The group ${frame.group} has connected consumers or pending acks.`,
    );
  if (refuseFull(core, turn, from, frame.id)) return;
  const { operator, reason } = frame;
  for (const { no } of [...instances, group])
    turn.log({ kind: "groupDeleted", groupNo: no, operator, reason });
  if (dead !== undefined) turn.log({ kind: "topicDeleted", topicNo: dead.no, operator, reason });
  turn.ok(from, frame.id, { value: { group: frame.group } });
}

/**
 * Old keys stay valid beside the new one, so that keys can be rotated without a gap: the one in use, and one that
 * nobody knows, because its answer was lost and the request repeated.
 */
const FORMER_KEYS_MAX = 2;

export function setEndpoint(
  core: Core,
  turn: Turn,
  input: Extract<Input, { readonly kind: "setEndpoint" }>,
): void {
  const { from, frame, url, secret } = input;
  const { group, operator, reason } = frame;
  const known = core.state.endpoints.get(group);
  if (url === null) {
    if (known === undefined)
      return turn.refuse(
        from,
        frame.id,
        "GROUP_NOT_FOUND",
        `No check-back endpoint is set for ${group}.`,
      );
    if (refuseFull(core, turn, from, frame.id)) return;
    turn.log({ kind: "endpointSet", group, endpoint: null, operator, reason });
    return turn.ok(from, frame.id, { value: { group } });
  }
  if (refuseFull(core, turn, from, frame.id)) return;
  const secrets = [secret, ...(known?.secrets.slice(0, FORMER_KEYS_MAX) ?? [])];
  const endpoint = { url, isIdsOnly: frame.idsOnly ?? false, secrets };
  turn.log({ kind: "endpointSet", group, endpoint, operator, reason });
  core.checks.stir(group);
  turn.ok(from, frame.id, { value: { group, url, secret } });
}

export function checkNow(
  core: Core,
  turn: Turn,
  from: ConnectionId,
  frame: ClientFrames["tx.check"],
): void {
  const transaction = openTransaction(core, turn, from, frame);
  if (transaction === null) return;
  if (transaction.parked !== null)
    return turn.refuse(
      from,
      frame.id,
      "INVALID_ARGUMENT",
      "The transaction is parked: resume it, or decide it.",
    );
  core.checks.enqueue(transaction);
  const { id, group } = transaction;
  const found = { state: "undecided", group, transaction, decision: null } as const;
  const view = transactionView(core, id, found, turn.nowMs);
  const value: CheckView = { ...view, reachable: core.checks.canAsk(group) };
  turn.ok(from, frame.id, { value });
}

export function decideByOperator(
  core: Core,
  turn: Turn,
  from: ConnectionId,
  frame: ClientFrames["tx.decide"],
): void {
  const found = findTransaction(core, frame.transactionId);
  if (found === null) return turn.refuse(from, frame.id, "TX_NOT_FOUND", NOT_FOUND);
  if (found.decision === null && refuseFull(core, turn, from, frame.id)) return;
  if (found.decision === null)
    decide(core, turn, found.transaction, frame.verdict, "operator", frame.operator, frame.reason);
  else if ((found.state === "committed") !== (frame.verdict === "commit"))
    return answerDecided(turn, from, frame.id, found.decision, frame.verdict);
  answerTransaction(core, turn, from, frame);
}

export function resume(
  core: Core,
  turn: Turn,
  from: ConnectionId,
  frame: ClientFrames["tx.resume"],
): void {
  const transaction = openTransaction(core, turn, from, frame);
  if (transaction === null) return;
  if (transaction.parked === null)
    return turn.refuse(
      from,
      frame.id,
      "TX_NOT_PARKED",
      "The transaction is not parked; it is being checked.",
    );
  if (refuseFull(core, turn, from, frame.id)) return;
  const { transactionId, operator, reason } = frame;
  turn.log({ kind: "resumed", transactionId, checkAtMs: turn.nowMs, operator, reason });
  core.checks.schedule(transaction);
  answerTransaction(core, turn, from, frame);
}

export function replay(
  core: Core,
  turn: Turn,
  from: ConnectionId,
  frame: ClientFrames["dlq.replay"],
): void {
  endDeadLetters(core, turn, from, frame, (dead, offset) => {
    const origin = dead.origins.get(offset);
    const { operator, reason } = frame;
    turn.log({ kind: "replayed", deadTopicNo: dead.no, offset, operator, reason });
    if (origin !== undefined) core.consumers.stirTopic(origin.topicNo);
  });
}

export function purge(
  core: Core,
  turn: Turn,
  from: ConnectionId,
  frame: ClientFrames["dlq.purge"],
): void {
  endDeadLetters(core, turn, from, frame, (dead, offset) => {
    turn.log({
      kind: "purged",
      deadTopicNo: dead.no,
      offset,
      operator: frame.operator,
      reason: frame.reason,
    });
  });
}

function endDeadLetters(
  core: Core,
  turn: Turn,
  from: ConnectionId,
  frame: ClientFrames["dlq.replay" | "dlq.purge"],
  end: (dead: Topic, offset: number) => void,
): void {
  if (!core.state.groupsByName.has(frame.group))
    return refuseGroup(turn, from, frame.id, frame.group);
  const dead = core.state.topicsByName.get(deadLetterTopic(frame.group));
  const missing: number[] = [];
  let done = 0;
  for (const offset of frame.offsets) {
    if (dead === undefined || !dead.origins.has(offset)) missing.push(offset);
    else {
      end(dead, offset);
      done++;
    }
  }
  turn.ok(from, frame.id, { value: { done, missing } });
}

/** The undecided transaction that the request names; else it is refused here, and null. */
function openTransaction(
  core: Core,
  turn: Turn,
  from: ConnectionId,
  frame: ClientFrames["tx.check" | "tx.resume"],
): Transaction | null {
  const found = findTransaction(core, frame.transactionId);
  if (found === null) turn.refuse(from, frame.id, "TX_NOT_FOUND", NOT_FOUND);
  else if (found.decision !== null) {
    const code: ErrorCode =
      found.state === "committed" ? "TX_ALREADY_COMMITTED" : "TX_ALREADY_ROLLED_BACK";
    turn.refuse(from, frame.id, code, "The transaction is decided.", {
      decidedAtMs: Math.round(found.decision.atMs),
    });
  } else return found.transaction;
  return null;
}

function answerTransaction(
  core: Core,
  turn: Turn,
  from: ConnectionId,
  frame: { readonly id: number; readonly transactionId: string },
): void {
  const found = findTransaction(core, frame.transactionId);
  if (found === null) return turn.refuse(from, frame.id, "TX_NOT_FOUND", NOT_FOUND);
  turn.ok(from, frame.id, { value: transactionView(core, frame.transactionId, found, turn.nowMs) });
}

/** Somebody reads as this group, or its acks are part of undecided transactions. */
const isRead = ({ consumers }: Core, group: Group): boolean =>
  consumers.subscriptionsOf(group).length > 0 ||
  [...group.cursors.values()].some((cursor) => cursor.counts.pending > 0);

function isInUse({ state, consumers }: Core, topic: Topic): boolean {
  if (topic.halfMessages > 0) return true;
  return (state.readers.get(topic.no) ?? []).some(
    (cursor) =>
      cursor.counts.pending > 0 ||
      consumers
        .subscriptionsOf(state.group(cursor.groupNo))
        .some(({ feeds }) => feeds.some((feed) => feed.cursor === cursor)),
  );
}

export function refuseTopic(turn: Turn, to: ConnectionId, re: number, name: string): void {
  turn.refuse(
    to,
    re,
    "TOPIC_NOT_FOUND",
    `There is no topic ${name}. Create it: escrow topic create ${name}`,
  );
}

export function refuseGroup(turn: Turn, to: ConnectionId, re: number, name: string): void {
  turn.refuse(to, re, "GROUP_NOT_FOUND", `There is no group ${name}.`);
}
