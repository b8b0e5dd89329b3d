/** What an application sees of a delivery. */
import type { Codec, Topic } from "@escrowmq/protocol/client";
import type { RetryOptions } from "./throws.ts";

/** Where a dead letter comes from, and why it is one. */
export interface Origin {
  readonly topic: string;
  readonly offset: number;
  readonly attempts: number;
  readonly reason: string;
  /** When it was buried, ms since 1970 by the broker's clock. */
  readonly atMs: number;
}

/** A message under lease. `Body` is what the topic's codec made of it: bytes for a topic by name. */
export interface Message<Body = Uint8Array> {
  /** The producer's id of it: the same at every delivery, so the key for doing things once. */
  readonly id: string;
  readonly topic: string;
  /** Its place in the topic. */
  readonly offset: number;
  readonly key: string | undefined;
  readonly tag: string | undefined;
  readonly headers: Readonly<Record<string, string>>;
  readonly body: Body;
  /** The body's bytes, whatever the codec. */
  readonly raw: Uint8Array;
  /** The body as UTF-8 text. Throws when it is none. */
  text(): string;
  /** The body as JSON; `T` is what the caller says it is. Throws when it is none. */
  json<T = unknown>(): T;
  /** 1 for the first delivery to this group. */
  readonly attempt: number;
  /** When it became visible, ms since 1970 by the broker's clock. */
  readonly atMs: number;
  /** As its producer sent it: how long, or until when, it waited before it became visible. */
  readonly delayMs: number | undefined;
  readonly deliverAt: Date | undefined;
  /** As its producer sent it: from `atMs` on it is delivered for so long, and no longer. */
  readonly ttlMs: number | undefined;
  /** Dead letters only. */
  readonly origin: Origin | undefined;
  /** Names this delivery. Pass the message in `acks` of a transaction's prepare to let its ack join. */
  readonly token: string;
  /** For producers: the ack has joined a transaction and is not given here any more. */
  joined(): void;
}

/** What a handler can ask about and do to its delivery, besides ending it. */
export interface Context {
  /** 1 for the first delivery to this group. */
  readonly attempt: number;
  /**
   * Aborts when the delivery is over for this handler: the lease was lost (STALE_DELIVERY) or the
   * consumer closes (CLOSED). What the handler does after that may be done by another one, too.
   */
  readonly signal: AbortSignal;
  /**
   * Renews the lease, for `leaseMs` or the group's own time. Rarely needed: the consumer renews it by
   * itself while the handler runs. Rejects with STALE_DELIVERY when the delivery is over.
   */
  extend(leaseMs?: number): Promise<void>;
  /** Its sender waits for a reply. */
  readonly isRequest: boolean;
  /**
   * Replies to a request; a Uint8Array is sent as it is, all else as JSON, or by the codec. It is handed to
   * the sender's connection, at most once, and kept nowhere. Rejects with INBOX_NOT_FOUND when nobody waits any
   * more, OUTCOME_UNKNOWN when it was sent again after a lost connection and may have come the first time,
   * NOT_A_REQUEST, BODY_TOO_LARGE. The reply does not end the delivery: the handler's end does.
   */
  reply<T>(body: T, codec?: Codec<T>): Promise<void>;
}

/** A message of the iterator form, which is ended by hand. Each rejects with STALE_DELIVERY when it is over. */
export interface ManualMessage<Body = Uint8Array> extends Message<Body>, Context {
  /** Resolves when the ack is on the broker's disk: it is never delivered to this group again. */
  ack(): Promise<void>;
  /** Gives it back for another attempt. */
  retry(options?: RetryOptions): Promise<void>;
  /** Puts it into the dead-letter topic. */
  bury(reason: string): Promise<void>;
  /** Gives it back as it came, which is not an attempt. It is delivered again at once, perhaps to this consumer. */
  release(): Promise<void>;
}

/** What to read, and where a group that is new to the topic begins. */
export interface TopicSubscription {
  readonly topic: string | Topic<unknown>;
  /** Default "earliest". Counts only where the group has no progress yet. */
  readonly from?: "earliest" | "latest" | "offset" | "time";
  /** The offset, or the time in ms since 1970, that `from` names. */
  readonly at?: number;
  /**
   * Only the messages that match: tags, as "paid || shipped", or "sql: amount > 100 AND region = 'eu'" over
   * their headers. It is the whole group's: others of it must subscribe with the same one (FILTER_CONFLICT).
   */
  readonly filter?: string;
  /**
   * How many messages this topic may bring in its turn, 1 to 16. Default 1. With 4 beside 1 it brings four in
   * five while both have some, and none waits for ever. It is this consumer's own.
   */
  readonly weight?: number;
}

/** The bodies of a subscription: what the topic's codec decodes, or bytes for a topic by name. */
export type BodyOf<Subscription extends TopicSubscription> = Subscription extends {
  readonly topic: Topic<infer Body>;
}
  ? Body
  : Uint8Array;
