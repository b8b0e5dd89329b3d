/**
 * Dead letters, as far as records go: into the dead-letter topic, back out of it, and their end; and what is
 * let go once nobody reads it any more.
 *
 * Invariants
 * - D8 A message is out of its group and among the dead letters in one record; its bytes stay where they are.
 * - O2 A dead letter that was replayed or purged does not come again to those who read dead letters.
 */
import { groupOfDeadLetters } from "@escrowmq/protocol/names";
import type { Cursor } from "./cursor.ts";
import { invariant } from "./invariant.ts";
import type { RecordOf } from "./records.ts";
import type { State } from "./state.ts";
import type { Topic } from "./topic.ts";

/** D8. */
export function bury(state: State, record: RecordOf<"buried">): void {
  const { offset, reason } = record;
  const cursor = state.cursor(record.cursorNo);
  const topic = state.topic(cursor.topicNo);
  const dead = state.topic(record.deadTopicNo);
  const { failures = 0, key = 0 } = cursor.entry(offset) ?? {};
  // The attempt that failed is used up, too.
  const attempts = failures + 1;
  cursor.settle(offset);
  const { atMs } = state;
  const at = dead.append(topic.placeOf(offset), topic.bytesOf(offset), atMs);
  const visibleAtMs = topic.atMsOf(offset);
  const origin = { topicNo: topic.no, offset, attempts, reason, atMs, visibleAtMs };
  dead.origins.set(at, key === 0 ? origin : { ...origin, key });
  ended(state, cursor, [offset]);
}

export function replay(state: State, { deadTopicNo, offset }: RecordOf<"replayed">): void {
  const dead = state.topic(deadTopicNo);
  const origin = dead.origins.get(offset);
  invariant(origin !== undefined, "a record replays a dead letter that exists");
  const group = state.groupsByName.get(groupOfDeadLetters(dead.name));
  const cursor = group?.cursors.get(origin.topicNo);
  if (cursor !== undefined) {
    const topic = state.topic(origin.topicNo);
    const isGone =
      origin.offset < topic.firstOffset ||
      (topic.isDeadLetters && !topic.origins.has(origin.offset));
    if (isGone)
      topic.revive(origin.offset, dead.placeOf(offset), dead.bytesOf(offset), origin.visibleAtMs);
    cursor.replay(origin.offset, origin.key ?? 0);
    cursor.revisit(state.block);
    ended(state, cursor, [origin.offset]);
  }
  endDeadLetter(state, dead, offset);
}

export function endDeadLetter(state: State, dead: Topic, offset: number): void {
  dead.origins.delete(offset);
  const readers = state.readers.get(dead.no) ?? [];
  for (const reader of readers) {
    passOver(state, reader, offset);
    state.loosened.add(reader);
  }
  if (!readers.some((reader) => reader.entry(offset) !== undefined)) dead.forget(offset);
}

/**
 * These offsets have no entry in the cursor any more. What is held for readers only (O3, and a dead letter
 * that ended while it was under way) is let go with the last one.
 */
export function ended(state: State, cursor: Cursor, offsets: readonly number[]): void {
  if (cursor.takesIn) state.loosened.add(cursor);
  const topic = state.topic(cursor.topicNo);
  if (!topic.isDeadLetters && !topic.hasRevived) return;
  const readers = state.readers.get(topic.no) ?? [];
  for (const offset of offsets) {
    const isHeld =
      topic.origins.has(offset) || (!topic.isDeadLetters && offset >= topic.firstOffset);
    if (isHeld || readers.some((reader) => reader.entry(offset) !== undefined)) continue;
    topic.forget(offset);
  }
}

/** O2. */
export function passOver(state: State, reader: Cursor, offset: number): void {
  const topic = state.topic(reader.topicNo);
  if (!topic.isDeadLetters || topic.origins.has(offset)) return;
  const kind = reader.entry(offset)?.kind;
  if (kind !== "ready" && kind !== "waiting") return;
  reader.settle(offset);
  ended(state, reader, [offset]);
}
