/**
 * The index of a topic: offset -> where the bytes are, how many, and since when the message is visible.
 *
 * 24 bytes a message: a million messages cost 24 MB, and the garbage collector two objects for each 512.
 * The columns of a chunk stand behind each other in one buffer, so that there are few of those, too.
 *
 * Invariants
 * - O4 A chunk that a checkpoint may be reading changes at its end only; any other change is made to a copy.
 * - O5 A full chunk says the same as long as it has the same revision; no revision comes twice in a topic.
 */
import { invariant } from "./invariant.ts";
import type { Piece } from "./lasting-part.ts";
import type { Place } from "./records.ts";

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
  /** O5; 0: nothing in it was changed after it came. */
  revision: number;
  /** The lowest of all blocks, and the sum of all bytes: so that questions about a topic cost a step a chunk. */
  lowestBlock: number;
  totalBytes: number;
}

export const NO_BLOCK = Number.POSITIVE_INFINITY;

export interface IndexState {
  readonly firstOffset: number;
  readonly nextOffset: number;
  readonly bytes: number;
  /** The last one that was given (O5). */
  readonly revision: number;
}

/** A few chunks that stand behind each other. */
export interface IndexPart {
  /** Of each chunk. */
  readonly revisions: readonly number[];
  /** The chunks as raw bytes; what is not filled is zero, whatever was appended since. */
  readonly bytes: Uint8Array;
}

export class TopicIndex {
  #chunks: Chunk[] = [];
  /** What `#chunks` begins with, counted in chunks. */
  #firstChunk = 0;
  #firstOffset = 0;
  #nextOffset = 0;
  #bytes = 0;
  #revision = 0;

  /** Offsets before it were retired. */
  get firstOffset(): number {
    return this.#firstOffset;
  }

  get nextOffset(): number {
    return this.#nextOffset;
  }

  /** Of all that is needed. */
  get bytes(): number {
    return this.#bytes;
  }

  /** No block before this one holds bytes that are needed; infinite without any. */
  get lowestBlock(): number {
    const [head] = this.#chunks;
    let lowest = head === undefined ? NO_BLOCK : this.#lowestIn(head);
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

  /** Everything before `offset` goes, and its memory with it. */
  retire(offset: number): void {
    this.#bytes -= this.bytesBetween(this.#firstOffset, offset);
    this.#firstOffset = offset;
    const firstChunk = Math.floor(offset / CHUNK);
    this.#chunks.splice(0, firstChunk - this.#firstChunk);
    this.#firstChunk = firstChunk;
  }

  /** Bytes that were let go are needed again, and stand here. */
  restore(offset: number, place: Place, bytes: number): void {
    this.#bytes += bytes - this.bytesOf(offset);
    this.#rewrite(offset, (chunk, at) => {
      chunk.wide[at] = place.block;
      chunk.narrow[SLOTS + at] = place.slot;
      chunk.narrow[BYTES + at] = bytes;
    });
  }

  /** Nobody needs the bytes of this offset any more. */
  forget(offset: number): void {
    this.#bytes -= this.bytesOf(offset);
    this.#rewrite(offset, (chunk, at) => {
      chunk.wide[at] = NO_BLOCK;
      chunk.narrow[BYTES + at] = 0;
    });
  }

  /** The same bytes stand here, too, and are read here from now on. */
  move(offset: number, place: Place): void {
    this.#rewrite(offset, (chunk, at) => {
      chunk.wide[at] = place.block;
      chunk.narrow[SLOTS + at] = place.slot;
    });
  }

  /**
   * The offsets whose bytes stand before `block` and are needed still; null after a chunk without any more.
   * The index may change between two steps: what comes or goes then may be told or not.
   */
  *offsetsBefore(block: number): Generator<number | null> {
    for (let at = this.#firstOffset; at < this.#nextOffset; at = Math.max(at, this.#firstOffset)) {
      const { lowestBlock, wide } = this.#chunkOf(at);
      const offset = at;
      at = lowestBlock < block ? offset + 1 : (Math.floor(offset / CHUNK) + 1) * CHUNK;
      if (lowestBlock < block && (wide[offset % CHUNK] ?? NO_BLOCK) < block) yield offset;
      else if (at % CHUNK === 0) yield null;
    }
  }

  placeOf(offset: number): Place {
    const chunk = this.#chunkOf(offset);
    return {
      block: chunk.wide[offset % CHUNK] ?? 0,
      slot: chunk.narrow[SLOTS + (offset % CHUNK)] ?? 0,
    };
  }

  bytesOf(offset: number): number {
    return this.#chunkOf(offset).narrow[BYTES + (offset % CHUNK)] ?? 0;
  }

  atMsOf(offset: number): number {
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

  save(): IndexState {
    return {
      firstOffset: this.#firstOffset,
      nextOffset: this.#nextOffset,
      bytes: this.#bytes,
      revision: this.#revision,
    };
  }

  /** As it is now, in pieces of at most `chunksMax` chunks, which may be taken later (O4). */
  savePieces(chunksMax: number): Iterable<Piece<IndexPart>> {
    const first = this.#firstChunk;
    const all = this.#chunks.slice();
    const nextOffset = this.#nextOffset;
    return (function* () {
      // Pieces begin at multiples, so that the same chunks come together again when others were retired.
      for (let from = 0; from < all.length; ) {
        const to = Math.min(all.length, from + chunksMax - ((first + from) % chunksMax));
        yield pieceOf(all.slice(from, to), first + from, chunksMax, nextOffset);
        from = to;
      }
    })();
  }

  load(state: IndexState): void {
    this.#firstOffset = state.firstOffset;
    this.#firstChunk = Math.floor(state.firstOffset / CHUNK);
    this.#nextOffset = state.nextOffset;
    this.#bytes = state.bytes;
    this.#revision = state.revision;
  }

  loadPart({ bytes, revisions }: IndexPart): void {
    invariant(bytes.length === revisions.length * CHUNK_BYTES, "a part is whole chunks");
    for (const [at, revision] of revisions.entries()) {
      const chunk = newChunk();
      chunk.revision = revision;
      bytesOf(chunk).set(bytes.subarray(at * CHUNK_BYTES, (at + 1) * CHUNK_BYTES));
      this.#chunks.push(chunk);
      this.#sumUp(chunk, this.#firstChunk + this.#chunks.length - 1);
    }
  }

  /** Changes a copy and puts it in place (O4). */
  #rewrite(offset: number, change: (chunk: Chunk, at: number) => void): void {
    const old = this.#chunkOf(offset);
    const chunkNo = Math.floor(offset / CHUNK);
    const chunk = newChunk();
    chunk.revision = ++this.#revision;
    bytesOf(chunk).set(bytesOf(old));
    change(chunk, offset % CHUNK);
    this.#sumUp(chunk, chunkNo);
    this.#chunks[chunkNo - this.#firstChunk] = chunk;
  }

  #sumUp(chunk: Chunk, chunkNo: number): void {
    const { wide, narrow } = chunk;
    const length = Math.min(CHUNK, this.#nextOffset - chunkNo * CHUNK);
    chunk.lowestBlock = NO_BLOCK;
    chunk.totalBytes = 0;
    for (let at = 0; at < length; at++) {
      chunk.lowestBlock = Math.min(chunk.lowestBlock, wide[at] ?? NO_BLOCK);
      chunk.totalBytes += narrow[BYTES + at] ?? 0;
    }
  }

  /** The first chunk may hold retired messages, which do not count. */
  #lowestIn(head: Chunk): number {
    let lowest = NO_BLOCK;
    const end = Math.min(CHUNK, this.#nextOffset - this.#firstChunk * CHUNK);
    for (let at = this.#firstOffset % CHUNK; at < end; at++)
      lowest = Math.min(lowest, head.wide[at] ?? NO_BLOCK);
    return lowest;
  }

  #chunkOf(offset: number): Chunk {
    invariant(offset < this.#nextOffset, "an offset below nextOffset has an index entry");
    const chunk = this.#chunks[Math.floor(offset / CHUNK) - this.#firstChunk];
    invariant(chunk !== undefined, "an offset below nextOffset has an index entry");
    return chunk;
  }
}

function newChunk(): Chunk {
  const buffer = new ArrayBuffer(CHUNK_BYTES);
  return {
    wide: new Float64Array(buffer),
    narrow: new Uint32Array(buffer),
    revision: 0,
    lowestBlock: NO_BLOCK,
    totalBytes: 0,
  };
}

const bytesOf = ({ wide }: Chunk): Uint8Array => new Uint8Array(wide.buffer);

/** Where each column begins, and the width of its values, in bytes. */
const COLUMNS = [
  [0, 8],
  [AT_MS * 8, 8],
  [SLOTS * 4, 4],
  [BYTES * 4, 4],
] as const;

/** The chunks from number `first` on, of an index that ends before `nextOffset`. */
function pieceOf(
  chunks: readonly Chunk[],
  first: number,
  chunksMax: number,
  nextOffset: number,
): Piece<IndexPart> {
  const revisions = chunks.map(({ revision }) => revision);
  const end = first + chunksMax;
  const isFull = chunks.length === chunksMax && end * CHUNK <= nextOffset;
  const name = isFull ? `${first}-${end}/${Math.max(...revisions)}` : null;
  return { name, take: () => ({ revisions, bytes: bytesOfAll(chunks, first, nextOffset) }) };
}

function bytesOfAll(chunks: readonly Chunk[], first: number, nextOffset: number): Uint8Array {
  const bytes = new Uint8Array(chunks.length * CHUNK_BYTES);
  for (const [at, chunk] of chunks.entries()) {
    const from = bytesOf(chunk);
    const count = Math.min(CHUNK, nextOffset - (first + at) * CHUNK);
    for (const [start, width] of COLUMNS)
      bytes.set(from.subarray(start, start + count * width), at * CHUNK_BYTES + start);
  }
  return bytes;
}
