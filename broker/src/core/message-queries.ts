/**
 * Operators' questions about visible messages: one of them, which of them, and what became of one. There is no
 * index by id, key or tag, and none by message into the log (ADR 25): the core says where to look, within bounds,
 * and the shell reads. What is half stays invisible here (T1); transactions have an inspector of their own.
 */
import type { ClientFrames, MessageView, StandingView } from "@escrowmq/protocol";
import { refuseTopic } from "./administer.ts";
import type { Core } from "./core.ts";
import type { Cursor } from "./cursor.ts";
import type { Place } from "./records.ts";
import type { State } from "./state.ts";
import type { Topic } from "./topic.ts";
import type { Turn } from "./turn.ts";
import type { ConnectionId } from "./types.ts";

/** A visible message that the shell is to look at. */
export interface Look {
  readonly offset: number;
  readonly atMs: number;
  readonly bytes: number;
  readonly place: Place;
}

export interface Find {
  readonly topicNo: number;
  readonly fromOffset: number;
  /** The looks end before it. */
  readonly toOffset: number;
  /** The search ends before it. */
  readonly endOffset: number;
  readonly looks: readonly Look[];
  readonly wanted: Wanted;
  /** Items of an answer. */
  readonly limit: number;
}

/** What is given must be so. */
export interface Wanted {
  readonly id: string | undefined;
  readonly key: string | undefined;
  readonly tag: string | undefined;
}

/** A group that reads the topic of a message and began before it, as a trace needs it. */
export interface Tracked {
  readonly cursorNo: number;
  readonly group: string;
  /** fresh: not given to it since it was reset, or ever; underWay: it has more to tell, or will have. */
  readonly standing: "fresh" | "underWay" | "settled";
  /** Settled in a later block than this, or fresh since, it has no more to tell (cursor.ts, V7). */
  readonly revisitedBlock: number;
}

export interface Trace {
  readonly topic: string;
  readonly topicNo: number;
  readonly offset: number;
  readonly visibleAtMs: number;
  readonly place: Place;
  /** A dead letter: the message that was buried. */
  readonly origin: { readonly topicNo: number; readonly offset: number } | null;
  readonly groups: readonly Tracked[];
  /** Where an earlier answer ended, in its own words; null: from the beginning. */
  readonly after: string | null;
  readonly toBlock: number;
}

/** One request looks at so many messages at most: a few milliseconds of decoding, in pieces. */
const LOOKS_MAX = 2_000;
/** And at so many bytes, by the index: two blocks' worth. */
const LOOK_BYTES_MAX = 16_777_216;
const LIMIT_DEFAULT = 100;

export function show(
  core: Core,
  turn: Turn,
  from: ConnectionId,
  frame: ClientFrames["message.show"],
): void {
  const found = findMessage(core, turn, from, frame);
  if (found === null) return;
  const { topic, place } = found;
  const { offset } = frame;
  const value: MessageView = {
    topic: topic.name,
    offset,
    atMs: Math.round(topic.atMsOf(offset)),
    bytes: topic.bytesOf(offset),
    groups: (core.state.readers.get(topic.no) ?? []).map((cursor) =>
      standingView(core.state, cursor, offset),
    ),
  };
  turn.send({
    kind: "inspect",
    to: from,
    re: frame.id,
    inspection: { kind: "message", value, place },
  });
}

export function find(
  core: Core,
  turn: Turn,
  from: ConnectionId,
  frame: ClientFrames["message.find"],
): void {
  const topic = core.state.topicsByName.get(frame.topic);
  if (topic === undefined) return refuseTopic(turn, from, frame.id, frame.topic);
  const range = frame.after === undefined ? rangeOf(topic, frame) : rangeAfter(frame.after);
  if (range === null)
    return turn.refuse(
      from,
      frame.id,
      "INVALID_ARGUMENT",
      "`after` is not the `next` of an answer to message.find.",
    );
  const fromOffset = Math.max(range.from, topic.firstOffset);
  const endOffset = Math.max(fromOffset, Math.min(range.end, topic.nextOffset));
  const value: Find = {
    topicNo: topic.no,
    fromOffset,
    endOffset,
    ...looksFrom(topic, fromOffset, endOffset),
    wanted: { id: frame.messageId, key: frame.key, tag: frame.tag },
    limit: frame.limit ?? LIMIT_DEFAULT,
  };
  turn.send({ kind: "inspect", to: from, re: frame.id, inspection: { kind: "find", value } });
}

/** What `next` of an answer says: where to go on, and where the search ends, however long the topic is by then. */
export const nextOf = (offset: number, endOffset: number): string => `${offset}.${endOffset}`;

export function trace(
  core: Core,
  turn: Turn,
  from: ConnectionId,
  frame: ClientFrames["message.trace"],
): void {
  const found = findMessage(core, turn, from, frame);
  if (found === null) return;
  const { topic, place } = found;
  const { offset } = frame;
  const value: Trace = {
    topic: topic.name,
    topicNo: topic.no,
    offset,
    visibleAtMs: topic.atMsOf(offset),
    place,
    origin: topic.origins.get(offset) ?? null,
    groups: (core.state.readers.get(topic.no) ?? [])
      .filter(({ lowestOffset }) => offset >= lowestOffset)
      .map((cursor) => tracked(core.state, cursor, offset)),
    after: frame.after ?? null,
    toBlock: core.state.block,
  };
  turn.send({ kind: "inspect", to: from, re: frame.id, inspection: { kind: "trace", value } });
}

function tracked({ groups }: State, cursor: Cursor, offset: number): Tracked {
  const { no: cursorNo, groupNo, nextOffset, revisitedBlock } = cursor;
  const group = groups.get(groupNo)?.name ?? "";
  if (cursor.entry(offset) !== undefined)
    return { cursorNo, group, standing: "underWay", revisitedBlock };
  const standing = offset < nextOffset ? "settled" : "fresh";
  return { cursorNo, group, standing, revisitedBlock };
}

/** The message that the request names, and where it is; else it is refused here, and null. */
function findMessage(
  { state }: Core,
  turn: Turn,
  from: ConnectionId,
  { id, topic: name, offset }: ClientFrames["message.show" | "message.trace"],
): { readonly topic: Topic; readonly place: Place } | null {
  const topic = state.topicsByName.get(name);
  if (topic === undefined) {
    refuseTopic(turn, from, id, name);
    return null;
  }
  const place = topic.neededPlaceOf(offset);
  if (place !== null && (!topic.isDeadLetters || topic.origins.has(offset)))
    return { topic, place };
  if (offset < topic.firstOffset)
    turn.refuse(from, id, "MESSAGE_RETIRED", `Retention removed offset ${offset} of ${name}.`);
  else turn.refuse(from, id, "MESSAGE_NOT_FOUND", notThere(topic, offset));
  return null;
}

const notThere = (topic: Topic, offset: number): string =>
  offset < topic.nextOffset
    ? `The dead letter at offset ${offset} was replayed or purged.`
    : `The next message of ${topic.name} will have offset ${topic.nextOffset}.`;

/** By time; without one to the end, as it is now. */
const rangeOf = (
  topic: Topic,
  { sinceMs, beforeMs }: ClientFrames["message.find"],
): { from: number; end: number } => ({
  from: sinceMs === undefined ? topic.firstOffset : topic.offsetAt(sinceMs),
  end: beforeMs === undefined ? topic.nextOffset : topic.offsetAt(beforeMs),
});

function rangeAfter(after: string): { from: number; end: number } | null {
  const [, from, end] = /^(\d{1,15})\.(\d{1,15})$/.exec(after) ?? [];
  return from === undefined || end === undefined ? null : { from: Number(from), end: Number(end) };
}

/** Dead letters that ended are passed over. */
function looksFrom(
  topic: Topic,
  fromOffset: number,
  endOffset: number,
): { readonly looks: readonly Look[]; readonly toOffset: number } {
  const looks: Look[] = [];
  let bytesLeft = LOOK_BYTES_MAX;
  let offset = topic.nextLive(fromOffset);
  while (offset < endOffset && looks.length < LOOKS_MAX && bytesLeft > 0) {
    const bytes = topic.bytesOf(offset);
    looks.push({ offset, bytes, place: topic.placeOf(offset), atMs: topic.atMsOf(offset) });
    bytesLeft -= bytes;
    offset = topic.nextLive(offset + 1);
  }
  return { looks, toOffset: Math.min(offset, endOffset) };
}

function standingView({ groups }: State, cursor: Cursor, offset: number): StandingView {
  const group = groups.get(cursor.groupNo)?.name ?? "";
  const entry = cursor.entry(offset);
  if (entry === undefined) {
    const state = offset < cursor.nextOffset ? "settled" : "fresh";
    return { group, state, deliveries: 0, failures: 0 };
  }
  const { deliveries, failures, reason, state } = entry;
  return {
    group,
    state: state.kind,
    deliveries,
    failures,
    ...(state.kind === "waiting" ? { readyAtMs: Math.round(state.readyAtMs) } : {}),
    ...(reason === "" ? {} : { reason }),
  };
}
