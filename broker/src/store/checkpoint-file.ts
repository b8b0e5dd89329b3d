/**
 * One checkpoint as a file: a header, parts, an end.
 *
 *   at  0 magic "EMQC" | 4 format version (u32) | 8 store id (16) | 24 block (float64) | 32
 *   block's hash (16)    48 CRC-32 of the bytes before
 *   each part: length (u32) | CRC-32 (u32) | MessagePack      the end: 0xffffffff | CRC-32 of the
 *   part count
 *
 * Invariants
 * - P1 Each CRC goes on from the one before it, the first from the header's: a part that is
 *   missing, moved or from another file is found as surely as a flipped bit.
 * - P2 What is written can be read: each part passes the reader's pre-scan before it is written.
 * - P3 Written and read in pieces, with waits in between: the event loop is not held by a big
 *   state.
 *
 * What the parts mean is the core's business, and so is their version.
 */
import { type FileHandle, open } from "node:fs/promises";
import { crc32 } from "node:zlib";
import { type PreScanLimits, preScan } from "@escrowmq/protocol";
import { Packr, Unpackr } from "msgpackr";
import { invariant } from "../core/invariant.ts";
import { HASH_BYTES } from "./block.ts";
import { withFile } from "./durable-file.ts";
import { FORMAT_VERSION } from "./records.ts";
import type { CheckpointPart } from "./store.ts";

export interface CheckpointHeader {
  readonly storeId: Uint8Array;
  readonly block: number;
  readonly blockHash: Uint8Array;
}

export interface Checkpoint extends CheckpointHeader {
  /** Of its parts. */
  readonly bytes: number;
  /** Read again as they are taken: all together they may be as big as the state. */
  readonly parts: AsyncIterable<CheckpointPart>;
}

/**
 * Why a checkpoint file is not used. Never a reason not to open: the blocks can say it all
 * again.
 */
export class UnusableCheckpoint extends Error {}

const MAGIC = 0x454d_5143;
const HEADER_BYTES = 52;
const CHUNK_BYTES = 1_048_576;
/** Encoded in one turn of the event loop, or one part if that is more (P3). */
const WRITE_BYTES = 131_072;
const END = 0xffff_ffff;
const PART_BYTES_MAX = 1_073_741_824;
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

function refuseMalformed(data: Uint8Array): void {
  const reason = preScan(data, PART_SCAN);
  if (reason !== null) throw new UnusableCheckpoint(`a part is malformed: ${reason}`);
}

/** Writes and syncs; the name is the caller's to make final. Gives the bytes of its parts. */
export async function writeCheckpoint(
  path: string,
  header: CheckpointHeader,
  parts: Iterable<CheckpointPart>,
): Promise<number> {
  return withFile(path, "w", async (file) => {
    const head = encodeHeader(header);
    let chunk: Uint8Array[] = [head];
    let chunkBytes = head.length;
    let count = 0;
    let bytes = 0;
    let crc = crc32(head);
    for (const part of parts) {
      const data = packPart(part);
      crc = crc32(data, crc);
      chunk.push(twoNumbers(data.length, crc), data);
      chunkBytes += 8 + data.length;
      bytes += data.length;
      count++;
      if (chunkBytes < WRITE_BYTES) continue;
      await file.writev(chunk);
      chunk = [];
      chunkBytes = 0;
    }
    chunk.push(twoNumbers(END, crc32(twoNumbers(count, 0), crc)));
    await file.writev(chunk);
    await file.sync();
    return bytes;
  });
}

/**
 * Reads all of it once, so that what is wrong is known before any of it is used. Throws
 * UnusableCheckpoint; a checkpoint of another store or version is one, too.
 */
export async function readCheckpoint(path: string, storeId: Uint8Array): Promise<Checkpoint> {
  const header = await withFile(path, "r", async (file) =>
    decodeHeader(await new PieceReader(file).take(HEADER_BYTES)),
  );
  if (Buffer.compare(header.storeId, storeId) !== 0)
    throw new UnusableCheckpoint("it belongs to another store");
  let bytes = 0;
  for await (const data of readParts(path)) {
    refuseMalformed(data);
    bytes += data.length;
  }
  return { ...header, bytes, parts: unpackedParts(path) };
}

async function* unpackedParts(path: string): AsyncGenerator<CheckpointPart> {
  for await (const data of readParts(path)) yield unpackr.unpack(data);
}

/** Each as soon as it matches its checksum. */
async function* readParts(path: string): AsyncGenerator<Buffer> {
  const file = await open(path, "r");
  try {
    const pieces = new PieceReader(file);
    let count = 0;
    for (let crc = crc32(await pieces.take(HEADER_BYTES)); ; count++) {
      const [length, expected] = readTwoNumbers(await pieces.take(8));
      if (length === END) {
        if (crc32(twoNumbers(count, 0), crc) !== expected)
          throw new UnusableCheckpoint("parts are missing");
        return;
      }
      if (length > PART_BYTES_MAX) throw new UnusableCheckpoint("a part has an impossible length");
      const data = await pieces.take(length);
      crc = crc32(data, crc);
      if (crc !== expected) throw new UnusableCheckpoint("a part does not match its checksum");
      yield data;
    }
  } finally {
    await file.close();
  }
}

function encodeHeader(header: CheckpointHeader): Uint8Array {
  const bytes = Buffer.alloc(HEADER_BYTES);
  bytes.writeUInt32BE(MAGIC, 0);
  bytes.writeUInt32BE(FORMAT_VERSION, 4);
  bytes.set(header.storeId, 8);
  bytes.writeDoubleBE(header.block, 24);
  bytes.set(header.blockHash, 32);
  bytes.writeUInt32BE(crc32(bytes.subarray(0, 48)), 48);
  return bytes;
}

function decodeHeader(bytes: Buffer): CheckpointHeader {
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

function twoNumbers(first: number, second: number): Buffer {
  const bytes = Buffer.allocUnsafe(8);
  bytes.writeUInt32BE(first, 0);
  bytes.writeUInt32BE(second, 4);
  return bytes;
}

const readTwoNumbers = (bytes: Buffer): [number, number] => [
  bytes.readUInt32BE(0),
  bytes.readUInt32BE(4),
];

/**
 * Takes bytes off a file in order, reading ahead by a chunk so that small parts cost no call
 * each.
 */
class PieceReader {
  readonly #file: FileHandle;
  #ahead: Buffer = Buffer.alloc(0);

  constructor(file: FileHandle) {
    this.#file = file;
  }

  async take(length: number): Promise<Buffer> {
    if (this.#ahead.length < length) await this.#readAhead(length);
    const piece = this.#ahead.subarray(0, length);
    this.#ahead = this.#ahead.subarray(length);
    return piece;
  }

  async #readAhead(length: number): Promise<void> {
    // Before allocating: a damaged length must not cost a gigabyte.
    if (length > CHUNK_BYTES && length > (await this.#file.stat()).size)
      throw new UnusableCheckpoint("it ends too early");
    const wanted = Buffer.allocUnsafe(Math.max(length, CHUNK_BYTES));
    wanted.set(this.#ahead);
    let filled = this.#ahead.length;
    while (filled < length) {
      const { bytesRead } = await this.#file.read(wanted, filled, wanted.length - filled, null);
      if (bytesRead === 0) throw new UnusableCheckpoint("it ends too early");
      filled += bytesRead;
    }
    this.#ahead = wanted.subarray(0, filled);
  }
}
