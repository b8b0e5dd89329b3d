/**
 * The block store in memory: the same contract, the same bytes and the same checks as on LevelDB,
 * on a MemoryDisk that can crash, tear, lose, fail and hang. For tests, simulation, and brokers
 * that need to keep nothing.
 */
import { EscrowError } from "@escrowmq/protocol";
import { invariant } from "../core/invariant.ts";
import { LastingPart, wholePart } from "../core/lasting-part.ts";
import {
  encodeBlock,
  isEqual,
  type LogEnd,
  NO_HASH,
  openBlock,
  type SealedBlock,
} from "./block.ts";
import { packPart, unpackPart } from "./checkpoint-format.ts";
import { retiredBlock } from "./log-start.ts";
import type { MemoryDisk } from "./memory-disk.ts";
import type { Block, BlockStore, CheckpointPart, Front, Recovered, Retired } from "./store.ts";

/** Rejects with STORE_LOCKED, STORE_CORRUPT or STORE_TAIL_MISSING. */
export const openMemoryStore = (disk: MemoryDisk): Promise<MemoryStore> => MemoryStore.open(disk);

type State = "found" | "recovering" | "ready" | "failed" | "closed";

export class MemoryStore implements BlockStore {
  readonly #disk: MemoryDisk;
  #state: State = "found";
  #tail = 0;
  #end: LogEnd;
  /** The block whose append is under way: readable from memory before it is durable. */
  #appending: SealedBlock | null = null;
  #writing: Promise<unknown> = Promise.resolve();
  /** By the bytes themselves: bytes that were damaged since are other bytes. */
  /** The parts that last of the newest checkpoint, by their names. */
  #lasting: ReadonlyMap<string, Uint8Array> = new Map();
  readonly #verified = new WeakMap<Uint8Array, SealedBlock>();

  static async open(disk: MemoryDisk): Promise<MemoryStore> {
    const store = new this(disk);
    if (!disk.lock(store)) throw new EscrowError("STORE_LOCKED");
    try {
      store.#findEnd();
    } catch (error) {
      disk.unlock(store);
      throw error;
    }
    return store;
  }

  protected constructor(disk: MemoryDisk) {
    this.#disk = disk;
    this.#end = { storeId: Buffer.from(disk.storeId, "hex"), hash: NO_HASH, bytes: 0 };
  }

  get storeId(): string {
    return this.#disk.storeId;
  }

  get tail(): number {
    return this.#tail;
  }

  get bytes(): number {
    return this.#end.bytes;
  }

  get first(): number {
    return this.#disk.first;
  }

  get retiredBytes(): number {
    return this.first > 1 ? this.#readSync(this.first).bytesBefore : 0;
  }

  async *recover(): AsyncGenerator<Recovered> {
    invariant(this.#state === "found", "A store is recovered once, before the first append.");
    this.#state = "recovering";
    const checkpoint = this.#disk.checkpoints.findLast(({ block }) => block <= this.#tail);
    this.#lasting = checkpoint?.lasting ?? new Map();
    if (checkpoint !== undefined)
      yield {
        kind: "checkpoint",
        block: checkpoint.block,
        bytes: bytesOf(checkpoint.parts) - bytesOf(checkpoint.lasting.values()),
        parts: unpacked(checkpoint.parts),
      };
    let number = checkpoint?.block ?? 0;
    let hash = number === 0 ? NO_HASH : this.#readSync(number).hash();
    while (number < this.#tail) {
      await this.#disk.pace("recover");
      this.#refuseUnlessUsable();
      const sealed = this.#readSync(++number);
      if (!this.isNext(sealed, hash))
        throw new EscrowError(
          "STORE_CORRUPT",
          `Block ${number} does not follow block ${number - 1}.`,
        );
      hash = sealed.hash();
      yield { kind: "block", block: sealed.decode(), bytes: sealed.bytes.length };
    }
    if (this.#state === "recovering") this.#state = "ready";
  }

  protected isNext(block: SealedBlock, hash: Uint8Array): boolean {
    return isEqual(block.previousHash(), hash);
  }

  async append(block: Block): Promise<void> {
    this.#refuseUnlessUsable();
    invariant(this.#state === "ready", "A store is recovered before the first append.");
    invariant(this.#appending === null, "One append at a time.");
    invariant(
      block.number === this.#tail + 1,
      "Blocks are appended in the order of their numbers.",
    );
    const sealed = encodeBlock(block, this.#end);
    this.#appending = sealed;
    const writing = this.#disk.write(this, sealed.bytes);
    this.#writing = writing;
    const fault = await writing;
    this.#appending = null;
    if (fault !== null) {
      this.#state = "failed";
      throw new EscrowError(fault.code, `Block ${block.number} could not be written.`);
    }
    this.#tail = block.number;
    const bytes = this.#end.bytes + sealed.bytes.length;
    this.#end = { ...this.#end, hash: sealed.hash(), bytes };
  }

  /**
   * Of what is in memory only what was verified is given: damage shows as null, then as an error.
   */
  cached(block: number, slot: number): Uint8Array | null {
    if (this.#state === "failed" || this.#state === "closed") return null;
    if (this.#appending?.number === block) return this.#appending.message(slot);
    if (block < this.first || block > this.#tail) return null;
    if (block <= this.#tail - this.#disk.cachedBlocks) return null;
    try {
      return this.#readSync(block).message(slot);
    } catch {
      // `readMessages` will say what is wrong with it.
      return null;
    }
  }

  async readMessages(block: number, slots: readonly number[]): Promise<readonly Uint8Array[]> {
    await this.#disk.pace("read");
    this.#refuseUnlessUsable();
    const sealed = this.#readSync(block);
    return slots.map((slot) => {
      const message = sealed.message(slot);
      if (message === null)
        throw new EscrowError("STORE_CORRUPT", `Block ${block} has no message in slot ${slot}.`);
      return message;
    });
  }

  async readBlock(block: number): Promise<Block> {
    this.#refuseUnlessUsable();
    return this.#readSync(block).decode();
  }

  async saveCheckpoint(
    block: number,
    parts: Iterable<CheckpointPart | LastingPart>,
  ): Promise<number> {
    this.#refuseUnlessUsable();
    invariant(block > 0 && block <= this.#tail, "A checkpoint stands for a block on disk.");
    const lasting = new Map<string, Uint8Array>();
    const packed: Uint8Array[] = [];
    let bytes = 0;
    for (const part of parts) {
      const known = part instanceof LastingPart ? this.#lasting.get(part.name) : undefined;
      const data = known ?? packPart(wholePart(part));
      if (known === undefined) bytes += data.length;
      if (part instanceof LastingPart) lasting.set(part.name, data);
      packed.push(data);
      await this.#disk.pace("checkpoint");
    }
    this.#refuseUnlessUsable();
    this.#disk.keepCheckpoint({ block, parts: packed, lasting });
    this.#lasting = lasting;
    return bytes;
  }

  async retire(beforeBlock: number): Promise<Retired> {
    this.#refuseUnlessUsable();
    await this.#disk.pace("retire");
    this.#refuseUnlessUsable();
    const [older, newer] = this.#disk.checkpoints;
    const limit = newer === undefined ? 0 : Math.min(beforeBlock, older?.block ?? 0);
    const { segmentBlocks } = this.#disk;
    const first = limit - ((limit - 1) % segmentBlocks);
    if (first <= this.first) return { blocks: 0, bytes: 0 };
    const before = { blocks: this.first, bytes: this.retiredBytes };
    this.#disk.retire(first);
    return { blocks: first - before.blocks, bytes: this.retiredBytes - before.bytes };
  }

  async front(): Promise<Front | null> {
    this.#refuseUnlessUsable();
    const [older, newer] = this.#disk.checkpoints;
    const last = this.first + this.#disk.segmentBlocks - 1;
    if (older === undefined || newer === undefined || last >= older.block) return null;
    const next = this.#readSync(last + 1);
    return { last, bytes: next.bytesBefore - this.#readSync(this.first).bytesBefore };
  }

  async freeBytes(): Promise<number> {
    this.#refuseUnlessUsable();
    return this.#disk.freeBytes;
  }

  async close(): Promise<void> {
    if (this.#state !== "failed") this.#state = "closed";
    // After a crash nothing settles any more, and there is nothing to wait for.
    if (this.#disk.isOwnedBy(this)) await this.#writing;
    this.#disk.unlock(this);
  }

  #findEnd(): void {
    const { storeId } = this.#end;
    this.#disk.forgetTornEnd((bytes, number) => {
      try {
        openBlock(bytes, number, storeId);
        return true;
      } catch {
        // Whatever is wrong with it, it was never answered.
        return false;
      }
    });
    const tail = this.#disk.blocks.length;
    if (tail < this.#disk.acked)
      throw new EscrowError(
        "STORE_TAIL_MISSING",
        `The store ends at block ${tail}, but block ${this.#disk.acked} was acknowledged.`,
      );
    if (tail === 0) return;
    const last = this.#readSync(tail);
    this.#tail = tail;
    this.#end = { storeId, hash: last.hash(), bytes: last.bytesBefore + last.bytes.length };
  }

  #readSync(block: number): SealedBlock {
    if (block < this.first) throw retiredBlock(block);
    const bytes = this.#disk.blocks[block - 1];
    if (bytes === undefined)
      throw new EscrowError("STORE_CORRUPT", `Block ${block} is missing.`, { detail: { block } });
    const known = this.#verified.get(bytes);
    if (known?.number === block) return known;
    const sealed = openBlock(bytes, block, this.#end.storeId);
    this.#verified.set(bytes, sealed);
    return sealed;
  }

  #refuseUnlessUsable(): void {
    if (this.#state === "failed")
      throw new EscrowError("STORE_FAILED", "A write failed before; the store must be reopened.");
    if (this.#state === "closed" || !this.#disk.isOwnedBy(this))
      throw new EscrowError("STORE_FAILED", "The store is closed.");
  }
}

function bytesOf(parts: Iterable<Uint8Array>): number {
  let bytes = 0;
  for (const { length } of parts) bytes += length;
  return bytes;
}

function* unpacked(parts: readonly Uint8Array[]): Generator<CheckpointPart> {
  for (const part of parts) yield unpackPart(part);
}
