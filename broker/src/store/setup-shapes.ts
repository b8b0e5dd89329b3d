/** The kinds of records that tell of topics, groups, instances and endpoints (record-shapes.ts): they set up, and carry no messages. */
import type { RecordOf } from "../core/records.ts";
import { type FieldReader, nameTable, type Shapes } from "./record-fields.ts";

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

type SetupKind =
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
  | "endpointSet";

export const SETUP_SHAPES: Shapes<SetupKind> = {
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
    read: (f) => ({ kind: "topicDeleted", topicNo: f.number(), ...f.operatorAndReason() }),
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
  groupPaused: {
    code: 40,
    write: (code, r) => [code, r.groupNo, r.isPaused, r.operator, r.reason],
    read: (f) => ({
      kind: "groupPaused",
      groupNo: f.number(),
      isPaused: f.flag(),
      ...f.operatorAndReason(),
    }),
  },
  groupDeleted: {
    code: 6,
    write: (code, r) => [code, r.groupNo, r.operator, r.reason],
    read: (f) => ({ kind: "groupDeleted", groupNo: f.number(), ...f.operatorAndReason() }),
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
  gapTold: {
    code: 49,
    write: (code, r) => [code, r.cursorNo, r.lost],
    read: (f) => ({ kind: "gapTold", cursorNo: f.number(), lost: f.number() }),
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
      ...f.operatorAndReason(),
    }),
  },
};
