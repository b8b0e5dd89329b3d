/** EscrowMQ's producer: send messages and transactions. */
export {
  type ErrorCode,
  type ErrorDetail,
  EscrowError,
  type TransactionState,
  type Verdict,
} from "@escrowmq/protocol";
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
export type { Check, CheckHandler } from "./check.ts";
export { type CheckEndpointOptions, createCheckEndpoint } from "./check-endpoint.ts";
export {
  type CheckSignature,
  createNonceMemory,
  type NonceMemory,
  type Verification,
  verifyCheckRequest,
} from "./check-signature.ts";
export type { CheckedMessage, JoiningDelivery, OutgoingMessage } from "./message.ts";
export {
  createProducer,
  type DrainOptions,
  type Producer,
  type ProducerDrained,
  type ProducerOptions,
  type Recall,
  type Recalled,
  type SendAllOptions,
  type SendOptions,
  type Sent,
} from "./producer.ts";
export type { Answer, RequestMessage } from "./requests.ts";
export {
  type OutgoingMessages,
  type Prepared,
  type PrepareOptions,
  Rollback,
  type Transaction,
  type TransactionOptions,
  type TransactionResult,
} from "./transaction.ts";
