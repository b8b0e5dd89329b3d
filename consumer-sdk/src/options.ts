/** A consumer's options and its public surface. */
import { EscrowError, isTopicName, LIMITS } from "@escrowmq/protocol";
import {
  bytes,
  type ClientOptions,
  checkGroup,
  checkName,
  invalid,
  type Topic,
  topicNameOf,
} from "@escrowmq/protocol/client";
import type { Context, ManualMessage, Message, TopicSubscription } from "./message.ts";

export interface ConsumerOptions<
  Subscriptions extends readonly TopicSubscription[] = readonly TopicSubscription[],
> extends ClientOptions {
  /** The consumer group: its members share the messages of a topic; each group gets them all. */
  readonly group: string;
  /** 1 to 64 topics, by name or typed. */
  readonly subscribe: Subscriptions;
  /**
   * Every instance of the group gets every message, each with a progress of its own. The name must be the
   * same after a restart, and no two processes may have it at a time: the second takes the first one's place.
   */
  readonly broadcast?: { readonly instance: string };
  /** Broadcast only: this instance has lost messages, or is new, and should read anew what they are about. */
  readonly onGap?: (gap: Gap) => void;
  /** Handlers at once. Default 16. The iterator form is sequential and ignores it. */
  readonly concurrency?: number;
  /** How long a delivery is this consumer's without a renewal, 1,000 ms to 12 hours. Default: the group's. */
  readonly leaseMs?: number;
  /** Bytes of messages under way or unfinished here, 2 MiB to 256 MiB. Default 32 MiB. */
  readonly maxBytesInFlight?: number;
}

/** What an instance has lost of a topic: to retention, or because its last attempt failed. */
export interface Gap {
  readonly topic: string;
  /** Since it was told last. Null: the instance is new to the topic, or was away for so long that it was forgotten. */
  readonly lost: number | null;
}

/** Resolves: ack. Throws: retry by the group's policy, or what Retry or Bury say. */
export type Handler<Body> = (message: Message<Body>, context: Context) => unknown;

export interface DrainOptions {
  readonly timeoutMs: number;
}

export interface Drained {
  readonly drained: boolean;
  /** Handlers still running and settlements without an answer, when the time was up. */
  readonly inFlight: number;
}

export interface Consumer<Body> {
  readonly group: string;
  /**
   * Gives each message to the handler, `concurrency` at once. Resolves when the consumer was drained or
   * closed; rejects when the broker ends the subscription for good (TOPIC_NOT_FOUND, INSTANCE_REPLACED).
   */
  run(handler: Handler<Body>): Promise<void>;
  /**
   * The sequential form: one message at a time, ended by hand. A message that the loop leaves behind
   * without an end is delivered again when its lease is over. Leaving the loop gives back the rest.
   */
  [Symbol.asyncIterator](): AsyncIterableIterator<ManualMessage<Body>>;
  /**
   * Takes nothing new, gives back what was not started, waits for handlers and for the broker's word
   * on every settlement, then closes. What is left at the end of the time goes back; it is no attempt.
   */
  drain(options: DrainOptions): Promise<Drained>;
  /** Closes now: signals abort, and what was not settled goes back; it is no attempt. */
  close(): Promise<void>;
  /** Drains for at most 10 s. */
  [Symbol.asyncDispose](): Promise<void>;
}

/** Any legal message fits in twice, so that none can block the way. */
const BYTES_IN_FLIGHT_MIN = 2 * LIMITS.bodyBytesMax;
const TOPICS_MAX = 64;

/** Throws INVALID_ARGUMENT, or the code of the name that is illegal. */
export function checkConsumerOptions(options: ConsumerOptions): void {
  const { group, subscribe, concurrency = 1, leaseMs = LIMITS.leaseMsMin } = options;
  const { maxBytesInFlight = BYTES_IN_FLIGHT_MIN } = options;
  checkGroup(group);
  if (options.broadcast !== undefined)
    checkName("INVALID_INSTANCE", "instance", options.broadcast.instance);
  if (subscribe.length < 1 || subscribe.length > TOPICS_MAX)
    throw invalid(`subscribe must name 1 to ${TOPICS_MAX} topics`);
  for (const { topic, weight = 1 } of subscribe) {
    if (!isTopicName(topicNameOf(topic)))
      throw new EscrowError("INVALID_TOPIC", "subscribe holds a name that is no topic's.");
    checkRange("weight", weight, 1, LIMITS.weightMax);
  }
  checkRange("concurrency", concurrency, 1, LIMITS.creditMessagesMax / 2);
  checkRange("leaseMs", leaseMs, LIMITS.leaseMsMin, LIMITS.leaseMsMax);
  checkRange("maxBytesInFlight", maxBytesInFlight, BYTES_IN_FLIGHT_MIN, LIMITS.creditBytesMax);
}

function checkRange(option: string, value: number, min: number, max: number): void {
  if (!Number.isSafeInteger(value) || value < min || value > max)
    throw invalid(`${option} must be an integer from ${min} to ${max}`);
}

/** By name, with a codec each. */
export function topicsOf({ subscribe }: ConsumerOptions): ReadonlyMap<string, Topic<unknown>> {
  const topics = new Map<string, Topic<unknown>>();
  for (const { topic } of subscribe) {
    const name = topicNameOf(topic);
    topics.set(name, typeof topic === "string" ? { name, codec: bytes } : topic);
  }
  return topics;
}
