/**
 * Batches of which a part has come. A peer may begin a large one and never end it, and a thousand of them
 * would hold gigabytes: so there are places for as many as can be finished, and the others wait unread.
 *
 * Invariants
 * - A1 More than one read of an unfinished batch is held only by those who have a place.
 * - A2 Places go round in the order in which they were asked for; while somebody waits, who does not finish
 *   within ASSEMBLE_WITHIN_MS is closed.
 */
import type { Clock, Timer } from "./clock.ts";
import { READ_BYTES } from "./memory-budget.ts";

export interface Assembler {
  pause(isPaused: boolean): void;
  tooSlow(): void;
}

/** The largest batch in this time is 1 Mbit/s. */
export const ASSEMBLE_WITHIN_MS = 30_000;

export class Assembly {
  readonly #places: number;
  readonly #clock: Pick<Clock, "monotonicMs" | "setTimer">;
  readonly #holders = new Set<Workpiece>();
  readonly #waiting = new Set<Workpiece>();
  #bytes = 0;
  #timer: Timer | null = null;

  constructor(places: number, clock: Pick<Clock, "monotonicMs" | "setTimer">) {
    this.#places = places;
    this.#clock = clock;
  }

  get bytes(): number {
    return this.#bytes;
  }

  open(assembler: Assembler): Workpiece {
    return { assembler, bytes: 0, sinceMs: 0 };
  }

  /** So much of an unfinished batch is held now; 0: it is finished. */
  grow(piece: Workpiece, bytes: number): void {
    this.#bytes += bytes - piece.bytes;
    piece.bytes = bytes;
    if (bytes <= READ_BYTES) return this.#leave(piece);
    if (this.#holders.has(piece) || this.#waiting.has(piece)) return;
    // A1
    if (this.#holders.size < this.#places) return this.#hold(piece);
    this.#waiting.add(piece);
    piece.assembler.pause(true);
    this.#watch();
  }

  close(piece: Workpiece): void {
    this.#bytes -= piece.bytes;
    piece.bytes = 0;
    this.#leave(piece);
  }

  stop(): void {
    this.#timer?.cancel();
    this.#timer = null;
  }

  #hold(piece: Workpiece): void {
    piece.sinceMs = this.#clock.monotonicMs();
    this.#holders.add(piece);
  }

  #leave(piece: Workpiece): void {
    if (this.#waiting.delete(piece)) return piece.assembler.pause(false);
    if (!this.#holders.delete(piece)) return;
    const [next] = this.#waiting;
    if (next === undefined) return;
    this.#waiting.delete(next);
    this.#hold(next);
    next.assembler.pause(false);
  }

  // A2
  #watch(): void {
    if (this.#timer !== null || this.#waiting.size === 0) return;
    const [oldest] = this.#holders;
    const heldMs = oldest === undefined ? 0 : this.#clock.monotonicMs() - oldest.sinceMs;
    this.#timer = this.#clock.setTimer(
      () => {
        this.#timer = null;
        this.#closeLate();
        this.#watch();
      },
      Math.max(1, ASSEMBLE_WITHIN_MS - heldMs),
    );
  }

  #closeLate(): void {
    if (this.#waiting.size === 0) return;
    const nowMs = this.#clock.monotonicMs();
    for (const piece of [...this.#holders])
      if (nowMs - piece.sinceMs >= ASSEMBLE_WITHIN_MS) piece.assembler.tooSlow();
  }
}

/** One connection's unfinished batch. */
export interface Workpiece {
  readonly assembler: Assembler;
  bytes: number;
  sinceMs: number;
}
