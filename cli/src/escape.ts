/**
 * What came from a message or the network must not be able to drive the terminal: no control
 * characters (colours, cursor, window title), no bidirectional overrides, no line breaks in a cell.
 *
 * Not reversible: a backslash stays as it is, because bodies are mostly JSON. Programs use --json.
 */

/** Control, format, line and paragraph separators, lone surrogates; but ZWNJ and ZWJ are text. */
const UNSAFE = /(?![\u200c\u200d])[\p{Cc}\p{Cf}\p{Cs}\p{Zl}\p{Zp}]/gu;
const SHORT: Readonly<Record<string, string>> = { "\n": "\\n", "\r": "\\r", "\t": "\\t" };

export const escapeText = (text: string): string =>
  text.replace(UNSAFE, (found) => SHORT[found] ?? hexEscape(found.codePointAt(0) ?? 0));

function hexEscape(point: number): string {
  if (point <= 0xff) return `\\x${point.toString(16).padStart(2, "0")}`;
  if (point <= 0xffff) return `\\u${point.toString(16).padStart(4, "0")}`;
  return `\\u{${point.toString(16)}}`;
}

/** A template whose inserted values are escaped; its fixed parts are trusted. */
export function safe(parts: TemplateStringsArray, ...values: readonly (string | number)[]): string {
  return parts.reduce((text, part, at) => text + escapeText(String(values[at - 1] ?? "")) + part);
}

const HEX_SHOWN_BYTES_MAX = 64;

/** A body for people: escaped text when it is UTF-8, else the beginning in hex. */
export function bodyText(body: Uint8Array): string {
  const text = utf8Text(body);
  if (text !== undefined) return escapeText(text);
  const shown = Buffer.from(body.subarray(0, HEX_SHOWN_BYTES_MAX)).toString("hex");
  const more = body.length > HEX_SHOWN_BYTES_MAX ? "…" : "";
  return `<${body.length} bytes, not UTF-8: ${shown}${more}>`;
}

const utf8 = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });

function utf8Text(bytes: Uint8Array): string | undefined {
  try {
    return utf8.decode(bytes);
  } catch {
    // Expected: the decoder is fatal so that bytes which are no text are told apart from text.
    return undefined;
  }
}

/** One JSON document. Bytes become `{ base64 }`, with `text` added when they are UTF-8. */
export function jsonText(value: unknown, indent = 0): string {
  const text = JSON.stringify(withoutBytes(value), null, indent) ?? "null";
  // JSON leaves DEL, C1 controls and bidirectional overrides as they are; a terminal would obey them.
  return text.replace(UNSAFE, (found) => (found === "\n" ? found : jsonEscape(found)));
}

function jsonEscape(text: string): string {
  let escaped = "";
  for (let at = 0; at < text.length; at++)
    escaped += `\\u${text.charCodeAt(at).toString(16).padStart(4, "0")}`;
  return escaped;
}

function withoutBytes(value: unknown): unknown {
  if (value instanceof Uint8Array) return bytesAsJson(value);
  if (typeof value === "bigint") return value.toString();
  if (Array.isArray(value)) return value.map(withoutBytes);
  if (typeof value !== "object" || value === null) return value;
  return Object.fromEntries(Object.entries(value).map(([key, item]) => [key, withoutBytes(item)]));
}

function bytesAsJson(bytes: Uint8Array): { base64: string; text?: string } {
  const base64 = Buffer.from(bytes).toString("base64");
  const text = utf8Text(bytes);
  return text === undefined ? { base64 } : { base64, text };
}

/** A word as a shell reads it, for commands that are proposed. */
export function shellWord(text: string): string {
  const shown = escapeText(text);
  return /^[A-Za-z0-9%@:/._=+-]+$/.test(shown) ? shown : `'${shown.replaceAll("'", "'\\''")}'`;
}

/** An id as the last word of a proposed command; one that begins with "-" is no option. */
export const lastWord = (text: string): string =>
  text.startsWith("-") ? `-- ${shellWord(text)}` : shellWord(text);
