/**
 * The one table of refusals and the one public error class.
 *
 * Invariants
 * - E1 Codes are stable across major versions; texts are not. Callers match the code.
 * - E2 A refusal changed nothing (promise 8), except where the code says that the outcome is unknown.
 * - E3 `isRetriable` means: the same request, sent again later as it is, may succeed.
 */
export interface ErrorKind {
  readonly meaning: string;
  readonly isRetriable: boolean;
  /** The broker closes the connection after saying it. */
  readonly closes: boolean;
}

const refusal = (meaning: string): ErrorKind => ({ meaning, isRetriable: false, closes: false });
const retriable = (meaning: string): ErrorKind => ({ meaning, isRetriable: true, closes: false });
const fatal = (meaning: string): ErrorKind => ({ meaning, isRetriable: false, closes: true });

export const ERROR_TABLE = {
  // The connection: each ends it.
  BAD_FRAME: fatal("The bytes are not a batch of frames as PROTOCOL.md defines it."),
  UNKNOWN_FRAME: fatal("The frame type does not exist, or does not go in this direction."),
  UNSUPPORTED_VERSION: fatal("The protocol version of the hello is not spoken here."),
  HELLO_EXPECTED: fatal("The first frame of a connection must be a hello, once, within 5 s."),
  BATCH_TOO_LARGE: fatal(
    "A WebSocket message is larger than the limit of this state of the connection.",
  ),
  TOO_SLOW: fatal(
    "The peer did not read what was sent to it, or did not finish a batch that it began; its leases go back.",
  ),
  // A request.
  INVALID_ARGUMENT: refusal("A field is missing, of the wrong type, or outside its limits."),
  INVALID_TOPIC: refusal("A topic's name is missing or illegal."),
  INVALID_GROUP: refusal("A group's name is missing or illegal."),
  INVALID_INSTANCE: refusal("An instance's name is illegal."),
  INVALID_TRANSACTION_ID: refusal("A transaction id is missing, illegal or too short."),
  INVALID_MESSAGE_ID: refusal("The id of a message or of a send is missing or illegal."),
  INVALID_KEY: refusal("A key is empty, too long, or has control characters."),
  INVALID_TAG: refusal(
    "A tag is empty, too long, begins or ends with a blank, or has control characters or a bar.",
  ),
  INVALID_HEADER: refusal(
    "A header's name is empty, reserved or has control characters, or its value is no text.",
  ),
  INVALID_DELAY: refusal(
    "A delay or a time to become visible is no whole number, too far off, or both are given.",
  ),
  INVALID_TTL: refusal("A time to live is no whole number of ms, zero, or too long."),
  INVALID_MESSAGE: refusal("An encoded message is malformed, or its body is not bytes."),
  BODY_TOO_LARGE: refusal("The body is larger than the topic allows."),
  TOO_MANY_HEADERS: refusal("There are more headers than allowed."),
  HEADERS_TOO_LARGE: refusal("The headers are larger together than allowed."),
  TRANSACTION_TOO_LARGE: refusal(
    "The messages of one transaction are larger together than allowed.",
  ),
  NOT_ANNOUNCED: refusal(
    "The connection has not announced the producer group that the request names.",
  ),
  TOPIC_NOT_FOUND: refusal("There is no such topic; the text names the command that creates it."),
  TOPIC_EXISTS: refusal("There is a topic of that name already."),
  TOPIC_PAUSED: retriable("An operator has paused sending to the topic."),
  TOPIC_IN_USE: refusal("The topic still has undecided transactions."),
  GROUP_NOT_FOUND: refusal("There is no such consumer group or producer group."),
  GROUP_IN_USE: refusal("The group still has connected consumers or undecided transactions."),
  SUBSCRIPTION_EXISTS: refusal("The connection has a subscription of that number already."),
  SUBSCRIPTION_NOT_FOUND: refusal("The connection has no subscription of that number."),
  FILTER_INVALID: refusal(
    "A filter is malformed or past its limits; the detail says at which character and why.",
  ),
  FILTER_CONFLICT: retriable(
    "Others of the group read the topic with another filter; it is theirs as long as they are there.",
  ),
  // Transactions.
  NO_CHECKER: refusal(
    "Nobody could answer for the group: no checker announced, no endpoint, and onUndecided is not rollback.",
  ),
  TX_CONFLICT: refusal("The id was used before with other content."),
  TX_NOT_FOUND: refusal("The broker does not know the transaction, or no longer does."),
  TX_ALREADY_COMMITTED: refusal(
    "The transaction was decided before: committed. The detail says by whom and when.",
  ),
  TX_ALREADY_ROLLED_BACK: refusal(
    "The transaction was decided before: rolled back. The detail says by whom and when.",
  ),
  TX_NOT_PARKED: refusal("Only a parked transaction can be resumed."),
  WRONG_GROUP: refusal("The verdict comes from another producer group than the prepare."),
  UNDECIDED_LIMIT: retriable("There is too much undecided work; decide some of it first."),
  // Scheduled messages.
  MESSAGE_NOT_SCHEDULED: refusal(
    "No message of that id waits for its time in the topic: it is visible already, undecided, or never was.",
  ),
  SCHEDULED_LIMIT: retriable("Too many messages wait for their time, or their key, already."),
  RESERVATION_LIMIT: retriable("Undecided transactions reserve too many keys already."),
  // Broadcast.
  GROUP_IS_BROADCAST: refusal(
    "The group has no progress of its own there, its instances have; name one of them.",
  ),
  INSTANCE_LIMIT: retriable(
    "The group has as many connected instances as it may have; one must leave first.",
  ),
  INSTANCE_REPLACED: refusal(
    "Another consumer subscribed by the same instance name; this subscription is over.",
  ),
  // Request and reply.
  INBOX_NOT_FOUND: refusal("Nobody waits at that inbox any more: its connection has ended."),
  INBOX_FULL: retriable("The owner of the inbox does not read what is sent to it."),
  // Delivery.
  STALE_DELIVERY: refusal(
    "The delivery is over: settled, expired, given back, or replaced by a later one.",
  ),
  DEAD_LETTER_NOT_FOUND: refusal(
    "There is no dead letter at that offset; it was replayed or purged, or never was.",
  ),
  MESSAGE_NOT_FOUND: refusal("There is no message at that offset, or not yet."),
  MESSAGE_RETIRED: refusal("Retention removed what was asked for."),
  // The broker's state.
  DISK_FULL: retriable("Free disk space is below the limit for this kind of request."),
  OVERLOADED: retriable(
    "Too many requests wait for their answers; send again later. The SDKs make it, too, of their own.",
  ),
  SHUTTING_DOWN: retriable("The broker is stopping."),
  STORE_FAILED: retriable(
    "The store failed; the broker is reopening it. What was not answered may or may not have happened.",
  ),
  STORE_CORRUPT: refusal("Stored data does not match its checksum; nothing of it was served."),
  STORE_LOCKED: refusal("Another process has the data directory open."),
  STORE_VERSION: refusal("The data directory was written by another format version."),
  STORE_TAIL_MISSING: refusal("The store ends before a block that was acknowledged."),
  ENDPOINT_REFUSED: refusal("The check-back endpoint's URL or address is not allowed."),
  INTERNAL: fatal("The broker met a fault of its own; it has been logged."),
  // Made by the SDKs, never on the wire.
  CLOSED: refusal("The client was closed, or its signal aborted, before the request was sent."),
  OUTCOME_UNKNOWN: retriable(
    "The request was sent and its answer was lost: it may or may not have happened. If a repetition was refused, the cause says how.",
  ),
  UNREACHABLE: retriable(
    "The broker could not be reached within the time allowed; nothing was sent.",
  ),
  NO_REPLY: retriable(
    "No reply came within the time allowed. The request is in its topic, and may have been worked on.",
  ),
  INBOX_LOST: retriable(
    "The connection with the inbox was lost: the reply cannot come any more. The request may have been worked on.",
  ),
  NOT_A_REQUEST: refusal("The message asks for no reply."),
  NESTED_PREPARE: refusal(
    "A transaction is prepared once, by its own callback, before the callback ends.",
  ),
  DECODE_FAILED: refusal("The topic's codec could not decode the body."),
  ENCODE_FAILED: refusal("The topic's codec could not encode the body."),
} as const satisfies Record<string, ErrorKind>;

export type ErrorCode = keyof typeof ERROR_TABLE;

/** What a refusal may add for programs: small and flat. */
export type ErrorDetail = Readonly<Record<string, string | number | boolean>>;

export const isErrorCode = (text: string): text is ErrorCode => Object.hasOwn(ERROR_TABLE, text);

const BRAND = Symbol.for("escrowmq.error");

/**
 * The one error class of all EscrowMQ packages.
 * `EscrowError.is(error, code?)` works across duplicate installs, where `instanceof` does not.
 */
export class EscrowError extends Error {
  override readonly name = "EscrowError";
  readonly [BRAND] = true;
  readonly code: ErrorCode;
  /** The same request, sent again later as it is, may succeed. */
  readonly retriable: boolean;
  readonly detail: ErrorDetail;

  constructor(
    code: ErrorCode,
    message?: string,
    options?: { cause?: unknown; detail?: ErrorDetail },
  ) {
    super(
      message ?? ERROR_TABLE[code].meaning,
      options?.cause === undefined ? undefined : { cause: options.cause },
    );
    this.code = code;
    this.retriable = ERROR_TABLE[code].isRetriable;
    this.detail = options?.detail ?? {};
  }

  static is(error: unknown, code?: ErrorCode): error is EscrowError {
    if (typeof error !== "object" || error === null || !(BRAND in error)) return false;
    return code === undefined || (error as EscrowError).code === code;
  }
}
