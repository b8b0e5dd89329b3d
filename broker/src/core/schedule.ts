/**
 * Scheduled messages: when they are due, and how they are recalled. One that is due while its key is reserved stands
 * behind the reservation (key-queues.ts), and is due once more with the verdict.
 *
 * Times are broker time, from when a message is sent or its transaction committed. A pause of the broker does
 * not move them: they mean the clock on the wall, as far as the broker knows it.
 */
import type { ClientFrames } from "@escrowmq/protocol";
import { NEVER } from "./alarms.ts";
import type { Core } from "./core.ts";
import { NOTHING } from "./key-queues.ts";
import { recallKey } from "./schedule-records.ts";
import { clientOf, refuseFull } from "./transact.ts";
import type { Turn } from "./turn.ts";
import type { ConnectionId } from "./types.ts";

/** When the next one is due. Becoming visible is a record: while nothing may be written, none is. */
export const nextDueAtMs = ({ state, admission }: Core): number =>
  admission === "none" ? NEVER : state.scheduled.nextAtMs;

/** Those whose time has come enter their topics, as many as one step may take. */
export function ripen(core: Core, turn: Turn): void {
  const { state, consumers, policy } = core;
  for (let left = policy.duePerStepMax; left > 0 && nextDueAtMs(core) <= turn.nowMs; left--) {
    const { topicNo, place, key, position } = state.scheduled.at(state.scheduled.first);
    const isReserved = key !== 0 && position === NOTHING && isQueueing(state, topicNo, key);
    turn.log({ kind: isReserved ? "queued" : "due", topicNo, place });
    if (!isReserved) consumers.stirTopic(topicNo);
  }
}

const isQueueing = ({ keyQueues }: Core["state"], topicNo: number, key: number): boolean =>
  keyQueues.positionFor(topicNo, key) !== NOTHING;

/** All of this id that wait in the topic. What is undecided is not scheduled yet: it can be rolled back. */
export function recall(
  core: Core,
  turn: Turn,
  from: ConnectionId,
  frame: ClientFrames["recall"],
): void {
  const { state } = core;
  const { topic: name, messageId } = frame;
  const topic = state.topicsByName.get(name);
  if (topic === undefined)
    return turn.refuse(from, frame.id, "TOPIC_NOT_FOUND", `There is no topic ${name}.`);
  const topicNo = topic.no;
  const places = state.scheduled
    .find(topicNo, messageId)
    .map((row) => state.scheduled.placeOf(row));
  if (places.length > 0) {
    if (refuseFull(core, turn, from, frame.id)) return;
    turn.log({ kind: "recalled", topicNo, messageId, places, client: clientOf(core, from) });
    return turn.ok(from, frame.id);
  }
  if (state.recalls.get(recallKey(topicNo, messageId)) !== undefined)
    return turn.ok(from, frame.id, { duplicate: true });
  turn.refuse(
    from,
    frame.id,
    "MESSAGE_NOT_SCHEDULED",
    "No message of this id waits in this topic: it is visible already, undecided, or was never sent.",
  );
}
