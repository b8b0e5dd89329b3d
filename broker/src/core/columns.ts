/** Numbers and words in columns of raw bytes that grow as they are filled. */
import { invariant } from "./invariant.ts";

type TypedArray = Float64Array | Uint32Array | Uint8Array;
type Constructor<A extends TypedArray> = {
  new (length: number): A;
  readonly BYTES_PER_ELEMENT: number;
};

const FIRST_LENGTH = 64;

/** A typed array without an end. */
export class Column<A extends TypedArray> {
  readonly #type: Constructor<A>;
  #array: A;
  #length = 0;

  constructor(type: Constructor<A>) {
    this.#type = type;
    this.#array = new type(FIRST_LENGTH);
  }

  at(place: number): number {
    return this.#array[place] ?? 0;
  }

  push(value: number): void {
    if (this.#length === this.#array.length) this.#growTo(this.#length + 1);
    this.#array[this.#length++] = value;
  }

  /** A copy of these places as bytes, in the machine's order. */
  save(from: number, to: number): Uint8Array {
    const { buffer, byteOffset, BYTES_PER_ELEMENT: size } = this.#array;
    return new Uint8Array(buffer, byteOffset + from * size, (to - from) * size).slice();
  }

  /** What `save` gave, behind what is there. */
  load(saved: Uint8Array): void {
    const size = this.#type.BYTES_PER_ELEMENT;
    invariant(saved.length % size === 0, "a column is saved in whole values");
    this.#growTo(this.#length + saved.length / size);
    new Uint8Array(this.#array.buffer).set(saved, this.#length * size);
    this.#length += saved.length / size;
  }

  #growTo(length: number): void {
    if (length <= this.#array.length) return;
    const array = new this.#type(Math.max(length, this.#array.length * 2));
    array.set(this.#array);
    this.#array = array;
  }
}

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
