/**
 * Every frame, once: its direction, its fields and what they may hold. Types, decoder and the tables
 * in PROTOCOL.md follow from it.
 *
 * Invariants
 * - R1 Every request carries `id`, chosen by the client, and gets exactly one `ok` or `error` with that id in `re`.
 * - R2 Unknown fields are ignored; an unknown type, or one of the other direction, ends the connection.
 */
import {
  boolean,
  bytes,
  count,
  DELAY_MS,
  type Fields,
  instanceName,
  integer,
  LEASE_MS,
  list,
  messageId,
  name,
  oneOf,
  optional,
  ownTopicName,
  plain,
  REASON,
  readerName,
  record,
  text,
  topicName,
  transactionId,
  type ValuesOf,
} from "./fields.ts";
import { LIMITS } from "./limits.ts";

/** The version that hello and welcome carry, and the WebSocket subprotocol. */
export const PROTOCOL_VERSION = 1;
export const SUBPROTOCOL = "escrowmq.v1";

const id = count;
const encodedMessage = bytes(LIMITS.bodyBytesMax + LIMITS.headersBytesMax + 4_096);
const encodedMessages = list(encodedMessage, 1, LIMITS.transactionMessagesMax);
const token = text(64);
const tokens = list(token, 1, LIMITS.settleTokensMax);
const page = { after: optional(text(200)), limit: optional(integer(1, LIMITS.pageItemsMax)) };
const offsets = list(count, 1, LIMITS.pageItemsMax);
const audit = { operator: text(128), reason: REASON };
const inbox = text(64);
const gaps = list(
  record({
    topic: topicName,
    /** Messages lost since the instance surely heard of it last. Absent: it is new to the topic. */
    lost: optional(count),
    /** Lost ever. */
    total: count,
  }),
  0,
  64,
);
const verdict = oneOf("commit", "rollback", "unknown");
const topicSettings = {
  bodyBytesMax: optional(integer(1, LIMITS.bodyBytesMax)),
  paused: optional(boolean),
  /** Older messages go; the most is as good as for ever. */
  retentionMs: optional(integer(LIMITS.retentionMsMin, LIMITS.retentionMsMax)),
  /** While the topic holds more, the oldest go, too; 0: no limit. */
  retentionBytes: optional(count),
  /** What becomes of those that a group has not settled. */
  unsettled: optional(oneOf("keep", "drop")),
};
const groupPolicy = {
  leaseMs: optional(LEASE_MS),
  attemptsMax: optional(integer(1, 1_000)),
  retryDelaysMs: optional(list(DELAY_MS, 1, 64)),
  jitterPercent: optional(integer(0, 100)),
  /** Messages of one key one after the other. */
  ordered: optional(boolean),
};
const startAt = {
  from: optional(oneOf("earliest", "latest", "offset", "time")),
  /** The offset, or the time in ms since 1970, that `from` names. */
  at: optional(count),
};

/** Frames from a client to the broker. All but hello, credit, answer and ping are requests (R1). */
export const CLIENT_FRAMES = {
  hello: { version: count, client: text(128), token: optional(text(1_024)) },
  ping: {},
  // Producers.
  announce: { id, group: name, checker: boolean },
  send: { id, sendId: messageId, messages: encodedMessages },
  prepare: {
    id,
    transactionId,
    group: name,
    messages: list(encodedMessage, 0, LIMITS.transactionMessagesMax),
    acks: optional(list(token, 0, LIMITS.transactionAcksMax)),
    checkAfterMs: optional(integer(0, LIMITS.checkAfterMsMax)),
    onUndecided: optional(oneOf("park", "rollback")),
    /** Nothing that comes later with the key of one of its messages is visible before the verdict. */
    reserveKeys: optional(boolean),
  },
  verdict: { id, transactionId, group: name, verdict, reason: optional(REASON) },
  answer: { transactionId, attempt: count, verdict },
  recall: { id, topic: name, messageId },
  // Consumers.
  subscribe: {
    id,
    subscription: count,
    group: name,
    topics: list(
      record({
        topic: topicName,
        ...startAt,
        /** Which messages; of the whole group. Its own limit is the language's, with place and reason. */
        filter: optional(text(LIMITS.stringBytesMax)),
        /** How long its turn is among the topics; of this subscription. */
        weight: optional(integer(1, LIMITS.weightMax)),
      }),
      1,
      64,
    ),
    leaseMs: optional(LEASE_MS),
    /** Broadcast: who of the group this is. It gets every message, with a progress of its own. */
    instance: optional(instanceName),
  },
  unsubscribe: { id, subscription: count },
  credit: {
    subscription: count,
    messages: integer(0, LIMITS.creditMessagesMax),
    bytes: integer(0, LIMITS.creditBytesMax),
  },
  ack: { id, tokens },
  release: { id, tokens },
  extend: { id, tokens, leaseMs: optional(LEASE_MS) },
  retry: { id, token, delayMs: optional(DELAY_MS), reason: optional(REASON) },
  bury: { id, token, reason: REASON },
  // Request and reply.
  inbox: { id },
  reply: { id, inbox, correlation: messageId, body: bytes(LIMITS.replyBytesMax) },
  // Operators.
  "topic.create": { id, topic: ownTopicName, ...topicSettings },
  "topic.update": { id, topic: topicName, ...topicSettings },
  "topic.delete": { id, topic: ownTopicName, ...audit },
  "topic.list": { id, ...page },
  "topic.describe": { id, topic: topicName },
  "group.list": { id, ...page },
  "group.describe": { id, group: readerName },
  "group.update": { id, group: name, ...groupPolicy },
  "group.reset": {
    id,
    group: readerName,
    /** Absent: all that it reads. */
    topic: optional(topicName),
    ...startAt,
    dryRun: optional(boolean),
    ...audit,
  },
  "group.pause": { id, group: name, ...audit },
  "group.resume": { id, group: name, ...audit },
  "group.skip": { id, group: readerName, topic: topicName, offsets, ...audit },
  "group.delete": { id, group: readerName, ...audit },
  "producer.list": { id, ...page },
  "producer.endpoint": {
    id,
    group: name,
    /** Absent: remove the endpoint. */
    url: optional(text(2_048)),
    /** Ask with ids only, without the messages' bodies. */
    idsOnly: optional(boolean),
    ...audit,
  },
  "tx.list": { id, state: optional(oneOf("undecided", "parked")), group: optional(name), ...page },
  "tx.show": { id, transactionId },
  "tx.check": { id, transactionId, ...audit },
  "tx.decide": { id, transactionId, verdict: oneOf("commit", "rollback"), ...audit },
  "tx.resume": { id, transactionId, ...audit },
  "message.show": { id, topic: topicName, offset: count },
  "message.find": {
    id,
    topic: topicName,
    messageId: optional(messageId),
    key: optional(text(LIMITS.keyBytesMax)),
    tag: optional(text(LIMITS.tagBytesMax)),
    /** Visible at or after this, ms since 1970. */
    sinceMs: optional(count),
    /** Visible before this. */
    beforeMs: optional(count),
    ...page,
  },
  "message.trace": {
    id,
    topic: topicName,
    offset: count,
    after: optional(text(LIMITS.traceAfterBytesMax)),
  },
  "dlq.list": { id, group: name, ...page },
  "dlq.show": { id, group: name, offset: count },
  "dlq.replay": { id, group: name, offsets, ...audit },
  "dlq.purge": { id, group: name, offsets, ...audit },
  stats: { id },
  doctor: { id },
} as const satisfies Record<string, Fields>;

/** Frames from the broker to a client. */
export const BROKER_FRAMES = {
  welcome: { version: count, broker: text(128), storeId: text(64) },
  pong: {},
  ok: {
    re: count,
    /** send, prepare, verdict, recall: the same had been done before; nothing was done again. */
    duplicate: optional(boolean),
    /** prepare, verdict: where the transaction stands. */
    state: optional(oneOf("undecided", "parked", "committed", "rolledBack")),
    /** ack, release, extend: the tokens that were refused as STALE_DELIVERY; all others are done. */
    stale: optional(list(token, 0, LIMITS.settleTokensMax)),
    /** subscribe with an instance: what it has lost. */
    gaps: optional(gaps),
    /** inbox: where replies to this connection go. */
    inbox: optional(inbox),
    /** Operators' requests: the answer, by verb (admin.ts). */
    value: optional(plain),
  },
  error: { re: count, code: text(64), message: text(2_048), detail: optional(plain) },
  /** How many bytes of sends and prepares this connection may have unanswered from now on. */
  window: { bytes: count },
  /** The broker is about to close the connection, and why. */
  closing: { code: text(64), message: text(2_048) },
  deliver: {
    subscription: count,
    deliveries: list(
      record({
        token,
        topic: topicName,
        offset: count,
        /** 1 for the first delivery to this group. */
        attempt: count,
        leaseMs: count,
        /** When the message became visible, ms since 1970 by the broker's clock. */
        atMs: count,
        message: encodedMessage,
        /** Dead-letter topics only: where it comes from and why. */
        origin: optional(
          record({
            topic: topicName,
            offset: count,
            attempts: count,
            reason: text(4_096),
            atMs: count,
          }),
        ),
      }),
      1,
      LIMITS.batchFramesMax,
    ),
  },
  /** An instance loses messages while it is here. */
  gap: { subscription: count, gaps },
  /** The broker has ended a subscription: another one has taken the place of the instance. */
  ended: { subscription: count, code: text(64), message: text(2_048) },
  /** To the owner of an inbox: the reply to a request of its. */
  replied: { inbox, correlation: messageId, body: bytes(LIMITS.replyBytesMax) },
  check: {
    transactionId,
    group: name,
    /** 1 for the first check. */
    attempt: count,
    ageMs: count,
    messages: list(encodedMessage, 0, LIMITS.transactionMessagesMax),
  },
} as const satisfies Record<string, Fields>;

type FrameOf<Table extends Record<string, Fields>> = {
  [Type in keyof Table]: { readonly type: Type } & ValuesOf<Table[Type]>;
};

export type ClientFrames = FrameOf<typeof CLIENT_FRAMES>;
export type BrokerFrames = FrameOf<typeof BROKER_FRAMES>;
export type ClientFrame = ClientFrames[keyof ClientFrames];
export type BrokerFrame = BrokerFrames[keyof BrokerFrames];
export type ClientFrameType = keyof ClientFrames;
export type BrokerFrameType = keyof BrokerFrames;

/** A frame that gets an answer. */
export type RequestFrame = Extract<ClientFrame, { readonly id: number }>;
export type RequestType = RequestFrame["type"];

export type Verdict = ClientFrames["verdict"]["verdict"];
export type FinalVerdict = Exclude<Verdict, "unknown">;
export type TransactionState = "undecided" | "parked" | "committed" | "rolledBack";
