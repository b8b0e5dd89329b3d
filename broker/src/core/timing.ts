/** What new messages say of their times: what is refused of it, and what is left of it when they are sent. */
import { LIMITS } from "@escrowmq/protocol/limits";
import type { Core } from "./core.ts";
import type { Timing } from "./records.ts";
import type { Refusal } from "./transact.ts";
import { isDelayed } from "./transaction.ts";
import type { NewMessage } from "./types.ts";

export function refuseTimings(
  { state, policy }: Core,
  messages: readonly NewMessage[],
  nowMs: number,
): Refusal | null {
  let delayed = 0;
  for (const message of messages) {
    if (!isDelayed(message)) continue;
    delayed++;
    if ((message.timing?.deliverAtMs ?? 0) > nowMs + LIMITS.delayMsMax)
      return {
        code: "INVALID_DELAY",
        message: `deliverAtMs may lie at most ${LIMITS.delayMsMax} ms ahead of the broker's clock.`,
      };
  }
  if (delayed === 0 || state.scheduled.size + delayed <= policy.scheduledMax) return null;
  return {
    code: "SCHEDULED_LIMIT",
    message: `${policy.scheduledMax} messages may wait for their time; recall some, or wait.`,
  };
}

/** What is left to say of a message that is sent now: when it is due, or nothing if that is now. */
export function resolved(
  { id, delayMs, deliverAtMs, ttlMs }: Timing,
  nowMs: number,
): Timing | undefined {
  const dueAtMs = deliverAtMs > 0 ? deliverAtMs : nowMs + delayMs;
  if (dueAtMs > nowMs) return { id, delayMs: 0, deliverAtMs: dueAtMs, ttlMs };
  return ttlMs > 0 ? { id: "", delayMs: 0, deliverAtMs: 0, ttlMs } : undefined;
}
