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
}

export interface GroupPolicyView {
  readonly leaseMs: number;
  readonly attemptsMax: number;
  readonly retryDelaysMs: readonly number[];
  readonly jitterPercent: number;
  /** Messages of one key are delivered one after the other. */
  readonly ordered: boolean;
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
  /** Age of its oldest unsettled message; 0 without any. */
  readonly oldestAgeMs: number;
  /** Bytes that are due to be retired and still there because of this group. */
  readonly heldBytes: number;
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
}

export interface ResetView {
  readonly topic: string;
  readonly fromOffset: number;
  readonly toOffset: number;
  /** Messages that will be delivered although they were settled; with a filter, those that match of them. */
  readonly redelivered: number;
  /** Messages that were not settled and now are skipped. */
  readonly skipped: number;
  readonly dryRun: boolean;
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
}

/** One line of the inspector. `text` is for people, the rest for programs. */
export interface TimelineEvent {
  readonly atMs: number;
  readonly event:
    | "prepared"
    | "checked"
    | "parked"
    | "resumed"
    | "committed"
    | "rolledBack"
    | "delivered"
    | "acked"
    | "returned"
    | "buried"
    | "replayed"
    | "purged";
  readonly text: string;
}

export interface TransactionTimeline extends TransactionView {
  readonly timeline: readonly TimelineEvent[];
  /** The log was longer than one inspection may read; the timeline ends early. */
  readonly isTruncated: boolean;
  /** What happened before the first event was removed with its segments by retention. */
  readonly isHistoryRetired: boolean;
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
  readonly deadLetters: number;
  readonly blocks: number;
  /** Messages that retention took, and those among them that a group had not settled (once a group). */
  readonly retired: number;
  readonly expired: number;
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
  "topic.delete": { readonly topic: string };
  "topic.list": Page<TopicView>;
  "topic.describe": TopicView;
  "group.list": Page<GroupView>;
  "group.describe": GroupView;
  "group.update": GroupView;
  "group.reset": ResetView;
  "group.delete": { readonly group: string };
  "producer.list": Page<ProducerView>;
  "producer.endpoint": EndpointView;
  "tx.list": Page<TransactionView>;
  "tx.show": TransactionTimeline;
  "tx.check": TransactionView;
  "tx.decide": TransactionView;
  "tx.resume": TransactionView;
  "dlq.list": Page<DeadLetterView>;
  "dlq.show": DeadLetterView;
  "dlq.replay": ReplayView;
  "dlq.purge": ReplayView;
  stats: StatsView;
  doctor: DoctorView;
}

export type AdminType = keyof AdminValues;
