/** What records say to people, where more than one inspector says it. */
import type { LogRecord, Place, RecordOf } from "../core/records.ts";
import type { Block } from "../store/store.ts";

/**
 * Records that tell nothing of a message that is still there, nor of a transaction. They are the only `default` of
 * the inspectors: so the compiler asks whoever adds a record what it means for a trace and for a timeline.
 */
export type Elsewhere = RecordOf<
  | "clock"
  | "topicCreated"
  | "topicUpdated"
  | "topicDeleted"
  | "groupUpdated"
  | "groupPaused"
  | "groupDeleted"
  | "instanceOpened"
  | "instanceSeen"
  | "instanceForgotten"
  | "gapTold"
  | "cursorFiltered"
  | "endpointSet"
  | "retired"
>;

export const because = (what: string, reason: string): string =>
  reason === "" ? what : `${what}: ${reason}`;

export const plural = (count: number, noun: string): string =>
  count === 1 ? `1 ${noun}` : `${count} ${noun}s`;

export const checkedText = (
  { isCounted, asked, outcome, latencyMs }: RecordOf<"checked">,
  number: number,
): string =>
  `${isCounted ? `check ${number}` : "check, not counted"}: ${asked} answered ${outcome} after ${latencyMs} ms`;

export const dueText = (kind: "due" | "queued", topic: string): string =>
  kind === "due" ? `in ${topic}` : `for ${topic}, ${QUEUED_TEXT}`;

export const QUEUED_TEXT = "behind the transaction that has reserved its key";

export const parkedText = ({ cause }: RecordOf<"parked">): string =>
  cause === "attempts" ? "after the last allowed check" : "too old to go on checking";

export const decidedText = ({ by, who, reason }: RecordOf<"decided">): string =>
  because(who === "" ? `by ${by}` : `by ${by}, ${who}`, reason);

export const operatorText = ({
  operator,
  reason,
}: {
  readonly operator: string;
  readonly reason: string;
}): string => because(`by ${operator}`, reason);

export function returnedText(
  { cause, readyAtMs, reason }: RecordOf<"returned">,
  atMs: number,
): string {
  const wait = readyAtMs > 0 ? `, again in ${Math.max(0, Math.round(readyAtMs - atMs))} ms` : "";
  return because(`${cause}${wait}`, reason);
}

/** A group's filter passed it over. */
export const FILTERED_TEXT = "it does not match";

/** Messages of a block are numbered in the order of its records (L3). */
export function slotOf(wanted: LogRecord, block: Block): number {
  let slot = 0;
  for (const record of block.records) {
    if (record === wanted) return slot;
    if ("messages" in record) slot += record.messages.length;
  }
  return slot;
}

export const placeKey = (topicNo: number, { block, slot }: Place): string =>
  `${topicNo}:${block}.${slot}`;
