/**
 * Copy forward: a few messages that somebody still needs must not keep a whole old segment. The shell reads
 * them and gives them back as an input; they are logged again, and from then on their bytes stand there.
 *
 * Invariants
 * - F1 Nothing but the place changes: offset, time, order, state and bytes are what they were (D1, T3).
 * - F2 What changed hands while it was read (settled, retired, decided, moved by somebody else) is left alone:
 *   each is compared with the present state once more before it is logged.
 */
import { NOWHERE } from "./places.ts";
import type { LoggedMessage, Place, RecordOf } from "./records.ts";
import type { State } from "./state.ts";
import type { Turn } from "./turn.ts";

/** Messages that can be copied forward as one: they stand behind each other from `place` on. */
export type Movable =
  | {
      readonly kind: "entry";
      readonly topicNo: number;
      readonly offset: number;
      readonly place: Place;
      readonly bytes: number;
    }
  | {
      readonly kind: "transaction";
      readonly transactionId: string;
      readonly place: Place;
      readonly bytes: number;
      readonly count: number;
    }
  | {
      readonly kind: "scheduled";
      readonly messageId: string;
      readonly topicNo: number;
      readonly place: Place;
      readonly bytes: number;
    };

/** What the shell read of it, slot by slot. */
export interface Copied {
  readonly of: Movable;
  readonly data: readonly Uint8Array[];
}

/**
 * What is still needed and stands before `block`; null: nothing here, but a step was made. A step is short,
 * whatever there is, and the state may change between two of them (F2): so the caller can go through many
 * millions of messages without holding up anybody.
 */
export function* movableBefore(state: State, block: number): Generator<Movable | null> {
  for (const topic of state.topics.values()) {
    for (const offset of topic.offsetsBefore(block)) {
      if (offset === null) {
        yield null;
        continue;
      }
      const [place, bytes] = [topic.placeOf(offset), topic.bytesOf(offset)];
      yield { kind: "entry", topicNo: topic.no, offset, place, bytes };
    }
  }
  for (const row of state.scheduled.rowsBefore(block)) {
    if (row === null) {
      yield null;
      continue;
    }
    const { id, topicNo, place, bytes } = state.scheduled.at(row);
    yield { kind: "scheduled", messageId: id, topicNo, place, bytes };
  }
  // Those that are copied meanwhile come again, at the end, from where on all are later.
  for (const { id, messages, place, bytes } of state.transactions.halves()) {
    if (place.block >= block) return;
    yield { kind: "transaction", transactionId: id, place, bytes, count: messages.length };
  }
}

export function copied(state: State, turn: Turn, all: readonly Copied[]): void {
  const messages: LoggedMessage[] = [];
  const entries: RecordOf<"moved">["entries"][number][] = [];
  const transactions: RecordOf<"moved">["transactions"][number][] = [];
  const scheduled: RecordOf<"moved">["scheduled"][number][] = [];
  /** A dead letter and its original share their bytes, and go on doing so if they are copied together. */
  const known = new Map<string, number>();
  for (const { of, data } of all) {
    if (!isStillThere(state, of)) continue;
    const key = `${of.place.block}.${of.place.slot}`;
    const at = known.get(key) ?? messages.length;
    if (of.kind === "transaction")
      transactions.push({ transactionId: of.transactionId, at: messages.length });
    else if (of.kind === "scheduled")
      scheduled.push({ messageId: of.messageId, at: messages.length, from: of.place });
    else entries.push({ topicNo: of.topicNo, offset: of.offset, at, from: of.place });
    if (of.kind === "entry" && known.has(key)) continue;
    if (of.kind === "entry") known.set(key, at);
    for (const bytes of data)
      messages.push({ topicNo: topicNoOf(state, of), bytes: bytes.length, data: bytes });
  }
  if (messages.length > 0) turn.log({ kind: "moved", messages, entries, transactions, scheduled });
}

/** F2. */
function isStillThere(state: State, of: Movable): boolean {
  if (of.kind === "scheduled") return state.scheduled.findAt(of.messageId, of.place) !== NOWHERE;
  const place =
    of.kind === "transaction"
      ? state.transactions.get(of.transactionId)?.place
      : state.topics.get(of.topicNo)?.neededPlaceOf(of.offset);
  return place?.block === of.place.block && place.slot === of.place.slot;
}

const topicNoOf = (state: State, of: Movable): number =>
  of.kind === "transaction"
    ? (state.transaction(of.transactionId).messages[0]?.topicNo ?? 0)
    : of.topicNo;
