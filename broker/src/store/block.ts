/**
 * One block as bytes; pure. The header is fixed, numbers are big-endian:
 *
 *   at  0  magic "EMQB"                 at 56  payload length (u32)
 *       4  format version (u32)             60  CRC-32 of the payload
 *       8  store id (16 bytes)              64  record count (u32)
 *      24  block number (u64)               68  message count (u32)
 *      32  atMs (float64)                   72  bytes of all blocks before this one (float64)
 *      40  previous block's hash (16)       80  CRC-32 of the bytes 0..79; at 84 the payload
 *
 *   payload: length of the records section (u32) | records | end of each message (u32 each) | messages
 *
 * Invariants
 * - X1 A block's hash is made of its header, and the header holds the payload's CRC: the chain of
 *   previous hashes binds every byte of every block, at the price of hashing 84 bytes.
 * - X2 Nothing of a block is handed out before magic, version, store, number, length and both CRCs
 *   match (I6). The header has a CRC of its own because the last block has no successor whose
 *   chain would cover its time.
 * - X3 A message is found by its slot without decoding anything; recovery decodes records and no
 *   message.
 *
 * Not here: whether the previous hash is the right one. Only who reads blocks in order can say
 * (the stores do).
 */
import { hash } from "node:crypto";
import { crc32 } from "node:zlib";
import { EscrowError } from "@escrowmq/protocol";
import { invariant } from "../core/invariant.ts";
import type { LoggedMessage, LogRecord } from "../core/records.ts";
import { decodeRecords, encodeRecords, FORMAT_VERSION } from "./records.ts";
import type { Block } from "./store.ts";

/**
 * Far above any real group commit; keeps offsets in 32 bits and a damaged length from
 * allocating.
 */
export const BLOCK_BYTES_MAX = 268_435_456;
export const HASH_BYTES = 16;
/** What block 1 names as its predecessor. */
export const NO_HASH: Uint8Array = new Uint8Array(HASH_BYTES);

const MAGIC = 0x454d_5142;
const HEADER_BYTES = 84;
const AT = {
  magic: 0,
  version: 4,
  storeId: 8,
  number: 24,
  time: 32,
  previousHash: 40,
  payloadBytes: 56,
  payloadCrc: 60,
  records: 64,
  messages: 68,
  bytesBefore: 72,
  headerCrc: 80,
} as const;
const TWO_TO_32 = 4_294_967_296;

/**
 * The bytes of a block with its places worked out: made by `encodeBlock`, or by `openBlock`
 * after checking.
 */
export class SealedBlock {
  readonly number: number;
  readonly bytes: Uint8Array;
  readonly messageCount: number;
  readonly #view: DataView;
  readonly #directoryAt: number;
  readonly #messagesAt: number;

  constructor(bytes: Uint8Array) {
    this.bytes = bytes;
    this.#view = viewOf(bytes);
    this.number = readNumber(this.#view);
    this.messageCount = this.#view.getUint32(AT.messages);
    this.#directoryAt = HEADER_BYTES + 4 + this.#view.getUint32(HEADER_BYTES);
    this.#messagesAt = this.#directoryAt + 4 * this.messageCount;
  }

  get atMs(): number {
    return this.#view.getFloat64(AT.time);
  }

  /** The size of the log up to here: known at open from the last block, without counting. */
  get bytesBefore(): number {
    return this.#view.getFloat64(AT.bytesBefore);
  }

  get recordCount(): number {
    return this.#view.getUint32(AT.records);
  }

  /** 16 bytes that the next block names (X1). */
  hash(): Uint8Array {
    return hash("sha256", this.bytes.subarray(0, HEADER_BYTES), "buffer").subarray(0, HASH_BYTES);
  }

  previousHash(): Uint8Array {
    return this.bytes.subarray(AT.previousHash, AT.previousHash + HASH_BYTES);
  }

  /** The directory accounts for every byte behind it. */
  isFilled(): boolean {
    const directoryEnd = this.#messagesAt - 4;
    const bytes = this.messageCount === 0 ? 0 : this.#view.getUint32(directoryEnd);
    return this.#messagesAt + bytes === this.bytes.length;
  }

  /**
   * The encoded message at a slot: a view into the block, which stays in memory as long as the
   * view.
   */
  message(slot: number): Uint8Array | null {
    if (!Number.isInteger(slot) || slot < 0 || slot >= this.messageCount) return null;
    const start = slot === 0 ? 0 : this.#view.getUint32(this.#directoryAt + 4 * (slot - 1));
    const end = this.#view.getUint32(this.#directoryAt + 4 * slot);
    const { buffer, byteOffset } = this.bytes;
    return new Uint8Array(buffer, byteOffset + this.#messagesAt + start, end - start);
  }

  /** The block as the core knows it; messages' `data` is null. Throws STORE_CORRUPT. */
  decode(): Block {
    const { number } = this;
    const section = this.bytes.subarray(HEADER_BYTES + 4, this.#directoryAt);
    const records = decodeRecords(section, `block ${number}`);
    if (records.length !== this.recordCount)
      throw corrupt(
        number,
        `has ${records.length} records but its header says ${this.recordCount}`,
      );
    let messages = 0;
    for (const record of records) messages += messagesOf(record)?.length ?? 0;
    if (messages !== this.messageCount)
      throw corrupt(number, `names ${messages} messages but holds ${this.messageCount}`);
    return { number, atMs: this.atMs, records };
  }
}

/** What the next block goes on from. */
export interface LogEnd {
  readonly storeId: Uint8Array;
  readonly hash: Uint8Array;
  readonly bytes: number;
}

/** Each message byte is copied once, into the one buffer that is written, cached and read from. */
export function encodeBlock(block: Block, end: LogEnd): SealedBlock {
  const records = encodeRecords(block.records);
  const messages = collectMessages(block.records);
  let messageBytes = 0;
  for (const data of messages) messageBytes += data.length;
  const directoryAt = HEADER_BYTES + 4 + records.length;
  const messagesAt = directoryAt + 4 * messages.length;
  const length = messagesAt + messageBytes;
  invariant(length <= BLOCK_BYTES_MAX, `A block has at most ${BLOCK_BYTES_MAX} bytes.`);

  const bytes = Buffer.allocUnsafe(length);
  const view = viewOf(bytes);
  view.setUint32(HEADER_BYTES, records.length);
  bytes.set(records, HEADER_BYTES + 4);
  let filled = 0;
  for (let slot = 0; slot < messages.length; slot++) {
    const data = messages[slot] ?? NO_BYTES;
    bytes.set(data, messagesAt + filled);
    filled += data.length;
    view.setUint32(directoryAt + 4 * slot, filled);
  }
  view.setUint32(AT.magic, MAGIC);
  view.setUint32(AT.version, FORMAT_VERSION);
  bytes.set(end.storeId, AT.storeId);
  view.setUint32(AT.number, Math.floor(block.number / TWO_TO_32));
  view.setUint32(AT.number + 4, block.number % TWO_TO_32);
  view.setFloat64(AT.time, block.atMs);
  bytes.set(end.hash, AT.previousHash);
  view.setUint32(AT.payloadBytes, length - HEADER_BYTES);
  view.setUint32(AT.payloadCrc, crc32(bytes.subarray(HEADER_BYTES)));
  view.setUint32(AT.records, block.records.length);
  view.setUint32(AT.messages, messages.length);
  view.setFloat64(AT.bytesBefore, end.bytes);
  view.setUint32(AT.headerCrc, crc32(bytes.subarray(0, AT.headerCrc)));
  return new SealedBlock(bytes);
}

/** Checks the bytes that were found under `number` (X2). Throws STORE_CORRUPT or STORE_VERSION. */
export function openBlock(bytes: Uint8Array, number: number, storeId: Uint8Array): SealedBlock {
  if (bytes.length < HEADER_BYTES + 4)
    throw corrupt(number, `has ${bytes.length} bytes, fewer than a header`);
  const view = viewOf(bytes);
  if (view.getUint32(AT.magic) !== MAGIC) throw corrupt(number, "does not begin as a block does");
  // Before the header's CRC: a later version may place it elsewhere, and is not damage.
  const version = view.getUint32(AT.version);
  if (version > FORMAT_VERSION && version < VERSIONS_END)
    throw new EscrowError(
      "STORE_VERSION",
      `Block ${number} has format version ${version}; this broker reads up to ${FORMAT_VERSION}.`,
    );
  if (version !== FORMAT_VERSION)
    throw corrupt(number, `has the unknown format version ${version}`);
  if (view.getUint32(AT.headerCrc) !== crc32(bytes.subarray(0, AT.headerCrc)))
    throw corrupt(number, "has a header that does not match its checksum");
  if (!isEqual(bytes.subarray(AT.storeId, AT.number), storeId))
    throw corrupt(number, "belongs to another store");
  const found = readNumber(view);
  if (found !== number) throw corrupt(number, `says that it is block ${found}`);
  const length = view.getUint32(AT.payloadBytes) + HEADER_BYTES;
  if (length !== bytes.length) throw corrupt(number, `has ${bytes.length} bytes, not ${length}`);
  if (view.getUint32(AT.payloadCrc) !== crc32(bytes.subarray(HEADER_BYTES)))
    throw corrupt(number, "does not match its checksum");
  const sections = 4 + view.getUint32(HEADER_BYTES) + 4 * view.getUint32(AT.messages);
  if (sections > length - HEADER_BYTES) throw corrupt(number, "has sections beyond its end");
  const block = new SealedBlock(bytes);
  if (!block.isFilled()) throw corrupt(number, "has messages that do not fill it");
  return block;
}

/** A damaged version field is damage and not a message from the future. */
const VERSIONS_END = 65_536;
const NO_BYTES = new Uint8Array(0);

export const isEqual = (one: Uint8Array, other: Uint8Array): boolean =>
  Buffer.compare(one, other) === 0;

const corrupt = (number: number, what: string): EscrowError =>
  new EscrowError("STORE_CORRUPT", `Block ${number} ${what}.`, { detail: { block: number } });

const viewOf = (bytes: Uint8Array): DataView =>
  new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);

const readNumber = (view: DataView): number =>
  view.getUint32(AT.number) * TWO_TO_32 + view.getUint32(AT.number + 4);

const messagesOf = (record: LogRecord): readonly LoggedMessage[] | null =>
  record.kind === "sent" || record.kind === "prepared" || record.kind === "moved"
    ? record.messages
    : null;

/** In slot order (L3). */
function collectMessages(records: readonly LogRecord[]): Uint8Array[] {
  const all: Uint8Array[] = [];
  for (const record of records) {
    for (const { data, bytes } of messagesOf(record) ?? []) {
      invariant(data !== null && data.length === bytes, "A message is logged with all its bytes.");
      all.push(data);
    }
  }
  return all;
}
