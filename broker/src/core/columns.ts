/**
 * Numbers and words in columns of raw bytes that grow as they are filled: by a chunk at a time, so that
 * no growth copies what is there.
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

/** A typed array without an end. */
export class Column<A extends TypedArray> {
  readonly #type: Constructor<A>;
  readonly #chunks: A[] = [];
  /** The one that is being filled. */
  #last: A;
  #length = 0;

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
    if (at === 0) this.#addChunk();
    this.#last[at] = value;
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
      if ((at & MASK) === 0) this.#addChunk();
      const end = Math.min(nextChunk(at), this.#length);
      const part = saved.subarray((at - from) * size, (end - from) * size);
      this.#bytesOf(at).set(part, (at & MASK) * size);
    }
  }

  #addChunk(): void {
    this.#last = new this.#type(CHUNK);
    this.#chunks.push(this.#last);
  }

  #bytesOf(place: number): Uint8Array {
    const chunk = this.#chunks[place >>> CHUNK_BITS];
    invariant(chunk !== undefined, "a place of a column is filled");
    return new Uint8Array(chunk.buffer, chunk.byteOffset, chunk.byteLength);
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
