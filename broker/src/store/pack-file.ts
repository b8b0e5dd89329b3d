/**
 * The files of a pack: encoded parts behind each other, in two copies (packs.ts, K1). Who refers to a part
 * knows where it stands and what its checksum is.
 */
import { type FileHandle, open, rename, rm } from "node:fs/promises";
import { join } from "node:path";
import { crc32 } from "node:zlib";
import { nameOfBlock, syncDirectory, TEMPORARY_SUFFIX } from "./durable-file.ts";

/** Where a part stands, and what its bytes must be. */
export interface PackedPart {
  readonly name: string;
  readonly pack: number;
  readonly at: number;
  readonly length: number;
  readonly crc: number;
}

/** Parts are written together until they have this many bytes. */
const WRITE_BYTES = 262_144;
/** Of the copies. */
const SUFFIXES = ["", ".copy"] as const;

export const packNames = (pack: number): string[] =>
  SUFFIXES.map((suffix) => nameOfBlock(pack) + suffix);

export class PackReader {
  readonly #directory: string;
  readonly #onDamage: (pack: number, name: string) => void;
  /** Null: it cannot be opened. */
  readonly #files = new Map<string, FileHandle | null>();

  constructor(directory: string, onDamage: (pack: number, name: string) => void) {
    this.#directory = directory;
    this.#onDamage = onDamage;
  }

  /** Null: no copy of it is whole. */
  async read(part: PackedPart): Promise<Buffer | null> {
    for (const name of packNames(part.pack)) {
      const data = await this.#readCopy(part, name);
      if (data !== null) return data;
      this.#onDamage(part.pack, name);
    }
    return null;
  }

  /** Reads every copy, so that a damaged one is told as long as there is another. */
  async check(part: PackedPart): Promise<void> {
    for (const name of packNames(part.pack))
      if ((await this.#readCopy(part, name)) === null) this.#onDamage(part.pack, name);
  }

  async close(): Promise<void> {
    for (const file of this.#files.values()) await file?.close();
    this.#files.clear();
  }

  async #readCopy({ at, length, crc }: PackedPart, name: string): Promise<Buffer | null> {
    const file = await this.#open(join(this.#directory, name));
    if (file === null) return null;
    try {
      // Before allocating much: whatever the checkpoint says, no file gives more than it has.
      if (length > WRITE_BYTES && at + length > (await file.stat()).size) return null;
      const data = Buffer.allocUnsafe(length);
      const { bytesRead } = await file.read(data, 0, length, at);
      return bytesRead === length && crc32(data) === crc ? data : null;
    } catch {
      // A sector that cannot be read: the other copy has it.
      return null;
    }
  }

  async #open(path: string): Promise<FileHandle | null> {
    const known = this.#files.get(path);
    if (known !== undefined) return known;
    const file = await open(path, "r").catch(() => null);
    this.#files.set(path, file);
    return file;
  }
}

/** One pack while it is written. */
export class PackWriter {
  readonly #directory: string;
  readonly #no: number;
  #files: FileHandle[] = [];
  #pending: Uint8Array[] = [];
  #pendingBytes = 0;
  #bytes = 0;

  constructor(directory: string, no: number) {
    this.#directory = directory;
    this.#no = no;
  }

  async add(name: string, data: Uint8Array): Promise<PackedPart> {
    const at = this.#bytes;
    this.#bytes += data.length;
    this.#pending.push(data);
    this.#pendingBytes += data.length;
    if (this.#pendingBytes >= WRITE_BYTES) await this.#write();
    return { name, pack: this.#no, at, length: data.length, crc: crc32(data) };
  }

  /** Durable when resolved (K2). Gives the bytes of its parts. */
  async finish(): Promise<number> {
    if (this.#bytes === 0) return 0;
    await this.#write();
    for (const file of this.#files) await file.sync();
    await this.#close();
    for (const path of this.#paths()) await rename(path + TEMPORARY_SUFFIX, path);
    await syncDirectory(this.#directory);
    return this.#bytes;
  }

  /** Nothing of it is left. */
  async abandon(): Promise<void> {
    await this.#close();
    for (const path of this.#paths()) await rm(path + TEMPORARY_SUFFIX, { force: true });
  }

  async #write(): Promise<void> {
    const data = this.#pending;
    this.#pending = [];
    this.#pendingBytes = 0;
    if (this.#files.length === 0)
      for (const path of this.#paths())
        this.#files.push(await open(path + TEMPORARY_SUFFIX, "w", 0o600));
    for (const file of this.#files) await file.writev(data);
  }

  async #close(): Promise<void> {
    const files = this.#files;
    this.#files = [];
    for (const file of files) await file.close();
  }

  #paths(): string[] {
    return packNames(this.#no).map((name) => join(this.#directory, name));
  }
}
