/**
 * The whole durable state as plain data, in parts, and back. A checkpoint shortens recovery; once retention
 * has removed blocks it is also all that is left of what only they told.
 *
 * Invariants
 * - P8 `load(save(state))` equals the state; the version is raised when a part changes its shape, and a
 *   checkpoint of another version is not used. So a version that was released keeps its reader: a store
 *   without its first blocks has nothing else to start from.
 * - P9 All parts say the state of one moment, that of the call, whenever they are taken: what only grows is
 *   read up to where it was, and what changes is frozen (columns.ts, W1; topic.ts, O4). One save at a time:
 *   when a later one begins, the earlier one has no more parts to give.
 * - P10 What does not change between two checkpoints has a name that lasts (lasting-part.ts).
 */
import { Cursor, type CursorState } from "./cursor.ts";
import type { EntriesPart } from "./entries.ts";
import { addGroup, type Group, type Instance } from "./group.ts";
import type { GroupChange, Pause } from "./group-changes.ts";
import { invariant } from "./invariant.ts";
import { LastingPart, type Piece } from "./lasting-part.ts";
import type { Endpoint, GroupPolicy } from "./records.ts";
import type { RememberedPart, RememberedState } from "./remembered.ts";
import { schedule } from "./schedule-records.ts";
import { readScheduled, type ScheduledPart } from "./scheduled.ts";
import type { State } from "./state.ts";
import { Topic, type TopicState } from "./topic.ts";
import type { IndexPart } from "./topic-index.ts";
import { readPart, type TransactionsPart } from "./transactions.ts";

const VERSION = 8;

/** How much stands in one part at most. */
export interface PartSizes {
  /** Of a topic's index; 512 messages each. */
  readonly chunks: number;
  /** Transactions, scheduled messages, entries of a group, or what is remembered. */
  readonly items: number;
}

/** Keeps a part below 256 KiB: it is made and encoded in one piece, in a millisecond or two. */
const PART_SIZES: PartSizes = { chunks: 20, items: 1_000 };

type Part =
  | {
      readonly part: "head";
      readonly version: number;
      readonly block: number;
      readonly atMs: number;
      readonly numbers: readonly [
        topic: number,
        group: number,
        cursor: number,
        reservation: number,
      ];
      readonly endpoints: readonly (readonly [string, Endpoint])[];
    }
  | { readonly part: "topic"; readonly topic: TopicState }
  | { readonly part: "index"; readonly topicNo: number; readonly index: IndexPart }
  | {
      readonly part: "group";
      readonly no: number;
      readonly name: string;
      readonly policy: GroupPolicy;
      readonly paused: Pause | null;
      readonly changes: readonly GroupChange[];
      /** Its parent stands before it. */
      readonly instance: InstanceState | null;
    }
  | { readonly part: "cursor"; readonly cursor: CursorState }
  | { readonly part: "entries"; readonly entries: EntriesPart }
  | { readonly part: "transactions"; readonly transactions: TransactionsPart }
  | { readonly part: "scheduled"; readonly scheduled: ScheduledPart }
  | { readonly part: "memory"; readonly of: Memory; readonly memory: RememberedState }
  | { readonly part: "remembered"; readonly of: Memory; readonly remembered: RememberedPart };

interface InstanceState {
  readonly parentNo: number;
  readonly name: string;
  readonly leftAtMs: number | null;
}

/** What of the state is a Remembered. */
type Memory = "decisions" | "sends" | "recalls";
const MEMORIES: readonly Memory[] = ["decisions", "sends", "recalls"];

/**
 * The state as it is at the call (P9). Heads of topics, groups and cursors are copied at once; everything
 * that there may be millions of is read when its part is taken, so that the loop is free in between.
 */
export function saveState(
  state: State,
  { chunks, items }: PartSizes = PART_SIZES,
): Iterable<Part | LastingPart> {
  const head: Part = {
    part: "head",
    version: VERSION,
    block: state.block,
    atMs: state.atMs,
    numbers: [state.nextTopicNo, state.nextGroupNo, state.nextCursorNo, state.nextReservationNo],
    endpoints: [...state.endpoints],
  };
  const topics = [...state.topics.values()].map((topic) => ({
    // Half messages are counted again as the transactions are loaded.
    saved: { ...topic.save(), halfMessages: 0 },
    pieces: topic.saveIndex(chunks),
  }));
  const groups = [...state.groups.values()].map(saveGroup);
  const frozen = state.entries.freeze();
  const cursors = [...state.cursors.values()].map((cursor) => ({
    cursor: cursor.save(),
    parts: cursor.saveEntries(frozen, items),
  }));
  const transactions = state.transactions.save(items);
  const scheduled = state.scheduled.save(items);
  const memories = MEMORIES.map((of) => ({
    of,
    memory: state[of].save(),
    pieces: state[of].savePieces(items),
  }));
  const saveNo = ++state.saveNo;
  const all = (function* (): Generator<Part | LastingPart> {
    yield head;
    for (const { saved, pieces } of topics) {
      yield { part: "topic", topic: saved };
      const topicNo = saved.no;
      for (const piece of pieces)
        yield partOf(piece, `index/${topicNo}`, (index) => ({ part: "index", topicNo, index }));
    }
    yield* groups;
    for (const { cursor, parts } of cursors) {
      yield { part: "cursor", cursor };
      for (const entries of parts) yield { part: "entries", entries };
    }
    for (const part of transactions) yield { part: "transactions", transactions: part };
    for (const part of scheduled) yield { part: "scheduled", scheduled: part };
    for (const { of, memory, pieces } of memories) {
      yield { part: "memory", of, memory };
      for (const piece of pieces)
        yield partOf(piece, of, (remembered) => ({ part: "remembered", of, remembered }));
    }
  })();
  return (function* (): Generator<Part | LastingPart> {
    for (const part of all) {
      yield part;
      invariant(state.saveNo === saveNo, "a save is not continued after a later one began");
    }
    state.transactions.thaw();
    state.entries.thaw();
    state.scheduled.thaw();
  })();
}

const saveGroup = (group: Group): Extract<Part, { part: "group" }> => ({
  part: "group",
  no: group.no,
  name: group.name,
  policy: group.policy,
  paused: group.paused,
  changes: group.changes,
  instance: group.instance && {
    parentNo: group.instance.parent.no,
    name: group.instance.name,
    leftAtMs: group.instance.leftAtMs,
  },
});

const loadInstance = (state: State, { parentNo, name, leftAtMs }: InstanceState): Instance => ({
  parent: state.group(parentNo),
  name,
  leftAtMs,
});

function partOf<P>(piece: Piece<P>, of: string, put: (taken: P) => Part): Part | LastingPart {
  const { name } = piece;
  if (name === null) return put(piece.take());
  return new LastingPart(`${of}/${name}`, () => put(piece.take()));
}

/** All parts in their order, in one call or in several. False: another version wrote them; the state is as new. */
export function loadState(state: State, parts: readonly unknown[]): boolean {
  for (const part of parts as readonly Part[]) {
    if (part.part === "head" ? part.version !== VERSION : state.block === 0) return false;
    loadPart(state, part);
  }
  return true;
}

function loadPart(state: State, part: Part): void {
  switch (part.part) {
    case "head":
      state.block = part.block;
      state.atMs = part.atMs;
      [state.nextTopicNo, state.nextGroupNo, state.nextCursorNo, state.nextReservationNo] =
        part.numbers;
      for (const [group, endpoint] of part.endpoints) state.endpoints.set(group, endpoint);
      return;
    case "topic": {
      const topic = new Topic(part.topic.no, part.topic.name, part.topic.settings);
      topic.load(part.topic);
      state.topics.set(topic.no, topic);
      state.topicsByName.set(topic.name, topic);
      state.readers.set(topic.no, []);
      return;
    }
    case "index":
      return state.topic(part.topicNo).loadIndex(part.index);
    case "group": {
      const { no, name, policy, instance, paused, changes } = part;
      addGroup(state, no, name, policy, instance && loadInstance(state, instance));
      Object.assign(state.group(no), { paused, changes });
      return;
    }
    case "cursor": {
      const { no, groupNo, topicNo, nextOffset } = part.cursor;
      const cursor = new Cursor(no, groupNo, topicNo, nextOffset, state.entries);
      cursor.load(part.cursor);
      return state.addCursor(cursor);
    }
    case "entries":
      return state.cursor(part.entries.cursorNo).loadEntries(part.entries);
    case "transactions":
      for (const facts of readPart(part.transactions)) state.hold(facts);
      return;
    case "scheduled":
      for (const message of readScheduled(part.scheduled)) schedule(state, message);
      return;
    case "memory":
      return state[part.of].load(part.memory);
    case "remembered":
      return state[part.of].loadPart(part.remembered);
    default:
      part satisfies never;
      invariant(false, "a checkpoint of this version has no other parts");
  }
}
