/**
 * The loop: input -> step -> block -> sync -> sends. One writer, one block in flight, one timer.
 *
 * Inputs are stepped as they come; their records gather in the open block while the one before it is
 * being synced (group commit). What a step wants said waits until everything it may rest on is on disk.
 *
 * Invariants
 * - P4 Sends go out only after the block that was open when they were made, and all before it, are durable.
 * - I5 After the first failure nothing is stepped, written or said any more.
 */
import type { Engine } from "../core/engine.ts";
import type { Input, Send } from "../core/types.ts";
import type { Block, BlockStore } from "../store/store.ts";
import type { Clock, Timer } from "./clock.ts";

export interface LoopOptions {
  readonly engine: Engine;
  readonly store: BlockStore;
  readonly clock: Clock;
  /** Does the sends; everything they rest on is on disk. */
  readonly deliver: (sends: readonly Send[]) => void;
  /** Called once, with what broke the loop. */
  readonly failed: (cause: unknown) => void;
  /** The open block has room again. */
  readonly roomy: () => void;
  /** The state is now exactly that after this block: the moment for a checkpoint. */
  readonly sealed: (block: Block) => void;
  /** The block is on disk. */
  readonly written: (block: Block, seconds: number) => void;
}

/** The open block may grow to this while the one before it is synced; then inputs wait. */
const OPEN_BYTES_MAX = 8 * 1_048_576;

const TICK: Input = { kind: "tick" };

type LoopState = "running" | "stopping" | "broken";

export class Loop {
  readonly #options: LoopOptions;
  #state: LoopState = "running";
  #sends: Send[] = [];
  #openBytes = 0;
  #isWriting = false;
  #isScheduled = false;
  /** The engine has more to do: what inputs brought about, or what one step was too short for. */
  #hasMore = false;
  #timer: { readonly atMs: number; readonly timer: Timer } | null = null;
  #idle: (() => void) | null = null;

  constructor(options: LoopOptions) {
    this.#options = options;
  }

  /** One input. Ignored once the loop has stopped or failed: the connections are being closed. */
  take(input: Input): void {
    if (this.#state !== "running") return;
    if (input.kind === "send" || input.kind === "prepare")
      for (const { data } of input.messages) this.#openBytes += data.length;
    if (input.kind === "copied") for (const { of } of input.messages) this.#openBytes += of.bytes;
    this.#step(input, true);
    this.#hasMore = true;
    this.#schedule();
  }

  #step(input: Input, isMoreComing: boolean): void {
    const { engine, clock } = this.#options;
    try {
      const { sends, wakeAtMs } = engine.step(input, clock.nowMs(), isMoreComing);
      for (const send of sends) this.#sends.push(send);
      if (!isMoreComing) this.#sleepUntil(wakeAtMs);
    } catch (fault) {
      this.#break(fault);
    }
  }

  get hasRoom(): boolean {
    return this.#openBytes <= OPEN_BYTES_MAX;
  }

  /** Takes nothing more; resolves when everything taken is on disk and said. */
  async stop(): Promise<void> {
    if (this.#state !== "running") return;
    this.#state = "stopping";
    this.#timer?.timer.cancel();
    this.#timer = null;
    await new Promise<void>((resolve) => {
      this.#idle = resolve;
      this.#schedule();
    });
  }

  /** Gathers what arrives in one turn of the event loop into one block. */
  #schedule(): void {
    if (this.#isScheduled || this.#isWriting) return;
    this.#isScheduled = true;
    setImmediate(() => {
      this.#isScheduled = false;
      this.#advance();
    });
  }

  #advance(): void {
    if (this.#isWriting) return;
    this.#workOff();
    if (this.#state === "broken") return;
    const block = this.#options.engine.sealBlock();
    const sends = this.#sends;
    this.#sends = [];
    const wasFull = !this.hasRoom;
    this.#openBytes = 0;
    if (wasFull) this.#options.roomy();
    if (block === null) return this.#say(sends);
    this.#isWriting = true;
    this.#write(block).then(
      () => {
        this.#isWriting = false;
        this.#say(sends);
      },
      (fault: unknown) => this.#break(fault),
    );
  }

  /** What the inputs since the last block brought about: checks and deliveries, many at once. */
  #workOff(): void {
    if (!this.#hasMore || this.#state !== "running") return;
    this.#hasMore = false;
    this.#step(TICK, false);
  }

  async #write(block: Block): Promise<void> {
    const { store, clock, sealed, written } = this.#options;
    sealed(block);
    const startMs = clock.monotonicMs();
    await store.append(block);
    written(block, (clock.monotonicMs() - startMs) / 1_000);
  }

  #say(sends: readonly Send[]): void {
    if (this.#state === "broken") return;
    try {
      if (sends.length > 0) this.#options.deliver(sends);
    } catch (fault) {
      return this.#break(fault);
    }
    const isOpen = this.#options.engine.isBlockOpen || this.#sends.length > 0;
    if (isOpen || (this.#hasMore && this.#state === "running")) return this.#schedule();
    const idle = this.#idle;
    this.#idle = null;
    idle?.();
  }

  #sleepUntil(wakeAtMs: number | null): void {
    if (wakeAtMs === null) return;
    const delayMs = Math.ceil(wakeAtMs - this.#options.clock.nowMs());
    if (delayMs <= 0) {
      this.#hasMore = true;
      return;
    }
    if (this.#timer !== null && this.#timer.atMs <= wakeAtMs) return;
    this.#timer?.timer.cancel();
    const timer = this.#options.clock.setTimer(() => {
      this.#timer = null;
      this.take(TICK);
    }, delayMs);
    this.#timer = { atMs: wakeAtMs, timer };
  }

  #break(fault: unknown): void {
    if (this.#state === "broken") return;
    this.#state = "broken";
    this.#timer?.timer.cancel();
    this.#timer = null;
    this.#idle?.();
    this.#options.failed(fault);
  }
}
