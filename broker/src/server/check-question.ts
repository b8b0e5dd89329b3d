/**
 * What is asked of a check-back endpoint, how it is signed, and what counts as an answer. Pure.
 * PROTOCOL.md section "The HTTP check-back" is its contract.
 */
import { createHmac } from "node:crypto";
import { decodeMessage } from "@escrowmq/protocol";

export interface CheckQuestion {
  readonly group: string;
  readonly transactionId: string;
  readonly attempt: number;
  readonly ageMs: number;
  /** The encoded messages; null: the operator wants ids only to leave the broker. */
  readonly messages: readonly Uint8Array[] | null;
}

/** Throws INVALID_MESSAGE and its like when stored messages are not what was checked at their prepare. */
export function questionBody(question: CheckQuestion): Buffer {
  const { transactionId, group, attempt, ageMs } = question;
  const messages = question.messages?.map((data) => {
    const message = decodeMessage(data);
    return { ...message, body: Buffer.from(message.body).toString("base64") };
  });
  return Buffer.from(JSON.stringify({ transactionId, group, attempt, ageMs, messages }));
}

export interface Signed {
  /** Path and query, as in the request line. */
  readonly path: string;
  readonly timestamp: string;
  readonly nonce: string;
  readonly body: Uint8Array;
}

/** The value of `escrowmq-signature`: one `v1=` for each secret, so that keys can be rotated. */
export const signature = (secrets: readonly string[], signed: Signed): string =>
  secrets.map((secret) => `v1=${hmac(secret, signed)}`).join(", ");

const hmac = (secret: string, { path, timestamp, nonce, body }: Signed): string =>
  createHmac("sha256", secret)
    .update(`POST\n${path}\n${timestamp}\n${nonce}\n`)
    .update(body)
    .digest("hex");

/**
 * The one accepted answer, told by its text: a JSON parser would let pass a verdict that stands
 * twice, and what it made of the rest could end up in a log.
 */
const ANSWER =
  /^[ \t\r\n]*\{[ \t\r\n]*"verdict"[ \t\r\n]*:[ \t\r\n]*"(commit|rollback|unknown)"[ \t\r\n]*\}[ \t\r\n]*$/;

export function readAnswer(body: Uint8Array): "commit" | "rollback" | "unknown" | null {
  const word = ANSWER.exec(Buffer.from(body).toString("latin1"))?.[1];
  return word === "commit" || word === "rollback" || word === "unknown" ? word : null;
}
