/// <reference lib="es2024.string" />
/**
 * Text that UTF-8 can say. A JavaScript string may hold half a surrogate pair (a text cut in the
 * middle of an emoji); msgpackr writes it as bytes that are no UTF-8, and the peer would end the
 * connection, with the requests of everybody else on it.
 */

export const isWellFormed = (text: string): boolean => text.isWellFormed();

/** All texts in a frame, as deep as it goes; what the bytes say is none of our business. */
export function isWellFormedInside(value: unknown): boolean {
  if (typeof value === "string") return value.isWellFormed();
  if (typeof value !== "object" || value === null || value instanceof Uint8Array) return true;
  if (Array.isArray(value)) {
    for (const item of value) if (!isWellFormedInside(item)) return false;
    return true;
  }
  for (const key in value)
    if (!isWellFormedInside((value as Record<string, unknown>)[key])) return false;
  return true;
}

/** The same value with U+FFFD for each half pair, as every other encoder of UTF-8 would write it. */
export function wellFormed(value: unknown): unknown {
  if (typeof value === "string") return value.toWellFormed();
  if (typeof value !== "object" || value === null || value instanceof Uint8Array) return value;
  if (Array.isArray(value)) return value.map(wellFormed);
  return Object.fromEntries(Object.entries(value).map(([key, item]) => [key, wellFormed(item)]));
}
