/**
 * Batches of which a part has come. A peer may begin a large one and never end it, and a thousand of them
 * would hold gigabytes: so beyond an allowance there are places for as many as can be finished, and the
 * others wait unread.
 *
 * Invariants
 * - A1 More than its allowance of an unfinished batch is held only by those who have a place.
 * - A2 Who waits goes on in the order in which they asked, when a place is free or the allowance has grown.
 *   While somebody waits, who holds more than a read is closed for sending nothing for STALLED_AFTER_MS,
 *   or for not finishing within ASSEMBLE_WITHIN_MS.
 */
import type { Clock, Timer } from "./clock.ts";
import { assemblyAllowance, assemblyPlaces, READ_BYTES } from "./memory-budget.ts";

export interface Assembler {
  pause(isPaused: boolean): void;
  tooSlow(): void;
}

/** A lost packet is sent again sooner. */
export const STALLED_AFTER_MS = 3_000;
/** The largest batch in this time is 1 Mbit/s. */
export const ASSEMBLE_WITHIN_MS = 30_000;

export class Assembly {
  readonly #bytesMax: number;
  readonly #placesMax: number;
  readonly #clock: Pick<Clock, "monotonicMs" | "setTimer">;
  /** More than one read of an unfinished batch; some of them hold places, some wait for one. */
  readonly #large = new Set<Workpiece>();
  readonly #holders = new Set<Workpiece>();
  readonly #waiting = new Set<Workpiece>();
  #bytes = 0;
  #heldBytes = 0;
  #timer: Timer | null = null;

  constructor(bytesMax: number, clock: Pick<Clock, "monotonicMs" | "setTimer">) {
    this.#bytesMax = bytesMax;
    this.#placesMax = assemblyPlaces(bytesMax);
    this.#clock = clock;
  }

  get bytes(): number {
    return this.#bytes;
  }

  open(assembler: Assembler): Workpiece {
    return { assembler, bytes: 0, sinceMs: 0, movedAtMs: 0 };
  }

  /** So much of an unfinished batch is held now; less than before: it is another batch. */
  grow(piece: Workpiece, bytes: number): void {
    if (bytes < piece.bytes) this.close(piece);
    this.#bytes += bytes - piece.bytes;
    const isHolder = this.#holders.has(piece);
    if (isHolder) this.#heldBytes += bytes - piece.bytes;
    piece.bytes = bytes;
    if (bytes <= READ_BYTES) return;
    this.#move(piece);
    if (!isHolder && bytes > this.#allowance() && !this.#waiting.has(piece)) this.#ask(piece);
  }

  /** The batch is whole, or the connection gone. */
  close(piece: Workpiece): void {
    if (this.#holders.delete(piece)) this.#heldBytes -= piece.bytes;
    this.#bytes -= piece.bytes;
    piece.bytes = 0;
    const wasLarge = this.#large.delete(piece);
    if (this.#waiting.delete(piece)) piece.assembler.pause(false);
    if (wasLarge) this.#goOn();
  }

  stop(): void {
    this.#timer?.cancel();
    this.#timer = null;
  }

  /** Those with a place have memory of their own. */
  #allowance(): number {
    return assemblyAllowance(this.#bytesMax, this.#bytes - this.#heldBytes);
  }

  // A1
  #ask(piece: Workpiece): void {
    if (this.#holders.size < this.#placesMax) return this.#hold(piece);
    this.#waiting.add(piece);
    piece.assembler.pause(true);
    this.#watch();
  }

  #hold(piece: Workpiece): void {
    this.#holders.add(piece);
    this.#heldBytes += piece.bytes;
  }

  #move(piece: Workpiece): void {
    piece.movedAtMs = this.#clock.monotonicMs();
    if (this.#large.has(piece)) return;
    this.#large.add(piece);
    piece.sinceMs = piece.movedAtMs;
  }

  // A2
  #goOn(): void {
    for (const piece of this.#waiting) {
      if (piece.bytes > this.#allowance()) {
        if (this.#holders.size >= this.#placesMax) return;
        this.#hold(piece);
      }
      this.#waiting.delete(piece);
      // Its waiting was not its own doing.
      this.#large.delete(piece);
      this.#move(piece);
      piece.assembler.pause(false);
    }
  }

  // A2
  #watch(): void {
    if (this.#timer !== null || this.#waiting.size === 0) return;
    this.#timer = this.#clock.setTimer(() => {
      this.#timer = null;
      this.#closeLate();
      this.#watch();
    }, LOOK_EVERY_MS);
  }

  #closeLate(): void {
    const nowMs = this.#clock.monotonicMs();
    for (const piece of [...this.#large]) {
      if (this.#waiting.has(piece)) continue;
      const isStalled = nowMs - piece.movedAtMs >= STALLED_AFTER_MS;
      const isLate = nowMs - piece.sinceMs >= ASSEMBLE_WITHIN_MS;
      if (this.#waiting.size > 0 && (isStalled || isLate)) piece.assembler.tooSlow();
    }
  }
}

const LOOK_EVERY_MS = 500;

/** One connection's unfinished batch. */
export interface Workpiece {
  readonly assembler: Assembler;
  bytes: number;
  sinceMs: number;
  movedAtMs: number;
}
