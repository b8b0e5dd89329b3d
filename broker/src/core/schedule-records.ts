/**
 * What records do to messages that have a time: those that become visible later (delay), and those that are
 * not worth a delivery for ever (time to live). As in state.ts, nothing here refuses (A1).
 */
import { ID_WORDS_MAX } from "./id-hash.ts";
import { invariant } from "./invariant.ts";
import type { Place, RecordOf } from "./records.ts";
import type { ScheduledMessage } from "./scheduled.ts";
import type { State } from "./state.ts";
import type { HalfMessage } from "./transaction.ts";

/** A sent or committed message: visible now, or scheduled if it is due only after `fromAtMs`. */
export function show(
  state: State,
  { topicNo, bytes, timing }: HalfMessage,
  place: Place,
  fromAtMs: number,
): void {
  const topic = state.topic(topicNo);
  if (timing !== undefined) {
    const { id, delayMs, deliverAtMs, ttlMs } = timing;
    if (ttlMs > 0) topic.hasTtl = true;
    const dueAtMs = deliverAtMs > 0 ? deliverAtMs : fromAtMs + delayMs;
    if (dueAtMs > fromAtMs) return schedule(state, { id, topicNo, place, bytes, dueAtMs });
  }
  topic.append(place, bytes, state.atMs);
}

export function schedule(state: State, message: ScheduledMessage): void {
  state.scheduled.add(message);
  state.topic(message.topicNo).scheduled++;
}

/** S1. */
export function due(state: State, { topicNo, place }: RecordOf<"due">): void {
  const { scheduled } = state;
  const row = scheduled.first;
  const first = scheduled.at(row);
  const isFirst = first.place.block === place.block && first.place.slot === place.slot;
  invariant(isFirst && first.topicNo === topicNo, "what is due is the first that is scheduled");
  scheduled.remove(row);
  const topic = state.topic(topicNo);
  topic.scheduled--;
  topic.append(place, first.bytes, state.atMs);
}

export function recalled(state: State, { topicNo, messageId }: RecordOf<"recalled">): void {
  for (const row of state.scheduled.find(topicNo, messageId)) {
    state.scheduled.remove(row);
    state.topic(topicNo).scheduled--;
  }
  const key = recallKey(topicNo, messageId);
  // A message of this id may have been sent and recalled again: the last time counts.
  if (!state.recalls.isYoung(key)) state.recalls.set(key, topicNo, state.atMs);
}

/**
 * What a recall is remembered by. The topic is part of the key, not of a value: one id may be recalled in any
 * number of topics, and a hash table bears few rows of one key.
 */
export const recallKey = (topicNo: number, messageId: string): string => `${messageId} ${topicNo}`;

/** An id, a blank, and a number of 32 bits. */
export const RECALL_KEY_WORDS_MAX = ID_WORDS_MAX + 3;

/** The topic is deleted, and what waits for it is gone with it. */
export function dropScheduled({ scheduled }: State, topicNo: number): void {
  for (const row of scheduled.ofTopic(topicNo)) scheduled.remove(row);
}
