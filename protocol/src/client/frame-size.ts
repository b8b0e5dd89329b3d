/**
 * An upper bound of what a value takes once encoded, without encoding it: enough to cut batches that
 * the broker's limits let pass.
 */

/** A tag byte and the longest length or number that can follow it: the least that any item counts. */
const HEADER_BYTES = 9;
const UTF8_BYTES_PER_UNIT_MAX = 3;

/** At least as many bytes as the encoded value has. */
export function bytesOf(value: unknown): number {
  if (typeof value === "string") return HEADER_BYTES + value.length * UTF8_BYTES_PER_UNIT_MAX;
  if (typeof value !== "object" || value === null) return HEADER_BYTES;
  if (value instanceof Uint8Array) return HEADER_BYTES + value.length;
  let total = HEADER_BYTES;
  if (Array.isArray(value)) for (const item of value) total += bytesOf(item);
  else for (const [name, item] of Object.entries(value)) total += bytesOf(name) + bytesOf(item);
  return total;
}
