/**
 * A small file outside LevelDB: "block n with this hash was acked". LevelDB cannot tell an end
 * that was cut off from one that was never written, and the chain of hashes cannot find a missing
 * tail; a store that ends before its mark can.
 *
 * Invariants
 * - M1 The mark never runs ahead of what is on disk; it may run behind, by about a second.
 * - M2 Writing it delays no append, and no start unless a loss was accepted. A mark that cannot be written
 *   is a warning: it protects, it decides nothing.
 */
import { EscrowError } from "@escrowmq/protocol";
import { NO_HASH } from "./block.ts";
import { readStatement, replaceStatement } from "./durable-file.ts";

export interface Mark {
  readonly block: number;
  /** Hex. */
  readonly hash: string;
  /** The store was closed in order, and `block` is its last one. */
  readonly clean: boolean;
}

/**
 * Throws STORE_CORRUPT when the mark is missing or damaged: every store has one from its first
 * moment.
 */
export async function readMark(path: string): Promise<Mark> {
  const statement = await readStatement(path);
  if (statement === null) throw new EscrowError("STORE_CORRUPT", "The acked-mark is missing.");
  if (statement === "damaged") throw new EscrowError("STORE_CORRUPT", "The acked-mark is damaged.");
  return statement as unknown as Mark;
}

export class AckedMark {
  readonly #path: string;
  readonly #everyMs: number;
  readonly #onWarning: (text: string) => void;
  #block = 0;
  #hash: Uint8Array = NO_HASH;
  #written = 0;
  #writing: Promise<void> | null = null;
  #timer: NodeJS.Timeout | null = null;
  #isFinished = false;

  constructor(path: string, everyMs: number, onWarning: (text: string) => void) {
    this.#path = path;
    this.#everyMs = everyMs;
    this.#onWarning = onWarning;
  }

  /**
   * After an append. The timer is the store's own and no part of the broker's time: no state
   * hangs on it.
   */
  note(block: number, hash: Uint8Array): void {
    this.#block = block;
    this.#hash = hash;
    if (this.#timer !== null || this.#writing !== null || this.#isFinished) return;
    if (this.#everyMs === 0) void this.#startWriting();
    else {
      this.#timer = setTimeout(() => {
        this.#timer = null;
        void this.#startWriting();
      }, this.#everyMs);
      this.#timer.unref();
    }
  }

  /** As `note`, but at once. Resolves when it is on disk, or was warned of. */
  write(block: number, hash: Uint8Array): Promise<void> {
    this.#block = block;
    this.#hash = hash;
    return this.#startWriting();
  }

  /** The last word. `clean` only when nothing failed; a failed store's mark stays as it is. */
  async finish(clean: boolean): Promise<void> {
    this.#isFinished = true;
    if (this.#timer !== null) clearTimeout(this.#timer);
    this.#timer = null;
    await this.#writing;
    if (clean) await this.#replace(true);
  }

  #startWriting(): Promise<void> {
    this.#writing = this.#replace(false).finally(() => {
      this.#writing = null;
      if (this.#written < this.#block) this.note(this.#block, this.#hash);
    });
    return this.#writing;
  }

  async #replace(clean: boolean): Promise<void> {
    const block = this.#block;
    try {
      await replaceStatement(this.#path, {
        block,
        hash: Buffer.from(this.#hash).toString("hex"),
        clean,
      } satisfies Mark);
    } catch (error) {
      // M2. The older mark still stands, and the next block tries again.
      this.#onWarning(`The acked-mark could not be written: ${String(error)}.`);
    }
    this.#written = block;
  }
}
