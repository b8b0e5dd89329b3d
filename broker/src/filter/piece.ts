/**
 * A run of characters to be found in a text, some of which may be any (`_`). Found by comparing bits: for each
 * character of the text the bits of all places of the run at once, so that no text and no run make it slow.
 */

/** A character of the run that stands for any one. */
export const ANY_ONE = -1;
const BITS = 32;
const ASCII = 128;
/** The engine's own search is quicker as a rule, and much slower at its worst: up to so many steps it may be. */
const QUICK_STEPS_MAX = 16_384;

export class Piece {
  /** Counted in characters. */
  readonly length: number;
  readonly #points: readonly number[];
  /** The run as text; null: it has an `_`. */
  readonly #plain: string | null;
  #bits: Bits | null = null;

  constructor(points: readonly number[]) {
    this.#points = points;
    this.length = points.length;
    this.#plain = points.includes(ANY_ONE)
      ? null
      : points.map((point) => String.fromCodePoint(point)).join("");
  }

  /** Where it ends if it begins at `at`; -1: it does not stand there. */
  endAt(text: string, at: number): number {
    if (this.#plain !== null)
      return text.startsWith(this.#plain, at) ? at + this.#plain.length : -1;
    let end = at;
    for (const point of this.#points) {
      const found = text.codePointAt(end);
      if (found === undefined || (point !== ANY_ONE && point !== found)) return -1;
      end += unitsOf(found);
    }
    return end;
  }

  /** Where it ends at its first place from `from` on; -1: there is none. */
  endAfter(text: string, from: number): number {
    const plain = this.#plain;
    if (plain === null || plain.length * (text.length - from) > QUICK_STEPS_MAX) {
      this.#bits ??= new Bits(this.#points);
      return this.#bits.endAfter(text, from);
    }
    const begin = text.indexOf(plain, from);
    return begin < 0 ? -1 : begin + plain.length;
  }

  /** Where it would have to begin to end with the text; -1: the text is shorter. */
  beginFromEnd(text: string): number {
    if (this.#plain !== null) return text.length - this.#plain.length;
    let at = text.length;
    for (let left = this.length; left > 0; left--) {
      if (at <= 0) return -1;
      at -= at > 1 && isLowSurrogate(text.charCodeAt(at - 1)) ? 2 : 1;
    }
    return at;
  }
}

/** For each character the places of the run where it may stand, as bits. */
class Bits {
  readonly #words: number;
  readonly #lastBit: number;
  /** Of the ASCII characters, found without a search. */
  readonly #ascii: Int32Array[];
  readonly #others = new Map<number, Int32Array>();
  /** Of a character that is not in the run: where any may stand. */
  readonly #any: Int32Array;

  constructor(points: readonly number[]) {
    this.#words = Math.ceil(points.length / BITS);
    this.#lastBit = (points.length - 1) % BITS;
    this.#any = new Int32Array(this.#words);
    for (const [place, point] of points.entries()) if (point === ANY_ONE) setBit(this.#any, place);
    this.#ascii = new Array<Int32Array>(ASCII).fill(this.#any);
    for (const [place, point] of points.entries())
      if (point !== ANY_ONE) setBit(this.#ownMasksOf(point), place);
  }

  endAfter(text: string, from: number): number {
    if (this.#words === 0) return from;
    return this.#words === 1 ? this.#endOfShort(text, from) : this.#endOfLong(text, from);
  }

  /** Bit n of `ends` says: the first n + 1 characters of the run end here. */
  #endOfShort(text: string, from: number): number {
    let ends = 0;
    for (let at = from; at < text.length; ) {
      const point = text.codePointAt(at) ?? 0;
      at += unitsOf(point);
      ends = ((ends << 1) | 1) & (this.#masksOf(point)[0] ?? 0);
      if (((ends >>> this.#lastBit) & 1) === 1) return at;
    }
    return -1;
  }

  /** The same in many words: the highest bit of each is carried into the next. */
  #endOfLong(text: string, from: number): number {
    const words = this.#words;
    const ends = new Int32Array(words);
    for (let at = from; at < text.length; ) {
      const point = text.codePointAt(at) ?? 0;
      at += unitsOf(point);
      const masks = this.#masksOf(point);
      let carried = 1;
      for (let word = 0; word < words; word++) {
        const before = ends[word] ?? 0;
        ends[word] = ((before << 1) | carried) & (masks[word] ?? 0);
        carried = before >>> (BITS - 1);
      }
      if ((((ends[words - 1] ?? 0) >>> this.#lastBit) & 1) === 1) return at;
    }
    return -1;
  }

  #masksOf(point: number): Int32Array {
    return (point < ASCII ? this.#ascii[point] : this.#others.get(point)) ?? this.#any;
  }

  #ownMasksOf(point: number): Int32Array {
    const known = this.#masksOf(point);
    if (known !== this.#any) return known;
    const masks = this.#any.slice();
    if (point < ASCII) this.#ascii[point] = masks;
    else this.#others.set(point, masks);
    return masks;
  }
}

const setBit = (masks: Int32Array, place: number): void => {
  const word = Math.floor(place / BITS);
  masks[word] = (masks[word] ?? 0) | (1 << (place % BITS));
};

const unitsOf = (point: number): number => (point > 0xffff ? 2 : 1);

const isLowSurrogate = (unit: number): boolean => unit >= 0xdc00 && unit <= 0xdfff;
