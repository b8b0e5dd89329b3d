/**
 * What the log says. State is nothing but the fold of these records: the live engine changes its
 * durable state only by applying the records that it has just made, and recovery applies the same
 * ones from disk. So what is recovered is what there was (P8).
 *
 * Invariants
 * - L1 A record is written whole or not at all; a step's records stand in one block (I3, T5).
 * - L2 Every time a durable state depends on stands in the record, or is its block's `atMs`.
 * - L3 The messages of a block are numbered from 0 in the order of its records: slots.
 */
import type { FinalVerdict, Verdict } from "@escrowmq/protocol";

/** Where a message's bytes are. They never change; the same bytes may stand at a later place, too (`moved`). */
export interface Place {
  readonly block: number;
  readonly slot: number;
}

/** When a message becomes visible, and for how long it is worth a delivery. Most messages say nothing of it. */
export interface Timing {
  /** The message's: by it a scheduled message is recalled. */
  readonly id: string;
  /**
   * By what it is ordered, as in `taken`: of messages with a delay, of those whose key was reserved when they came,
   * and of those that reserve it. 0: it has no key, or none that matters.
   */
  readonly key: number;
  /** Counted from the commit of its transaction; 0: at once. */
  readonly delayMs: number;
  /** 0: at once. Never both. */
  readonly deliverAtMs: number;
  /** Counted from when it becomes visible; 0: for ever. */
  readonly ttlMs: number;
}

export interface LoggedMessage {
  readonly topicNo: number;
  /** Size of the encoded message. */
  readonly bytes: number;
  /** The encoded message on its way into the log; null when read back: recovery needs no bodies. */
  readonly data: Uint8Array | null;
  readonly timing?: Timing;
}

export interface TopicSettings {
  readonly bodyBytesMax: number;
  readonly isPaused: boolean;
  /** Messages older than this are due to be retired. */
  readonly retentionMs: number;
  /** While the topic holds more than this its oldest messages are due, too; 0: no limit. */
  readonly retentionBytes: number;
  /** What becomes of a due message that some group has not settled. */
  readonly unsettled: "keep" | "drop";
}

export interface GroupPolicy {
  /** How long a delivery may take before it is given to another consumer. */
  readonly leaseMs: number;
  /** Deliveries before a message is buried. */
  readonly attemptsMax: number;
  /** Delay before the second delivery, the third, …; the last one repeats. */
  readonly retryDelaysMs: readonly number[];
  /** Each delay is lengthened by up to this share, so that failures do not come back in step. */
  readonly jitterPercent: number;
  /** Messages of one key are delivered one after the other, each when the one before it is settled (D9). */
  readonly isOrdered: boolean;
}

export interface Endpoint {
  readonly url: string;
  readonly isIdsOnly: boolean;
  /** Signing keys (hex), newest first; up to three after rotations. */
  readonly secrets: readonly string[];
}

/** Who decided. `policy`: onUndecided rollback, at the last check or by age. */
export type DecidedBy = "producer" | "check" | "operator" | "policy";

/** How a check ended. Only the counted ones use up attempts: those that really reached somebody. */
export type CheckOutcome = Verdict | "timeout" | "disconnected" | "failed" | "unreachable";

/** Why a delivery ended without an ack. */
export type ReturnCause =
  | "retry"
  | "expired"
  | "disconnected"
  | "released"
  | "restart"
  | "rolledBack"
  | "unreadable";

export type LogRecord =
  /** The first record after a start. Everything leased goes back; broker time stood still meanwhile. */
  | { readonly kind: "opened"; readonly atMs: number; readonly pausedMs: number }
  /** Nothing but its block's time: an idle broker's clock, so that only downtime counts as a pause. */
  | { readonly kind: "clock" }
  | {
      readonly kind: "topicCreated";
      readonly topicNo: number;
      readonly topic: string;
      readonly settings: TopicSettings;
    }
  | { readonly kind: "topicUpdated"; readonly topicNo: number; readonly settings: TopicSettings }
  | {
      readonly kind: "topicDeleted";
      readonly topicNo: number;
      readonly operator: string;
      readonly reason: string;
    }
  | {
      readonly kind: "groupUpdated";
      readonly groupNo: number;
      readonly group: string;
      readonly policy: GroupPolicy;
    }
  /** Nothing is delivered to the group while it is paused. */
  | {
      readonly kind: "groupPaused";
      readonly groupNo: number;
      readonly isPaused: boolean;
      readonly operator: string;
      readonly reason: string;
    }
  | {
      readonly kind: "groupDeleted";
      readonly groupNo: number;
      readonly operator: string;
      readonly reason: string;
    }
  | {
      readonly kind: "cursorOpened";
      readonly cursorNo: number;
      readonly groupNo: number;
      readonly topicNo: number;
      readonly nextOffset: number;
    }
  | {
      readonly kind: "cursorReset";
      readonly cursorNo: number;
      readonly nextOffset: number;
      readonly operator: string;
      readonly reason: string;
    }
  /** From the next message on that was not taken in; "": no filter. */
  | { readonly kind: "cursorFiltered"; readonly cursorNo: number; readonly filter: string }
  /** A cursor with a filter or an order has looked at everything before `nextOffset`. */
  | {
      readonly kind: "taken";
      readonly cursorNo: number;
      readonly nextOffset: number;
      /** Those that match; they wait for their deliveries from now on. */
      readonly offsets: readonly number[];
      /** By what each of them is ordered, 0: by nothing. None without an order. */
      readonly keys: readonly number[];
      /** Those that do not match: settled without a delivery. */
      readonly filtered: number;
    }
  /** Of its delayed messages `deliverAtMs` says when they are due. */
  | {
      readonly kind: "sent";
      readonly sendId: string;
      readonly digest: number;
      readonly messages: readonly LoggedMessage[];
    }
  | {
      readonly kind: "prepared";
      readonly transactionId: string;
      readonly group: string;
      readonly digest: number;
      readonly messages: readonly LoggedMessage[];
      readonly acks: readonly { readonly cursorNo: number; readonly offset: number }[];
      readonly checkAtMs: number;
      readonly onUndecided: "park" | "rollback";
      /** The keys of its messages without delay are reserved until the verdict; absent: none is. */
      readonly reservesKeys?: true;
    }
  | {
      readonly kind: "decided";
      readonly transactionId: string;
      readonly verdict: FinalVerdict;
      readonly by: DecidedBy;
      /** The operator's name, the policy's cause; "" for producers. */
      readonly who: string;
      readonly reason: string;
      /** A commit of delayed messages: their delays count from then on. */
      readonly fromAtMs?: number;
    }
  | {
      readonly kind: "checked";
      readonly transactionId: string;
      readonly outcome: CheckOutcome;
      readonly isCounted: boolean;
      readonly latencyMs: number;
      /** "connection 7", "endpoint". */
      readonly asked: string;
      readonly nextCheckAtMs: number;
    }
  | { readonly kind: "parked"; readonly transactionId: string; readonly cause: "attempts" | "age" }
  | {
      readonly kind: "resumed";
      readonly transactionId: string;
      readonly checkAtMs: number;
      readonly operator: string;
      readonly reason: string;
    }
  | {
      readonly kind: "endpointSet";
      readonly group: string;
      readonly endpoint: Endpoint | null;
      readonly operator: string;
      readonly reason: string;
    }
  | {
      readonly kind: "delivered";
      readonly cursorNo: number;
      /** The deliveries get the numbers from here on, in the order of `offsets`. */
      readonly firstDeliveryNo: number;
      readonly offsets: readonly number[];
      readonly connection: number;
    }
  | { readonly kind: "acked"; readonly cursorNo: number; readonly offsets: readonly number[] }
  | {
      readonly kind: "returned";
      readonly cursorNo: number;
      readonly offset: number;
      readonly cause: ReturnCause;
      /** Not before this; 0: at once. */
      readonly readyAtMs: number;
      /** False: the delivery does not count as an attempt. */
      readonly isCounted: boolean;
      readonly reason: string;
    }
  /** Settled for the group by an operator, whether it was delivered before or not. */
  | {
      readonly kind: "skipped";
      readonly cursorNo: number;
      readonly offsets: readonly number[];
      readonly operator: string;
      readonly reason: string;
    }
  | {
      readonly kind: "buried";
      readonly cursorNo: number;
      readonly offset: number;
      readonly deadTopicNo: number;
      readonly reason: string;
    }
  | {
      readonly kind: "replayed";
      readonly deadTopicNo: number;
      readonly offset: number;
      readonly operator: string;
      readonly reason: string;
    }
  | {
      readonly kind: "purged";
      readonly deadTopicNo: number;
      readonly offset: number;
      readonly operator: string;
      readonly reason: string;
    }
  /** Retention took all messages of the topic before this offset. */
  | { readonly kind: "retired"; readonly topicNo: number; readonly beforeOffset: number }
  /** A group is broadcast to by a new name: the instance is here, and reads as the group `groupNo`. */
  | {
      readonly kind: "instanceOpened";
      readonly groupNo: number;
      readonly parentNo: number;
      readonly instance: string;
    }
  /** It came back, or it left. */
  | { readonly kind: "instanceSeen"; readonly groupNo: number; readonly isHere: boolean }
  /** It was away for too long, or others needed its place. */
  | { readonly kind: "instanceForgotten"; readonly groupNo: number }
  /** An instance goes on without this message: its last attempt failed, or it said so. */
  | {
      readonly kind: "abandoned";
      readonly cursorNo: number;
      readonly offset: number;
      readonly reason: string;
    }
  /** The instance knows that it has lost so many messages of this topic, ever. */
  | { readonly kind: "gapTold"; readonly cursorNo: number; readonly lost: number }
  /** Messages copied forward out of an old segment: the same bytes, which from now on are read here. */
  | {
      readonly kind: "moved";
      readonly messages: readonly LoggedMessage[];
      /** `at`: which of `messages`. */
      readonly entries: readonly {
        readonly topicNo: number;
        readonly offset: number;
        readonly at: number;
        readonly from: Place;
      }[];
      /** `at`: the first of them. */
      readonly transactions: readonly { readonly transactionId: string; readonly at: number }[];
      /** `at`: which of `messages`. */
      readonly scheduled: readonly {
        readonly messageId: string;
        readonly at: number;
        readonly from: Place;
      }[];
    }
  /** The scheduled message that stands there, the first of all, enters its topic. */
  | { readonly kind: "due"; readonly topicNo: number; readonly place: Place }
  /** The scheduled message that stands there is due, but its key is reserved: it stands behind the verdict. */
  | { readonly kind: "queued"; readonly topicNo: number; readonly place: Place }
  /** Scheduled messages of one id were called back by their sender: they never become visible. */
  | {
      readonly kind: "recalled";
      readonly topicNo: number;
      readonly messageId: string;
      readonly places: readonly Place[];
      readonly client: string;
    }
  /** Their time to live was over before they were sent to a consumer: this group is done with them. */
  | { readonly kind: "lapsed"; readonly cursorNo: number; readonly offsets: readonly number[] };

export type RecordKind = LogRecord["kind"];
export type RecordOf<Kind extends RecordKind> = Extract<LogRecord, { readonly kind: Kind }>;
