/** A message for people: its fields as lines of a card, its body as text that drives no terminal and ends. */
import { decodeMessage, EscrowError, type WireMessage } from "@escrowmq/protocol";
import { bodyText } from "./escape.ts";
import { size } from "./format.ts";
import type { CardLine } from "./print.ts";

/** The message, or its bytes as they are when they are none: an operator must see that, too. */
export function decoded(bytes: Uint8Array): WireMessage | Uint8Array {
  try {
    return decodeMessage(bytes);
  } catch (error) {
    if (EscrowError.is(error)) return bytes;
    throw error;
  }
}

export function messageLines(message: WireMessage | Uint8Array | undefined): readonly CardLine[] {
  if (message === undefined || message instanceof Uint8Array) return [];
  const headers = Object.entries(message.headers ?? {});
  return [
    { label: "message id", text: message.id },
    ...(message.key === undefined ? [] : [{ label: "key", text: message.key }]),
    ...(message.tag === undefined ? [] : [{ label: "tag", text: message.tag }]),
    ...(headers.length === 0
      ? []
      : [{ label: "headers", text: headers.map(([name, value]) => `${name}: ${value}`) }]),
  ];
}

/** Some screens full. */
const BODY_BYTES_SHOWN_MAX = 8_192;

/** A paragraph; "" for no message. */
export function bodyPart(message: WireMessage | Uint8Array | undefined): string {
  if (message === undefined) return "";
  if (message instanceof Uint8Array) return `\nIts bytes are no message: ${bodyText(message)}\n`;
  const { body } = message;
  if (body.length === 0) return "\n(the body is empty)\n";
  if (body.length <= BODY_BYTES_SHOWN_MAX) return `\n${bodyText(body)}\n`;
  const shown = bodyText(body.subarray(0, endOfCharacter(body, BODY_BYTES_SHOWN_MAX)));
  return `\n${shown}…\n(the first of ${size(body.length)}; --json shows all of it)\n`;
}

/** Not in the middle of a character of UTF-8, where it is such. */
function endOfCharacter(bytes: Uint8Array, end: number): number {
  let at = end;
  while (at > end - 4 && ((bytes[at] ?? 0) & 0xc0) === 0x80) at--;
  return at;
}
