/** Writes a checkpoint: what changed itself, what lasts as references to packs (checkpoint-format.ts). */
import type { FileHandle } from "node:fs/promises";
import { crc32 } from "node:zlib";
import { LastingPart } from "../core/lasting-part.ts";
import {
  type CheckpointHeader,
  END,
  encodeHeader,
  encodeReferences,
  ITSELF,
  PACKED,
  packPart,
  twoNumbers,
} from "./checkpoint-format.ts";
import { withFile } from "./durable-file.ts";
import type { PackedPart, PackWriter } from "./pack-file.ts";
import type { CheckpointPart } from "./store.ts";

/** Encoded in one turn of the event loop, or one part if that is more (P3). */
const WRITE_BYTES = 131_072;
/** References in one part: a few kilobytes. */
const REFERENCES_MAX = 100;

export interface Written {
  /** Of what was not on disk before. */
  readonly bytes: number;
  readonly packed: readonly PackedPart[];
}

/**
 * Writes and syncs; the name is the caller's to make final. Parts that last are referred to if `known`
 * has their names, else added to the pack, which is finished first.
 */
export async function writeCheckpoint(
  path: string,
  header: CheckpointHeader,
  parts: Iterable<CheckpointPart | LastingPart>,
  known: ReadonlyMap<string, PackedPart>,
  pack: PackWriter,
): Promise<Written> {
  return withFile(path, "w", async (file) => {
    const writer = new CheckpointWriter(file, encodeHeader(header));
    const packed: PackedPart[] = [];
    for (const part of parts) {
      if (!(part instanceof LastingPart)) {
        await writer.add(part);
        continue;
      }
      const { name } = part;
      const reference = known.get(name) ?? (await pack.add(name, packPart(part.make())));
      packed.push(reference);
      await writer.refer(reference);
    }
    const bytes = await pack.finish();
    return { bytes: bytes + (await writer.finish()), packed };
  });
}

/** Puts parts behind each other, and writes whenever enough came together (P3). */
class CheckpointWriter {
  readonly #file: FileHandle;
  #chunk: Uint8Array[];
  #chunkBytes = 0;
  #packed: PackedPart[] = [];
  #count = 0;
  #bytes = 0;
  #crc: number;

  constructor(file: FileHandle, header: Uint8Array) {
    this.#file = file;
    this.#chunk = [header];
    this.#crc = crc32(header);
  }

  async add(part: CheckpointPart): Promise<void> {
    // Parts are read in the order in which they came.
    await this.#putPacked();
    await this.#put(ITSELF, packPart(part));
  }

  async refer(part: PackedPart): Promise<void> {
    this.#packed.push(part);
    if (this.#packed.length === REFERENCES_MAX) await this.#putPacked();
  }

  /** Synced when resolved. Gives the bytes of its parts. */
  async finish(): Promise<number> {
    await this.#putPacked();
    this.#chunk.push(twoNumbers(END, crc32(twoNumbers(this.#count, 0), this.#crc)));
    await this.#file.writev(this.#chunk);
    await this.#file.sync();
    return this.#bytes;
  }

  async #putPacked(): Promise<void> {
    if (this.#packed.length === 0) return;
    const packed = this.#packed;
    this.#packed = [];
    await this.#put(PACKED, encodeReferences(packed));
  }

  async #put(kind: number, data: Uint8Array): Promise<void> {
    const kindByte = Uint8Array.of(kind);
    const length = 1 + data.length;
    this.#crc = crc32(data, crc32(kindByte, this.#crc));
    this.#chunk.push(twoNumbers(length, this.#crc), kindByte, data);
    this.#chunkBytes += length;
    this.#bytes += length;
    this.#count++;
    if (this.#chunkBytes < WRITE_BYTES) return;
    await this.#file.writev(this.#chunk);
    this.#chunk = [];
    this.#chunkBytes = 0;
  }
}
