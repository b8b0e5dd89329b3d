/**
 * One checkpoint as a file: a header, parts, an end.
 *
 *   at  0 magic "EMQC" | 4 format version (u32) | 8 store id (16) | 24 block (float64) | 32
 *   block's hash (16)    48 CRC-32 of the bytes before
 *   each part: length (u32) | CRC-32 (u32) | kind (u8) | MessagePack
 *   the end: 0xffffffff | CRC-32 of the part count
 *
 * A part says itself, or of some parts that last where in which pack they stand (packs.ts).
 *
 * Invariants
 * - P1 Each CRC goes on from the one before it, the first from the header's: a part that is
 *   missing, moved or from another file is found as surely as a flipped bit. What stands in a pack
 *   has its own in the part that refers to it.
 * - P2 What is written can be read: each part passes the reader's pre-scan before it is written.
 * - P3 Written and read in pieces, with waits in between: the event loop is not held by a big
 *   state (checkpoint-writer.ts, checkpoint-reader.ts).
 *
 * What the parts mean is the core's business, and so is their version.
 */
import { crc32 } from "node:zlib";
import { type PreScanLimits, preScan } from "@escrowmq/protocol";
import { Packr, Unpackr } from "msgpackr";
import { invariant } from "../core/invariant.ts";
import { HASH_BYTES } from "./block.ts";
import type { PackedPart } from "./pack-file.ts";
import { FORMAT_VERSION } from "./records.ts";
import type { CheckpointPart } from "./store.ts";

export interface CheckpointHeader {
  readonly storeId: Uint8Array;
  readonly block: number;
  readonly blockHash: Uint8Array;
}

/**
 * Why a checkpoint file is not used. Never a reason not to open: the blocks can say it all
 * again.
 */
export class UnusableCheckpoint extends Error {}

const MAGIC = 0x454d_5143;
export const HEADER_BYTES = 52;
export const END = 0xffff_ffff;
/** What a part says: itself, or where parts that last stand. */
export const ITSELF = 1;
export const PACKED = 2;
export const PART_BYTES_MAX = 1_073_741_824;
const PART_SCAN: PreScanLimits = {
  depthMax: 32,
  itemsMax: 268_435_456,
  stringBytesMax: 16_777_216,
  binaryBytesMax: PART_BYTES_MAX,
};

const packr = new Packr({ useRecords: false, variableMapSize: true });
const unpackr = new Unpackr({
  useRecords: false,
  structuredClone: false,
  mapsAsObjects: true,
  // Parts are handed on; without a copy each would keep the piece of the file that it was read from.
  copyBuffers: true,
});

/** Throws at once for what could not be read back (P2). */
export function packPart(part: CheckpointPart): Uint8Array {
  const data = packr.pack(part);
  const reason = preScan(data, PART_SCAN);
  invariant(reason === null, `A checkpoint part is not plain data: ${reason}.`);
  return data;
}

export function unpackPart(data: Uint8Array): CheckpointPart {
  refuseMalformed(data);
  return unpackr.unpack(data);
}

/** As `unpackPart`, for what was looked at before. */
export const unpackKnown = (data: Uint8Array): CheckpointPart => unpackr.unpack(data);

export function refuseMalformed(data: Uint8Array): void {
  const reason = preScan(data, PART_SCAN);
  if (reason !== null) throw new UnusableCheckpoint(`a part is malformed: ${reason}`);
}

export const encodeReferences = (parts: readonly PackedPart[]): Uint8Array =>
  packPart(parts.map(({ name, pack, at, length, crc }) => [name, pack, at, length, crc]));

/** Throws UnusableCheckpoint. */
export function decodeReferences(data: Uint8Array): PackedPart[] {
  const references = unpackPart(data);
  if (!Array.isArray(references)) throw new UnusableCheckpoint("a part is malformed: no list");
  return references.map(referenceOf);
}

function referenceOf(packed: unknown): PackedPart {
  const [name, ...numbers] = Array.isArray(packed) ? (packed as readonly unknown[]) : [];
  const [pack, at, length, crc] = numbers.filter(isCount);
  if (typeof name !== "string" || pack === undefined || at === undefined)
    throw new UnusableCheckpoint("a reference is malformed");
  if (length === undefined || length > PART_BYTES_MAX || crc === undefined)
    throw new UnusableCheckpoint("a reference is malformed");
  return { name, pack, at, length, crc };
}

const isCount = (value: unknown): value is number =>
  Number.isSafeInteger(value) && Number(value) >= 0;

export function encodeHeader(header: CheckpointHeader): Uint8Array {
  const bytes = Buffer.alloc(HEADER_BYTES);
  bytes.writeUInt32BE(MAGIC, 0);
  bytes.writeUInt32BE(FORMAT_VERSION, 4);
  bytes.set(header.storeId, 8);
  bytes.writeDoubleBE(header.block, 24);
  bytes.set(header.blockHash, 32);
  bytes.writeUInt32BE(crc32(bytes.subarray(0, 48)), 48);
  return bytes;
}

/** Throws UnusableCheckpoint. */
export function decodeHeader(bytes: Buffer): CheckpointHeader {
  if (bytes.readUInt32BE(0) !== MAGIC) throw new UnusableCheckpoint("it is no checkpoint");
  const version = bytes.readUInt32BE(4);
  if (version !== FORMAT_VERSION)
    throw new UnusableCheckpoint(`it has format version ${version}, not ${FORMAT_VERSION}`);
  if (bytes.readUInt32BE(48) !== crc32(bytes.subarray(0, 48)))
    throw new UnusableCheckpoint("its header does not match its checksum");
  return {
    storeId: bytes.subarray(8, 24),
    block: bytes.readDoubleBE(24),
    blockHash: bytes.subarray(32, 32 + HASH_BYTES),
  };
}

export function twoNumbers(first: number, second: number): Buffer {
  const bytes = Buffer.allocUnsafe(8);
  bytes.writeUInt32BE(first, 0);
  bytes.writeUInt32BE(second, 4);
  return bytes;
}

export const readTwoNumbers = (bytes: Buffer): [number, number] => [
  bytes.readUInt32BE(0),
  bytes.readUInt32BE(4),
];
