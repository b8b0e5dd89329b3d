/**
 * Windows: how a cursor with a filter or an order takes messages in. It asks the shell to look at the heads
 * of the next messages, and logs what came of it as one `taken` record: what matches waits for its delivery,
 * everything else is passed over. So what does not match costs neither a delivery nor credit.
 *
 * Invariants
 * - G1 A cursor has one question at a time. An answer counts only if the cursor still stands where it was
 *   asked from, with the same filter and order: a reset, a new filter, retention make it one in vain.
 * - G2 A question is bounded, in messages, bytes and blocks, and so is what is taken in and not delivered.
 *   A cursor runs ahead of its consumers by about a window, of keys that are stuck by `takenInMax`.
 * - G3 What cannot be read is not passed over: the cursor stands still there, says so, and asks again.
 *
 * Nothing here is durable. It asks while somebody reads, whether there is credit or not.
 */
import { NEVER } from "./alarms.ts";
import type { Core } from "./core.ts";
import type { Cursor } from "./cursor.ts";
import type { Place } from "./records.ts";
import type { Topic } from "./topic.ts";
import type { Turn } from "./turn.ts";
import type { GroupStanding, Input, StandsBecause } from "./types.ts";

interface Asked {
  readonly questionNo: number;
  readonly fromOffset: number;
  readonly filter: string;
  readonly isOrdered: boolean;
  readonly offsets: readonly number[];
  readonly firstPlace: Place;
}

/** A question whose first message could not be read (G3). */
interface Stuck {
  readonly asked: Asked;
  readonly againAtMs: number;
}

export class Windows {
  readonly #core: () => Core;
  /** By the cursor's number. */
  readonly #asked = new Map<number, Asked>();
  /** By the cursor's number; it counts as long as the cursor stands where it was asked from (G1). */
  readonly #stuck = new Map<number, Stuck>();
  #lastQuestionNo = 0;

  constructor(core: () => Core) {
    this.#core = core;
  }

  get nextAtMs(): number {
    let nextAtMs = NEVER;
    for (const { againAtMs } of this.#stuck.values()) nextAtMs = Math.min(nextAtMs, againAtMs);
    return nextAtMs;
  }

  /** It is time to ask again. */
  ripen(nowMs: number): void {
    const { consumers, state } = this.#core();
    for (const [cursorNo, { againAtMs }] of this.#stuck) {
      if (againAtMs > nowMs) continue;
      this.#stuck.delete(cursorNo);
      const cursor = state.cursors.get(cursorNo);
      if (cursor !== undefined) consumers.stir(cursor);
    }
  }

  /** Asks for the next window, if there is room for it (G1, G2). */
  ask(cursor: Cursor, topic: Topic, turn: Turn): void {
    if (this.#asked.has(cursor.no) || this.#isStuck(cursor)) return;
    const offsets = this.#next(cursor, topic);
    const [first] = offsets;
    if (first === undefined) return;
    const { filter, isOrdered } = cursor;
    const questionNo = ++this.#lastQuestionNo;
    this.#asked.set(cursor.no, {
      questionNo,
      fromOffset: cursor.nextOffset,
      filter,
      isOrdered,
      offsets,
      firstPlace: topic.placeOf(first),
    });
    const places = offsets.map((offset) => topic.placeOf(offset));
    turn.send({ kind: "look", cursorNo: cursor.no, questionNo, filter, isOrdered, places });
  }

  looked(answer: Extract<Input, { readonly kind: "looked" }>, turn: Turn): void {
    const { state, consumers, admission } = this.#core();
    const asked = this.#asked.get(answer.cursorNo);
    if (asked === undefined || asked.questionNo !== answer.questionNo) return;
    this.#asked.delete(answer.cursorNo);
    const cursor = state.cursors.get(answer.cursorNo);
    if (cursor === undefined) return;
    consumers.stir(cursor);
    // Where nothing may be written any more it is asked again once that is over.
    if (admission === "none" || !isCurrent(cursor, asked)) return;
    const topic = state.topic(cursor.topicNo);
    if (answer.count > 0) return this.#take(cursor, topic, asked, answer, turn);
    // Copied forward meanwhile: it is read from its new place.
    if (!isSame(topic.placeOf(asked.offsets[0] ?? 0), asked.firstPlace)) return;
    this.#stuck.set(cursor.no, { asked, againAtMs: turn.nowMs + this.#core().policy.lookAgainMs });
  }

  /** Why the cursor takes nothing more in, although there is more; null: it does. */
  standsBecause(cursor: Cursor, topic: Topic): StandsBecause | null {
    if (!cursor.takesIn || topic.nextLive(cursor.nextOffset) >= topic.nextOffset) return null;
    if (this.#isStuck(cursor)) return "unreadable";
    return undelivered(cursor) >= this.#core().policy.takenInMax ? "full" : null;
  }

  standing(): readonly GroupStanding[] {
    const { state } = this.#core();
    const standing: GroupStanding[] = [];
    for (const cursor of state.cursors.values()) {
      const topic = state.topic(cursor.topicNo);
      const because = this.standsBecause(cursor, topic);
      if (because === null) continue;
      const group = state.group(cursor.groupNo).name;
      standing.push({ group, topic: topic.name, because, held: cursor.heldCount });
    }
    return standing;
  }

  #isStuck(cursor: Cursor): boolean {
    const stuck = this.#stuck.get(cursor.no);
    return stuck !== undefined && isCurrent(cursor, stuck.asked);
  }

  /** The offsets of the next window; none: there is nothing more, or no room. */
  #next(cursor: Cursor, topic: Topic): readonly number[] {
    const { windowMessagesMax, windowBytesMax, windowBlocksMax, takenInMax } = this.#core().policy;
    if (cursor.readyCount >= windowMessagesMax) return [];
    const most = Math.min(windowMessagesMax, takenInMax - undelivered(cursor));
    const offsets: number[] = [];
    let bytes = 0;
    let blocks = 0;
    let block = 0;
    for (
      let offset = topic.nextLive(cursor.nextOffset);
      offset < topic.nextOffset && offsets.length < most && bytes < windowBytesMax;
      offset = topic.nextLive(offset + 1)
    ) {
      const place = topic.placeOf(offset);
      if (place.block !== block && ++blocks > windowBlocksMax) break;
      block = place.block;
      bytes += topic.bytesOf(offset);
      offsets.push(offset);
    }
    return offsets;
  }

  #take(
    cursor: Cursor,
    topic: Topic,
    { offsets }: Asked,
    { count, matches, keys }: Extract<Input, { readonly kind: "looked" }>,
    turn: Turn,
  ): void {
    const matching: number[] = [];
    const theirKeys: number[] = [];
    for (const [at, match] of matches.entries()) {
      const offset = offsets[match] ?? 0;
      // A dead letter that was replayed or purged meanwhile (O2).
      if (topic.nextLive(offset) !== offset) continue;
      matching.push(offset);
      if (cursor.isOrdered) theirKeys.push(keys[at] ?? 0);
    }
    turn.log({
      kind: "taken",
      cursorNo: cursor.no,
      nextOffset: (offsets[count - 1] ?? 0) + 1,
      offsets: matching,
      keys: theirKeys,
      filtered: count - matches.length,
    });
  }
}

/** What may pile up: what is leased has credit, and what waits failed before. */
const undelivered = (cursor: Cursor): number => cursor.readyCount + cursor.heldCount;

const isCurrent = (cursor: Cursor, { fromOffset, filter, isOrdered }: Asked): boolean =>
  cursor.nextOffset === fromOffset && cursor.filter === filter && cursor.isOrdered === isOrdered;

const isSame = (one: Place, other: Place): boolean =>
  one.block === other.block && one.slot === other.slot;
