/**
 * What records do to messages that have a time: those that become visible later (delay, or a reservation of their
 * key), and those that are not worth a delivery for ever (time to live). As in state.ts, nothing here refuses (A1).
 */
import { NEVER } from "./alarms.ts";
import { ID_WORDS_MAX } from "./id-hash.ts";
import { invariant } from "./invariant.ts";
import { NOTHING } from "./key-queues.ts";
import { NOWHERE } from "./places.ts";
import type { Place, RecordOf } from "./records.ts";
import type { ScheduledMessage } from "./scheduled.ts";
import type { State } from "./state.ts";
import { type HalfMessage, keyToReserve, type Transaction } from "./transaction.ts";

/**
 * A sent or committed message: visible now, or scheduled if it is due only after `fromAtMs`, or stands behind a
 * reservation of its key. `reservationNo`: its own transaction's, whose place it takes (K1).
 */
export function show(
  state: State,
  { topicNo, bytes, timing }: HalfMessage,
  place: Place,
  fromAtMs: number,
  reservationNo = NOTHING,
): void {
  const topic = state.topic(topicNo);
  if (timing !== undefined) {
    const { id, key, delayMs, deliverAtMs, ttlMs } = timing;
    if (ttlMs > 0) topic.hasTtl = true;
    const message = { id, topicNo, place, bytes, key };
    const dueAtMs = deliverAtMs > 0 ? deliverAtMs : fromAtMs + delayMs;
    if (dueAtMs > fromAtMs) return schedule(state, { ...message, dueAtMs, position: NOTHING });
    const position = key === 0 ? NOTHING : state.keyQueues.positionFor(topicNo, key, reservationNo);
    if (position !== NOTHING) return schedule(state, { ...message, dueAtMs: NEVER, position });
  }
  topic.append(place, bytes, state.atMs);
}

/** Also one that a checkpoint tells of: then the head of a queue has its time already. */
export function schedule(state: State, message: ScheduledMessage): void {
  const row = state.scheduled.add(message);
  const { topicNo, key, position, dueAtMs } = message;
  const topic = state.topic(topicNo);
  if (position === NOTHING) topic.scheduled++;
  else {
    topic.queued++;
    state.keyQueues.enter(topicNo, key, position, row, dueAtMs !== NEVER);
  }
}

function unschedule(state: State, row: number): void {
  const { topicNo, key, position } = state.scheduled.at(row);
  const topic = state.topic(topicNo);
  state.scheduled.remove(row);
  if (position === NOTHING) topic.scheduled--;
  else {
    topic.queued--;
    state.keyQueues.leave(topicNo, key, position, row);
    releaseHead(state, topicNo, key);
  }
}

/** K2. */
function releaseHead({ keyQueues, scheduled, atMs }: State, topicNo: number, key: number): void {
  const head = keyQueues.headOf(topicNo, key);
  if (head !== NOWHERE) scheduled.release(head, atMs);
}

/** S1. */
export function due(state: State, record: RecordOf<"due">): void {
  const { topicNo, place, bytes } = firstOf(state, record);
  unschedule(state, state.scheduled.first);
  state.topic(topicNo).append(place, bytes, state.atMs);
}

export function queued(state: State, record: RecordOf<"queued">): void {
  const { topicNo, key } = firstOf(state, record);
  const { scheduled, keyQueues } = state;
  const row = scheduled.first;
  const position = keyQueues.positionFor(topicNo, key);
  scheduled.queue(row, position);
  keyQueues.enter(topicNo, key, position, row, false);
  const topic = state.topic(topicNo);
  topic.scheduled--;
  topic.queued++;
}

function firstOf(
  { scheduled }: State,
  { topicNo, place }: RecordOf<"due" | "queued">,
): ScheduledMessage {
  const first = scheduled.at(scheduled.first);
  const isFirst = first.place.block === place.block && first.place.slot === place.slot;
  invariant(isFirst && first.topicNo === topicNo, "what is due is the first that is scheduled");
  return first;
}

export function recalled(state: State, { topicNo, messageId }: RecordOf<"recalled">): void {
  for (const row of state.scheduled.find(topicNo, messageId)) unschedule(state, row);
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
export function dropScheduled(state: State, topicNo: number): void {
  // As they are now: what is taken out of a queue moves what stands behind it.
  for (const row of [...state.scheduled.ofTopic(topicNo)]) unschedule(state, row);
}

/** The transaction has the next place of each key, from its prepare on. */
export function reserveKeys(state: State, { id, messages, reservationNo }: Reserving): void {
  if (reservationNo === NOTHING) return;
  for (const message of messages) {
    const key = keyToReserve(message);
    if (key !== 0) state.keyQueues.reserve(message.topicNo, key, reservationNo, id);
  }
}

/** It is decided, and its own messages stand in their places (K1). */
export function endReservations(state: State, { messages, reservationNo }: Reserving): void {
  if (reservationNo === NOTHING) return;
  for (const message of messages) {
    const key = keyToReserve(message);
    if (key === 0) continue;
    state.keyQueues.end(message.topicNo, key, reservationNo);
    releaseHead(state, message.topicNo, key);
  }
}

type Reserving = Pick<Transaction, "id" | "messages" | "reservationNo">;
