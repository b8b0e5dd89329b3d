/**
 * What peers have been given and have not read: deliveries on their way, and bytes that the sockets hold.
 *
 * Invariants
 * - U1 A peer over its allowance gets no more deliveries until it has read half of it; the allowance
 *   shrinks as all of them together come near the share.
 * - U2 When all together pass the share, those who hold most are closed, at once and without waiting for
 *   them: what is counted here is what the process holds.
 * - U3 A peer that is gone counts no more.
 */
import { tooSlowBytes, unreadAllowance, worstFirst } from "./memory-budget.ts";

export interface Reader {
  /** No more deliveries to it, or again. */
  congested(isCongested: boolean): void;
  /** Closes it, and what waits for it is thrown away. */
  tooSlow(): void;
}

export class Unread {
  readonly #bytesMax: number;
  readonly #shelves = new Set<Shelf>();
  #bytes = 0;
  /** The allowance by which all peers were judged last. */
  #judgedBy = Number.POSITIVE_INFINITY;
  #isClosing = false;

  constructor(bytesMax: number) {
    this.#bytesMax = bytesMax;
  }

  get bytes(): number {
    return this.#bytes;
  }

  open(reader: Reader): Shelf {
    const shelf: Shelf = { reader, bytes: 0, isCongested: false };
    this.#shelves.add(shelf);
    return shelf;
  }

  /** What the peer holds now. */
  weigh(shelf: Shelf, bytes: number): void {
    if (!this.#shelves.has(shelf)) return;
    this.#bytes += bytes - shelf.bytes;
    shelf.bytes = bytes;
    if (bytes > tooSlowBytes(this.#bytesMax)) return shelf.reader.tooSlow();
    if (this.#bytes > this.#bytesMax) this.#closeWorst();
    const allowance = unreadAllowance(this.#bytesMax, this.#bytes);
    if (allowance < this.#judgedBy / 2) this.#judgeAll(allowance);
    else if (this.#shelves.has(shelf)) this.#judge(shelf, allowance);
    if (allowance > this.#judgedBy) this.#judgedBy = allowance;
  }

  // U3
  close(shelf: Shelf): void {
    if (this.#shelves.delete(shelf)) this.#bytes -= shelf.bytes;
  }

  /** Memory runs short: who was let go on by a larger allowance may have to stop, each time it is halved. */
  #judgeAll(allowance: number): void {
    this.#judgedBy = allowance;
    for (const shelf of this.#shelves) this.#judge(shelf, allowance);
  }

  // U1
  #judge(shelf: Shelf, allowance: number): void {
    const isCongested = shelf.bytes > (shelf.isCongested ? allowance / 2 : allowance);
    if (isCongested === shelf.isCongested) return;
    shelf.isCongested = isCongested;
    shelf.reader.congested(isCongested);
  }

  // U2
  #closeWorst(): void {
    if (this.#isClosing) return;
    this.#isClosing = true;
    for (const { reader } of worstFirst(this.#shelves, this.#bytes, this.#bytesMax))
      reader.tooSlow();
    this.#isClosing = false;
  }
}

/** One peer's part. */
export interface Shelf {
  readonly reader: Reader;
  bytes: number;
  isCongested: boolean;
}
