/** The ledger's groups, cursors, and the instances of groups that are broadcast to. */
import type { LogRecord, RecordOf } from "../../broker/src/core/records.ts";
import type { Ledger } from "./ledger.ts";
import { type LedgerCursor, leased } from "./ledger-facts.ts";
import { forgetOrder } from "./ledger-windows.ts";
import { demand } from "./violation.ts";

/** `instanceOpened` and all that may follow it. */
export type InstanceRecord = Extract<
  LogRecord,
  {
    readonly kind:
      | "instanceOpened"
      | "instanceSeen"
      | "instanceForgotten"
      | "abandoned"
      | "gapTold";
  }
>;

export function updateGroup(ledger: Ledger, record: RecordOf<"groupUpdated">): void {
  const { groupNo, group: name, policy } = record;
  const isPaused = ledger.groups.get(groupNo)?.isPaused ?? false;
  ledger.groups.set(groupNo, { name, policy, isPaused, instance: null });
  for (const [no, group] of ledger.groups) {
    if (no !== groupNo && group.instance?.parentNo !== groupNo) continue;
    group.policy = policy;
    if (!policy.isOrdered) forgetOrder(ledger, no);
  }
}

/** D16: with a group that is broadcast to all its instances are paused. */
export function isPaused(ledger: Ledger, groupNo: number): boolean {
  const group = ledger.group(groupNo);
  return (
    group.isPaused || (group.instance !== null && ledger.group(group.instance.parentNo).isPaused)
  );
}

/** At a start nobody is here; the pause is nobody's absence. */
export function leaveAll(ledger: Ledger, atMs: number, pausedMs: number): void {
  for (const { instance } of ledger.groups.values())
    if (instance !== null)
      instance.leftAtMs = instance.leftAtMs === null ? atMs : instance.leftAtMs + pausedMs;
}

/** `nowMs`: Infinity when a log is only read again. */
export function applyInstance(ledger: Ledger, record: InstanceRecord, nowMs: number): void {
  switch (record.kind) {
    case "instanceOpened": {
      const parent = ledger.groups.get(record.parentNo);
      demand(parent?.instance === null, "S1", () => "an instance of no group");
      const name = `${parent.name}%${record.instance}`;
      const isThere = [...ledger.groups.values()].some((group) => group.name === name);
      demand(!isThere, "S1", () => `${name} is opened twice`);
      const instance = { parentNo: record.parentNo, leftAtMs: null };
      ledger.groups.set(record.groupNo, { name, policy: parent.policy, isPaused: false, instance });
      return;
    }
    case "instanceSeen": {
      const { instance, name } = instanceOf(ledger, record.groupNo);
      const wasHere = instance.leftAtMs === null;
      demand(wasHere !== record.isHere, "S1", () => `${name} comes or goes twice`);
      instance.leftAtMs = record.isHere ? null : ledger.atMs;
      return;
    }
    case "instanceForgotten":
      return forget(ledger, record.groupNo, nowMs);
    case "abandoned":
      leased(ledger.cursor(record.cursorNo), record.offset, "S3");
      return abandon(ledger, ledger.cursor(record.cursorNo), record.offset);
    case "gapTold": {
      const cursor = ledger.cursor(record.cursorNo);
      const isTrue = record.lost > cursor.told && record.lost <= cursor.expired + cursor.abandoned;
      demand(isTrue, "S3", () => `cursor ${cursor.no} is told of ${record.lost} lost messages`);
      cursor.told = record.lost;
    }
  }
}

/** S2, S4: for its absence, or to make room; never with pending acks. */
function forget(ledger: Ledger, groupNo: number, nowMs: number): void {
  const { instance, name } = instanceOf(ledger, groupNo);
  const { leftAtMs, parentNo } = instance;
  demand(leftAtMs !== null, "S2", () => `${name} is here, and is forgotten`);
  const siblings = [...ledger.groups.values()].filter((one) => one.instance?.parentNo === parentNo);
  const { instanceKeptMs, instancesPerGroupMax } = ledger.limits;
  const isRight = nowMs - leftAtMs >= instanceKeptMs || siblings.length >= instancesPerGroupMax;
  demand(isRight, "S2", () => `${name} is forgotten after ${nowMs - leftAtMs} ms`);
  for (const cursor of [...ledger.cursors.values()]) {
    if (cursor.groupNo !== groupNo) continue;
    for (const { kind } of cursor.entries.values())
      demand(kind !== "pending", "S4", () => `${name} has pending acks, and is forgotten`);
    ledger.cursors.delete(cursor.no);
  }
  ledger.groups.delete(groupNo);
}

function abandon(ledger: Ledger, cursor: LedgerCursor, offset: number): void {
  instanceOf(ledger, cursor.groupNo);
  cursor.entries.delete(offset);
  cursor.abandoned++;
  ledger.abandoned.add(
    `${ledger.groupName(cursor)} ${ledger.topic(cursor.topicNo).name}@${offset}`,
  );
}

function instanceOf(ledger: Ledger, groupNo: number) {
  const group = ledger.groups.get(groupNo);
  const instance = group?.instance ?? null;
  demand(group !== undefined && instance !== null, "S1", () => `group ${groupNo} is no instance`);
  return { name: group.name, instance };
}
