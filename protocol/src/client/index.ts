/** `@escrowmq/protocol/client`: what the SDKs and the CLI share. Not for applications. */
export { type AdminClient, type AdminFields, type AdminOptions, createAdmin } from "./admin.ts";
export {
  type CallOptions,
  Calls,
  type CallsOptions,
  type OkFrame,
  type Outcome,
  type Session,
} from "./calls.ts";
export {
  type ClientOptions,
  checkGroup,
  checkMs,
  checkName,
  connect,
  invalid,
  REQUEST_TIMEOUT_MS,
  shortReason,
  UNANSWERED_BYTES_MAX,
  UNANSWERED_MAX,
} from "./connect.ts";
export type { Connection } from "./connection.ts";
export { type DiagnosticsChannel, diagnosticsChannel } from "./diagnostics.ts";
export type { Dial, Socket, SocketEvents } from "./dial.ts";
export { type Environment, platformEnvironment, type Timer } from "./environment.ts";
export { idSource } from "./ids.ts";
export { errorOf, type Link, type LinkOptions } from "./link.ts";
export { type Logger, SILENT } from "./logger.ts";
export {
  bytes,
  type Codec,
  encodeBody,
  json,
  type Topic,
  text,
  topic,
  topicNameOf,
} from "./topic.ts";
