/**
 * One ordered log of visible messages: offset -> where the bytes are. Bodies are not here.
 *
 * Invariants
 * - O1 An offset, once given, never means another message (T3); offsets are given in the order of commits.
 * - O2 In a dead-letter topic an offset whose origin is gone was replayed, purged or retired: it is passed over.
 * - O3 What is before `firstOffset` was retired and has no index entry, except what was brought back out of
 *   the dead letters: `revived`, until its group has settled it.
 * - O4 A chunk that a checkpoint may be reading changes at its end only; any other change is made to a copy.
 */
import { isDeadLetterTopic } from "@escrowmq/protocol/names";
import { invariant } from "./invariant.ts";
import type { Place, TopicSettings } from "./records.ts";

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
}

/**
 * 24 bytes a message: a million messages cost 24 MB, and the garbage collector two objects for each 512.
 * The columns of a chunk stand behind each other in one buffer, so that there are few of those, too.
 */
const CHUNK = 512;
const CHUNK_BYTES = CHUNK * 24;
/** Where a column begins, counted in values of its own. */
const AT_MS = CHUNK;
const SLOTS = CHUNK * 4;
const BYTES = CHUNK * 5;

interface Chunk {
  /** For each message its block (NO_BLOCK where no bytes are needed any more); then for each its time. */
  readonly wide: Float64Array;
  /** The same buffer: for each message its slot, then for each its bytes. */
  readonly narrow: Uint32Array;
  /** The lowest of all blocks, and the sum of all bytes: so that questions about a topic cost a step a chunk. */
  lowestBlock: number;
  totalBytes: number;
}

const NO_BLOCK = Number.POSITIVE_INFINITY;

/** A retired message that a replay gave back to its group (O3). */
interface Revived {
  readonly place: Place;
  readonly bytes: number;
  readonly atMs: number;
}

function newChunk(): Chunk {
  const buffer = new ArrayBuffer(CHUNK_BYTES);
  return {
    wide: new Float64Array(buffer),
    narrow: new Uint32Array(buffer),
    lowestBlock: NO_BLOCK,
    totalBytes: 0,
  };
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
  /** Messages that were retired before a group had settled them, once a group; dead letters retired. */
  expired = 0;
  #chunks: Chunk[] = [];
  /** What `#chunks` begins with, counted in chunks. */
  #firstChunk = 0;
  #firstOffset = 0;
  #nextOffset = 0;
  #bytes = 0;
  readonly #revived = new Map<number, Revived>();

  constructor(no: number, name: string, settings: TopicSettings) {
    this.no = no;
    this.name = name;
    this.settings = settings;
    this.isDeadLetters = isDeadLetterTopic(name);
  }

  /** Offsets before it were retired. */
  get firstOffset(): number {
    return this.#firstOffset;
  }

  get nextOffset(): number {
    return this.#nextOffset;
  }

  /** Of what is not retired, replayed or purged. */
  get bytes(): number {
    return this.#bytes;
  }

  get hasRevived(): boolean {
    return this.#revived.size > 0;
  }

  /** No block before this one holds bytes of this topic; infinite without any. */
  get lowestBlock(): number {
    let lowest = NO_BLOCK;
    for (const { place } of this.#revived.values()) lowest = Math.min(lowest, place.block);
    const [head] = this.#chunks;
    if (head !== undefined) lowest = Math.min(lowest, this.#lowestIn(head));
    for (let no = 1; no < this.#chunks.length; no++)
      lowest = Math.min(lowest, this.#chunks[no]?.lowestBlock ?? NO_BLOCK);
    return lowest;
  }

  append(place: Place, bytes: number, atMs: number): number {
    const offset = this.#nextOffset++;
    const at = offset % CHUNK;
    if (at === 0) this.#chunks.push(newChunk());
    const chunk = this.#chunkOf(offset);
    chunk.wide[at] = place.block;
    chunk.narrow[SLOTS + at] = place.slot;
    chunk.narrow[BYTES + at] = bytes;
    chunk.wide[AT_MS + at] = atMs;
    chunk.totalBytes += bytes;
    if (place.block < chunk.lowestBlock) chunk.lowestBlock = place.block;
    this.#bytes += bytes;
    return offset;
  }

  /** Everything before `offset` goes, and the memory of its index with it. */
  retire(offset: number): void {
    this.#bytes -= this.bytesBetween(this.#firstOffset, offset);
    this.#firstOffset = offset;
    const firstChunk = Math.floor(offset / CHUNK);
    this.#chunks.splice(0, firstChunk - this.#firstChunk);
    this.#firstChunk = firstChunk;
  }

  /** A message whose bytes were let go comes back to a group out of its dead letters (O3). */
  revive(offset: number, place: Place, bytes: number, atMs: number): void {
    if (offset < this.#firstOffset) {
      this.#revived.set(offset, { place, bytes, atMs });
      return;
    }
    this.#bytes += bytes - this.bytesOf(offset);
    this.#rewrite(offset, (chunk, at) => {
      chunk.wide[at] = place.block;
      chunk.narrow[SLOTS + at] = place.slot;
      chunk.narrow[BYTES + at] = bytes;
    });
  }

  /** Nobody needs the bytes of this offset any more: a settled revival, or a dead letter that ended. */
  forget(offset: number): void {
    if (offset < this.#firstOffset) {
      this.#revived.delete(offset);
      return;
    }
    this.#bytes -= this.bytesOf(offset);
    this.#rewrite(offset, (chunk, at) => {
      chunk.wide[at] = NO_BLOCK;
      chunk.narrow[BYTES + at] = 0;
    });
  }

  /** The same bytes stand here, too, and are read here from now on. */
  move(offset: number, place: Place): void {
    const revived = this.#revived.get(offset);
    if (revived !== undefined) {
      this.#revived.set(offset, { ...revived, place });
      return;
    }
    this.#rewrite(offset, (chunk, at) => {
      chunk.wide[at] = place.block;
      chunk.narrow[SLOTS + at] = place.slot;
    });
  }

  /**
   * The offsets whose bytes stand before `block` and are needed still; null after a chunk without any more.
   * The topic may change between two steps: what comes or goes then may be told or not.
   */
  *offsetsBefore(block: number): Generator<number | null> {
    for (const [offset, { place }] of this.#revived) yield place.block < block ? offset : null;
    for (let at = this.#firstOffset; at < this.#nextOffset; at = Math.max(at, this.#firstOffset)) {
      const { lowestBlock, wide } = this.#chunkOf(at);
      const offset = at;
      at = lowestBlock < block ? offset + 1 : (Math.floor(offset / CHUNK) + 1) * CHUNK;
      if (lowestBlock < block && (wide[offset % CHUNK] ?? NO_BLOCK) < block) yield offset;
      else if (at % CHUNK === 0) yield null;
    }
  }

  /** Null: it is retired, or nobody needs its bytes. */
  neededPlaceOf(offset: number): Place | null {
    if (offset < this.#firstOffset) return this.#revived.get(offset)?.place ?? null;
    const place = offset < this.#nextOffset ? this.placeOf(offset) : null;
    return place?.block === NO_BLOCK ? null : place;
  }

  placeOf(offset: number): Place {
    if (offset < this.#firstOffset) return this.#revivedAt(offset).place;
    const chunk = this.#chunkOf(offset);
    return {
      block: chunk.wide[offset % CHUNK] ?? 0,
      slot: chunk.narrow[SLOTS + (offset % CHUNK)] ?? 0,
    };
  }

  bytesOf(offset: number): number {
    if (offset < this.#firstOffset) return this.#revivedAt(offset).bytes;
    return this.#chunkOf(offset).narrow[BYTES + (offset % CHUNK)] ?? 0;
  }

  atMsOf(offset: number): number {
    if (offset < this.#firstOffset) return this.#revivedAt(offset).atMs;
    return this.#chunkOf(offset).wide[AT_MS + (offset % CHUNK)] ?? 0;
  }

  /** Of the messages from `from` to before `to`, none of which is retired. */
  bytesBetween(from: number, to: number): number {
    let bytes = 0;
    let offset = from;
    while (offset < to) {
      const chunk = this.#chunkOf(offset);
      const isWhole = offset % CHUNK === 0 && offset + CHUNK <= to;
      bytes += isWhole ? chunk.totalBytes : (chunk.narrow[BYTES + (offset % CHUNK)] ?? 0);
      offset += isWhole ? CHUNK : 1;
    }
    return bytes;
  }

  /** The first offset from which on the messages have at most `bytesMax` bytes together. */
  offsetWithin(bytesMax: number): number {
    let bytes = this.#bytes;
    let offset = this.#firstOffset;
    while (bytes > bytesMax && offset < this.#nextOffset) {
      const chunk = this.#chunkOf(offset);
      const isWhole = offset % CHUNK === 0 && bytes - chunk.totalBytes > bytesMax;
      bytes -= isWhole ? chunk.totalBytes : (chunk.narrow[BYTES + (offset % CHUNK)] ?? 0);
      offset += isWhole ? CHUNK : 1;
    }
    return Math.min(offset, this.#nextOffset);
  }

  /** The first offset at or after `from` that holds a message, or `nextOffset`. */
  nextLive(from: number): number {
    if (!this.isDeadLetters) return from;
    let offset = from;
    while (offset < this.#nextOffset && !this.origins.has(offset)) offset++;
    return offset;
  }

  /** How many of the offsets from `from` to before `to` hold a message. */
  liveBetween(from: number, to: number): number {
    if (!this.isDeadLetters || from >= to) return Math.max(0, to - from);
    let live = 0;
    for (let offset = from; offset < to; offset++) if (this.origins.has(offset)) live++;
    return live;
  }

  /** The first offset that became visible at or after `atMs`. */
  offsetAt(atMs: number): number {
    let low = this.#firstOffset;
    let high = this.#nextOffset;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if (this.atMsOf(middle) < atMs) low = middle + 1;
      else high = middle;
    }
    return low;
  }

  /** The offset of the message at `place` that became visible at exactly `atMs`. */
  offsetOf(place: Place, atMs: number): number | null {
    for (
      let offset = this.offsetAt(atMs);
      offset < this.#nextOffset && this.atMsOf(offset) === atMs;
      offset++
    ) {
      const found = this.placeOf(offset);
      if (found.block === place.block && found.slot === place.slot) return offset;
    }
    return null;
  }

  save(): TopicState {
    return {
      no: this.no,
      name: this.name,
      settings: this.settings,
      firstOffset: this.#firstOffset,
      nextOffset: this.#nextOffset,
      bytes: this.#bytes,
      expired: this.expired,
      halfMessages: this.halfMessages,
      origins: [...this.origins],
      revived: [...this.#revived],
    };
  }

  /** The index as it is now, in pieces of at most `chunksMax` chunks as raw bytes; they may be taken later (O4). */
  saveIndex(chunksMax: number): Iterable<Uint8Array> {
    const filled = this.#nextOffset - this.#firstChunk * CHUNK;
    return indexPieces(this.#chunks.slice(), filled, chunksMax);
  }

  load(state: TopicState): void {
    this.#firstOffset = state.firstOffset;
    this.#firstChunk = Math.floor(state.firstOffset / CHUNK);
    this.#nextOffset = state.nextOffset;
    this.#bytes = state.bytes;
    this.expired = state.expired;
    this.halfMessages = state.halfMessages;
    for (const [offset, origin] of state.origins) this.origins.set(offset, origin);
    for (const [offset, revived] of state.revived) this.#revived.set(offset, revived);
  }

  loadIndex(piece: Uint8Array): void {
    invariant(piece.length % CHUNK_BYTES === 0, "a piece of an index is whole chunks");
    for (let from = 0; from < piece.length; from += CHUNK_BYTES) {
      const chunk = newChunk();
      bytesOf(chunk).set(piece.subarray(from, from + CHUNK_BYTES));
      this.#chunks.push(chunk);
      const chunkNo = this.#firstChunk + this.#chunks.length - 1;
      sumUp(chunk, Math.min(CHUNK, this.#nextOffset - chunkNo * CHUNK));
    }
  }

  /** Changes a copy and puts it in place (O4). */
  #rewrite(offset: number, change: (chunk: Chunk, at: number) => void): void {
    const old = this.#chunkOf(offset);
    const chunkNo = Math.floor(offset / CHUNK);
    const chunk = newChunk();
    bytesOf(chunk).set(bytesOf(old));
    change(chunk, offset % CHUNK);
    sumUp(chunk, Math.min(CHUNK, this.#nextOffset - chunkNo * CHUNK));
    this.#chunks[chunkNo - this.#firstChunk] = chunk;
  }

  /** The first chunk may hold retired messages, which do not count. */
  #lowestIn(head: Chunk): number {
    let lowest = NO_BLOCK;
    const end = Math.min(CHUNK, this.#nextOffset - this.#firstChunk * CHUNK);
    for (let at = this.#firstOffset % CHUNK; at < end; at++)
      lowest = Math.min(lowest, head.wide[at] ?? NO_BLOCK);
    return lowest;
  }

  #revivedAt(offset: number): Revived {
    const revived = this.#revived.get(offset);
    invariant(revived !== undefined, "a retired message is asked for only if it was revived");
    return revived;
  }

  #chunkOf(offset: number): Chunk {
    invariant(offset < this.#nextOffset, "an offset below nextOffset has an index entry");
    const chunk = this.#chunks[Math.floor(offset / CHUNK) - this.#firstChunk];
    invariant(chunk !== undefined, "an offset below nextOffset has an index entry");
    return chunk;
  }
}

function sumUp(chunk: Chunk, length: number): void {
  const { wide, narrow } = chunk;
  let lowestBlock = NO_BLOCK;
  let totalBytes = 0;
  for (let at = 0; at < length; at++) {
    const block = wide[at] ?? NO_BLOCK;
    if (block < lowestBlock) lowestBlock = block;
    totalBytes += narrow[BYTES + at] ?? 0;
  }
  chunk.lowestBlock = lowestBlock;
  chunk.totalBytes = totalBytes;
}

/** Where each column begins, and the width of its values, in bytes. */
const COLUMNS = [
  [0, 8],
  [AT_MS * 8, 8],
  [SLOTS * 4, 4],
  [BYTES * 4, 4],
] as const;

const bytesOf = ({ wide }: Chunk): Uint8Array => new Uint8Array(wide.buffer);

/** Whole chunks; of the last one what is beyond `filled` is zero, whatever was appended since. */
function* indexPieces(
  all: readonly Chunk[],
  filled: number,
  chunksMax: number,
): Generator<Uint8Array> {
  for (let first = 0; first < all.length; first += chunksMax) {
    const chunks = all.slice(first, first + chunksMax);
    const piece = new Uint8Array(chunks.length * CHUNK_BYTES);
    for (const [at, chunk] of chunks.entries()) {
      const from = bytesOf(chunk);
      const count = Math.min(CHUNK, filled - (first + at) * CHUNK);
      for (const [start, width] of COLUMNS)
        piece.set(from.subarray(start, start + count * width), at * CHUNK_BYTES + start);
    }
    yield piece;
  }
}

export interface TopicState {
  readonly no: number;
  readonly name: string;
  readonly settings: TopicSettings;
  readonly firstOffset: number;
  readonly nextOffset: number;
  readonly bytes: number;
  readonly expired: number;
  readonly halfMessages: number;
  readonly origins: readonly (readonly [number, Origin])[];
  readonly revived: readonly (readonly [number, Revived])[];
}
