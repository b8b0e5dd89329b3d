/**
 * The contract between core and shell: what the core is told, and what it answers.
 *
 * The shell does, in this order: puts `records` into the open block; writes the block, synced; and only
 * then does the `sends`; sleeps no later than `wakeAtMs`. So nothing is said before it is on disk (P4).
 */
import type {
  BrokerFrame,
  BrokerFrames,
  ClientFrame,
  ClientFrames,
  DeadLetterView,
  EscrowError,
  MessageView,
  StatsView,
} from "@escrowmq/protocol";
import type { Copied } from "./copy-forward.ts";
import type { Find, Trace } from "./message-queries.ts";
import type { CheckOutcome, LogRecord, Place, Timing } from "./records.ts";
import type { Origin } from "./topic.ts";

/** Given by the shell, never used twice while a broker runs. */
export type ConnectionId = number;

/** A message that the shell has decoded and checked; the core looks at these fields only. */
export interface NewMessage {
  readonly topic: string;
  /** What nobody asks for most messages. */
  readonly head: { readonly id: string; readonly key?: string | undefined };
  readonly bodyBytes: number;
  /** The encoded message, stored and delivered as it is. */
  readonly data: Uint8Array;
  readonly timing?: NewTiming;
}

/** What a message says of its times. */
export type NewTiming = Omit<Timing, "id" | "key">;

/** What the disk allows: `all`; `settle`: verdicts, acks and what frees space; `none`. */
export type Admission = "all" | "settle" | "none";

type FrameWithMessages = "send" | "prepare";
type PlainFrame = Exclude<
  ClientFrame,
  { readonly type: FrameWithMessages | "hello" | "ping" | "producer.endpoint" }
>;

export type Input =
  /** Once, after recovery, before anything else. */
  | { readonly kind: "open" }
  | { readonly kind: "connected"; readonly connection: ConnectionId; readonly client: string }
  | { readonly kind: "disconnected"; readonly connection: ConnectionId }
  /** The peer reads slower than it is sent to (or no longer so): deliver nothing more to it. */
  | { readonly kind: "congested"; readonly connection: ConnectionId; readonly isCongested: boolean }
  | { readonly kind: "admission"; readonly admission: Admission }
  | { readonly kind: "tick" }
  | { readonly kind: "frame"; readonly from: ConnectionId; readonly frame: PlainFrame }
  | {
      readonly kind: "send";
      readonly from: ConnectionId;
      readonly frame: ClientFrames["send"];
      readonly messages: readonly NewMessage[];
      /** CRC-32 of the content: tells a repetition from another content under the same id. */
      readonly digest: number;
    }
  | {
      readonly kind: "prepare";
      readonly from: ConnectionId;
      readonly frame: ClientFrames["prepare"];
      readonly messages: readonly NewMessage[];
      readonly digest: number;
    }
  | {
      readonly kind: "setEndpoint";
      readonly from: ConnectionId;
      readonly frame: ClientFrames["producer.endpoint"];
      /** Parsed and allowed by the shell; null removes the endpoint. */
      readonly url: string | null;
      /** A new signing key (hex), made by the shell. */
      readonly secret: string;
    }
  /** The shell refused a request before it reached the core, and wants it answered in its turn. */
  | {
      readonly kind: "refused";
      readonly from: ConnectionId;
      readonly re: number;
      readonly error: EscrowError;
    }
  | {
      readonly kind: "endpointAnswered";
      readonly transactionId: string;
      readonly attempt: number;
      readonly outcome: CheckOutcome;
      readonly isCounted: boolean;
      readonly latencyMs: number;
      /** How it ended, in our own words: for the inspector. */
      readonly note: string;
    }
  /** The messages of a check could not be read: nobody was asked, so nothing is counted. */
  | { readonly kind: "notAsked"; readonly transactionId: string; readonly attempt: number }
  /** The shell has read these messages out of an old segment, to log them again. */
  | { readonly kind: "copied"; readonly messages: readonly Copied[] }
  /** The answer to a `look`: what matched of the places that were looked at, which are the first `count` of them. */
  | {
      readonly kind: "looked";
      readonly cursorNo: number;
      readonly questionNo: number;
      /** Fewer than asked for: the next one cannot be read. */
      readonly count: number;
      /** Which of them match. */
      readonly matches: readonly number[];
      /** Of each match: by what it is ordered, 0: by nothing. None where no order was asked for. */
      readonly keys: readonly number[];
    }
  /** The bodies of these deliveries could not be read, or do not match their checksum. */
  | ({ readonly kind: "unreadable" } & Unsent)
  /** The time to live of these deliveries was over before they were sent. */
  | ({ readonly kind: "lapsed" } & Unsent);

/** Deliveries of one `deliver` that never went out. Whatever has become of them since: their credit was not used. */
export interface Unsent {
  readonly holderNo: number;
  readonly deliveries: readonly Pick<Delivery, "token" | "bytes">[];
}

export interface Delivery {
  readonly token: string;
  readonly offset: number;
  readonly attempt: number;
  readonly place: Place;
  /** Of the encoded message. */
  readonly bytes: number;
  readonly atMs: number;
  readonly origin: (Origin & { readonly topic: string }) | null;
}

export type Send =
  | { readonly kind: "frame"; readonly to: ConnectionId; readonly frame: BrokerFrame }
  | {
      readonly kind: "deliver";
      readonly to: ConnectionId;
      readonly subscription: number;
      /** The subscription again, by a number that no other one ever gets. */
      readonly holderNo: number;
      readonly topic: string;
      readonly leaseMs: number;
      /** Some of the topic's messages have a time to live: each is looked at. */
      readonly hasTtl: boolean;
      readonly deliveries: readonly Delivery[];
    }
  /** To the owner of an inbox. */
  | ({ readonly kind: "reply"; readonly to: ConnectionId } & Omit<BrokerFrames["replied"], "type">)
  | ({ readonly kind: "check"; readonly to: ConnectionId } & Question)
  | ({
      readonly kind: "askEndpoint";
      readonly url: string;
      readonly isIdsOnly: boolean;
      readonly secrets: readonly string[];
    } & Question)
  /** Look at the heads of these messages, and say which match the filter (`looked`). Always answered. */
  | ({ readonly kind: "look" } & Look)
  /** An answer to an operator that the shell completes from what only it knows. */
  | {
      readonly kind: "inspect";
      readonly to: ConnectionId;
      readonly re: number;
      readonly inspection: Inspection;
    };

/** A cursor's question about the next messages of its topic. */
export interface Look {
  readonly cursorNo: number;
  readonly questionNo: number;
  /** "": all match. */
  readonly filter: string;
  readonly isOrdered: boolean;
  readonly places: readonly Place[];
}

export interface Question {
  readonly transactionId: string;
  readonly group: string;
  readonly attempt: number;
  readonly ageMs: number;
  readonly block: number;
  readonly slots: readonly number[];
}

/** The broker's figures as far as the core knows them. */
export type CoreFigures = Omit<StatsView, "version" | "uptimeMs" | "storeBytes" | "rssBytes">;

export type Inspection =
  /** `value` plus the encoded message at `place`. */
  | {
      readonly kind: "message";
      readonly value: DeadLetterView | MessageView;
      readonly place: Place;
    }
  /** `value` plus the events of this transaction in the log from `fromBlock` on. */
  | {
      readonly kind: "timeline";
      readonly value: object;
      readonly transactionId: string;
      readonly fromBlock: number;
      readonly toBlock: number;
    }
  /** Which of these messages are meant; the shell reads them, as far as it comes. */
  | { readonly kind: "find"; readonly value: Find }
  /** What the log tells of one message, as far as the shell comes. */
  | { readonly kind: "trace"; readonly value: Trace }
  /** `value` plus uptime, memory and store figures. */
  | { readonly kind: "stats"; readonly value: CoreFigures }
  /** `value` (the same figures) judged against limits and exposure. */
  | {
      readonly kind: "doctor";
      readonly value: CoreFigures;
      readonly groups: readonly GroupBehind[];
      readonly paused: readonly PausedGroup[];
      readonly standing: readonly GroupStanding[];
      readonly reserving: Reserving | null;
    };

/** Of the undecided transactions behind whose reservations messages wait, the oldest. */
export interface Reserving {
  readonly transactionId: string;
  readonly ageMs: number;
  readonly isParked: boolean;
}

/** A group that takes nothing more in for now. */
export interface GroupStanding {
  readonly group: string;
  readonly topic: string;
  readonly because: StandsBecause;
  readonly held: number;
}

/** `full`: as much is taken in and undelivered as may be; `unreadable`: the next message cannot be read. */
export type StandsBecause = "full" | "unreadable";

/** A group that retention has met: it holds messages back, or is about to lose some. */
export interface GroupBehind {
  readonly group: string;
  readonly topic: string;
  readonly unsettled: "keep" | "drop";
  /** Of its oldest unsettled message. */
  readonly oldestAgeMs: number;
  readonly retentionMs: number;
  /** Due, and there only for this group (and others that are as far behind). */
  readonly heldBytes: number;
  /** Lost to it so far. */
  readonly expired: number;
  /** 0: no limit. */
  readonly retentionBytes: number;
  /** From its oldest unsettled message on. */
  readonly behindBytes: number;
  readonly isPaused: boolean;
}

/** A group to which nothing is delivered, by an operator's word. */
export interface PausedGroup {
  readonly group: string;
  readonly forMs: number;
  readonly operator: string;
  readonly reason: string;
  /** Messages that it has not settled, in all topics. */
  readonly lag: number;
}

export interface Ready {
  readonly records: readonly LogRecord[];
  readonly sends: readonly Send[];
  readonly wakeAtMs: number | null;
}
