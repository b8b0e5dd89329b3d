/**
 * LevelDB's table file, as far as we write it: uncompressed, no filter, 8-byte keys. Pure. From its end:
 *
 *   entries, in groups of about 4 KiB, each group with its checksum | metaindex | index | footer (48 bytes)
 *   footer: metaindex span, index span, zeros up to byte 40, magic (u64, little-endian)
 *   group:  entry, … | place of each 16th entry (u32) | how many those are (u32) | type 0 | CRC-32C, masked
 *   entry:  shared key bytes, other key bytes, value bytes (varints) | the other key bytes | value
 *   key:    block number (u64, big-endian) | type 1 and a sequence number (u64, little-endian)
 *   index:  a group whose keys are at or behind the last one of a group of entries, each with its span
 *
 * Invariants
 * - Y1 Bytes that are not such a table are STORE_CORRUPT, whatever they are: nothing is read beyond them, and
 *   no work is done that they do not pay for.
 * - Y2 The index is believed only with its checksum. Entries are believed as far as they can be parsed: a value
 *   is a block, and says itself whether it is whole and which one (block.ts).
 */
import { EscrowError } from "@escrowmq/protocol";

/** A part of the file, without the five bytes behind it. */
export interface Span {
  readonly at: number;
  readonly bytes: number;
}

/** A group of entries: no key in it is greater than `upTo`. */
export interface Group extends Span {
  readonly upTo: number;
}

/** In columns: a segment of small blocks has more than a hundred thousand. */
export class Groups {
  readonly #at: Float64Array;
  readonly #bytes: Uint32Array;
  readonly #upTo: Float64Array;

  constructor(groups: readonly Group[]) {
    this.#at = Float64Array.from(groups, ({ at }) => at);
    this.#bytes = Uint32Array.from(groups, ({ bytes }) => bytes);
    this.#upTo = Float64Array.from(groups, ({ upTo }) => upTo);
  }

  get length(): number {
    return this.#at.length;
  }

  at(index: number): Group | undefined {
    const [at, bytes, upTo] = [this.#at[index], this.#bytes[index], this.#upTo[index]];
    if (at === undefined || bytes === undefined || upTo === undefined) return undefined;
    return { at, bytes, upTo };
  }

  /** The first one whose keys may reach up to `key`. */
  firstUpTo(key: number): number {
    let low = 0;
    let high = this.length;
    while (low < high) {
      const middle = (low + high) >> 1;
      if ((this.#upTo[middle] ?? 0) < key) low = middle + 1;
      else high = middle;
    }
    return low;
  }
}

export interface Entry {
  readonly key: number;
  readonly valueAt: number;
  readonly valueBytes: number;
}

export const FOOTER_BYTES = 48;
/** Enough for `firstKeyOf`. */
export const HEAD_BYTES = 32;
/** Type and checksum. */
export const TRAILER_BYTES = 5;

const MAGIC = 0xdb47_7524_8b80_fb57n;
const MAGIC_AT = 40;
const KEY_BYTES = 16;
const TAG_BYTES = 8;
const UNCOMPRESSED = 0;
const VALUE = 1;
const MASK_DELTA = 0xa282_ead8;

const damaged = (what: string): EscrowError => new EscrowError("STORE_CORRUPT", what);

/** Where the index is, in a file of `fileBytes`. */
export function readFooter(footer: Buffer, fileBytes: number): Span {
  if (footer.length !== FOOTER_BYTES || footer.readBigUInt64LE(MAGIC_AT) !== MAGIC)
    throw damaged("its last bytes are not the end of a table");
  const cursor = { at: 0 };
  readSpan(footer, cursor, MAGIC_AT, fileBytes);
  return readSpan(footer, cursor, MAGIC_AT, fileBytes);
}

/** `bytes` are the index and the five bytes behind it. */
export function readIndex(bytes: Buffer, index: Span): Groups {
  const length = bytes.length - TRAILER_BYTES;
  if (bytes[length] !== UNCOMPRESSED) throw damaged("its index is of another kind");
  if (bytes.readUInt32LE(length + 1) !== masked(crc32c(bytes.subarray(0, length + 1))))
    throw damaged("its index does not match its checksum");
  const groups: Group[] = [];
  let end = 0;
  for (const { key, valueAt, valueBytes } of entriesOf(bytes.subarray(0, length), "separator")) {
    const span = readSpan(bytes, { at: valueAt }, valueAt + valueBytes, index.at);
    if (span.at < end) throw damaged("its index leads back");
    end = span.at + span.bytes;
    groups.push({ ...span, upTo: key });
  }
  if (groups.length === 0) throw damaged("its index is empty");
  return new Groups(groups);
}

/**
 * The entries of a group, in the order of their keys; `bytes` end before the type. Throws when it comes to what
 * is none. A separator is a key that LevelDB may have cut short, or rounded up.
 */
export function* entriesOf(bytes: Buffer, keys: "block" | "separator"): Generator<Entry> {
  const end = endOfEntries(bytes);
  const key = Buffer.alloc(KEY_BYTES);
  const cursor = { at: 0 };
  let before = -1;
  let keyBytes = 0;
  while (cursor.at < end) {
    const shared = readVarint(bytes, cursor, end);
    const other = readVarint(bytes, cursor, end);
    const valueBytes = readVarint(bytes, cursor, end);
    const valueAt = cursor.at + other;
    if (shared > keyBytes || shared + other > KEY_BYTES || valueAt + valueBytes > end)
      throw damaged("an entry goes beyond its bounds");
    bytes.copy(key, shared, cursor.at, valueAt);
    keyBytes = shared + other;
    const number = numberOf(key, keyBytes, keys);
    if (number <= before) throw damaged("its keys do not rise");
    before = number;
    yield { key: number, valueAt, valueBytes };
    cursor.at = valueAt + valueBytes;
  }
}

/** The first key of a group, from its first bytes. */
export function firstKeyOf(head: Buffer): number {
  const cursor = { at: 0 };
  const shared = readVarint(head, cursor, head.length);
  const other = readVarint(head, cursor, head.length);
  readVarint(head, cursor, head.length);
  if (shared !== 0 || other !== KEY_BYTES || cursor.at + other > head.length)
    throw damaged("a group of entries has no beginning");
  return numberOf(head.subarray(cursor.at, cursor.at + other), other, "block");
}

function endOfEntries(bytes: Buffer): number {
  if (bytes.length < 4) throw damaged("a group of entries has no end");
  const restarts = bytes.readUInt32LE(bytes.length - 4);
  const end = bytes.length - 4 * (restarts + 1);
  if (end < 0) throw damaged("a group of entries has no beginning");
  return end;
}

function numberOf(key: Buffer, keyBytes: number, keys: "block" | "separator"): number {
  const isWhole = keyBytes === KEY_BYTES && key[KEY_BYTES - TAG_BYTES] === VALUE;
  if (keys === "block" ? !isWhole : keyBytes <= TAG_BYTES) throw damaged("a key is none of ours");
  let number = 0;
  for (let at = 0; at < KEY_BYTES - TAG_BYTES; at++)
    number = number * 256 + (at < keyBytes - TAG_BYTES ? (key[at] ?? 0) : 0);
  if (keys === "block" && !Number.isSafeInteger(number)) throw damaged("a key is none of ours");
  return number;
}

function readSpan(bytes: Buffer, cursor: { at: number }, end: number, fileBytes: number): Span {
  const at = readVarint(bytes, cursor, end);
  const length = readVarint(bytes, cursor, end);
  if (at + length + TRAILER_BYTES > fileBytes) throw damaged("a part lies beyond its end");
  return { at, bytes: length };
}

function readVarint(bytes: Buffer, cursor: { at: number }, end: number): number {
  let value = 0;
  for (let scale = 1; cursor.at < end && scale < 2 ** 49; scale *= 128) {
    const byte = bytes[cursor.at++] ?? 0;
    value += (byte & 0x7f) * scale;
    if (byte < 0x80) return value;
  }
  throw damaged("a number has no end");
}

/** LevelDB's way of storing a checksum. */
const masked = (crc: number): number => (((crc >>> 15) | (crc << 17)) + MASK_DELTA) >>> 0;

const CRC_TABLE = Uint32Array.from({ length: 256 }, (_, byte) => {
  let crc = byte;
  for (let bit = 0; bit < 8; bit++) crc = (crc & 1) === 0 ? crc >>> 1 : (crc >>> 1) ^ 0x82f6_3b78;
  return crc;
});

/** Castagnoli's polynomial: not the one of `zlib`. Slow enough to be used on indexes only. */
function crc32c(bytes: Uint8Array): number {
  let crc = -1;
  for (const byte of bytes) crc = (CRC_TABLE[(crc ^ byte) & 0xff] ?? 0) ^ (crc >>> 8);
  return (crc ^ -1) >>> 0;
}
