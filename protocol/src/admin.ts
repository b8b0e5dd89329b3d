/**
 * What operators' requests answer in `ok.value`, by verb. Times are ms since 1970 by the broker's clock.
 */
import type { TransactionState } from "./frames.ts";

export interface Page<T> {
  readonly items: readonly T[];
  /** Pass as `after` for the next page; absent on the last. */
  readonly next?: string;
}

export interface TopicView {
  readonly topic: string;
  /** Offsets run from `firstOffset` to `nextOffset - 1`. */
  readonly firstOffset: number;
  readonly nextOffset: number;
  readonly bytes: number;
  readonly paused: boolean;
  readonly bodyBytesMax: number;
  readonly groups: readonly string[];
  readonly retentionMs: number;
  /** 0: no limit. */
  readonly retentionBytes: number;
  readonly unsettled: "keep" | "drop";
  /** Messages that retention took before a group had settled them, counted once a group. */
  readonly expired: number;
  /** Bytes that are due to be retired and still there because of the groups in `heldBy`. */
  readonly heldBytes: number;
  readonly heldBy: readonly string[];
  /** Messages that wait for their time; they have no offset yet. */
  readonly scheduled: number;
  /** Messages that wait for the verdicts of transactions that reserve their keys; they have no offset yet either. */
  readonly queued: number;
  /** When the first of them is due. */
  readonly nextDueAtMs?: number;
}

export interface GroupPolicyView {
  readonly leaseMs: number;
  readonly attemptsMax: number;
  readonly retryDelaysMs: readonly number[];
  readonly jitterPercent: number;
  /** Messages of one key are delivered one after the other. */
  readonly ordered: boolean;
}

/** Why nothing is delivered to a group for now. */
export interface PauseView {
  readonly atMs: number;
  readonly operator: string;
  readonly reason: string;
  /** Of an instance that is paused with its group: the group, which is to be resumed. */
  readonly group?: string;
}

/** What an operator did to a group; the last few are kept. */
export interface GroupChangeView {
  readonly atMs: number;
  readonly what: "paused" | "resumed" | "reset" | "skipped";
  /** "" for what is not about a topic; of several topics the first. */
  readonly topic: string;
  /** reset: where it went on; skipped: the first one. */
  readonly offset: number;
  /** Topics that were reset, or messages that were skipped. */
  readonly count: number;
  readonly operator: string;
  readonly reason: string;
}

export interface GroupTopicView {
  readonly topic: string;
  readonly nextOffset: number;
  /** Visible and not yet settled for this group: ready + leased + waiting + pending + held. */
  readonly lag: number;
  /** With a filter or an order: what was not looked at yet is among them. */
  readonly ready: number;
  readonly leased: number;
  readonly waiting: number;
  /** Acks that joined an undecided transaction. */
  readonly pending: number;
  /** Ordered groups: behind another message of their key. */
  readonly held: number;
  /** Unsettled messages below `nextOffset`. */
  readonly takenIn: number;
  /** "": every message. */
  readonly filter: string;
  /** Messages that the filter passed over. */
  readonly filtered: number;
  /** Why nothing more is taken in, although there is more; absent while it is. */
  readonly standsBecause?: "full" | "unreadable";
  /** Messages that retention took before this group had settled them. */
  readonly expired: number;
  /** Messages whose time to live was over before this group was sent them. */
  readonly lapsed: number;
  /** Age of its oldest unsettled message; 0 without any. */
  readonly oldestAgeMs: number;
  /** Bytes that are due to be retired and still there because of this group. */
  readonly heldBytes: number;
  /** Instances only: messages that it goes on without, after the last attempt. */
  readonly abandoned?: number;
}

/** An instance of a broadcast group, in sum over its topics. `group.describe` of `group%instance` says more. */
export interface InstanceView {
  readonly instance: string;
  readonly connected: boolean;
  /** How long it has been away. */
  readonly awayMs?: number;
  readonly lag: number;
  readonly leased: number;
  readonly expired: number;
  readonly abandoned: number;
}

export interface ConsumerView {
  readonly connection: number;
  readonly client: string;
  readonly leased: number;
  readonly creditMessages: number;
  readonly creditBytes: number;
}

export interface GroupView {
  readonly group: string;
  readonly policy: GroupPolicyView;
  readonly topics: readonly GroupTopicView[];
  readonly consumers: readonly ConsumerView[];
  readonly deadLetters: number;
  /** Absent: it is not paused. */
  readonly paused?: PauseView;
  /** The newest first. */
  readonly changes: readonly GroupChangeView[];
  /** Broadcast groups only. `items` are the first 100, those that are connected first; none in a listing. */
  readonly instances?: {
    readonly count: number;
    readonly connected: number;
    readonly items: readonly InstanceView[];
  };
  /** Instances only: how long it has been away. */
  readonly awayMs?: number;
}

export interface ResetView {
  readonly dryRun: boolean;
  /** In each topic what became of the group's progress, or would. */
  readonly topics: readonly TopicResetView[];
}

export interface TopicResetView {
  readonly topic: string;
  readonly fromOffset: number;
  readonly toOffset: number;
  /** Messages that will be delivered although they were settled. */
  readonly redelivered: number;
  /** Messages that were not settled and now are passed over. */
  readonly skipped: number;
  /**
   * Both counts are upper bounds: the group has a filter there, or messages of the topic have a time to live.
   * Only a look at each message tells which of them match, and are worth a delivery still. Absent: they are exact.
   */
  readonly atMost?: true;
}

export interface SkipView {
  readonly done: number;
  /** Offsets that the group has nothing to settle at: settled, retired, or not there yet. */
  readonly missing: readonly number[];
  /** Offsets whose acks are part of undecided transactions: those decide over them. */
  readonly pending: readonly number[];
}

export interface ProducerView {
  readonly group: string;
  readonly connections: number;
  readonly checkers: number;
  readonly endpoint?: string;
  readonly undecided: number;
  readonly parked: number;
  readonly undecidedBytes: number;
  readonly oldestAgeMs: number;
}

export interface EndpointView {
  readonly group: string;
  readonly url?: string;
  /** The new signing key (hex). Shown here once, never again. */
  readonly secret?: string;
}

export interface TransactionView {
  readonly transactionId: string;
  readonly group: string;
  readonly state: TransactionState;
  readonly preparedAtMs: number;
  readonly ageMs: number;
  readonly messages: readonly { readonly topic: string; readonly bytes: number }[];
  readonly acks: number;
  readonly checks: number;
  readonly nextCheckAtMs?: number;
  readonly parkedBecause?: string;
  readonly decidedAtMs?: number;
  readonly decidedBy?: string;
  /** Undecided, and the keys of its messages are reserved: so many messages stand right behind it. */
  readonly queuedBehind?: number;
}

/** An undecided transaction that is to be asked about now. */
export interface CheckView extends TransactionView {
  /** Of its producer group somebody is connected who answers checks, or it has an endpoint; else it waits for one. */
  readonly reachable: boolean;
}

/** One line of the inspector. `text` is for people, the rest for programs. */
export interface TimelineEvent {
  readonly atMs: number;
  readonly event:
    | "sent"
    | "prepared"
    | "checked"
    | "parked"
    | "resumed"
    | "committed"
    | "rolledBack"
    | "due"
    | "queued"
    | "recalled"
    | "delivered"
    | "acked"
    | "joined"
    | "returned"
    | "buried"
    | "abandoned"
    | "replayed"
    | "purged"
    | "skipped"
    | "filtered"
    | "lapsed"
    | "reset";
  readonly text: string;
}

export interface TransactionTimeline extends TransactionView {
  readonly timeline: readonly TimelineEvent[];
  /** The log was longer than one inspection may read; the timeline ends early. */
  readonly isTruncated: boolean;
  /** What happened before the first event was removed with its segments by retention. */
  readonly isHistoryRetired: boolean;
}

/** How a message stands with one group. */
export interface StandingView {
  readonly group: string;
  /**
   * fresh: not given to it yet; ready: it came back; pending: its ack joined an undecided transaction;
   * settled: acked, skipped, passed over, or a dead letter by now.
   */
  readonly state: "fresh" | "held" | "ready" | "leased" | "waiting" | "pending" | "settled";
  /** Deliveries so far, and those of them that used up an attempt; 0 for what is fresh or settled. */
  readonly deliveries: number;
  readonly failures: number;
  /** waiting: not before this. */
  readonly readyAtMs?: number;
  /** Why the last delivery failed. */
  readonly reason?: string;
}

export interface MessageView {
  readonly topic: string;
  readonly offset: number;
  /** When it became visible. */
  readonly atMs: number;
  /** Of the encoded message. */
  readonly bytes: number;
  readonly groups: readonly StandingView[];
  /** The encoded message. */
  readonly message?: Uint8Array;
}

/** What `message.find` tells of each one; its body is for `message.show`. */
export interface FoundMessageView {
  readonly offset: number;
  readonly atMs: number;
  readonly bytes: number;
  readonly id: string;
  readonly key?: string;
  readonly tag?: string;
}

/** Offsets are looked through in their order; one request looks at some thousands. */
export interface FindView extends Page<FoundMessageView> {
  /** The offsets that this request looked through: from `fromOffset` on, before `toOffset`. */
  readonly fromOffset: number;
  readonly toOffset: number;
  /** Where the whole search ends. */
  readonly endOffset: number;
  /** Offsets among them whose bytes could not be read, because they are damaged or the disk did not answer. */
  readonly unreadable: readonly number[];
  /** Offsets among them that retention took meanwhile. */
  readonly retired: number;
}

export interface MessageTrace {
  readonly topic: string;
  readonly offset: number;
  readonly timeline: readonly TimelineEvent[];
  /** What happened before the first event was removed with its segments by retention. */
  readonly isHistoryRetired: boolean;
  /** Pass as `after` to read on in the log; absent when nothing more can follow for now. */
  readonly next?: string;
  /** Blocks of the log that are read, and that are still to be read at most. */
  readonly blocks: number;
  readonly blocksLeft: number;
}

export interface DeadLetterView {
  /** In the dead-letter topic. */
  readonly offset: number;
  readonly topic: string;
  readonly originOffset: number;
  readonly attempts: number;
  readonly reason: string;
  readonly buriedAtMs: number;
  readonly bytes: number;
  /** dlq.show only: the encoded message. */
  readonly message?: Uint8Array;
}

export interface ReplayView {
  readonly done: number;
  /** Offsets that hold no dead letter (any more). */
  readonly missing: readonly number[];
}

export interface StatsView {
  readonly version: string;
  readonly uptimeMs: number;
  readonly connections: number;
  readonly topics: number;
  readonly groups: number;
  readonly undecided: number;
  readonly parked: number;
  readonly undecidedBytes: number;
  readonly oldestUndecidedAgeMs: number;
  readonly decisionsKept: number;
  readonly messages: number;
  readonly leased: number;
  readonly waiting: number;
  /** Behind another message of their key, in ordered groups. */
  readonly held: number;
  /** Messages that filters passed over. */
  readonly filtered: number;
  /** Groups, once a topic, that take nothing more in for now. */
  readonly standing: number;
  readonly pausedGroups: number;
  readonly deadLetters: number;
  readonly blocks: number;
  /** Messages that retention took, and those among them that a group had not settled (once a group). */
  readonly retired: number;
  readonly expired: number;
  /** Messages that wait for their time. */
  readonly scheduled: number;
  /** Of those, and of those that are queued. */
  readonly scheduledBytes: number;
  /** Messages that wait for the verdicts of transactions that reserve their keys. */
  readonly queued: number;
  /** Keys that undecided transactions reserve, once a transaction. */
  readonly reservedKeys: number;
  /** For how long the first of them has been due: behind time is who cannot keep up, or has no room to write. */
  readonly overdueMs: number;
  /** Messages whose time to live was over before a group was sent them, once a group. */
  readonly lapsed: number;
  readonly storeBytes: number;
  readonly rssBytes: number;
}

export interface Finding {
  readonly level: "ok" | "warning" | "error";
  readonly area: string;
  readonly text: string;
}

export interface DoctorView {
  readonly findings: readonly Finding[];
}

/** The answer of each operator's request. */
export interface AdminValues {
  "topic.create": TopicView;
  "topic.update": TopicView;
  /** `scheduled`: messages that waited for their time or for others of their key, and are gone with it. */
  "topic.delete": { readonly topic: string; readonly scheduled: number };
  "topic.list": Page<TopicView>;
  "topic.describe": TopicView;
  "group.list": Page<GroupView>;
  "group.describe": GroupView;
  "group.update": GroupView;
  "group.reset": ResetView;
  "group.pause": GroupView;
  "group.resume": GroupView;
  "group.skip": SkipView;
  "group.delete": { readonly group: string };
  "producer.list": Page<ProducerView>;
  "producer.endpoint": EndpointView;
  "tx.list": Page<TransactionView>;
  "tx.show": TransactionTimeline;
  "tx.check": CheckView;
  "tx.decide": TransactionView;
  "tx.resume": TransactionView;
  "message.show": MessageView;
  "message.find": FindView;
  "message.trace": MessageTrace;
  "dlq.list": Page<DeadLetterView>;
  "dlq.show": DeadLetterView;
  "dlq.replay": ReplayView;
  "dlq.purge": ReplayView;
  stats: StatsView;
  doctor: DoctorView;
}

export type AdminType = keyof AdminValues;
