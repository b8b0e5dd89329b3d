/**
 * Blocks written or read lately, bounded by their bytes. Its `message` is the hot path of every
 * delivery: one lookup, one view.
 *
 * The order is a second-chance queue and not a strict LRU: to note a use costs one assignment
 * instead of moving the entry in the map for each message.
 */
import type { SealedBlock } from "./block.ts";

interface Entry {
  readonly block: SealedBlock;
  wasUsed: boolean;
}

export class BlockCache {
  readonly #entries = new Map<number, Entry>();
  readonly #bytesMax: number;
  #bytes = 0;

  constructor(bytesMax: number) {
    this.#bytesMax = bytesMax;
  }

  get bytes(): number {
    return this.#bytes;
  }

  add(block: SealedBlock): void {
    this.#remove(block.number);
    this.#entries.set(block.number, { block, wasUsed: false });
    this.#bytes += block.bytes.length;
    this.#shrink(block.number);
  }

  get(number: number): SealedBlock | null {
    const entry = this.#entries.get(number);
    if (entry === undefined) return null;
    entry.wasUsed = true;
    return entry.block;
  }

  /** Not a use: whoever looks so wants it to stay no longer. */
  peek(number: number): SealedBlock | null {
    return this.#entries.get(number)?.block ?? null;
  }

  message(number: number, slot: number): Uint8Array | null {
    const entry = this.#entries.get(number);
    if (entry === undefined) return null;
    entry.wasUsed = true;
    return entry.block.message(slot);
  }

  clear(): void {
    this.#entries.clear();
    this.#bytes = 0;
  }

  /** The newest stays whatever its size: it is about to be read. */
  #shrink(newest: number): void {
    for (const [number, entry] of this.#entries) {
      if (this.#bytes <= this.#bytesMax) return;
      if (number === newest) continue;
      if (entry.wasUsed) {
        // To the back of the queue: the loop meets it again, now without its chance.
        entry.wasUsed = false;
        this.#entries.delete(number);
        this.#entries.set(number, entry);
      } else {
        this.#remove(number);
      }
    }
  }

  #remove(number: number): void {
    const entry = this.#entries.get(number);
    if (entry === undefined) return;
    this.#entries.delete(number);
    this.#bytes -= entry.block.bytes.length;
  }
}
