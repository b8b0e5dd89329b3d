/**
 * The end of messages that nobody got in time. Whether one still lives is looked at when it is about to be sent
 * to a consumer, by who has its bytes at hand: the shell. What was sent in time may be acked later, too.
 */
import type { Core } from "./core.ts";
import type { Cursor } from "./cursor.ts";
import { findDelivery } from "./transact.ts";
import type { Turn } from "./turn.ts";
import type { Unsent } from "./types.ts";

export function lapsed(core: Core, turn: Turn, unsent: Unsent): void {
  const byCursor = new Map<Cursor, number[]>();
  core.consumers.refund(unsent);
  for (const { token } of unsent.deliveries) {
    const found = findDelivery(core, token);
    // Given back or settled meanwhile: it is looked at again before it is sent again.
    if (found === null) continue;
    const { cursor, entry } = found;
    if (!core.consumers.endLease(entry)) continue;
    const offsets = byCursor.get(cursor) ?? [];
    byCursor.set(cursor, offsets);
    offsets.push(entry.offset);
  }
  for (const [{ no }, offsets] of byCursor) turn.log({ kind: "lapsed", cursorNo: no, offsets });
}
