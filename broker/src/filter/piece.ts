/**
 * A run of characters to be found in a text, some of which may be any (`_`). Found by comparing bits: for each
 * character of the text the bits of all places of the run at once, so that no text and no run make it slow.
 */

/** A character of the run that stands for any one. */
export const ANY_ONE = -1;
const BITS = 32;
/** Below so many comparisons at worst the engine's own search is quicker. */
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
  readonly #byPoint = new Map<number, Int32Array>();
  /** Of a character that is not in the run: where any may stand. */
  readonly #others: Int32Array;

  constructor(points: readonly number[]) {
    this.#words = Math.ceil(points.length / BITS);
    this.#lastBit = (points.length - 1) % BITS;
    this.#others = new Int32Array(this.#words);
    for (const [place, point] of points.entries())
      if (point === ANY_ONE) setBit(this.#others, place);
    for (const [place, point] of points.entries())
      if (point !== ANY_ONE) setBit(this.#masksOf(point), place);
  }

  endAfter(text: string, from: number): number {
    if (this.#words === 0) return from;
    const words = this.#words;
    // Bit n says: the first n + 1 characters of the run end here.
    const ends = new Int32Array(words);
    for (let at = from; at < text.length; ) {
      const point = text.codePointAt(at) ?? 0;
      at += unitsOf(point);
      const masks = this.#byPoint.get(point) ?? this.#others;
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
    const known = this.#byPoint.get(point);
    if (known !== undefined) return known;
    const masks = this.#others.slice();
    this.#byPoint.set(point, masks);
    return masks;
  }
}

const setBit = (masks: Int32Array, place: number): void => {
  const word = Math.floor(place / BITS);
  masks[word] = (masks[word] ?? 0) | (1 << (place % BITS));
};

const unitsOf = (point: number): number => (point > 0xffff ? 2 : 1);

const isLowSurrogate = (unit: number): boolean => unit >= 0xdc00 && unit <= 0xdfff;
