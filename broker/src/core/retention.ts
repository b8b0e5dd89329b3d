/**
 * Retention: which messages may go, and when to look.
 *
 * A message is due when it is older than its topic's `retentionMs`, or the topic holds more than
 * `retentionBytes`; the oldest go first, as one `retired` record for all before an offset.
 *
 * Invariants
 * - E1 What is leased, or has a pending ack, is not retired, nor is what stands behind it (D3, T9).
 * - E2 Where the unsettled are kept, nothing that an existing group has still to settle is retired, instances
 *   of broadcast groups aside; a dead letter goes by replay or purge only.
 * - E3 Where they are dropped, each group's loss is counted (V5), and not before `dropAfterStartMs`;
 *   an instance's at once.
 * - E4 Half messages are in no topic and in no age: nothing here can touch them.
 *
 * Time is looked at every `retentionEveryMs` while something happens, else when the next message is due. It
 * is no deadline of the core's heap: a broker that only has old messages notes no clock for them.
 */
import type { Core } from "./core.ts";
import type { Cursor } from "./cursor.ts";
import { KINDS } from "./entries.ts";
import type { State } from "./state.ts";
import type { Topic } from "./topic.ts";
import type { Turn } from "./turn.ts";

const NEVER = Number.POSITIVE_INFINITY;
const UNDER_WAY = ["leased", "pending"] as const;

export class Retention {
  readonly #core: () => Core;
  #lookedAtMs = Number.NEGATIVE_INFINITY;
  /** When a message is due that nobody holds. */
  #nextDueAtMs = Number.NEGATIVE_INFINITY;
  /** Something was logged since: what is held or due may be other messages now. */
  #isStirred = false;

  constructor(core: () => Core) {
    this.#core = core;
  }

  stir(): void {
    this.#isStirred = true;
  }

  /** Infinite: nothing here will be due unless something happens first. */
  get nextAtMs(): number {
    const soonestAtMs = this.#lookedAtMs + this.#core().policy.retentionEveryMs;
    return this.#isStirred ? soonestAtMs : Math.max(soonestAtMs, this.#nextDueAtMs);
  }

  look(turn: Turn): void {
    this.#lookedAtMs = turn.nowMs;
    this.#nextDueAtMs = NEVER;
    for (const topic of this.#core().state.topics.values())
      this.#nextDueAtMs = Math.min(this.#nextDueAtMs, this.#retire(topic, turn));
    // Its own records are no news to it.
    this.#isStirred = false;
  }

  /** Tells when time alone may free more of this topic. */
  #retire(topic: Topic, turn: Turn): number {
    const { state, policy } = this.#core();
    const isKept = isKeeping(this.#core(), topic, turn.nowMs);
    const due = dueBefore(topic, turn.nowMs);
    const beforeOffset = due > topic.firstOffset ? heldFrom(state, topic, due, isKept) : 0;
    if (beforeOffset > topic.firstOffset) {
      turn.log({ kind: "retired", topicNo: topic.no, beforeOffset });
      this.#core().instances.tell(topic.no, turn);
    }
    if (topic.firstOffset >= topic.nextOffset) return NEVER;
    if (topic.firstOffset >= due)
      return topic.atMsOf(topic.firstOffset) + topic.settings.retentionMs + 1;
    // Held, until something is logged, or until the groups have had their time to come back.
    return isKept && topic.settings.unsettled === "drop"
      ? state.openedAtMs + policy.dropAfterStartMs
      : NEVER;
  }
}

/** All before it are due: too old, or more than the topic may hold. */
export function dueBefore(topic: Topic, nowMs: number): number {
  const { retentionMs, retentionBytes } = topic.settings;
  const byAge = topic.offsetAt(nowMs - retentionMs);
  const byBytes = retentionBytes === 0 ? 0 : topic.offsetWithin(retentionBytes);
  // Dead letters that were replayed or purged are only gaps.
  return Math.max(byAge, byBytes, topic.nextLive(topic.firstOffset));
}

/** The first offset before `end` that this group has still to settle, or `end`. */
export function firstUnsettled(topic: Topic, cursor: Cursor, end = topic.nextOffset): number {
  const fresh = topic.nextLive(Math.max(cursor.nextOffset, topic.firstOffset));
  return cursor.firstOffset(topic.firstOffset, Math.min(end, fresh), KINDS);
}

/** Unsettled messages are kept for now: because the topic says so, or the groups are still coming back. */
export function isKeeping({ state, policy }: Core, topic: Topic, nowMs: number): boolean {
  return topic.settings.unsettled === "keep" || nowMs < state.openedAtMs + policy.dropAfterStartMs;
}

/** Instances hold nothing back that they have not in hand: they may never come again (instances.ts, S2). */
export const holdsUnsettled = (state: State, { groupNo }: Cursor): boolean =>
  state.group(groupNo).instance === null;

/** Nothing from here on may go, however old it is (E1, E2); at most `due`. */
function heldFrom(state: State, topic: Topic, due: number, isKept: boolean): number {
  let held = isKept && topic.isDeadLetters ? Math.min(due, topic.nextLive(topic.firstOffset)) : due;
  for (const cursor of state.readers.get(topic.no) ?? []) {
    const firstHeld = isKept && holdsUnsettled(state, cursor) ? firstUnsettled : firstUnderWay;
    held = firstHeld(topic, cursor, held);
  }
  return held;
}

/** The first offset before `end` that somebody of this group has in hand, or `end`. */
export function firstUnderWay(topic: Topic, cursor: Cursor, end = topic.nextOffset): number {
  return cursor.firstOffset(topic.firstOffset, end, UNDER_WAY);
}
