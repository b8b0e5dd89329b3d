/** The ledger's reading of deliveries: leased, and then settled, given back or dead, and read again (D3 to D8, D15, D17). */
import type { RecordOf } from "../../broker/src/core/records.ts";
import type { Ledger } from "./ledger.ts";
import { isLive, type LedgerCursor, leased, placeKey, whereIs } from "./ledger-facts.ts";
import { isPaused } from "./ledger-groups.ts";
import { isFirst, isOrdered, readyEntry, takesIn } from "./ledger-windows.ts";
import { demand } from "./violation.ts";

export function delivered(ledger: Ledger, record: RecordOf<"delivered">, nowMs: number): void {
  const cursor = ledger.cursor(record.cursorNo);
  const where = `cursor ${record.cursorNo}`;
  demand(
    !isPaused(ledger, cursor.groupNo),
    "D16",
    () => `${where} is given something, and is paused`,
  );
  demand(record.firstDeliveryNo >= cursor.nextDeliveryNo, "D3", () => "a number comes again");
  for (const [at, offset] of record.offsets.entries()) {
    const deliveryNo = record.firstDeliveryNo + at;
    cursor.nextDeliveryNo = deliveryNo + 1;
    const entry = cursor.entries.get(offset);
    if (entry === undefined) {
      demand(offset === nextFresh(ledger, cursor), "D4", () => `${where}/${offset} was settled`);
      demand(!takesIn(ledger, cursor), "V6", () => `${where}/${offset} was not taken in`);
      const size = ledger.topic(cursor.topicNo).places.length;
      demand(offset < size, "T1", () => `${where}/${offset} is not visible yet`);
      cursor.nextOffset = offset + 1;
      cursor.entries.set(offset, {
        kind: "leased",
        number: deliveryNo,
        deliveries: 1,
        failures: 0,
        key: 0,
      });
      continue;
    }
    demand(isFirst(cursor, offset), "D9", () => `${where}/${offset} overtakes one of its key`);
    demand(entry.kind !== "pending", "T9", () => `${where}/${offset} has a pending ack`);
    demand(entry.kind !== "leased", "D3", () => `${where}/${offset} is leased already`);
    demand(
      entry.kind === "ready" || entry.number <= nowMs + ledger.slackMs,
      "D7",
      () => `${where}/${offset} comes ${entry.number - nowMs} ms before its time`,
    );
    entry.kind = "leased";
    entry.number = deliveryNo;
    entry.deliveries++;
  }
}

export function returned(ledger: Ledger, record: RecordOf<"returned">): void {
  const entry = leased(ledger.cursor(record.cursorNo), record.offset, "D5");
  if (record.isCounted) entry.failures++;
  entry.kind = record.readyAtMs > 0 ? "waiting" : "ready";
  entry.number = record.readyAtMs;
  passOver(ledger, ledger.cursor(record.cursorNo), record.offset);
}

/** D17: only what is unsettled; what is fresh before it becomes ready. */
export function skipped(ledger: Ledger, { cursorNo, offsets }: RecordOf<"skipped">): void {
  const cursor = ledger.cursor(cursorNo);
  const { places } = ledger.topic(cursor.topicNo);
  for (const offset of offsets) {
    for (
      let fresh = nextFresh(ledger, cursor);
      fresh <= offset;
      fresh = nextFresh(ledger, cursor)
    ) {
      demand(fresh < places.length, "D17", () => `${offset} is skipped, and not visible yet`);
      cursor.nextOffset = fresh + 1;
      cursor.entries.set(fresh, readyEntry(0));
    }
    const kind = cursor.entries.get(offset)?.kind;
    demand(kind !== undefined, "D17", () => `cursor ${cursorNo}/${offset} is skipped, settled`);
    demand(kind !== "pending", "T9", () => `cursor ${cursorNo}/${offset} is skipped, pending`);
    cursor.entries.delete(offset);
  }
}

/** That it really was too old is judged where it would have been sent. */
export function lapsed(ledger: Ledger, { cursorNo, offsets }: RecordOf<"lapsed">): void {
  const cursor = ledger.cursor(cursorNo);
  for (const offset of offsets) {
    leased(ledger.cursor(cursorNo), offset, "D15");
    cursor.entries.delete(offset);
    cursor.lapsed++;
    ledger.gone.add(`${ledger.groupName(cursor)} ${ledger.topic(cursor.topicNo).name}@${offset}`);
  }
}

export function buried(
  ledger: Ledger,
  { cursorNo, offset, deadTopicNo }: RecordOf<"buried">,
): void {
  leased(ledger.cursor(cursorNo), offset, "D8");
  const cursor = ledger.cursor(cursorNo);
  const key = cursor.entries.get(offset)?.key ?? 0;
  cursor.entries.delete(offset);
  const dead = ledger.topic(deadTopicNo);
  demand(dead.name === `%DLQ%${ledger.groupName(cursor)}`, "D11", () => `buried in ${dead.name}`);
  const place = ledger.topic(cursor.topicNo).places[offset];
  demand(place !== undefined, "D8", () => "what is buried was never visible");
  dead.moved.set(dead.places.length, whereIs(ledger.topic(cursor.topicNo), offset));
  dead.origins.set(dead.places.length, { topicNo: cursor.topicNo, offset, key });
  dead.places.push(place);
  dead.bytes.push(ledger.bytesAt.get(placeKey(place)) ?? 0);
  dead.atMs.push(ledger.atMs);
}

export function deadLetterEnded(
  ledger: Ledger,
  { kind, deadTopicNo, offset }: RecordOf<"replayed" | "purged">,
): void {
  const dead = ledger.topic(deadTopicNo);
  const origin = dead.origins.get(offset);
  demand(origin !== undefined, "D8", () => `${dead.name}/${offset} is ${kind}, but not there`);
  const topic = ledger.topic(origin.topicNo);
  // What its own topic has let go of is read where the dead letter stands.
  const isGone = !isLive(topic, origin.offset);
  if (kind === "replayed" && isGone) topic.moved.set(origin.offset, whereIs(dead, offset));
  dead.origins.delete(offset);
  for (const cursor of ledger.cursors.values()) {
    if (cursor.topicNo === deadTopicNo) passOver(ledger, cursor, offset);
    if (kind === "purged" || cursor.topicNo !== origin.topicNo) continue;
    if (`%DLQ%${ledger.groupName(cursor)}` !== dead.name) continue;
    if (cursor.entries.has(origin.offset) || origin.offset >= cursor.nextOffset) continue;
    const key = isOrdered(ledger, cursor) ? origin.key : 0;
    cursor.entries.set(origin.offset, readyEntry(key));
  }
}

export function passOver(ledger: Ledger, cursor: LedgerCursor, offset: number): void {
  const { isDeadLetters, origins } = ledger.topic(cursor.topicNo);
  if (!isDeadLetters || origins.has(offset)) return;
  const kind = cursor.entries.get(offset)?.kind;
  if (kind === "ready" || kind === "waiting") cursor.entries.delete(offset);
}

/** What a consumer of the group could get now. */
export function ready(ledger: Ledger, cursor: LedgerCursor, nowMs: number): number[] {
  const ready: number[] = [];
  for (const [offset, { kind, number }] of cursor.entries)
    if (kind === "ready" || (kind === "waiting" && number <= nowMs)) ready.push(offset);
  if (takesIn(ledger, cursor)) return ready.filter((offset) => isFirst(cursor, offset));
  const fresh = nextFresh(ledger, cursor);
  if (fresh < ledger.topic(cursor.topicNo).places.length) ready.push(fresh);
  return ready;
}

/** In a dead-letter topic what was replayed or purged is passed over. */
export function nextFresh(ledger: Ledger, cursor: LedgerCursor): number {
  const { isDeadLetters, origins, places } = ledger.topic(cursor.topicNo);
  let offset = cursor.nextOffset;
  while (isDeadLetters && offset < places.length && !origins.has(offset)) offset++;
  return offset;
}
