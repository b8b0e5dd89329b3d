/**
 * One ordered log of visible messages: offset -> where the bytes are. Bodies are not here.
 *
 * Invariants
 * - O1 An offset, once given, never means another message (T3); offsets are given in the order of commits.
 * - O2 In a dead-letter topic an offset whose origin is gone was replayed or purged: it is passed over.
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
  readonly atMs: number;
}

/** 24 bytes a message in typed arrays: a million messages cost 24 MB and nothing to the garbage collector. */
const CHUNK = 512;

interface Chunk {
  readonly blocks: Float64Array;
  readonly atMs: Float64Array;
  readonly slots: Uint32Array;
  readonly bytes: Uint32Array;
}

const newChunk = (): Chunk => ({
  blocks: new Float64Array(CHUNK),
  atMs: new Float64Array(CHUNK),
  slots: new Uint32Array(CHUNK),
  bytes: new Uint32Array(CHUNK),
});

export class Topic {
  readonly no: number;
  readonly name: string;
  settings: TopicSettings;
  readonly isDeadLetters: boolean;
  /** Dead-letter topics only (O2). */
  readonly origins = new Map<number, Origin>();
  /** Half messages on their way here; a topic with some may not be deleted. */
  halfMessages = 0;
  #chunks: Chunk[] = [];
  #nextOffset = 0;
  #bytes = 0;

  constructor(no: number, name: string, settings: TopicSettings) {
    this.no = no;
    this.name = name;
    this.settings = settings;
    this.isDeadLetters = isDeadLetterTopic(name);
  }

  get nextOffset(): number {
    return this.#nextOffset;
  }

  get bytes(): number {
    return this.#bytes;
  }

  append(place: Place, bytes: number, atMs: number): number {
    const offset = this.#nextOffset++;
    const at = offset % CHUNK;
    if (at === 0) this.#chunks.push(newChunk());
    const chunk = this.#chunkOf(offset);
    chunk.blocks[at] = place.block;
    chunk.slots[at] = place.slot;
    chunk.bytes[at] = bytes;
    chunk.atMs[at] = atMs;
    this.#bytes += bytes;
    return offset;
  }

  placeOf(offset: number): Place {
    const chunk = this.#chunkOf(offset);
    return { block: chunk.blocks[offset % CHUNK] ?? 0, slot: chunk.slots[offset % CHUNK] ?? 0 };
  }

  bytesOf(offset: number): number {
    return this.#chunkOf(offset).bytes[offset % CHUNK] ?? 0;
  }

  atMsOf(offset: number): number {
    return this.#chunkOf(offset).atMs[offset % CHUNK] ?? 0;
  }

  /** The first offset at or after `from` that holds a message, or `nextOffset`. */
  nextLive(from: number): number {
    if (!this.isDeadLetters) return from;
    let offset = from;
    while (offset < this.#nextOffset && !this.origins.has(offset)) offset++;
    return offset;
  }

  /** The first offset that became visible at or after `atMs`. */
  offsetAt(atMs: number): number {
    let low = 0;
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
      nextOffset: this.#nextOffset,
      bytes: this.#bytes,
      halfMessages: this.halfMessages,
      origins: [...this.origins],
    };
  }

  /** The index as it is now, in pieces of at most `chunksMax` chunks as raw bytes; they may be taken later. */
  saveIndex(chunksMax: number): Iterable<Uint8Array> {
    // Chunks only grow at their ends, beyond what `nextOffset` says is there.
    return indexPieces(this.#chunks.slice(), chunksMax);
  }

  load(state: TopicState): void {
    this.#nextOffset = state.nextOffset;
    this.#bytes = state.bytes;
    this.halfMessages = state.halfMessages;
    for (const [offset, origin] of state.origins) this.origins.set(offset, origin);
  }

  loadIndex(piece: Uint8Array): void {
    invariant(piece.length % CHUNK_BYTES === 0, "a piece of an index is whole chunks");
    for (let from = 0; from < piece.length; from += CHUNK_BYTES) {
      const chunk = newChunk();
      let at = from;
      for (const part of [chunk.blocks, chunk.atMs, chunk.slots, chunk.bytes]) {
        new Uint8Array(part.buffer).set(piece.subarray(at, at + part.byteLength));
        at += part.byteLength;
      }
      this.#chunks.push(chunk);
    }
  }

  #chunkOf(offset: number): Chunk {
    invariant(offset < this.#nextOffset, "an offset below nextOffset has an index entry");
    const chunk = this.#chunks[Math.floor(offset / CHUNK)];
    invariant(chunk !== undefined, "an offset below nextOffset has an index entry");
    return chunk;
  }
}

const CHUNK_BYTES = CHUNK * 24;

function* indexPieces(all: readonly Chunk[], chunksMax: number): Generator<Uint8Array> {
  for (let first = 0; first < all.length; first += chunksMax) {
    const chunks = all.slice(first, first + chunksMax);
    const piece = new Uint8Array(chunks.length * CHUNK_BYTES);
    for (const [at, chunk] of chunks.entries()) {
      let to = at * CHUNK_BYTES;
      for (const part of [chunk.blocks, chunk.atMs, chunk.slots, chunk.bytes]) {
        piece.set(new Uint8Array(part.buffer, part.byteOffset, part.byteLength), to);
        to += part.byteLength;
      }
    }
    yield piece;
  }
}

export interface TopicState {
  readonly no: number;
  readonly name: string;
  readonly settings: TopicSettings;
  readonly nextOffset: number;
  readonly bytes: number;
  readonly halfMessages: number;
  readonly origins: readonly (readonly [number, Origin])[];
}
