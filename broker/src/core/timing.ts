/** What new messages say of their times: what is refused of it, and what of it is logged. */
import { LIMITS } from "@escrowmq/protocol/limits";
import type { Core } from "./core.ts";
import { NOTHING } from "./key-queues.ts";
import { orderOf } from "./order-of.ts";
import type { Timing } from "./records.ts";
import type { State } from "./state.ts";
import type { Refusal } from "./transact.ts";
import { isDelayed } from "./transaction.ts";
import type { NewMessage, NewTiming } from "./types.ts";

export function refuseTimings(
  { state, policy }: Core,
  messages: readonly NewMessage[],
  nowMs: number,
): Refusal | null {
  let waiting = 0;
  for (const message of messages) {
    if (isDelayed(message)) waiting++;
    else if (isQueueing(state, message)) waiting++;
    if ((message.timing?.deliverAtMs ?? 0) > nowMs + LIMITS.delayMsMax)
      return {
        code: "INVALID_DELAY",
        message: `deliverAtMs may lie at most ${LIMITS.delayMsMax} ms ahead of the broker's clock.`,
      };
  }
  if (waiting === 0 || state.scheduled.size + waiting <= policy.scheduledMax) return null;
  return {
    code: "SCHEDULED_LIMIT",
    message: `${policy.scheduledMax} messages may wait for their time or their key; recall some, or wait.`,
  };
}

/** Each may wait for one key, at most as many as the messages of all transactions that reserve theirs. */
export function refuseReserving(
  { state, policy }: Core,
  messages: readonly NewMessage[],
): Refusal | null {
  const keys = messages.filter(
    (message) => message.head.key !== undefined && !isDelayed(message),
  ).length;
  if (keys === 0 || state.keyQueues.reserved + keys <= policy.reservationsMax) return null;
  return {
    code: "RESERVATION_LIMIT",
    message: `Undecided transactions may reserve ${policy.reservationsMax} keys; decide some of them first.`,
  };
}

/**
 * What the log says of a message's times; of most nothing. `nowMs`: it becomes visible now, or counts its delay from
 * now on; null: not before a verdict, and then it may reserve its key.
 */
export function timingOf(
  state: State,
  message: NewMessage,
  nowMs: number | null,
  reservesKeys: boolean,
): Timing | undefined {
  const { head, timing } = message;
  const said = timing === undefined || nowMs === null ? timing : resolved(timing, nowMs);
  const needsKey =
    reservesKeys ||
    isQueueing(state, message) ||
    (said !== undefined && isDelayed({ timing: said }));
  const key = needsKey ? orderOf(head.key) : 0;
  if (said === undefined) return key === 0 ? undefined : { id: head.id, key, ...AT_ONCE };
  return { id: needsKey ? head.id : "", key, ...said };
}

const AT_ONCE: NewTiming = { delayMs: 0, deliverAtMs: 0, ttlMs: 0 };

/** Its key is reserved by others: it stands behind them if it is visible before their verdicts. */
const isQueueing = ({ topicsByName, keyQueues }: State, message: NewMessage): boolean => {
  if (keyQueues.isEmpty) return false;
  const topicNo = topicsByName.get(message.topic)?.no ?? 0;
  return (
    message.head.key !== undefined &&
    keyQueues.isUsedIn(topicNo) &&
    keyQueues.positionFor(topicNo, orderOf(message.head.key)) !== NOTHING
  );
};

/** What is left to say of a message that is sent now: when it is due, or nothing if that is now. */
function resolved(
  { delayMs, deliverAtMs, ttlMs }: NewTiming,
  nowMs: number,
): NewTiming | undefined {
  const dueAtMs = deliverAtMs > 0 ? deliverAtMs : nowMs + delayMs;
  if (dueAtMs > nowMs) return { delayMs: 0, deliverAtMs: dueAtMs, ttlMs };
  return ttlMs > 0 ? { delayMs: 0, deliverAtMs: 0, ttlMs } : undefined;
}
