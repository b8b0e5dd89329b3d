/**
 * Looks at messages for the core as the shell would, where a message is no more than its body: "text#tag@key",
 * of which the tag and the key may be missing. A filter is tags.
 */
import type { SealedBlock } from "../../broker/src/core/engine.ts";
import { orderOf } from "../../broker/src/core/order-of.ts";
import type { Place } from "../../broker/src/core/records.ts";
import type { Delivery, Input, Look } from "../../broker/src/core/types.ts";
import { parseFilter } from "../../broker/src/filter/filter.ts";

const text = new TextDecoder();

export function bodyIn(blocks: readonly SealedBlock[], place: Place): string | null {
  const data = messageIn(blocks, place)?.data;
  return data === undefined || data === null ? null : text.decode(data);
}

function messageIn(blocks: readonly SealedBlock[], { block, slot }: Place) {
  const records = blocks[block - 1]?.records ?? [];
  return records.flatMap((record) => ("messages" in record ? record.messages : []))[slot];
}

/** Its time to live is over: the shell does not send it, and tells the core. */
export function isTooOld(
  blocks: readonly SealedBlock[],
  { place, atMs }: Delivery,
  nowMs: number,
): boolean {
  const { ttlMs = 0 } = messageIn(blocks, place)?.timing ?? {};
  return ttlMs > 0 && nowMs > atMs + ttlMs;
}

/** The answer; `count`: so many can be read. */
export function lookedAt(
  blocks: readonly SealedBlock[],
  { cursorNo, questionNo, filter, isOrdered, places }: Look,
  count = places.length,
): Input {
  const matches: number[] = [];
  const keys: number[] = [];
  for (const [at, place] of places.slice(0, count).entries()) {
    const body = bodyIn(blocks, place) ?? "";
    const [, tag] = /#(\w+)/.exec(body) ?? [];
    const head = { id: "m", topic: "orders", ...(tag === undefined ? {} : { tag }) };
    if (filter !== "" && !parseFilter(filter).matches(head)) continue;
    matches.push(at);
    if (isOrdered) keys.push(orderOf(keyIn(body)));
  }
  return { kind: "looked", cursorNo, questionNo, count, matches, keys };
}

/** The key of the message of this body. */
export const keyIn = (body: string): string | undefined => /@(\w+)/.exec(body)?.[1];
