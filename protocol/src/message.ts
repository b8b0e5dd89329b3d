/**
 * A message travels and rests as the same bytes: the producer encodes it once, the broker checks it,
 * stores it and hands it on as it is, the consumer decodes it. So its bytes are never re-made on the
 * way, and one checksum covers it from the broker's disk to the consumer.
 */
import { unpack } from "./codec.ts";
import { EscrowError } from "./errors.ts";
import {
  bytes,
  deliverAtMs,
  entriesOf,
  headers,
  headersBytes,
  key,
  messageDelayMs,
  messageId,
  optional,
  ownTopicName,
  Refused,
  readFields,
  tag,
  takeFields,
  ttlMs,
  type ValuesOf,
} from "./fields.ts";
import { LIMITS } from "./limits.ts";
import { Reader } from "./reader.ts";
import { Writer } from "./writer.ts";

export const MESSAGE_FIELDS = {
  id: messageId,
  /** Never a dead-letter topic: what stands there keeps the topic that it was sent to. */
  topic: ownTopicName,
  key: optional(key),
  tag: optional(tag),
  headers: optional(headers),
  body: bytes(LIMITS.batchBytesMax),
  /** Becomes visible so long after it is sent, or after its transaction is committed. */
  delayMs: optional(messageDelayMs),
  /** Becomes visible then; at once if that is past. */
  deliverAtMs: optional(deliverAtMs),
  /** Once visible it is sent to consumers for so long, and no longer. */
  ttlMs: optional(ttlMs),
} as const;

const MESSAGE_ENTRIES = entriesOf(MESSAGE_FIELDS);

/** A message as the wire knows it; bodies are bytes. */
export type WireMessage = ValuesOf<typeof MESSAGE_FIELDS>;

const EMPTY_MESSAGE = Object.fromEntries(
  Object.keys(MESSAGE_FIELDS).map((key) => [key, undefined]),
);

const reader = new Reader();
/** A message lives until its producer has its answer; so do its neighbours. */
const writer = new Writer();

/**
 * The bytes of a message. The message is checked first, so that a producer learns of a bad one at
 * once and not from the broker. Throws INVALID_MESSAGE, or the code of the field that is wrong.
 */
export function encodeMessage(message: WireMessage): Uint8Array {
  const checked = checkMessage(readMessage(message as unknown as Record<string, unknown>));
  writer.begin();
  writer.fields(MESSAGE_ENTRIES, checked);
  return writer.cut();
}

/** The message of these bytes; its body is a view on them. Or a thrown refusal, as above. */
export function decodeMessage(data: Uint8Array): WireMessage {
  const taken = takeMessage(data);
  return taken === null ? readMessageBytes(data) : checkMessage(taken);
}

/** The careful way (see codec.ts); for tests, too. */
export const readMessageBytes = (data: Uint8Array): WireMessage =>
  checkMessage(unpackMessage(data));

/** The quick way; null: in doubt. */
function takeMessage(data: Uint8Array): WireMessage | null {
  reader.begin(data);
  const message = takeFields(MESSAGE_ENTRIES, reader, reader.mapLength(), { ...EMPTY_MESSAGE });
  return reader.finish() ? (message as unknown as WireMessage) : null;
}

function unpackMessage(data: Uint8Array): WireMessage {
  const value = unpack(
    data,
    (reason) => new EscrowError("INVALID_MESSAGE", `The encoded message is malformed: ${reason}.`),
  );
  if (
    typeof value !== "object" ||
    value === null ||
    Array.isArray(value) ||
    value instanceof Uint8Array
  )
    throw new EscrowError("INVALID_MESSAGE", "The encoded message is not a map.");
  return readMessage(value as Record<string, unknown>);
}

function checkMessage(message: WireMessage): WireMessage {
  if (message.delayMs !== undefined && message.deliverAtMs !== undefined)
    throw new EscrowError("INVALID_DELAY", "A message has delayMs or deliverAtMs, not both.");
  if (message.body.length > LIMITS.bodyBytesMax)
    throw new EscrowError(
      "BODY_TOO_LARGE",
      `A body may have at most ${LIMITS.bodyBytesMax} bytes.`,
    );
  if (message.headers !== undefined) {
    if (Object.keys(message.headers).length > LIMITS.headersCountMax)
      throw new EscrowError(
        "TOO_MANY_HEADERS",
        `A message may have at most ${LIMITS.headersCountMax} headers.`,
      );
    if (headersBytes(message.headers) > LIMITS.headersBytesMax)
      throw new EscrowError(
        "HEADERS_TOO_LARGE",
        `The headers of a message may have at most ${LIMITS.headersBytesMax} bytes together.`,
      );
  }
  return message;
}

function readMessage(value: Record<string, unknown>): WireMessage {
  try {
    return readFields(MESSAGE_ENTRIES, value, {}) as unknown as WireMessage;
  } catch (error) {
    if (!(error instanceof Refused)) throw error;
    throw new EscrowError(error.code ?? "INVALID_MESSAGE", `message.${error.message}.`);
  }
}
