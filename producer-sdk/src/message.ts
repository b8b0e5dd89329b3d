/** Messages as an application gives them, and as it sees them again in a check. */

import { EscrowError, encodeMessage, LIMITS, type WireMessage } from "@escrowmq/protocol";
import { encodeBody, type Topic, topicNameOf } from "@escrowmq/protocol/client";
import { sha256 } from "@noble/hashes/sha2.js";
import { bytesToHex, utf8ToBytes } from "@noble/hashes/utils.js";

/** A message to send. `T` is the topic's body type; by a topic's mere name it may be anything. */
export interface OutgoingMessage<T = unknown> {
  /** A typed topic, or a name: then a Uint8Array is sent as it is, and all else as JSON. */
  readonly topic: string | Topic<T>;
  readonly body: NoInfer<T>;
  /** What the message is about, at most 256 bytes. */
  readonly key?: string | undefined;
  /** A word to filter by, at most 128 bytes. */
  readonly tag?: string | undefined;
  /** Text to text, at most 64 and 16 KiB together. */
  readonly headers?: Readonly<Record<string, string>> | undefined;
  /**
   * 1 to 64 of `A-Z a-z 0-9 _ -`, unique for ever. Default: 128 random bits, or made of the id that you gave the
   * call or the transaction.
   */
  readonly id?: string | undefined;
  /** Consumers see it so many ms after it is sent, or after its transaction is committed; at most a year. */
  readonly delayMs?: number | undefined;
  /** Consumers see it from then on, by the broker's clock; at once if that is past. Not with `delayMs`. */
  readonly deliverAt?: Date | undefined;
  /** A consumer that has not been sent it within so many ms after it became visible does not get it any more. */
  readonly ttlMs?: number | undefined;
}

/** A delivery whose ack joins a transaction: a consumer's message, or anything with its token. */
export interface JoiningDelivery {
  readonly token: string;
  /** Called once the ack stands or falls with the transaction, so that nobody acks a second time. */
  joined?(): void;
}

/** A message of an undecided transaction, as a check shows it. */
export interface CheckedMessage {
  readonly id: string;
  readonly topic: string;
  readonly key?: string;
  readonly tag?: string;
  readonly headers: Readonly<Record<string, string>>;
  readonly body: Uint8Array;
}

/**
 * The encoded message. Throws ENCODE_FAILED, INVALID_MESSAGE, BODY_TOO_LARGE, HEADERS_TOO_LARGE.
 */
export function encodeOutgoing<T>(message: OutgoingMessage<T>, id: string): Uint8Array {
  const wire: WireMessage = {
    id,
    topic: topicNameOf(message.topic),
    key: message.key,
    tag: message.tag,
    headers: message.headers,
    body: encodeBody(message.topic, message.body),
    delayMs: message.delayMs,
    deliverAtMs: message.deliverAt?.getTime(),
    ttlMs: message.ttlMs,
  };
  return encodeMessage(wire);
}

/**
 * The encoded messages of one transaction; `newId` gives those an id that have none. A transaction that no
 * WebSocket message could carry is refused here: sent, it would cost the connection. Throws also
 * TRANSACTION_TOO_LARGE.
 */
export function encodeTransaction(
  messages: readonly OutgoingMessage[],
  newId: (place: number) => string,
): Uint8Array[] {
  if (messages.length > LIMITS.transactionMessagesMax)
    throw tooLarge(`${LIMITS.transactionMessagesMax} messages`);
  const encoded = messages.map((message, place) =>
    encodeOutgoing(message, message.id ?? newId(place)),
  );
  const bytes = encoded.reduce((total, { length }) => total + length, 0);
  if (bytes > LIMITS.transactionBytesMax) throw tooLarge(`${LIMITS.transactionBytesMax} bytes`);
  return encoded;
}

/**
 * Ids for the messages of a call that has an id of its own. The same call again must be byte for byte the same,
 * or the broker takes it for another one under a used id. It is a hash, because consumers see a message's id,
 * and nobody may guess a transaction's. Not by the platform's own, which answers later: a send leaves in the turn
 * in which it was asked for.
 */
export function idsUnder(kind: "send" | "prepare", id: string): (place: number) => string {
  let prefix: string | null = null;
  return (place) => {
    prefix ??= bytesToHex(sha256(utf8ToBytes(`${kind} ${id}`))).slice(0, 28);
    return prefix + place.toString(16).padStart(4, "0");
  };
}

const tooLarge = (most: string): EscrowError =>
  new EscrowError("TRANSACTION_TOO_LARGE", `A transaction may have at most ${most}.`);

export function checkedMessage({
  id,
  topic,
  key,
  tag,
  headers,
  body,
}: WireMessage): CheckedMessage {
  return {
    id,
    topic,
    ...(key === undefined ? {} : { key }),
    ...(tag === undefined ? {} : { tag }),
    headers: headers ?? {},
    // A copy: whoever keeps it must not keep all that came with it.
    body: new Uint8Array(body),
  };
}
