/**
 * The table of record kinds on disk: code, order of fields, numbers of names. Read the procedure at
 * the top of records.ts before changing a line here: these numbers stand in stores that exist.
 */
import type { RecordKind, RecordOf } from "../core/records.ts";
import {
  type FieldReader,
  nameTable,
  type Shapes,
  writeMessages,
  writeOffsets,
  writePlaces,
  writeTimings,
} from "./record-fields.ts";
import { SETUP_SHAPES } from "./setup-shapes.ts";

const VERDICTS = nameTable({ commit: 0, rollback: 1 });
const UNDECIDED = nameTable({ park: 0, rollback: 1 });
const PARKED_BY = nameTable({ attempts: 0, age: 1 });
const DECIDED_BY = nameTable<RecordOf<"decided">["by"]>({
  producer: 0,
  check: 1,
  operator: 2,
  policy: 3,
});
const OUTCOMES = nameTable<RecordOf<"checked">["outcome"]>({
  commit: 0,
  rollback: 1,
  unknown: 2,
  timeout: 3,
  disconnected: 4,
  failed: 5,
  unreachable: 6,
});
const CAUSES = nameTable<RecordOf<"returned">["cause"]>({
  retry: 0,
  expired: 1,
  disconnected: 2,
  released: 3,
  restart: 4,
  rolledBack: 5,
  unreadable: 6,
});

function readMovedScheduled(fields: FieldReader): RecordOf<"moved">["scheduled"] {
  const ids = fields.texts();
  const places = fields.groups(3, ([at = 0, block = 0, slot = 0]) => ({
    at,
    from: { block, slot },
  }));
  fields.demand(ids.length === places.length, "as long as the one before it");
  return places.map((place, at) => ({ messageId: ids[at] ?? "", ...place }));
}

export const SHAPES: Shapes<RecordKind> = {
  ...SETUP_SHAPES,
  opened: {
    code: 1,
    write: (code, r) => [code, r.atMs, r.pausedMs],
    read: (f) => ({ kind: "opened", atMs: f.number(), pausedMs: f.number() }),
  },
  cursorOpened: {
    code: 7,
    write: (code, r) => [code, r.cursorNo, r.groupNo, r.topicNo, r.nextOffset],
    read: (f) => ({
      kind: "cursorOpened",
      cursorNo: f.number(),
      groupNo: f.number(),
      topicNo: f.number(),
      nextOffset: f.number(),
    }),
  },
  cursorReset: {
    code: 8,
    write: (code, r) => [code, r.cursorNo, r.nextOffset, r.operator, r.reason],
    read: (f) => ({
      kind: "cursorReset",
      cursorNo: f.number(),
      nextOffset: f.number(),
      ...f.operatorAndReason(),
    }),
  },
  sent: {
    code: 9,
    write: (code, r) => [
      code,
      r.sendId,
      r.digest,
      writeMessages(r.messages),
      ...writeTimings(r.messages),
    ],
    read: (f) => ({
      kind: "sent",
      sendId: f.text(),
      digest: f.number(),
      messages: f.timed(f.messages()),
    }),
  },
  prepared: {
    code: 10,
    write: (code, r) => [
      code,
      r.transactionId,
      r.group,
      r.digest,
      writeMessages(r.messages),
      r.acks.flatMap((ack) => [ack.cursorNo, ack.offset]),
      r.checkAtMs,
      UNDECIDED.numberOf(r.onUndecided),
      ...writeTimings(r.messages, r.reservesKeys),
    ],
    read: (f) => {
      const record = {
        kind: "prepared",
        transactionId: f.text(),
        group: f.text(),
        digest: f.number(),
        messages: f.messages(),
        acks: f.pairs((cursorNo, offset) => ({ cursorNo, offset })),
        checkAtMs: f.number(),
        onUndecided: UNDECIDED.nameOf(f.number()),
      } as const;
      const timed = { ...record, messages: f.timed(record.messages) };
      return f.hasMore ? { ...timed, reservesKeys: f.truth() } : timed;
    },
  },
  decided: {
    code: 11,
    write: (code, r) => [
      code,
      r.transactionId,
      VERDICTS.numberOf(r.verdict),
      DECIDED_BY.numberOf(r.by),
      r.who,
      r.reason,
      ...(r.fromAtMs === undefined ? [] : [r.fromAtMs]),
    ],
    read: (f) => {
      const record = {
        kind: "decided",
        transactionId: f.text(),
        verdict: VERDICTS.nameOf(f.number()),
        by: DECIDED_BY.nameOf(f.number()),
        who: f.text(),
        reason: f.text(),
      } as const;
      return f.hasMore ? { ...record, fromAtMs: f.number() } : record;
    },
  },
  checked: {
    code: 12,
    write: (code, r) => [
      code,
      r.transactionId,
      OUTCOMES.numberOf(r.outcome),
      r.isCounted,
      r.latencyMs,
      r.asked,
      r.nextCheckAtMs,
    ],
    read: (f) => ({
      kind: "checked",
      transactionId: f.text(),
      outcome: OUTCOMES.nameOf(f.number()),
      isCounted: f.flag(),
      latencyMs: f.number(),
      asked: f.text(),
      nextCheckAtMs: f.number(),
    }),
  },
  parked: {
    code: 13,
    write: (code, r) => [code, r.transactionId, PARKED_BY.numberOf(r.cause)],
    read: (f) => ({ kind: "parked", transactionId: f.text(), cause: PARKED_BY.nameOf(f.number()) }),
  },
  resumed: {
    code: 14,
    write: (code, r) => [code, r.transactionId, r.checkAtMs, r.operator, r.reason],
    read: (f) => ({
      kind: "resumed",
      transactionId: f.text(),
      checkAtMs: f.number(),
      ...f.operatorAndReason(),
    }),
  },
  delivered: {
    code: 16,
    write: (code, r) => [
      code,
      r.cursorNo,
      r.firstDeliveryNo,
      writeOffsets(r.offsets),
      r.connection,
    ],
    read: (f) => ({
      kind: "delivered",
      cursorNo: f.number(),
      firstDeliveryNo: f.number(),
      offsets: f.offsets(),
      connection: f.number(),
    }),
  },
  acked: {
    code: 17,
    write: (code, r) => [code, r.cursorNo, writeOffsets(r.offsets)],
    read: (f) => ({ kind: "acked", cursorNo: f.number(), offsets: f.offsets() }),
  },
  returned: {
    code: 18,
    write: (code, r) => [
      code,
      r.cursorNo,
      r.offset,
      CAUSES.numberOf(r.cause),
      r.readyAtMs,
      r.isCounted,
      r.reason,
    ],
    read: (f) => ({
      kind: "returned",
      cursorNo: f.number(),
      offset: f.number(),
      cause: CAUSES.nameOf(f.number()),
      readyAtMs: f.number(),
      isCounted: f.flag(),
      reason: f.text(),
    }),
  },
  buried: {
    code: 19,
    write: (code, r) => [code, r.cursorNo, r.offset, r.deadTopicNo, r.reason],
    read: (f) => ({
      kind: "buried",
      cursorNo: f.number(),
      offset: f.number(),
      deadTopicNo: f.number(),
      reason: f.text(),
    }),
  },
  replayed: {
    code: 20,
    write: (code, r) => [code, r.deadTopicNo, r.offset, r.operator, r.reason],
    read: (f) => ({
      kind: "replayed",
      deadTopicNo: f.number(),
      offset: f.number(),
      ...f.operatorAndReason(),
    }),
  },
  purged: {
    code: 21,
    write: (code, r) => [code, r.deadTopicNo, r.offset, r.operator, r.reason],
    read: (f) => ({
      kind: "purged",
      deadTopicNo: f.number(),
      offset: f.number(),
      ...f.operatorAndReason(),
    }),
  },
  retired: {
    code: 23,
    write: (code, r) => [code, r.topicNo, r.beforeOffset],
    read: (f) => ({ kind: "retired", topicNo: f.number(), beforeOffset: f.number() }),
  },
  moved: {
    code: 24,
    write: (code, r) => [
      code,
      writeMessages(r.messages),
      r.entries.flatMap((e) => [e.topicNo, e.offset, e.at, e.from.block, e.from.slot]),
      r.transactions.map(({ transactionId }) => transactionId),
      r.transactions.map(({ at }) => at),
      ...(r.scheduled.length === 0
        ? []
        : [
            r.scheduled.map(({ messageId }) => messageId),
            r.scheduled.flatMap(({ at, from }) => [at, from.block, from.slot]),
          ]),
    ],
    read: (f) => ({
      kind: "moved",
      messages: f.messages(),
      entries: f.groups(5, ([topicNo = 0, offset = 0, at = 0, block = 0, slot = 0]) => ({
        topicNo,
        offset,
        at,
        from: { block, slot },
      })),
      transactions: f.named((transactionId, at) => ({ transactionId, at })),
      scheduled: f.hasMore ? readMovedScheduled(f) : [],
    }),
  },
  cursorFiltered: {
    code: 30,
    write: (code, r) => [code, r.cursorNo, r.filter],
    read: (f) => ({ kind: "cursorFiltered", cursorNo: f.number(), filter: f.text() }),
  },
  taken: {
    code: 31,
    write: (code, r) => [
      code,
      r.cursorNo,
      r.nextOffset,
      writeOffsets(r.offsets),
      r.keys,
      r.filtered,
    ],
    read: (f) => ({
      kind: "taken",
      cursorNo: f.number(),
      nextOffset: f.number(),
      offsets: f.offsets(),
      keys: f.numbers(),
      filtered: f.number(),
    }),
  },
  due: {
    code: 35,
    write: (code, r) => [code, r.topicNo, r.place.block, r.place.slot],
    read: (f) => ({
      kind: "due",
      topicNo: f.number(),
      place: { block: f.number(), slot: f.number() },
    }),
  },
  queued: {
    code: 38,
    write: (code, r) => [code, r.topicNo, r.place.block, r.place.slot],
    read: (f) => ({
      kind: "queued",
      topicNo: f.number(),
      place: { block: f.number(), slot: f.number() },
    }),
  },
  recalled: {
    code: 36,
    write: (code, r) => [code, r.topicNo, r.messageId, writePlaces(r.places), r.client],
    read: (f) => ({
      kind: "recalled",
      topicNo: f.number(),
      messageId: f.text(),
      places: f.places(),
      client: f.text(),
    }),
  },
  lapsed: {
    code: 37,
    write: (code, r) => [code, r.cursorNo, writeOffsets(r.offsets)],
    read: (f) => ({ kind: "lapsed", cursorNo: f.number(), offsets: f.offsets() }),
  },
  abandoned: {
    code: 48,
    write: (code, r) => [code, r.cursorNo, r.offset, r.reason],
    read: (f) => ({
      kind: "abandoned",
      cursorNo: f.number(),
      offset: f.number(),
      reason: f.text(),
    }),
  },
  clock: {
    code: 22,
    write: (code) => [code],
    read: () => ({ kind: "clock" }),
  },
  skipped: {
    code: 41,
    write: (code, r) => [code, r.cursorNo, writeOffsets(r.offsets), r.operator, r.reason],
    read: (f) => ({
      kind: "skipped",
      cursorNo: f.number(),
      offsets: f.offsets(),
      ...f.operatorAndReason(),
    }),
  },
};
