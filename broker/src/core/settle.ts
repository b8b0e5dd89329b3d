/**
 * Consuming: subscribe, credit, and the ways a delivery ends.
 *
 * Invariants
 * - D3 Only the delivery that is under way can be settled; an older token is STALE_DELIVERY without effect.
 * - D4 An ack is a record: after it there is no entry, and without an entry nothing is delivered again.
 * - D5 Every return carries its cause.
 */
import type { ClientFrames } from "@escrowmq/protocol";
import { LIMITS } from "@escrowmq/protocol/limits";
import { deadLetterTopic } from "@escrowmq/protocol/names";
import type { Subscription } from "./consumers.ts";
import type { Core } from "./core.ts";
import type { Cursor } from "./cursor.ts";
import { Entry } from "./entries.ts";
import { invariant } from "./invariant.ts";
import { retryDelayMs } from "./policy.ts";
import type { ReturnCause } from "./records.ts";
import type { Group } from "./state.ts";
import type { Topic } from "./topic.ts";
import { findDelivery, STALE } from "./transact.ts";
import type { Turn } from "./turn.ts";
import type { ConnectionId, Unsent } from "./types.ts";

type StartAt = ClientFrames["subscribe"]["topics"][number];

export function subscribe(
  core: Core,
  turn: Turn,
  from: ConnectionId,
  frame: ClientFrames["subscribe"],
): void {
  const connection = core.connections.get(from);
  if (connection.subscriptions.has(frame.subscription))
    return turn.refuse(
      from,
      frame.id,
      "SUBSCRIPTION_EXISTS",
      "This connection has a subscription of that number.",
    );
  const names = frame.topics.map(({ topic }) => topic);
  if (new Set(names).size < names.length)
    return turn.refuse(
      from,
      frame.id,
      "INVALID_ARGUMENT",
      "A topic stands in the subscription twice.",
    );
  const unknown = names.find((name) => !core.state.topicsByName.has(name));
  if (unknown !== undefined)
    return turn.refuse(
      from,
      frame.id,
      "TOPIC_NOT_FOUND",
      `There is no topic ${unknown}. Create it: escrow topic create ${unknown}`,
    );
  const refusal = core.instances.refusal(frame.group, frame.instance);
  if (refusal !== null) return turn.refuse(from, frame.id, refusal.code, refusal.message);
  const conflict = frame.topics.find((start) => isConflict(core, frame, start));
  if (conflict !== undefined)
    return turn.refuse(
      from,
      frame.id,
      "FILTER_CONFLICT",
      `Others of the group ${frame.group} read ${conflict.topic} with another filter, or without one.`,
    );
  // From here it must succeed.
  const group = openReader(core, turn, frame);
  const newFromNo = core.state.nextCursorNo;
  const cursors = frame.topics.map((start) => openCursor(core, turn, group, start));
  const weights = frame.topics.map(({ weight = 1 }) => weight);
  const { subscription: no, leaseMs } = frame;
  const subscription = core.consumers.subscribe(connection, no, group, cursors, leaseMs, weights);
  turn.ok(from, frame.id, core.instances.entered(subscription, newFromNo));
}

export function unsubscribe(
  core: Core,
  turn: Turn,
  from: ConnectionId,
  frame: ClientFrames["unsubscribe"],
): void {
  const subscription = core.connections.get(from).subscriptions.get(frame.subscription);
  if (subscription === undefined)
    return turn.refuse(
      from,
      frame.id,
      "SUBSCRIPTION_NOT_FOUND",
      "This connection has no subscription of that number.",
    );
  endSubscription(core, turn, subscription, "released");
  turn.ok(from, frame.id);
}

/** Everything under way goes back at once; a consumer that died has used up an attempt, one that left has not. */
export function endSubscription(
  core: Core,
  turn: Turn,
  subscription: Subscription,
  cause: "released" | "disconnected",
): void {
  core.consumers.unsubscribe(subscription);
  if (subscription.group.instance !== null) core.instances.left(subscription.group, turn);
  for (const place of [...subscription.leased]) {
    const entry = new Entry(core.state.entries, place);
    invariant(entry.holder === subscription, "a subscription holds what is leased to it");
    const cursor = core.state.cursor(entry.cursorNo);
    if (cause === "released")
      giveBack(core, turn, cursor, entry, { cause, readyAtMs: 0, isCounted: false, reason: "" });
    else fail(core, turn, cursor, entry, cause, 0, "");
  }
}

/** Without a reply, and without an error: it may cross with the end of its subscription. */
export function credit(
  core: Core,
  turn: Turn,
  from: ConnectionId,
  frame: ClientFrames["credit"],
): void {
  const subscription = core.connections.get(from).subscriptions.get(frame.subscription);
  if (subscription === undefined) return;
  if (subscription.group.instance !== null) core.instances.credited(subscription.group, turn);
  core.consumers.grant(
    subscription,
    frame.messages,
    frame.bytes,
    LIMITS.creditMessagesMax,
    LIMITS.creditBytesMax,
  );
}

export function ack(core: Core, turn: Turn, from: ConnectionId, frame: ClientFrames["ack"]): void {
  const stale: string[] = [];
  let cursor: Cursor | null = null;
  let offsets: number[] = [];
  for (const token of frame.tokens) {
    const found = findDelivery(core, token);
    // Without a lease the token stands here for the second time.
    if (found === null || !core.consumers.endLease(found.entry)) {
      stale.push(token);
      continue;
    }
    if (cursor !== null && cursor !== found.cursor) {
      turn.log({ kind: "acked", cursorNo: cursor.no, offsets });
      offsets = [];
    }
    cursor = found.cursor;
    offsets.push(found.entry.offset);
  }
  if (cursor !== null) turn.log({ kind: "acked", cursorNo: cursor.no, offsets });
  turn.ok(from, frame.id, stale.length > 0 ? { stale } : {});
}

/** Giving back what was not worked on: not an attempt. */
export function release(
  core: Core,
  turn: Turn,
  from: ConnectionId,
  frame: ClientFrames["release"],
): void {
  const stale: string[] = [];
  for (const token of frame.tokens) {
    const found = findDelivery(core, token);
    if (found === null) stale.push(token);
    else
      giveBack(core, turn, found.cursor, found.entry, {
        cause: "released",
        readyAtMs: 0,
        isCounted: false,
        reason: "",
      });
  }
  turn.ok(from, frame.id, stale.length > 0 ? { stale } : {});
}

export function extend(
  core: Core,
  turn: Turn,
  from: ConnectionId,
  frame: ClientFrames["extend"],
): void {
  const stale: string[] = [];
  for (const token of frame.tokens) {
    const found = findDelivery(core, token);
    if (found === null) stale.push(token);
    else core.consumers.extend(found.entry, turn.nowMs, frame.leaseMs);
  }
  turn.ok(from, frame.id, stale.length > 0 ? { stale } : {});
}

export function retry(
  core: Core,
  turn: Turn,
  from: ConnectionId,
  frame: ClientFrames["retry"],
): void {
  const found = findDelivery(core, frame.token);
  if (found === null) return turn.refuse(from, frame.id, STALE.code, STALE.message);
  fail(core, turn, found.cursor, found.entry, "retry", frame.delayMs ?? null, frame.reason ?? "");
  turn.ok(from, frame.id);
}

export function bury(
  core: Core,
  turn: Turn,
  from: ConnectionId,
  frame: ClientFrames["bury"],
): void {
  const found = findDelivery(core, frame.token);
  if (found === null) return turn.refuse(from, frame.id, STALE.code, STALE.message);
  toDeadLetters(core, turn, found.cursor, found.entry, frame.reason);
  turn.ok(from, frame.id);
}

/** The alarm of this place went off, which was set for `atMs`. The row may be free by now, or another message's. */
export function ripen(core: Core, turn: Turn, place: number, atMs: number): void {
  const entry = new Entry(core.state.entries, place);
  const { state, holder } = entry;
  const isWaiting = state.kind === "waiting" && state.readyAtMs === atMs;
  if (holder === null && !isWaiting) return;
  const cursor = core.state.cursor(entry.cursorNo);
  // A lease ran out: the next consumer may have it at once, the time has passed already.
  if (holder !== null) return fail(core, turn, cursor, entry, "expired", 0, "");
  cursor.ripen(entry.offset);
  core.consumers.stir(cursor);
}

/** The bodies cannot be read: corruption is reported, never served. It is tried again in case the disk recovers. */
export function unreadable(core: Core, turn: Turn, unsent: Unsent): void {
  const readyAtMs = turn.nowMs + UNREADABLE_DELAY_MS;
  const how = { cause: "unreadable", readyAtMs, isCounted: false, reason: "" } as const;
  core.consumers.refund(unsent);
  for (const { token } of unsent.deliveries) {
    const found = findDelivery(core, token);
    if (found !== null) giveBack(core, turn, found.cursor, found.entry, how);
  }
}

/** Long enough not to fill the log with complaints. */
const UNREADABLE_DELAY_MS = 60_000;

/** A counted failure: back after a delay (null: the group's ladder), or to the dead letters after the last attempt. */
function fail(
  core: Core,
  turn: Turn,
  cursor: Cursor,
  entry: Entry,
  cause: ReturnCause,
  delayMs: number | null,
  reason: string,
): void {
  const { policy } = core.state.group(cursor.groupNo);
  const failures = entry.failures + 1;
  if (failures >= policy.attemptsMax)
    return toDeadLetters(core, turn, cursor, entry, reason === "" ? cause : reason);
  const waitMs = delayMs ?? retryDelayMs(policy, failures, entry.offset + failures);
  const readyAtMs = waitMs > 0 ? turn.nowMs + waitMs : 0;
  giveBack(core, turn, cursor, entry, { cause, readyAtMs, isCounted: true, reason });
}

function giveBack(
  core: Core,
  turn: Turn,
  cursor: Cursor,
  entry: Entry,
  how: { cause: ReturnCause; readyAtMs: number; isCounted: boolean; reason: string },
): void {
  core.consumers.endLease(entry);
  turn.log({ kind: "returned", cursorNo: cursor.no, offset: entry.offset, ...how });
  if (how.readyAtMs === 0) return core.consumers.stir(cursor);
  core.alarms.set(entry.place, how.readyAtMs);
}

/** D8: out of the group and into its dead letters in one record. An instance goes on without it. */
function toDeadLetters(core: Core, turn: Turn, cursor: Cursor, entry: Entry, reason: string): void {
  core.consumers.endLease(entry);
  const group = core.state.group(cursor.groupNo);
  if (group.instance !== null) {
    turn.log({ kind: "abandoned", cursorNo: cursor.no, offset: entry.offset, reason });
    return core.instances.tell(cursor.topicNo, turn);
  }
  const dead = openDeadLetters(core, turn, group);
  turn.log({
    kind: "buried",
    cursorNo: cursor.no,
    offset: entry.offset,
    deadTopicNo: dead.no,
    reason,
  });
  core.consumers.stirTopic(dead.no);
}

function openDeadLetters({ state, policy }: Core, turn: Turn, group: Group): Topic {
  const name = deadLetterTopic(group.name);
  const known = state.topicsByName.get(name);
  if (known !== undefined) return known;
  const topicNo = state.nextTopicNo;
  const settings = { bodyBytesMax: LIMITS.bodyBytesMax, isPaused: false, ...policy.topic };
  turn.log({ kind: "topicCreated", topicNo, topic: name, settings });
  return state.topic(topicNo);
}

/** A group is made by its first subscription; `group.update` changes its policy, before or after. */
export function openGroup({ state, policy }: Core, turn: Turn, name: string): Group {
  const known = state.groupsByName.get(name);
  if (known !== undefined) return known;
  const groupNo = state.nextGroupNo;
  turn.log({ kind: "groupUpdated", groupNo, group: name, policy: policy.group });
  return state.group(groupNo);
}

/** The group that the subscription reads as: an instance takes the place of its predecessor (S1). */
function openReader(core: Core, turn: Turn, frame: ClientFrames["subscribe"]): Group {
  const group = openGroup(core, turn, frame.group);
  if (frame.instance === undefined) return group;
  const before = core.instances.holder(group, frame.instance);
  if (before !== undefined) {
    endSubscription(core, turn, before, "disconnected");
    core.instances.replaced(before, turn);
  }
  return core.instances.enter(group, frame.instance, turn);
}

/**
 * A filter is the group's: what one of its consumers would let pass is not for another to lose. An instance
 * shares its progress with nobody, and who has its place makes way (S1).
 */
function isConflict(
  { state, consumers }: Core,
  { group, instance }: ClientFrames["subscribe"],
  start: StartAt,
): boolean {
  if (instance !== undefined) return false;
  const topicNo = state.topicsByName.get(start.topic)?.no ?? 0;
  const cursor = state.groupsByName.get(group)?.cursors.get(topicNo);
  return cursor !== undefined && cursor.filter !== filterOf(start) && consumers.isRead(cursor);
}

/** What lets all pass is no filter, and costs nothing. */
const filterOf = ({ filter = "" }: StartAt): string => (filter.trim() === "*" ? "" : filter.trim());

function openCursor(core: Core, turn: Turn, group: Group, start: StartAt): Cursor {
  const cursor = findCursor(core, turn, group, start);
  const filter = filterOf(start);
  if (cursor.filter !== filter) turn.log({ kind: "cursorFiltered", cursorNo: cursor.no, filter });
  return cursor;
}

/** Where to start matters only to a group that has not read the topic before. */
function findCursor({ state }: Core, turn: Turn, group: Group, start: StartAt): Cursor {
  const topic = state.topicsByName.get(start.topic);
  invariant(topic !== undefined, "the topics of a subscription were looked up before");
  const known = group.cursors.get(topic.no);
  if (known !== undefined) return known;
  const cursorNo = state.nextCursorNo;
  // A new instance does not want the past.
  const from = start.from ?? (group.instance === null ? "earliest" : "latest");
  turn.log({
    kind: "cursorOpened",
    cursorNo,
    groupNo: group.no,
    topicNo: topic.no,
    nextOffset: startOffset(topic, { ...start, from }),
  });
  return state.cursor(cursorNo);
}

export function startOffset(topic: Topic, { from, at }: Pick<StartAt, "from" | "at">): number {
  switch (from) {
    case undefined:
    case "earliest":
      return topic.firstOffset;
    case "latest":
      return topic.nextOffset;
    case "offset":
      return Math.min(Math.max(at ?? 0, topic.firstOffset), topic.nextOffset);
    case "time":
      return topic.offsetAt(at ?? 0);
  }
}
