/**
 * One ordered log of visible messages: offset -> where the bytes are. Bodies are not here.
 *
 * Invariants
 * - O1 An offset, once given, never means another message (T3); offsets are given in the order of commits.
 * - O2 In a dead-letter topic an offset whose origin is gone was replayed, purged or retired: it is passed over.
 * - O3 What is before `firstOffset` was retired and has no index entry, except what was brought back out of
 *   the dead letters: `revived`, until its group has settled it.
 */
import { isDeadLetterTopic } from "@escrowmq/protocol/names";
import { invariant } from "./invariant.ts";
import type { Piece } from "./lasting-part.ts";
import type { Place, TopicSettings } from "./records.ts";
import { type IndexPart, type IndexState, NO_BLOCK, TopicIndex } from "./topic-index.ts";

/** Where a dead letter comes from, and why. */
export interface Origin {
  readonly topicNo: number;
  readonly offset: number;
  readonly attempts: number;
  readonly reason: string;
  /** When it was buried. */
  readonly atMs: number;
  /** When it became visible in the topic it comes from, which may have retired it since. */
  readonly visibleAtMs: number;
  /** By what it was ordered in its group; absent: by nothing. */
  readonly key?: number;
}

/** A retired message that a replay gave back to its group (O3). */
interface Revived {
  readonly place: Place;
  readonly bytes: number;
  readonly atMs: number;
}

export class Topic {
  readonly no: number;
  readonly name: string;
  settings: TopicSettings;
  readonly isDeadLetters: boolean;
  /** Dead-letter topics only (O2). */
  readonly origins = new Map<number, Origin>();
  /** Half messages on their way here; a topic with some may not be deleted. */
  halfMessages = 0;
  /** Messages that wait for their time, and are in no offset yet. */
  scheduled = 0;
  /** Messages that stand behind a reservation of their key, and are in no offset yet either. */
  queued = 0;
  /** It was given a message with a time to live: what is delivered from it is looked at before it is sent. */
  hasTtl = false;
  /** Messages that were retired before a group had settled them, once a group; dead letters retired. */
  expired = 0;
  readonly #index = new TopicIndex();
  readonly #revived = new Map<number, Revived>();

  constructor(no: number, name: string, settings: TopicSettings) {
    this.no = no;
    this.name = name;
    this.settings = settings;
    this.isDeadLetters = isDeadLetterTopic(name);
  }

  /** Offsets before it were retired. */
  get firstOffset(): number {
    return this.#index.firstOffset;
  }

  get nextOffset(): number {
    return this.#index.nextOffset;
  }

  /** Of what is not retired, replayed or purged. */
  get bytes(): number {
    return this.#index.bytes;
  }

  get hasRevived(): boolean {
    return this.#revived.size > 0;
  }

  /** No block before this one holds bytes of this topic; infinite without any. */
  get lowestBlock(): number {
    let lowest = this.#index.lowestBlock;
    for (const { place } of this.#revived.values()) lowest = Math.min(lowest, place.block);
    return lowest;
  }

  append(place: Place, bytes: number, atMs: number): number {
    return this.#index.append(place, bytes, atMs);
  }

  /** Everything before `offset` goes, and the memory of its index with it. */
  retire(offset: number): void {
    this.#index.retire(offset);
  }

  /** A message whose bytes were let go comes back to a group out of its dead letters (O3). */
  revive(offset: number, place: Place, bytes: number, atMs: number): void {
    if (offset < this.firstOffset) this.#revived.set(offset, { place, bytes, atMs });
    else this.#index.restore(offset, place, bytes);
  }

  /** Nobody needs the bytes of this offset any more: a settled revival, or a dead letter that ended. */
  forget(offset: number): void {
    if (offset < this.firstOffset) this.#revived.delete(offset);
    else this.#index.forget(offset);
  }

  /** The same bytes stand here, too, and are read here from now on. */
  move(offset: number, place: Place): void {
    const revived = this.#revived.get(offset);
    if (revived !== undefined) this.#revived.set(offset, { ...revived, place });
    else this.#index.move(offset, place);
  }

  /**
   * The offsets whose bytes stand before `block` and are needed still; null: nothing to tell in this step.
   * The topic may change between two steps: what comes or goes then may be told or not.
   */
  *offsetsBefore(block: number): Generator<number | null> {
    for (const [offset, { place }] of this.#revived) yield place.block < block ? offset : null;
    yield* this.#index.offsetsBefore(block);
  }

  /** Null: it is retired, or nobody needs its bytes. */
  neededPlaceOf(offset: number): Place | null {
    if (offset < this.firstOffset) return this.#revived.get(offset)?.place ?? null;
    const place = offset < this.nextOffset ? this.placeOf(offset) : null;
    return place?.block === NO_BLOCK ? null : place;
  }

  placeOf(offset: number): Place {
    if (offset < this.firstOffset) return this.#revivedAt(offset).place;
    return this.#index.placeOf(offset);
  }

  bytesOf(offset: number): number {
    if (offset < this.firstOffset) return this.#revivedAt(offset).bytes;
    return this.#index.bytesOf(offset);
  }

  atMsOf(offset: number): number {
    if (offset < this.firstOffset) return this.#revivedAt(offset).atMs;
    return this.#index.atMsOf(offset);
  }

  /** Of the messages from `from` to before `to`, none of which is retired. */
  bytesBetween(from: number, to: number): number {
    return this.#index.bytesBetween(from, to);
  }

  /** The first offset from which on the messages have at most `bytesMax` bytes together. */
  offsetWithin(bytesMax: number): number {
    return this.#index.offsetWithin(bytesMax);
  }

  /** The first offset that became visible at or after `atMs`. */
  offsetAt(atMs: number): number {
    return this.#index.offsetAt(atMs);
  }

  /** The offset of the message at `place` that became visible at exactly `atMs`. */
  offsetOf(place: Place, atMs: number): number | null {
    for (
      let offset = this.offsetAt(atMs);
      offset < this.nextOffset && this.atMsOf(offset) === atMs;
      offset++
    ) {
      const found = this.placeOf(offset);
      if (found.block === place.block && found.slot === place.slot) return offset;
    }
    return null;
  }

  /** The first offset at or after `from` that holds a message, or `nextOffset`. */
  nextLive(from: number): number {
    if (!this.isDeadLetters) return from;
    let offset = from;
    while (offset < this.nextOffset && !this.origins.has(offset)) offset++;
    return offset;
  }

  /** How many of the offsets from `from` to before `to` hold a message. */
  liveBetween(from: number, to: number): number {
    if (!this.isDeadLetters || from >= to) return Math.max(0, to - from);
    let live = 0;
    for (let offset = from; offset < to; offset++) if (this.origins.has(offset)) live++;
    return live;
  }

  save(): TopicState {
    return {
      no: this.no,
      name: this.name,
      settings: this.settings,
      index: this.#index.save(),
      expired: this.expired,
      halfMessages: this.halfMessages,
      hasTtl: this.hasTtl,
      origins: [...this.origins],
      revived: [...this.#revived],
    };
  }

  /** The index as it is now. */
  saveIndex(chunksMax: number): Iterable<Piece<IndexPart>> {
    return this.#index.savePieces(chunksMax);
  }

  load(state: TopicState): void {
    this.#index.load(state.index);
    this.expired = state.expired;
    this.halfMessages = state.halfMessages;
    this.hasTtl = state.hasTtl;
    for (const [offset, origin] of state.origins) this.origins.set(offset, origin);
    for (const [offset, revived] of state.revived) this.#revived.set(offset, revived);
  }

  loadIndex(part: IndexPart): void {
    this.#index.loadPart(part);
  }

  #revivedAt(offset: number): Revived {
    const revived = this.#revived.get(offset);
    invariant(revived !== undefined, "a retired message is asked for only if it was revived");
    return revived;
  }
}

export interface TopicState {
  readonly no: number;
  readonly name: string;
  readonly settings: TopicSettings;
  readonly index: IndexState;
  readonly expired: number;
  readonly halfMessages: number;
  readonly hasTtl: boolean;
  readonly origins: readonly (readonly [number, Origin])[];
  readonly revived: readonly (readonly [number, Revived])[];
}
