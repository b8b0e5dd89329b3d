/// <reference lib="es2024.string" />
/**
 * Writes values as MessagePack into slabs, from which what is finished is cut.
 *
 * Invariants
 * - Y1 What was cut is never written to again: it is a view on a slab, or, if it is small, a copy.
 * - Y2 Only what a strict decoder takes is written: whole numbers as integers, no extensions, no `undefined`:
 *   it is left out of maps and becomes nil elsewhere; no text that is not well-formed.
 */
import type { FieldEntries } from "./fields.ts";

/** Room for some batches of the usual size. */
const SLAB_BYTES = 262_144;
/** Up to this length text is written by a loop; beyond it the call into the platform pays. */
const LOOP_LENGTH_MAX = 64;
const UTF8_BYTES_PER_UNIT_MAX = 3;

const utf8 = new TextEncoder();
const float = new DataView(new ArrayBuffer(8));

export interface WriterOptions {
  /** Up to this what is cut is a copy, so that it does not keep a slab in memory while it waits. Default 0. */
  readonly copiedBytesMax?: number;
  /** What becomes of text with half a surrogate pair: U+FFFD in its place, or a thrown TypeError. Default "mend". */
  readonly illFormedText?: "mend" | "refuse";
}

export class Writer {
  #slab: Uint8Array = new Uint8Array(SLAB_BYTES);
  /** Where what is being written begins. */
  #from = 0;
  #at = 0;
  readonly #copiedBytesMax: number;
  readonly #isMending: boolean;

  constructor({ copiedBytesMax = 0, illFormedText = "mend" }: WriterOptions = {}) {
    this.#copiedBytesMax = copiedBytesMax;
    this.#isMending = illFormedText === "mend";
  }

  begin(): void {
    // Whatever a thrown fault left behind is written over.
    this.#at = this.#from;
  }

  /** All that was written since `begin`. */
  cut(): Uint8Array {
    const from = this.#from;
    const to = this.#at;
    if (to - from <= this.#copiedBytesMax) return this.#slab.slice(from, to);
    this.#from = to;
    return this.#slab.subarray(from, to);
  }

  /** A map of the fields that are there. `head` holds one pair more that stands before them. */
  fields(entries: FieldEntries, value: Readonly<Record<string, unknown>>, head?: Uint8Array): void {
    let pairs = head === undefined ? 0 : 1;
    for (const { name } of entries) if (value[name] !== undefined) pairs++;
    this.mapHead(pairs);
    if (head !== undefined) this.#put(head);
    for (const { name, key, field } of entries) {
      const held = value[name];
      if (held === undefined) continue;
      this.#put(key);
      if (field.entries !== undefined && isPlainObject(held)) this.fields(field.entries, held);
      else if (field.item?.entries !== undefined && Array.isArray(held))
        this.#records(field.item.entries, held);
      else this.value(held);
    }
  }

  value(value: unknown): void {
    switch (typeof value) {
      case "string":
        return this.text(value);
      case "number":
        return this.number(value);
      case "boolean":
        return this.#byte(value ? 0xc3 : 0xc2);
      case "object":
        if (value === null) return this.#byte(0xc0);
        if (value instanceof Uint8Array) return this.binary(value);
        if (Array.isArray(value)) return this.#array(value);
        return this.#map(value as Record<string, unknown>);
      default:
        return this.#byte(0xc0);
    }
  }

  text(text: string): void {
    const { length } = text;
    this.#reserve(5 + length * UTF8_BYTES_PER_UNIT_MAX);
    if (length <= LOOP_LENGTH_MAX && this.#ascii(text, length)) return;
    if (!this.#isMending && !text.isWellFormed())
      throw new TypeError("A text holds half a surrogate pair.");
    // The header's size follows from the longest that the text can be, so that it is known beforehand.
    const headBytes = length < 11 ? 1 : length < 86 ? 2 : length < 21_846 ? 3 : 5;
    const from = this.#at + headBytes;
    const { written } = utf8.encodeInto(text, this.#slab.subarray(from));
    this.#textHead(headBytes, written);
    this.#at = from + written;
  }

  number(number: number): void {
    this.#reserve(9);
    if (Number.isInteger(number) && Number.isSafeInteger(number) && !Object.is(number, -0))
      return number >= 0 ? this.#natural(number) : this.#negative(number);
    this.#slab[this.#at] = 0xcb;
    float.setFloat64(0, number);
    this.#eight();
  }

  binary(bytes: Uint8Array): void {
    const { length } = bytes;
    this.#reserve(5 + length);
    this.#head(length, 0xc4, 0xc5, 0xc6);
    this.#slab.set(bytes, this.#at);
    this.#at += length;
  }

  mapHead(pairs: number): void {
    this.#reserve(5);
    if (pairs < 16) this.#slab[this.#at++] = 0x80 | pairs;
    else this.#head(pairs, 0, 0xde, 0xdf);
  }

  arrayHead(items: number): void {
    this.#reserve(5);
    if (items < 16) this.#slab[this.#at++] = 0x90 | items;
    else this.#head(items, 0, 0xdc, 0xdd);
  }

  #records(entries: FieldEntries, items: readonly unknown[]): void {
    this.arrayHead(items.length);
    for (let at = 0; at < items.length; at++) {
      const item = items[at];
      if (isPlainObject(item)) this.fields(entries, item);
      else this.value(item);
    }
  }

  #array(items: readonly unknown[]): void {
    this.arrayHead(items.length);
    // By place: an iterator makes an object for each item where the compiler does not take it away.
    for (let at = 0; at < items.length; at++) this.value(items[at]);
  }

  #map(value: Record<string, unknown>): void {
    const pairs = Object.entries(value).filter(([, held]) => held !== undefined);
    this.mapHead(pairs.length);
    for (const [key, held] of pairs) {
      this.text(key);
      this.value(held);
    }
  }

  /** False, and nothing is written, if it is more than ASCII. */
  #ascii(text: string, length: number): boolean {
    const slab = this.#slab;
    let at = this.#at;
    if (length < 32) slab[at++] = 0xa0 | length;
    else {
      slab[at++] = 0xd9;
      slab[at++] = length;
    }
    for (let index = 0; index < length; index++) {
      const unit = text.charCodeAt(index);
      if (unit >= 0x80) return false;
      slab[at++] = unit;
    }
    this.#at = at;
    return true;
  }

  #textHead(headBytes: number, length: number): void {
    const slab = this.#slab;
    const at = this.#at;
    if (headBytes === 1) slab[at] = 0xa0 | length;
    else if (headBytes === 2) slab[at] = 0xd9;
    else slab[at] = headBytes === 3 ? 0xda : 0xdb;
    for (let index = headBytes - 1, left = length; index > 0; index--, left = left >>> 8)
      slab[at + index] = left & 255;
  }

  #natural(number: number): void {
    const slab = this.#slab;
    if (number < 0x80) slab[this.#at++] = number;
    else if (number <= 0xffff_ffff) this.#head(number, 0xcc, 0xcd, 0xce);
    else {
      slab[this.#at] = 0xcf;
      float.setUint32(0, Math.floor(number / 0x1_0000_0000));
      float.setUint32(4, number >>> 0);
      this.#eight();
    }
  }

  #negative(number: number): void {
    if (number >= -32) {
      this.#slab[this.#at++] = number & 255;
      return;
    }
    this.#slab[this.#at] = 0xd3;
    float.setInt32(0, Math.floor(number / 0x1_0000_0000));
    float.setUint32(4, number >>> 0);
    this.#eight();
  }

  /** The shortest of three headers that holds `length`; a tag of 0 is none. */
  #head(length: number, tag8: number, tag16: number, tag32: number): void {
    const slab = this.#slab;
    if (length < 0x100 && tag8 !== 0) slab[this.#at++] = tag8;
    else if (length < 0x1_0000) {
      slab[this.#at++] = tag16;
      slab[this.#at++] = length >>> 8;
    } else {
      slab[this.#at++] = tag32;
      slab[this.#at++] = length >>> 24;
      slab[this.#at++] = (length >>> 16) & 255;
      slab[this.#at++] = (length >>> 8) & 255;
    }
    slab[this.#at++] = length & 255;
  }

  /** What stands in `float`, after a tag that is written already. */
  #eight(): void {
    for (let index = 0; index < 8; index++)
      this.#slab[this.#at + 1 + index] = float.getUint8(index);
    this.#at += 9;
  }

  #byte(byte: number): void {
    this.#reserve(1);
    this.#slab[this.#at++] = byte;
  }

  #put(bytes: Uint8Array): void {
    const { length } = bytes;
    this.#reserve(length);
    const slab = this.#slab;
    const at = this.#at;
    if (length > 32) slab.set(bytes, at);
    else for (let index = 0; index < length; index++) slab[at + index] = bytes[index] ?? 0;
    this.#at = at + length;
  }

  #reserve(bytes: number): void {
    if (this.#at + bytes <= this.#slab.length) return;
    const written = this.#slab.subarray(this.#from, this.#at);
    // Some more than is needed: a batch that grows is copied a few times only.
    const needed = written.length + bytes;
    const slab = new Uint8Array(Math.max(SLAB_BYTES, needed + (needed >> 2)));
    slab.set(written);
    this.#slab = slab;
    this.#from = 0;
    this.#at = written.length;
  }
}

const isPlainObject = (value: unknown): value is Record<string, unknown> =>
  typeof value === "object" &&
  value !== null &&
  !Array.isArray(value) &&
  !(value instanceof Uint8Array);
