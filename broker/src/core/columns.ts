/**
 * Numbers and words in columns of raw bytes that grow as they are filled: by a chunk at a time, so that
 * no growth copies what is there.
 *
 * Invariants
 * - W1 What `freeze` gave stays as it was until `thaw`: a chunk that it shares is copied before it is
 *   changed. So a checkpoint costs a list of chunks at once, and the rest when its parts are taken.
 */
import { invariant } from "./invariant.ts";

type TypedArray = Float64Array | Uint32Array | Uint8Array;
type Constructor<A extends TypedArray> = {
  new (length: number): A;
  readonly BYTES_PER_ELEMENT: number;
};

const CHUNK_BITS = 12;
const CHUNK = 2 ** CHUNK_BITS;
const MASK = CHUNK - 1;
/** The first chunk begins small and doubles: most tables have few rows. */
const FIRST_CHUNK = 16;

/** A typed array without an end. */
export class Column<A extends TypedArray> {
  readonly #type: Constructor<A>;
  #chunks: A[] = [];
  /** The one that is being filled. */
  #last: A;
  #length = 0;
  /** The chunks as they were frozen, by place. */
  #frozen: readonly A[] | null = null;

  constructor(type: Constructor<A>) {
    this.#type = type;
    this.#last = new type(0);
  }

  get length(): number {
    return this.#length;
  }

  at(place: number): number {
    return this.#chunks[place >>> CHUNK_BITS]?.[place & MASK] ?? 0;
  }

  push(value: number): void {
    const at = this.#length++ & MASK;
    if (at === this.#last.length || at === 0) this.#makeRoom(at);
    // No frozen view reads this far: nothing is copied.
    this.#last[at] = value;
  }

  /** Changes the value of a place, or fills the next one. */
  set(place: number, value: number): void {
    if (place >= this.#length) {
      invariant(place === this.#length, "places are filled one after the other");
      return this.push(value);
    }
    const at = place >>> CHUNK_BITS;
    let chunk = this.#chunks[at];
    invariant(chunk !== undefined, "a place of a column is filled");
    if (this.#frozen !== null && this.#frozen[at] === chunk) chunk = this.#copyOf(at, chunk);
    chunk[place & MASK] = value;
  }

  /** As `set`, for a column that is filled only as far as something else than 0 stands in it. */
  setSparse(place: number, value: number): void {
    if (value === 0 && place >= this.#length) return;
    while (this.#length <= place) this.push(0);
    this.set(place, value);
  }

  clear(): void {
    this.#chunks = [];
    this.#last = new this.#type(0);
    this.#length = 0;
  }

  /** The values as they are now, until `thaw`. */
  freeze(): FrozenColumn {
    const chunks = this.#chunks.slice();
    this.#frozen = chunks;
    return new FrozenColumn(chunks);
  }

  thaw(): void {
    this.#frozen = null;
  }

  /** A copy of these places as bytes, in the machine's order. */
  save(from: number, to: number): Uint8Array {
    const size = this.#type.BYTES_PER_ELEMENT;
    const saved = new Uint8Array((to - from) * size);
    for (let at = from; at < to; at = nextChunk(at)) {
      const end = Math.min(nextChunk(at), to);
      const part = this.#bytesOf(at).subarray((at & MASK) * size, ((at & MASK) + end - at) * size);
      saved.set(part, (at - from) * size);
    }
    return saved;
  }

  /** What `save` gave, behind what is there. */
  load(saved: Uint8Array): void {
    const size = this.#type.BYTES_PER_ELEMENT;
    invariant(saved.length % size === 0, "a column is saved in whole values");
    const from = this.#length;
    this.#length += saved.length / size;
    for (let at = from; at < this.#length; at = nextChunk(at)) {
      const end = Math.min(nextChunk(at), this.#length);
      this.#makeRoom(at & MASK, (at & MASK) + end - at);
      const part = saved.subarray((at - from) * size, (end - from) * size);
      this.#bytesOf(at).set(part, (at & MASK) * size);
    }
  }

  /** In the last chunk, or a new one if nothing of it is filled. */
  #makeRoom(filled: number, needed = filled + 1): void {
    if (filled > 0 && needed <= this.#last.length) return;
    const isFirst = this.#chunks.length === 0 || (this.#chunks.length === 1 && filled > 0);
    const length = isFirst ? Math.min(CHUNK, Math.max(FIRST_CHUNK, needed, filled * 2)) : CHUNK;
    const chunk = new this.#type(length);
    if (filled > 0) {
      chunk.set(this.#last);
      this.#chunks.pop();
    }
    this.#last = chunk;
    this.#chunks.push(chunk);
  }

  #copyOf(at: number, chunk: A): A {
    const copy = new this.#type(chunk.length);
    copy.set(chunk);
    this.#chunks[at] = copy;
    if (this.#last === chunk) this.#last = copy;
    return copy;
  }

  #bytesOf(place: number): Uint8Array {
    const chunk = this.#chunks[place >>> CHUNK_BITS];
    invariant(chunk !== undefined, "a place of a column is filled");
    return new Uint8Array(chunk.buffer, chunk.byteOffset, chunk.byteLength);
  }
}

/** A column as it was (W1). */
export class FrozenColumn {
  readonly #chunks: readonly TypedArray[];

  constructor(chunks: readonly TypedArray[]) {
    this.#chunks = chunks;
  }

  at(place: number): number {
    return this.#chunks[place >>> CHUNK_BITS]?.[place & MASK] ?? 0;
  }
}

/** As Column, for values that are no numbers: most places share a few. */
export class Values<V> {
  readonly #none: V;
  #chunks: V[][] = [];
  #frozen: readonly V[][] | null = null;

  /** `none`: what places hold that nothing was set for. */
  constructor(none: V) {
    this.#none = none;
  }

  at(place: number): V {
    return this.#chunks[place >>> CHUNK_BITS]?.[place & MASK] ?? this.#none;
  }

  set(place: number, value: V): void {
    const at = place >>> CHUNK_BITS;
    let chunk = this.#chunks[at];
    if (chunk === undefined) {
      if (value === this.#none) return;
      while (this.#chunks.length <= at) this.#chunks.push([]);
      chunk = this.#chunks[at] as V[];
    }
    if (chunk[place & MASK] === value) return;
    if (this.#frozen !== null && this.#frozen[at] === chunk) {
      chunk = chunk.slice();
      this.#chunks[at] = chunk;
    }
    // Without holes: those would make each access slower.
    while (chunk.length < (place & MASK)) chunk.push(this.#none);
    chunk[place & MASK] = value;
  }

  clear(): void {
    this.#chunks = [];
  }

  freeze(): FrozenValues<V> {
    const chunks = this.#chunks.slice();
    this.#frozen = chunks;
    return new FrozenValues(chunks, this.#none);
  }

  thaw(): void {
    this.#frozen = null;
  }
}

export class FrozenValues<V> {
  readonly #chunks: readonly (readonly V[])[];
  readonly #none: V;

  constructor(chunks: readonly (readonly V[])[], none: V) {
    this.#chunks = chunks;
    this.#none = none;
  }

  at(place: number): V {
    return this.#chunks[place >>> CHUNK_BITS]?.[place & MASK] ?? this.#none;
  }
}

const nextChunk = (place: number): number => ((place >>> CHUNK_BITS) + 1) * CHUNK;

/** Words that repeat, as their numbers: the order in which they came first. */
export class Words {
  readonly #words: string[] = [];
  readonly #numbers = new Map<string, number>();

  get count(): number {
    return this.#words.length;
  }

  of(number: number): string {
    return this.#words[number] ?? "";
  }

  numberOf(word: string): number {
    const known = this.#numbers.get(word);
    if (known !== undefined) return known;
    this.#numbers.set(word, this.#words.length);
    return this.#words.push(word) - 1;
  }

  slice(from: number, to: number): string[] {
    return this.#words.slice(from, to);
  }
}
