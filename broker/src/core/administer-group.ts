/**
 * Operators' requests that change where a group stands: pause and resume, reset, skip. Each is in the log with who
 * and why, and the last few stay with the group (group-changes.ts).
 *
 * Invariants
 * - T9 A pending ack belongs to its transaction: neither a reset nor a skip touches it.
 * - D17 What was skipped is settled: its lease is over, and nothing brings it back but a later reset.
 */
import type { ClientFrames, ResetView, SkipView, TopicResetView } from "@escrowmq/protocol";
import { LIMITS } from "@escrowmq/protocol/limits";
import { refuseGroup } from "./administer.ts";
import type { Core } from "./core.ts";
import type { Cursor } from "./cursor.ts";
import { startOffset } from "./settle.ts";
import type { Group } from "./state.ts";
import type { Topic } from "./topic.ts";
import { refuseFull } from "./transact.ts";
import type { Turn } from "./turn.ts";
import type { ConnectionId } from "./types.ts";
import { groupView } from "./views.ts";

/** Paused already: whoever was first stays the one who did it. */
export function pause(
  core: Core,
  turn: Turn,
  from: ConnectionId,
  frame: ClientFrames["group.pause"],
): void {
  const group = core.state.groupsByName.get(frame.group);
  if (group === undefined) return refuseGroup(turn, from, frame.id, frame.group);
  if (group.paused === null) {
    if (refuseFull(core, turn, from, frame.id)) return;
    logPaused(turn, group, true, frame);
  }
  turn.ok(from, frame.id, { value: groupView(core, group, turn.nowMs) });
}

export function resume(
  core: Core,
  turn: Turn,
  from: ConnectionId,
  frame: ClientFrames["group.resume"],
): void {
  const group = core.state.groupsByName.get(frame.group);
  if (group === undefined) return refuseGroup(turn, from, frame.id, frame.group);
  if (group.paused !== null) {
    if (refuseFull(core, turn, from, frame.id)) return;
    logPaused(turn, group, false, frame);
    core.consumers.stirGroup(group);
  }
  turn.ok(from, frame.id, { value: groupView(core, group, turn.nowMs) });
}

function logPaused(
  turn: Turn,
  group: Group,
  isPaused: boolean,
  { operator, reason }: ClientFrames["group.pause" | "group.resume"],
): void {
  turn.log({ kind: "groupPaused", groupNo: group.no, isPaused, operator, reason });
}

export function reset(
  core: Core,
  turn: Turn,
  from: ConnectionId,
  frame: ClientFrames["group.reset"],
): void {
  if (frame.topic === undefined && frame.from === "offset")
    return turn.refuse(
      from,
      frame.id,
      "INVALID_ARGUMENT",
      "An offset means something in one topic only: name the topic.",
    );
  const cursors = cursorsOf(core, turn, from, frame);
  if (cursors === null || refusePending(core, turn, from, frame, cursors)) return;
  const topics = cursors.map((cursor) => {
    const topic = core.state.topic(cursor.topicNo);
    return topicResetView(topic, cursor, startOffset(topic, frame));
  });
  const value: ResetView = { dryRun: frame.dryRun ?? false, topics };
  if (value.dryRun) return turn.ok(from, frame.id, { value });
  // From here it must succeed.
  const { operator, reason } = frame;
  for (const [at, cursor] of cursors.entries()) {
    for (const entry of cursor.entries()) core.consumers.endLease(entry);
    const nextOffset = topics[at]?.toOffset ?? cursor.nextOffset;
    turn.log({ kind: "cursorReset", cursorNo: cursor.no, nextOffset, operator, reason });
    core.consumers.stir(cursor);
  }
  turn.ok(from, frame.id, { value });
}

export function skip(
  core: Core,
  turn: Turn,
  from: ConnectionId,
  frame: ClientFrames["group.skip"],
): void {
  const [cursor] = cursorsOf(core, turn, from, frame) ?? [];
  if (cursor === undefined) return;
  const topic = core.state.topic(cursor.topicNo);
  const offsets = [...new Set(frame.offsets)].sort((one, other) => one - other);
  const there = offsets.filter((offset) => isUnsettled(topic, cursor, offset));
  const last = there.at(-1) ?? -1;
  if (last - cursor.nextOffset >= LIMITS.skipAheadMax)
    return turn.refuse(
      from,
      frame.id,
      "INVALID_ARGUMENT",
      `Offset ${last} is ${last - cursor.nextOffset} messages ahead of the group; a skip reaches over at most ${LIMITS.skipAheadMax}.`,
    );
  const unlooked = cursor.takesIn ? firstUnlooked(topic, cursor, there) : last;
  if (unlooked < last)
    return turn.refuse(
      from,
      frame.id,
      "INVALID_ARGUMENT",
      `The group has not looked at offset ${unlooked} yet, which stands before ${last}. With a filter or an order it takes messages in one after the other, while somebody is subscribed: skip it then, or all from ${unlooked} on.`,
      { offset: unlooked },
    );
  // From here it must succeed.
  const isPending = (offset: number): boolean => cursor.entry(offset)?.kind === "pending";
  const pending = there.filter(isPending);
  const done = there.filter((offset) => !isPending(offset));
  settle(core, turn, cursor, done, frame);
  const missing = offsets.filter((offset) => !there.includes(offset));
  const value: SkipView = { done: done.length, missing, pending };
  turn.ok(from, frame.id, { value });
}

function settle(
  core: Core,
  turn: Turn,
  cursor: Cursor,
  offsets: readonly number[],
  { operator, reason }: ClientFrames["group.skip"],
): void {
  if (offsets.length === 0) return;
  for (const offset of offsets) {
    const entry = cursor.entry(offset);
    if (entry !== undefined) core.consumers.endLease(entry);
  }
  turn.log({ kind: "skipped", cursorNo: cursor.no, offsets, operator, reason });
  core.consumers.stir(cursor);
}

function isUnsettled(topic: Topic, cursor: Cursor, offset: number): boolean {
  if (cursor.entry(offset) !== undefined) return true;
  const isFresh = offset >= cursor.nextOffset && offset >= topic.firstOffset;
  return isFresh && offset < topic.nextOffset && topic.nextLive(offset) === offset;
}

/**
 * The first that stays behind, although nobody knows yet whether it matches and which key it has. What is
 * next may be skipped unseen: so an operator gets the group past a message that cannot be read.
 */
function firstUnlooked(topic: Topic, cursor: Cursor, skipped: readonly number[]): number {
  const isSkipped = new Set(skipped);
  let offset = topic.nextLive(Math.max(cursor.nextOffset, topic.firstOffset));
  while (isSkipped.has(offset)) offset = topic.nextLive(offset + 1);
  return offset;
}

/** What the request is about; else it is refused here, and null. */
function cursorsOf(
  { state }: Core,
  turn: Turn,
  from: ConnectionId,
  frame: ClientFrames["group.reset" | "group.skip"],
): readonly Cursor[] | null {
  const group = state.groupsByName.get(frame.group);
  if (group === undefined) {
    refuseGroup(turn, from, frame.id, frame.group);
    return null;
  }
  const topic = frame.topic === undefined ? undefined : state.topicsByName.get(frame.topic);
  const cursors = inTopic(group, frame.topic, topic);
  const reading = [...group.instances.values()].filter(
    (one) => inTopic(one, frame.topic, topic).length > 0,
  );
  const [instance] = reading;
  if (cursors.length === 0 && instance !== undefined) {
    turn.refuse(
      from,
      frame.id,
      "GROUP_IS_BROADCAST",
      `The group ${frame.group} is read by instances, each with progress of its own. Name one of them, such as ${instance.name}.`,
      { instances: reading.length, instance: instance.name },
    );
    return null;
  }
  if (cursors.length > 0 || frame.topic === undefined) return cursors;
  const text = `The group ${frame.group} does not read ${frame.topic}.`;
  turn.refuse(from, frame.id, "TOPIC_NOT_FOUND", text);
  return null;
}

/** Without a name in all that it reads. */
function inTopic(
  { cursors }: Group,
  name: string | undefined,
  topic: Topic | undefined,
): readonly Cursor[] {
  if (name === undefined) return [...cursors.values()];
  const cursor = topic === undefined ? undefined : cursors.get(topic.no);
  return cursor === undefined ? [] : [cursor];
}

/** True: it is refused, with the first pending ack and its transaction. */
function refusePending(
  core: Core,
  turn: Turn,
  from: ConnectionId,
  { id, group }: ClientFrames["group.reset"],
  cursors: readonly Cursor[],
): boolean {
  const held = cursors.find((cursor) => cursor.counts.pending > 0);
  if (held === undefined) return false;
  const pending = cursors.reduce((total, cursor) => total + cursor.counts.pending, 0);
  const topic = core.state.topic(held.topicNo).name;
  const offset = firstPending(held);
  const transactionId = holderOf(core, held, offset);
  turn.refuse(
    from,
    id,
    "GROUP_IN_USE",
    `${pending} acks of the group ${group} are part of undecided transactions.`,
    { pending, topic, offset, ...(transactionId === null ? {} : { transactionId }) },
  );
  return true;
}

const firstPending = (cursor: Cursor): number =>
  cursor.firstOffset(0, cursor.nextOffset, ["pending"]);

/** There may be a million undecided ones; a refusal is not worth a pause of the broker. */
const LOOKED_THROUGH_MAX = 10_000;

function holderOf({ state }: Core, { no }: Cursor, offset: number): string | null {
  let left = LOOKED_THROUGH_MAX;
  for (const { id, acks } of state.transactions.values()) {
    if (acks.some((ack) => ack.cursorNo === no && ack.offset === offset)) return id;
    if (--left === 0) return null;
  }
  return null;
}

/**
 * Everything settled from there on comes again, everything unsettled before it is passed over. What a filter
 * passed over counts as settled, and what it will pass over as unsettled: that stands in the messages.
 */
function topicResetView(topic: Topic, cursor: Cursor, toOffset: number): TopicResetView {
  let passedOver = 0;
  let kept = 0;
  for (const { offset } of cursor.entries()) {
    if (offset < toOffset) passedOver++;
    else kept++;
  }
  return {
    topic: topic.name,
    fromOffset: cursor.nextOffset,
    toOffset,
    redelivered: Math.max(0, topic.liveBetween(toOffset, cursor.nextOffset) - kept),
    skipped: passedOver + topic.liveBetween(cursor.nextOffset, toOffset),
    ...(cursor.filter !== "" || topic.hasTtl ? { atMost: true } : {}),
  };
}
