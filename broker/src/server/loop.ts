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
import { pushAll } from "../core/push-all.ts";
import type { Input, Send } from "../core/types.ts";
import type { Block, BlockStore } from "../store/store.ts";
import type { Clock, Timer } from "./clock.ts";
import type { PlannedSend } from "./dispatch.ts";
import type { LaneKind } from "./inbox.ts";
import { nextOpenBytes, SETTLING_RESERVE_BYTES } from "./memory-budget.ts";

export interface LoopOptions {
  readonly engine: Engine;
  readonly store: BlockStore;
  readonly clock: Clock;
  /** Does the sends; everything they rest on is on disk. */
  readonly deliver: (sends: readonly Send[]) => void;
  /** Called once, with what broke the loop. */
  readonly failed: (cause: unknown) => void;
  /** The open block takes so many bytes of batches at most while the one before it is synced; then sends wait. */
  readonly openBytesMax: number;
  /** The open block has room again. */
  readonly roomy: () => void;
  /** Deliveries or a reply were decided on; they are said when what they rest on is on disk. */
  readonly planned: (send: PlannedSend) => void;
  /** The state is now exactly that after this block: the moment for a checkpoint. */
  readonly sealed: (block: Block) => void;
  /** The block is on disk. */
  readonly written: (block: Block, seconds: number) => void;
}

const TICK: Input = { kind: "tick" };

type LoopState = "running" | "stopping" | "broken";

export class Loop {
  readonly #options: LoopOptions;
  #state: LoopState = "running";
  #sends: Send[] = [];
  #openBytes = 0;
  #fullAtBytes: number;
  #writtenBytes = 0;
  /** Answers with a listing, an inspection or a figure: far larger than what asked for them. */
  #pages = 0;
  #isWriting = false;
  #isScheduled = false;
  /** The engine has more to do: what inputs brought about, or what one step was too short for. */
  #hasMore = false;
  #timer: { readonly atMs: number; readonly timer: Timer } | null = null;
  #idle: (() => void) | null = null;

  constructor(options: LoopOptions) {
    this.#options = options;
    this.#fullAtBytes = options.openBytesMax;
  }

  /** One input. Ignored once the loop has stopped or failed: the connections are being closed. */
  take(input: Input): void {
    if (this.#state !== "running") return;
    this.#step(input, true);
    this.#hasMore = true;
    this.#schedule();
  }

  #step(input: Input, isMoreComing: boolean): void {
    const { engine, clock } = this.#options;
    try {
      const { sends, wakeAtMs } = engine.step(input, clock.nowMs(), isMoreComing);
      pushAll(this.#sends, sends);
      if (!isMoreComing) this.#sleepUntil(wakeAtMs);
      // After all of them stand in line: what follows from a plan may be the next input.
      for (const send of sends) this.#count(send);
    } catch (fault) {
      this.#break(fault);
    }
  }

  /** The inputs that follow come from a batch of so many bytes, which stays in memory with their block. */
  hold(bytes: number): void {
    this.#openBytes += bytes;
  }

  /** Verdicts and acks have room where sends have none any more. */
  hasRoom(kind: LaneKind): boolean {
    const reserve = kind === "sending" ? 0 : SETTLING_RESERVE_BYTES;
    return this.#openBytes <= this.#fullAtBytes + reserve;
  }

  /** When the open block is full for sends: on a slow disk sooner. */
  get fullAtBytes(): number {
    return this.#fullAtBytes;
  }

  /** Bytes of batches in the open block and in the one that is being written. */
  get blockBytes(): number {
    return this.#openBytes + this.#writtenBytes;
  }

  /** Large answers that wait for their block. */
  get pages(): number {
    return this.#pages;
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

  #count(send: Send): void {
    if (send.kind === "deliver" || send.kind === "reply") this.#options.planned(send);
    else if (isPage(send)) this.#pages++;
  }

  /** Gathers what arrives in one turn of the event loop into one block. */
  #schedule(): void {
    if (this.#isScheduled || this.#isWriting) return;
    this.#isScheduled = true;
    this.#options.clock.soon(() => {
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
    this.#writtenBytes = this.#openBytes;
    this.#openBytes = 0;
    this.#pages = 0;
    // Whoever found no room may have done so under a smaller limit.
    this.#options.roomy();
    if (block === null) {
      this.#writtenBytes = 0;
      return this.#say(sends);
    }
    this.#isWriting = true;
    this.#write(block).then(
      () => {
        this.#isWriting = false;
        this.#writtenBytes = 0;
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
    const ms = clock.monotonicMs() - startMs;
    const { openBytesMax } = this.#options;
    this.#fullAtBytes = nextOpenBytes(this.#fullAtBytes, openBytesMax, this.#writtenBytes, ms);
    written(block, ms / 1_000);
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

const isPage = (send: Send): boolean =>
  send.kind === "inspect" ||
  (send.kind === "frame" && send.frame.type === "ok" && send.frame.value !== undefined);
