/** What the ledger knows of each thing, in words of its own: no type of the engine's state is used here. */
import type {
  GroupPolicy,
  Place,
  RecordOf,
  Timing,
  TopicSettings,
} from "../../broker/src/core/records.ts";
import { demand } from "./violation.ts";

/** Id and key are its own words, not the record's. */
export interface LedgerMessage {
  readonly id: string;
  readonly key: string | undefined;
  readonly topicNo: number;
  readonly place: Place;
  readonly timing: Timing | undefined;
  readonly isDelayed: boolean;
  /** Its key was reserved when it came, by its own transaction or by others: it is bound to the order of the key. */
  readonly isBehind: boolean;
}

/** A message that waits, for its time or for those who reserve its key. */
export interface LedgerScheduled {
  readonly id: string;
  readonly key: string | undefined;
  readonly topicNo: number;
  /** Where it stood first: it is this message, wherever its bytes are now. */
  readonly place: Place;
  movedTo: Place | null;
  /** Infinite: not before a verdict. */
  dueAtMs: number;
  isQueued: boolean;
}

export interface LedgerTransaction {
  readonly id: string;
  readonly group: string;
  readonly digest: number;
  readonly onUndecided: "park" | "rollback";
  readonly messages: readonly LedgerMessage[];
  readonly acks: readonly { readonly cursorNo: number; readonly offset: number }[];
  readonly preparedAtMs: number;
  /** Where its messages stand now, after they were copied forward. */
  movedTo: Place | null;
  state: "undecided" | "parked" | "committed" | "rolledBack";
  by: string;
  who: string;
  decidedAtMs: number;
  checks: number;
  nextCheckAtMs: number;
  ageFromMs: number;
}

export type LedgerEntryKind = "ready" | "waiting" | "leased" | "pending";

export interface LedgerEntry {
  kind: LedgerEntryKind;
  /** leased: the delivery's number; waiting: not before. */
  number: number;
  deliveries: number;
  failures: number;
  /** By what it is ordered; 0: by nothing. */
  key: number;
}

export interface LedgerGroup {
  readonly name: string;
  policy: GroupPolicy;
  isPaused: boolean;
  /** Null: an ordinary group. `leftAtMs` null: it is here. */
  readonly instance: { readonly parentNo: number; leftAtMs: number | null } | null;
}

export interface LedgerCursor {
  readonly no: number;
  readonly groupNo: number;
  readonly topicNo: number;
  /** What is before it was never the group's. */
  readonly firstOffset: number;
  nextOffset: number;
  nextDeliveryNo: number;
  /** Lost to the group by retention. */
  expired: number;
  /** Too old to be sent to the group. */
  lapsed: number;
  /** "": none. */
  filter: string;
  filtered: number;
  /** An instance: what it goes on without, and how many lost messages it knows of. */
  abandoned: number;
  told: number;
  /** In the order in which they were taken in, or delivered first. */
  readonly entries: Map<number, LedgerEntry>;
}

export interface LedgerTopic {
  readonly no: number;
  readonly name: string;
  readonly places: Place[];
  /** Of the message at each offset. */
  readonly bytes: number[];
  readonly isDeadLetters: boolean;
  readonly origins: Map<
    number,
    { readonly topicNo: number; readonly offset: number; readonly key: number }
  >;
  settings: TopicSettings;
  /** Offsets before it were retired; their places are remembered, for what was revived. */
  firstOffset: number;
  expired: number;
  readonly atMs: number[];
  /** Where the bytes stand now, of what was copied forward; `places` tell messages from each other. */
  readonly moved: Map<number, Place>;
}

export interface Limits {
  readonly dropAfterStartMs: number;
  readonly checkAttemptsMax: number;
  readonly undecidedAgeMaxMs: number;
  readonly instanceKeptMs: number;
  readonly instancesPerGroupMax: number;
}

export const placeKey = ({ block, slot }: Place): string => `${block}.${slot}`;

export const newTopic = ({ topicNo, topic, settings }: RecordOf<"topicCreated">): LedgerTopic => ({
  no: topicNo,
  name: topic,
  places: [],
  bytes: [],
  isDeadLetters: topic.startsWith("%DLQ%"),
  origins: new Map(),
  settings,
  firstOffset: 0,
  expired: 0,
  atMs: [],
  moved: new Map(),
});

export const newCursor = (record: RecordOf<"cursorOpened">): LedgerCursor => ({
  no: record.cursorNo,
  groupNo: record.groupNo,
  topicNo: record.topicNo,
  firstOffset: record.nextOffset,
  nextOffset: record.nextOffset,
  nextDeliveryNo: 1,
  expired: 0,
  lapsed: 0,
  filter: "",
  filtered: 0,
  abandoned: 0,
  told: 0,
  entries: new Map(),
});

/** Not retired, and not a dead letter that was replayed or purged. */
export const isLive = (
  { isDeadLetters, origins, firstOffset }: LedgerTopic,
  offset: number,
): boolean => offset >= firstOffset && (!isDeadLetters || origins.has(offset));

/** Where the bytes of an offset are read. */
export function whereIs(topic: LedgerTopic, offset: number): Place {
  const place = topic.moved.get(offset) ?? topic.places[offset];
  demand(place !== undefined, "T1", () => `${topic.name}/${offset} is not visible`);
  return place;
}

export function leased(cursor: LedgerCursor, offset: number, invariant: string): LedgerEntry {
  const entry = cursor.entries.get(offset);
  demand(entry?.kind === "leased", invariant, () => `cursor ${cursor.no}/${offset} is not leased`);
  return entry;
}
