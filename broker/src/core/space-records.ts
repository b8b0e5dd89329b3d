/** What records do so that space comes back: messages that retention took, and those that were copied forward. */
import type { Place, RecordOf } from "./records.ts";
import type { State } from "./state.ts";

/** What is left of each group's work there expires with the messages, and is counted (V5). */
export function retired(state: State, { topicNo, beforeOffset }: RecordOf<"retired">): void {
  const topic = state.topic(topicNo);
  const first = topic.firstOffset;
  for (const cursor of state.readers.get(topicNo) ?? []) {
    const fresh = topic.liveBetween(Math.max(first, cursor.nextOffset), beforeOffset);
    topic.expired += cursor.expire(first, beforeOffset, fresh);
    state.loosened.add(cursor);
  }
  for (let offset = first; topic.isDeadLetters && offset < beforeOffset; offset++)
    if (topic.origins.delete(offset)) topic.expired++;
  topic.retire(beforeOffset);
}

/** F1. What is named was there when the record was made. `first`: where the first of its messages stands now. */
export function moved(state: State, record: RecordOf<"moved">, { block, slot }: Place): void {
  for (const { topicNo, offset, at } of record.entries)
    state.topic(topicNo).move(offset, { block, slot: slot + at });
  for (const { transactionId, at } of record.transactions)
    state.transactions.move(state.transaction(transactionId), { block, slot: slot + at });
  for (const { messageId, at, from } of record.scheduled)
    state.scheduled.move(state.scheduled.findAt(messageId, from), { block, slot: slot + at });
}
