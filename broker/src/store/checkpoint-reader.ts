/** Reads a checkpoint piece by piece, and what it refers to in packs (checkpoint-format.ts). */
import { type FileHandle, open } from "node:fs/promises";
import { crc32 } from "node:zlib";
import {
  type CheckpointHeader,
  decodeHeader,
  decodeReferences,
  END,
  HEADER_BYTES,
  ITSELF,
  PACKED,
  PART_BYTES_MAX,
  readTwoNumbers,
  refuseMalformed,
  twoNumbers,
  UnusableCheckpoint,
  unpackKnown,
} from "./checkpoint-format.ts";
import { withFile } from "./durable-file.ts";
import type { PackedPart, PackReader } from "./pack-file.ts";
import type { Packs } from "./packs.ts";
import type { CheckpointPart } from "./store.ts";

const CHUNK_BYTES = 1_048_576;
/** Up to here parts stay in memory between the two looks at them: most of a start is short. */
const KEPT_BYTES_MAX = 8_388_608;

export interface Checkpoint extends CheckpointHeader {
  /** Of what only this checkpoint holds. */
  readonly bytes: number;
  readonly packed: readonly PackedPart[];
  /** Beyond a few MiB they are read again as they are taken: all together they may be as big as the state. */
  readonly parts: AsyncIterable<CheckpointPart>;
}

/**
 * Reads all of it once, so that what is wrong is known before any of it is used. Throws
 * UnusableCheckpoint; a checkpoint of another store or version is one, too.
 */
export async function readCheckpoint(
  path: string,
  storeId: Uint8Array,
  packs: Packs,
): Promise<Checkpoint> {
  const header = await withFile(path, "r", async (file) =>
    decodeHeader(await new PieceReader(file).take(HEADER_BYTES)),
  );
  if (Buffer.compare(header.storeId, storeId) !== 0)
    throw new UnusableCheckpoint("it belongs to another store");
  let bytes = 0;
  let allBytes = 0;
  let kept: ReadPart[] | null = [];
  const packed: PackedPart[] = [];
  for await (const part of readParts(path, packs)) {
    const { data, reference } = part;
    refuseMalformed(data);
    if (reference === null) bytes += data.length;
    else packed.push(reference);
    allBytes += data.length;
    if (allBytes > KEPT_BYTES_MAX) kept = null;
    kept?.push(part);
  }
  return { ...header, bytes, packed, parts: unpacked(kept ?? readParts(path, packs)) };
}

async function* unpacked(
  parts: Iterable<ReadPart> | AsyncIterable<ReadPart>,
): AsyncGenerator<CheckpointPart> {
  for await (const { data } of parts) yield unpackKnown(data);
}

interface ReadPart {
  readonly data: Buffer;
  /** Null: it stands in the checkpoint itself. */
  readonly reference: PackedPart | null;
}

/** Each as soon as it matches its checksum. */
async function* readParts(path: string, packs: Packs): AsyncGenerator<ReadPart> {
  const reader = packs.reader();
  try {
    for await (const { kind, data } of readOwnParts(path)) {
      if (kind === ITSELF) yield { data, reference: null };
      else yield* readPacked(reader, decodeReferences(data));
    }
  } finally {
    await reader.close();
  }
}

async function* readPacked(
  reader: PackReader,
  references: readonly PackedPart[],
): AsyncGenerator<ReadPart> {
  for (const reference of references) {
    const data = await reader.read(reference);
    if (data === null)
      throw new UnusableCheckpoint("a part is damaged in its pack, in both copies");
    yield { data, reference };
  }
}

/** What this checkpoint needs of the packs; the parts themselves are not looked at. */
export async function readReferences(path: string): Promise<readonly PackedPart[]> {
  const all: PackedPart[] = [];
  for await (const { kind, data } of readOwnParts(path))
    if (kind !== ITSELF) for (const reference of decodeReferences(data)) all.push(reference);
  return all;
}

interface OwnPart {
  readonly kind: typeof ITSELF | typeof PACKED;
  readonly data: Buffer;
}

async function* readOwnParts(path: string): AsyncGenerator<OwnPart> {
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
      const [kind] = data;
      if (kind !== ITSELF && kind !== PACKED)
        throw new UnusableCheckpoint("a part is of an unknown kind");
      yield { kind, data: data.subarray(1) };
    }
  } finally {
    await file.close();
  }
}

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
