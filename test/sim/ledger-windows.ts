/** The ledger's reading of what cursors with a filter or an order take in, and of what stands behind what. */
import type { RecordOf } from "../../broker/src/core/records.ts";
import type { Ledger } from "./ledger.ts";
import { isLive, type LedgerCursor, type LedgerEntry } from "./ledger-facts.ts";
import { demand } from "./violation.ts";

export const readyEntry = (key: number): LedgerEntry => ({
  kind: "ready",
  number: 0,
  deliveries: 0,
  failures: 0,
  key,
});

export const isOrdered = (ledger: Ledger, { groupNo, topicNo }: LedgerCursor): boolean =>
  ledger.groups.get(groupNo)?.policy.isOrdered === true && !ledger.topic(topicNo).isDeadLetters;

export const takesIn = (ledger: Ledger, cursor: LedgerCursor): boolean =>
  cursor.filter !== "" || isOrdered(ledger, cursor);

/** Nothing of its key stands before it (D9). */
export function isFirst({ entries }: LedgerCursor, offset: number): boolean {
  const key = entries.get(offset)?.key ?? 0;
  if (key === 0) return true;
  for (const [at, entry] of entries) if (entry.key === key) return at === offset;
  return true;
}

/** V6: what is taken in is visible, is taken in once, and nothing between is left out. */
export function taken(ledger: Ledger, record: RecordOf<"taken">): void {
  const { nextOffset, offsets, keys, filtered } = record;
  const cursor = ledger.cursor(record.cursorNo);
  const topic = ledger.topic(cursor.topicNo);
  const where = `cursor ${cursor.no}`;
  demand(takesIn(ledger, cursor), "V6", () => `${where} takes in without a filter or an order`);
  demand(nextOffset <= topic.places.length, "T1", () => `${where} takes in what is not visible`);
  demand(nextOffset > cursor.nextOffset, "V6", () => `${where} takes in twice`);
  let next = cursor.nextOffset;
  for (const [at, offset] of offsets.entries()) {
    const isNext = offset >= next && offset < nextOffset && isLive(topic, offset);
    demand(isNext, "V6", () => `${where}/${offset} is taken in out of its order`);
    cursor.entries.set(offset, readyEntry(keys[at] ?? 0));
    next = offset + 1;
  }
  const count = nextOffset - cursor.nextOffset;
  const isWhole = offsets.length + filtered === count;
  demand(isWhole || topic.isDeadLetters, "V6", () => `${where} loses some of ${count}`);
  cursor.nextOffset = nextOffset;
  cursor.filtered += filtered;
}

/** The group is not ordered any more. */
export function forgetOrder(ledger: Ledger, groupNo: number): void {
  for (const cursor of ledger.cursors.values())
    if (cursor.groupNo === groupNo) for (const entry of cursor.entries.values()) entry.key = 0;
}

/** The first of its key hangs on a transaction that nobody may ever decide. */
export function isBehindPending({ entries }: LedgerCursor, offset: number): boolean {
  const key = entries.get(offset)?.key ?? 0;
  if (key === 0) return false;
  const first = [...entries.values()].find((entry) => entry.key === key);
  return first?.kind === "pending";
}

/** So much stands behind pending acks that nothing more is taken in. */
export function isFullOfHeld(cursor: LedgerCursor, takenInMax: number): boolean {
  const offsets = [...cursor.entries.keys()];
  return offsets.filter((offset) => isHeldForEver(cursor, offset)).length >= takenInMax;
}

const isHeldForEver = (cursor: LedgerCursor, offset: number): boolean =>
  cursor.entries.get(offset)?.kind === "ready" && isBehindPending(cursor, offset);
