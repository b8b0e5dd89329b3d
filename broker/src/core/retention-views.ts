/** How far groups are behind retention, in figures. Reads only. */
import type { Core } from "./core.ts";
import type { Cursor } from "./cursor.ts";
import { type Group, isPaused } from "./group.ts";
import {
  dueBefore,
  firstUnderWay,
  firstUnsettled,
  holdsUnsettled,
  isKeeping,
} from "./retention.ts";
import type { State } from "./state.ts";
import type { Topic } from "./topic.ts";
import type { GroupBehind, PausedGroup } from "./types.ts";

export interface Lag {
  /** Of the group's oldest unsettled message; 0 without any. */
  readonly oldestAgeMs: number;
  /** Bytes that are due and still there because of this group. */
  readonly heldBytes: number;
}

export function lagOf(core: Core, topic: Topic, cursor: Cursor, nowMs: number): Lag {
  const first = firstUnsettled(topic, cursor);
  if (first >= topic.nextOffset) return { oldestAgeMs: 0, heldBytes: 0 };
  const isKept = isKeeping(core, topic, nowMs) && holdsUnsettled(core.state, cursor);
  const held = isKept ? first : firstUnderWay(topic, cursor);
  const due = dueBefore(topic, nowMs);
  return {
    oldestAgeMs: Math.round(nowMs - topic.atMsOf(first)),
    heldBytes: held < due ? topic.bytesBetween(held, due) : 0,
  };
}

/** What is due in a topic and still there, and the groups that are the reason. */
export function heldBack(
  core: Core,
  topic: Topic,
  nowMs: number,
): { readonly heldBytes: number; readonly heldBy: readonly string[] } {
  // Dead letters stay until somebody replays or purges them: that is their purpose.
  if (topic.isDeadLetters) return { heldBytes: 0, heldBy: [] };
  const lags = (core.state.readers.get(topic.no) ?? [])
    .map((cursor) => ({ cursor, ...lagOf(core, topic, cursor, nowMs) }))
    .filter(({ heldBytes }) => heldBytes > 0);
  return {
    heldBytes: Math.max(0, ...lags.map(({ heldBytes }) => heldBytes)),
    heldBy: groupsOf(
      lags.map(({ cursor }) => cursor),
      core.state,
    ),
  };
}

/** An instance counts as its group: there may be many. */
export function groupsOf(readers: readonly Cursor[], state: State): readonly string[] {
  const groups = readers.map(({ groupNo }) => state.group(groupNo));
  return [...new Set(groups.map(({ name, instance }) => instance?.parent.name ?? name))].sort();
}

/** Of all topics together: what retention would free if all groups had read it. */
export function heldBytes(core: Core, nowMs: number): number {
  let bytes = 0;
  for (const topic of core.state.topics.values()) bytes += heldBack(core, topic, nowMs).heldBytes;
  return bytes;
}

/** From the group's oldest unsettled message on: that goes first when the topic holds too much. */
function bytesBehind(topic: Topic, cursor: Cursor): number {
  const first = Math.max(firstUnsettled(topic, cursor), topic.firstOffset);
  return first >= topic.nextOffset ? 0 : topic.bytesBetween(first, topic.nextOffset);
}

/** Those paused longest come first; what waits for their instances waits for them. */
export function pausedGroups({ state }: Core, nowMs: number): readonly PausedGroup[] {
  const paused: PausedGroup[] = [];
  for (const group of state.groups.values()) {
    if (group.paused === null) continue;
    const { atMs, operator, reason } = group.paused;
    const lag = [group, ...group.instances.values()].reduce(
      (sum, one) => sum + lagIn(state, one),
      0,
    );
    paused.push({ group: group.name, forMs: Math.round(nowMs - atMs), operator, reason, lag });
  }
  return paused.sort((one, other) => other.forMs - one.forMs).slice(0, SHOWN_MAX);
}

function lagIn(state: State, { cursors }: Group): number {
  let lag = 0;
  for (const cursor of cursors.values())
    lag += state.topic(cursor.topicNo).nextOffset - cursor.nextOffset + cursor.unsettled;
  return lag;
}

/** A group is warned when its oldest message has this share of its retention behind it. */
export const NEAR_RETENTION = 0.8;
/** As many as people read; the worst come first. */
const SHOWN_MAX = 20;

/** Once a topic. What keeps its messages for the group is not even looked at. */
export function groupsAboutToLose({ state }: Core, nowMs: number): number {
  let count = 0;
  for (const cursor of state.cursors.values()) {
    const topic = state.topic(cursor.topicNo);
    if (topic.isDeadLetters || unsettledOf(state, topic, cursor) === "keep") continue;
    const first = firstUnsettled(topic, cursor);
    if (first >= topic.nextOffset) continue;
    if (isNear(topic, nowMs - topic.atMsOf(first), bytesBehind(topic, cursor))) count++;
  }
  return count;
}

/** What becomes of what it has not settled, once that is due. */
const unsettledOf = (state: State, topic: Topic, cursor: Cursor): "keep" | "drop" =>
  holdsUnsettled(state, cursor) ? topic.settings.unsettled : "drop";

const isNear = (
  { settings: { retentionMs, retentionBytes } }: Topic,
  oldestAgeMs: number,
  behindBytes: number,
): boolean =>
  oldestAgeMs >= NEAR_RETENTION * retentionMs ||
  (retentionBytes > 0 && behindBytes >= NEAR_RETENTION * retentionBytes);

/** Groups that hold messages back, have lost some, or are about to. */
export function groupsBehind(core: Core, nowMs: number): readonly GroupBehind[] {
  const behind: GroupBehind[] = [];
  for (const cursor of core.state.cursors.values()) {
    const topic = core.state.topic(cursor.topicNo);
    const { retentionMs, retentionBytes } = topic.settings;
    const unsettled = unsettledOf(core.state, topic, cursor);
    const { oldestAgeMs, heldBytes } = lagOf(core, topic, cursor, nowMs);
    const behindBytes = bytesBehind(topic, cursor);
    const isAtRisk = unsettled === "drop" && isNear(topic, oldestAgeMs, behindBytes);
    if (topic.isDeadLetters || (heldBytes === 0 && cursor.expired === 0 && !isAtRisk)) continue;
    const group = core.state.group(cursor.groupNo);
    behind.push({
      group: group.name,
      topic: topic.name,
      unsettled,
      oldestAgeMs,
      retentionMs,
      heldBytes,
      expired: cursor.expired,
      retentionBytes,
      behindBytes,
      isPaused: isPaused(group),
    });
  }
  return behind
    .sort((one, other) => other.heldBytes - one.heldBytes || other.oldestAgeMs - one.oldestAgeMs)
    .slice(0, SHOWN_MAX);
}
