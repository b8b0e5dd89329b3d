/**
 * The ledger's reading of how long messages are there: what retention takes (E1 to E3), what is copied forward
 * (F1, F2), and what is still read (A3).
 */
import type { Place, RecordOf } from "../../broker/src/core/records.ts";
import type { Ledger } from "./ledger.ts";
import { isLive, type LedgerCursor, type LedgerTopic, placeKey, whereIs } from "./ledger-facts.ts";
import { demand } from "./violation.ts";

/** E1 to E3: what may be retired, and what each group loses by it. `nowMs`: as in `apply`. */
export function retired(
  ledger: Ledger,
  { topicNo, beforeOffset }: RecordOf<"retired">,
  nowMs: number,
): void {
  const topic = ledger.topic(topicNo);
  const { firstOffset: first, places, name, settings } = topic;
  demand(beforeOffset > first && beforeOffset <= places.length, "E1", () => `${name} is retired`);
  const isKept =
    settings.unsettled === "keep" || nowMs < ledger.openedAtMs + ledger.limits.dropAfterStartMs;
  let bytes = bytesOf(ledger, topic);
  for (let offset = first; offset < beforeOffset; offset++) {
    const where = (): string => `${name}/${offset}`;
    const isDue =
      nowMs - (topic.atMs[offset] ?? 0) > settings.retentionMs ||
      (settings.retentionBytes > 0 && bytes > settings.retentionBytes);
    demand(isDue || !isLive(topic, offset), "E0", () => `${where()} is still in its time`);
    if (isLive(topic, offset)) bytes -= topic.bytes[offset] ?? 0;
    for (const cursor of ledger.cursors.values())
      if (cursor.topicNo === topicNo)
        expire(ledger, topic, cursor, offset, isKept && !ledger.isInstance(cursor));
    const origin = topic.origins.get(offset);
    if (origin !== undefined) {
      topic.origins.delete(offset);
      const group = name.slice("%DLQ%".length);
      ledger.gone.add(`${group} ${ledger.topic(origin.topicNo).name}@${origin.offset}`);
      demand(!isKept, "E2", () => `the dead letter ${where()} is retired`);
      topic.expired++;
    }
  }
  topic.firstOffset = beforeOffset;
}

function expire(
  ledger: Ledger,
  topic: LedgerTopic,
  cursor: LedgerCursor,
  offset: number,
  isKept: boolean,
): void {
  const where = (): string => `${ledger.groupName(cursor)} in ${topic.name}/${offset}`;
  const kind = cursor.entries.get(offset)?.kind;
  demand(kind !== "leased" && kind !== "pending", "E1", () => `${where()} is retired, ${kind}`);
  const isFresh = offset >= cursor.nextOffset && isLive(topic, offset);
  cursor.nextOffset = Math.max(cursor.nextOffset, offset + 1);
  if (kind === undefined && !isFresh) return;
  demand(!isKept, "E2", () => `${where()} is retired unsettled`);
  ledger.gone.add(`${ledger.groupName(cursor)} ${topic.name}@${offset}`);
  cursor.entries.delete(offset);
  cursor.expired++;
  topic.expired++;
}

/** Due by its age, settled by every group, and in no instance's hands. */
export function mayGo(
  ledger: Ledger,
  { no, atMs, settings, places }: LedgerTopic,
  offset: number,
  nowMs: number,
): boolean {
  if (offset >= places.length || ledger.topic(no).isDeadLetters) return false;
  if (nowMs - (atMs[offset] ?? 0) <= settings.retentionMs) return false;
  for (const cursor of ledger.cursors.values()) {
    const kind = cursor.topicNo === no ? cursor.entries.get(offset)?.kind : undefined;
    if (kind === "leased" || kind === "pending") return false;
    if (cursor.topicNo !== no || ledger.isInstance(cursor)) continue;
    if (offset >= cursor.nextOffset || kind !== undefined) return false;
  }
  return true;
}

/** Of what is live, or revived and not settled yet. */
export function bytesOf(ledger: Ledger, topic: LedgerTopic): number {
  let bytes = 0;
  const { firstOffset, places } = topic;
  const cursors = cursorsOf(ledger, topic);
  for (let offset = firstOffset; offset < places.length; offset++)
    if (isNeeded(topic, cursors, offset)) bytes += topic.bytes[offset] ?? 0;
  return bytes;
}

/** Somebody may still read its bytes. */
function isNeeded(topic: LedgerTopic, cursors: readonly LedgerCursor[], offset: number): boolean {
  const isThere = offset < topic.places.length && isLive(topic, offset);
  return isThere || cursors.some(({ entries }) => entries.has(offset));
}

function cursorsOf(ledger: Ledger, { no }: LedgerTopic): LedgerCursor[] {
  return [...ledger.cursors.values()].filter(({ topicNo }) => topicNo === no);
}

/** F1: what is copied forward is there, and nothing but its place changes. */
export function moved(
  ledger: Ledger,
  { messages, entries, transactions, scheduled }: RecordOf<"moved">,
): void {
  const { block } = ledger;
  const slots = messages.map(({ bytes }) => ledger.takeSlot(bytes).slot);
  const placeOf = (at: number): Place => ({ block, slot: slots[at] ?? -1 });
  for (const { topicNo, offset, at, from } of entries) {
    const topic = ledger.topic(topicNo);
    const isWanted = isNeeded(topic, cursorsOf(ledger, topic), offset);
    demand(isWanted, "F2", () => `${topic.name}/${offset} is moved, and nobody needs it`);
    const isThere = placeKey(whereIs(topic, offset)) === placeKey(from);
    demand(isThere, "F2", () => `${topic.name}/${offset} is moved from where it is not`);
    topic.moved.set(offset, placeOf(at));
  }
  for (const { transactionId, at } of transactions)
    ledger.undecidedOne(transactionId, "F2").movedTo = placeOf(at);
  for (const one of scheduled) ledger.schedule.move(one, placeOf(one.at));
}

/** No block before it is read again (A3). */
export function neededBlock(ledger: Ledger): number {
  let needed = Math.min(ledger.block + 1, ledger.schedule.neededBlock);
  for (const topic of ledger.topics.values()) {
    for (let offset = topic.firstOffset; offset < topic.places.length; offset++)
      if (isLive(topic, offset)) needed = Math.min(needed, whereIs(topic, offset).block);
    for (const { entries } of cursorsOf(ledger, topic))
      for (const offset of entries.keys()) needed = Math.min(needed, whereIs(topic, offset).block);
  }
  for (const { messages, movedTo } of ledger.undecided.values())
    for (const { place } of messages) needed = Math.min(needed, (movedTo ?? place).block);
  return needed;
}
