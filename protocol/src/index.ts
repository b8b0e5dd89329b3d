/** EscrowMQ's wire protocol, shared by broker, SDKs and CLI. PROTOCOL.md is normative. */
export type * from "./admin.ts";
export { type BadRequest, decodeBrokerBatch, decodeClientBatch, encodeBatch } from "./codec.ts";
export {
  ERROR_TABLE,
  type ErrorCode,
  type ErrorDetail,
  type ErrorKind,
  EscrowError,
  isErrorCode,
} from "./errors.ts";
export {
  BROKER_FRAMES,
  type BrokerFrame,
  type BrokerFrames,
  type BrokerFrameType,
  CLIENT_FRAMES,
  type ClientFrame,
  type ClientFrames,
  type ClientFrameType,
  type FinalVerdict,
  PROTOCOL_VERSION,
  type RequestFrame,
  type RequestType,
  SUBPROTOCOL,
  type TransactionState,
  type Verdict,
} from "./frames.ts";
export { LIMIT_TABLE, LIMITS, type Limit, type LimitName } from "./limits.ts";
export { decodeMessage, encodeMessage, MESSAGE_FIELDS, type WireMessage } from "./message.ts";
export {
  CORRELATION_HEADER,
  deadLetterTopic,
  INBOX_HEADER,
  instanceGroup,
  isDeadLetterTopic,
  isMessageId,
  isName,
  isReaderName,
  isTopicName,
  isTransactionId,
} from "./names.ts";
export { type PreScanLimits, preScan } from "./pre-scan.ts";
export { Writer } from "./writer.ts";
