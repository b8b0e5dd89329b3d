/**
 * The table of record kinds on disk: code, order of fields, numbers of names. Read the procedure at
 * the top of records.ts before changing a line here: these numbers stand in stores that exist.
 */
import type { RecordKind, RecordOf } from "../core/records.ts";
import {
  type FieldReader,
  nameTable,
  writeMessages,
  writeOffsets,
  writePlaces,
  writeTimings,
} from "./record-fields.ts";

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

/**
 * How one kind is written and read. `read` gets the fields after the code and fixes their
 * order.
 */
export interface Shape<Kind extends RecordKind> {
  readonly code: number;
  readonly write: (code: number, record: RecordOf<Kind>) => unknown[];
  readonly read: (fields: FieldReader) => RecordOf<Kind>;
}

const operatorAndReason = (fields: FieldReader) => ({
  operator: fields.text(),
  reason: fields.text(),
});

const UNSETTLED = nameTable({ keep: 0, drop: 1 });

type Settings = RecordOf<"topicCreated">["settings"];

const writeSettings = (settings: Settings): unknown[] => [
  settings.bodyBytesMax,
  settings.isPaused,
  settings.retentionMs,
  settings.retentionBytes,
  UNSETTLED.numberOf(settings.unsettled),
];

const readSettings = (fields: FieldReader): Settings => ({
  bodyBytesMax: fields.number(),
  isPaused: fields.flag(),
  retentionMs: fields.number(),
  retentionBytes: fields.number(),
  unsettled: UNSETTLED.nameOf(fields.number()),
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

export const SHAPES: { readonly [Kind in RecordKind]: Shape<Kind> } = {
  opened: {
    code: 1,
    write: (code, r) => [code, r.atMs, r.pausedMs],
    read: (f) => ({ kind: "opened", atMs: f.number(), pausedMs: f.number() }),
  },
  topicCreated: {
    code: 2,
    write: (code, r) => [code, r.topicNo, r.topic, ...writeSettings(r.settings)],
    read: (f) => ({
      kind: "topicCreated",
      topicNo: f.number(),
      topic: f.text(),
      settings: readSettings(f),
    }),
  },
  topicUpdated: {
    code: 3,
    write: (code, r) => [code, r.topicNo, ...writeSettings(r.settings)],
    read: (f) => ({ kind: "topicUpdated", topicNo: f.number(), settings: readSettings(f) }),
  },
  topicDeleted: {
    code: 4,
    write: (code, r) => [code, r.topicNo, r.operator, r.reason],
    read: (f) => ({ kind: "topicDeleted", topicNo: f.number(), ...operatorAndReason(f) }),
  },
  groupUpdated: {
    code: 5,
    write: (code, { groupNo, group, policy: p }) => [
      code,
      groupNo,
      group,
      p.leaseMs,
      p.attemptsMax,
      p.retryDelaysMs,
      p.jitterPercent,
      p.isOrdered,
    ],
    read: (f) => ({
      kind: "groupUpdated",
      groupNo: f.number(),
      group: f.text(),
      policy: {
        leaseMs: f.number(),
        attemptsMax: f.number(),
        retryDelaysMs: f.numbers(),
        jitterPercent: f.number(),
        isOrdered: f.flag(),
      },
    }),
  },
  groupDeleted: {
    code: 6,
    write: (code, r) => [code, r.groupNo, r.operator, r.reason],
    read: (f) => ({ kind: "groupDeleted", groupNo: f.number(), ...operatorAndReason(f) }),
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
      ...operatorAndReason(f),
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
      ...writeTimings(r.messages),
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
      return { ...record, messages: f.timed(record.messages) };
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
      ...operatorAndReason(f),
    }),
  },
  endpointSet: {
    code: 15,
    write: (code, { group, endpoint, operator, reason }) => [
      code,
      group,
      endpoint && [endpoint.url, endpoint.isIdsOnly, endpoint.secrets],
      operator,
      reason,
    ],
    read: (f) => ({
      kind: "endpointSet",
      group: f.text(),
      endpoint: f.nested((e) => ({ url: e.text(), isIdsOnly: e.flag(), secrets: e.texts() })),
      ...operatorAndReason(f),
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
      ...operatorAndReason(f),
    }),
  },
  purged: {
    code: 21,
    write: (code, r) => [code, r.deadTopicNo, r.offset, r.operator, r.reason],
    read: (f) => ({
      kind: "purged",
      deadTopicNo: f.number(),
      offset: f.number(),
      ...operatorAndReason(f),
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
  instanceOpened: {
    code: 45,
    write: (code, r) => [code, r.groupNo, r.parentNo, r.instance],
    read: (f) => ({
      kind: "instanceOpened",
      groupNo: f.number(),
      parentNo: f.number(),
      instance: f.text(),
    }),
  },
  instanceSeen: {
    code: 46,
    write: (code, r) => [code, r.groupNo, r.isHere],
    read: (f) => ({ kind: "instanceSeen", groupNo: f.number(), isHere: f.flag() }),
  },
  instanceForgotten: {
    code: 47,
    write: (code, r) => [code, r.groupNo],
    read: (f) => ({ kind: "instanceForgotten", groupNo: f.number() }),
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
  gapTold: {
    code: 49,
    write: (code, r) => [code, r.cursorNo, r.lost],
    read: (f) => ({ kind: "gapTold", cursorNo: f.number(), lost: f.number() }),
  },
  clock: {
    code: 22,
    write: (code) => [code],
    read: () => ({ kind: "clock" }),
  },
  groupPaused: {
    code: 40,
    write: (code, r) => [code, r.groupNo, r.isPaused, r.operator, r.reason],
    read: (f) => ({
      kind: "groupPaused",
      groupNo: f.number(),
      isPaused: f.flag(),
      ...operatorAndReason(f),
    }),
  },
  skipped: {
    code: 41,
    write: (code, r) => [code, r.cursorNo, writeOffsets(r.offsets), r.operator, r.reason],
    read: (f) => ({
      kind: "skipped",
      cursorNo: f.number(),
      offsets: f.offsets(),
      ...operatorAndReason(f),
    }),
  },
};
