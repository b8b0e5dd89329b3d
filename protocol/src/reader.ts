/**
 * Reads MessagePack straight into checked values, one pass: the way that nearly all batches go. It
 * takes what our own writer makes, in the order of the tables; at anything else it says `doubt`, and
 * the batch goes the careful way (codec.ts), which alone knows how to refuse and why.
 *
 * Invariants
 * - D1 What it is sure of, the careful way reads as the same values. In doubt it may be wrong freely.
 * - D2 Nothing is allocated beyond what the limits allow: lengths are compared with what is there.
 */
import { LIMITS } from "./limits.ts";

const utf8 = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });
const NOTHING: Uint8Array = new Uint8Array();
/** Of each kind of name; a power of two. */
const NAMES_KEPT = 256;

/** Words that come again and again, such as names of topics: made and checked once, then found by their bytes. */
export class KeptWords {
  readonly isLegal: (text: string) => boolean;
  readonly words: ({ readonly bytes: Uint8Array; readonly text: string } | undefined)[] = new Array(
    NAMES_KEPT,
  ).fill(undefined);

  constructor(isLegal: (text: string) => boolean) {
    this.isLegal = isLegal;
  }
}

export class Reader {
  #data: Uint8Array = NOTHING;
  #latin1: ((from: number, to: number) => string) | null = null;
  #at = 0;
  #end = 0;
  #items = 0;
  #isSure = true;

  begin(data: Uint8Array): void {
    this.#data = data;
    this.#at = 0;
    this.#end = data.length;
    this.#items = 0;
    this.#isSure = true;
    this.#latin1 = latin1Of(data);
  }

  /** Sure of everything, and nothing is left. To be called once; lets go of the bytes. */
  finish(): boolean {
    const isRead = this.#isSure && this.#at === this.#end;
    this.#data = NOTHING;
    this.#latin1 = null;
    return isRead;
  }

  get isSure(): boolean {
    return this.#isSure;
  }

  /** What was read is not to be used. Returns a value of any type for the caller to return on. */
  doubt(): never {
    this.#isSure = false;
    return undefined as never;
  }

  /** How many values follow; 0 in doubt. */
  arrayLength(): number {
    return this.#length(0x90, 0xdc);
  }

  /** How many pairs follow; 0 in doubt. */
  mapLength(): number {
    const length = this.#length(0x80, 0xde);
    return length <= LIMITS.mapKeysMax ? length : this.doubt();
  }

  /** Passes a nil, if there is one. */
  takesNil(): boolean {
    if (this.#data[this.#at] !== 0xc0) return false;
    this.#count();
    this.#at++;
    return true;
  }

  /** Passes these bytes, a key with its tag, if they come next. */
  takes(key: Uint8Array): boolean {
    const data = this.#data;
    const at = this.#at;
    const { length } = key;
    for (let index = 0; index < length; index++) if (data[at + index] !== key[index]) return false;
    this.#count();
    this.#at = at + length;
    return true;
  }

  boolean(): boolean {
    this.#count();
    const tag = this.#data[this.#at++];
    if (tag === 0xc3) return true;
    return tag === 0xc2 ? false : this.doubt();
  }

  /** A whole number from 0 to 2^53 - 1. */
  count(): number {
    this.#count();
    const data = this.#data;
    const at = this.#at;
    const tag = data[at] ?? 0xc1;
    if (tag < 0x80) {
      this.#at = at + 1;
      return tag;
    }
    const size = tag === 0xcc ? 1 : tag === 0xcd ? 2 : tag === 0xce ? 4 : tag === 0xcf ? 8 : 0;
    this.#at = at + 1 + size;
    if (size === 0 || this.#at > this.#end) return this.doubt();
    let number = 0;
    for (let index = at + 1; index <= at + size; index++)
      number = number * 256 + (data[index] ?? 0);
    return number <= Number.MAX_SAFE_INTEGER ? number : this.doubt();
  }

  /** A view on the bytes. */
  binary(): Uint8Array {
    const tag = this.#data[this.#at];
    const size = tag === 0xc4 ? 1 : tag === 0xc5 ? 2 : tag === 0xc6 ? 4 : 0;
    if (size === 0) return this.doubt();
    const from = this.#take(size);
    return this.#isSure ? this.#data.subarray(from, this.#at) : NOTHING;
  }

  text(): string {
    const from = this.#string();
    return this.#isSure ? this.#decode(from, this.#at) : "";
  }

  /** Text of a kind that comes again and again. */
  word(kept: KeptWords): string {
    const from = this.#string();
    if (!this.#isSure) return "";
    const place = this.#hash(from, this.#at);
    const known = kept.words[place];
    if (known !== undefined && this.#isAt(known.bytes, from)) return known.text;
    const text = this.#decode(from, this.#at);
    if (!this.#isSure || !kept.isLegal(text)) return this.doubt();
    // A copy in any case: a Buffer's own slice would keep the whole batch.
    kept.words[place] = { bytes: new Uint8Array(this.#data.subarray(from, this.#at)), text };
    return text;
  }

  #count(): void {
    if (++this.#items > LIMITS.batchItemsMax) this.#isSure = false;
  }

  #length(fixed: number, tag16: number): number {
    this.#count();
    const tag = this.#data[this.#at] ?? 0xc1;
    if (tag >= fixed && tag < fixed + 16) {
      this.#at++;
      return tag - fixed;
    }
    if (tag !== tag16 || this.#at + 3 > this.#end) {
      this.doubt();
      return 0;
    }
    this.#at += 3;
    return (this.#data[this.#at - 2] ?? 0) * 256 + (this.#data[this.#at - 1] ?? 0);
  }

  /** Passes a string; where it begins. */
  #string(): number {
    const tag = this.#data[this.#at] ?? 0xc1;
    if (tag >= 0xa0 && tag < 0xc0) {
      this.#count();
      const from = this.#at + 1;
      this.#at = from + (tag & 31);
      if (this.#at > this.#end) this.doubt();
      return from;
    }
    const size = tag === 0xd9 ? 1 : tag === 0xda ? 2 : 0;
    return size === 0 ? this.doubt() : this.#take(size);
  }

  /** Passes what a length of `size` bytes says; where it begins. */
  #take(size: number): number {
    this.#count();
    const from = this.#at + 1 + size;
    let length = 0;
    for (let at = this.#at + 1; at < from; at++) length = length * 256 + (this.#data[at] ?? 0);
    this.#at = from + length;
    if (this.#at > this.#end) this.doubt();
    return from;
  }

  #decode(from: number, to: number): string {
    const data = this.#data;
    let all = 0;
    for (let at = from; at < to; at++) all |= data[at] ?? 0;
    if (all < 0x80 && this.#latin1 !== null) return this.#latin1.call(data, from, to);
    try {
      return utf8.decode(data.subarray(from, to));
    } catch {
      // Broken UTF-8: the careful way says so.
      return this.doubt();
    }
  }

  #isAt(bytes: Uint8Array, from: number): boolean {
    const data = this.#data;
    const { length } = bytes;
    if (length !== this.#at - from) return false;
    for (let index = 0; index < length; index++)
      if (data[from + index] !== bytes[index]) return false;
    return true;
  }

  #hash(from: number, to: number): number {
    const data = this.#data;
    const middle = data[(from + to) >> 1] ?? 0;
    const last = data[to - 1] ?? 0;
    return ((to - from) * 31 + middle * 7 + last * 131) & (NAMES_KEPT - 1);
  }
}

/** Node's Buffer makes text of plain ASCII in one call; other platforms' bytes go through the decoder. */
function latin1Of(data: Uint8Array): ((from: number, to: number) => string) | null {
  return "latin1Slice" in data && typeof data.latin1Slice === "function"
    ? (data.latin1Slice as (from: number, to: number) => string)
    : null;
}
