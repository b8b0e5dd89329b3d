/** EscrowMQ's consumer: read topics, and tell how each delivery ended. */
export { type ErrorCode, type ErrorDetail, EscrowError } from "@escrowmq/protocol";
export {
  type AdminClient,
  type AdminOptions,
  bytes,
  type ClientOptions,
  type Codec,
  createAdmin,
  type Environment,
  json,
  type Logger,
  type Topic,
  text,
  topic,
} from "@escrowmq/protocol/client";
export { createConsumer } from "./consumer.ts";
export type {
  BodyOf,
  Context,
  ManualMessage,
  Message,
  Origin,
  TopicSubscription,
} from "./message.ts";
export type { Consumer, ConsumerOptions, Drained, DrainOptions, Gap, Handler } from "./options.ts";
export { Bury, Release, Retry, type RetryOptions } from "./throws.ts";
