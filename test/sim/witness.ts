/**
 * Stands around the broker: sees each input and what the engine makes of it, each block that is sealed, and
 * each word that goes out, and tells the auditor. It changes nothing.
 *
 * Judged here
 * - P4, I1 Nothing goes out that no step made, or before the block that it rests on is on disk.
 * - A3 Nothing refers to what retention has removed.  F1 What is copied forward is what stood there.
 * - D3 No token is given twice.  D15 Nothing is sent to a consumer after its time to live.
 * - P10 A part of a checkpoint whose name lasts is what it was.
 */
import { isDeepStrictEqual } from "node:util";
import { type BrokerFrame, decodeMessage } from "@escrowmq/protocol";
import type { Copied } from "../../broker/src/core/copy-forward.ts";
import type { Engine, SealedBlock } from "../../broker/src/core/engine.ts";
import { LastingPart } from "../../broker/src/core/lasting-part.ts";
import type { Place } from "../../broker/src/core/records.ts";
import type { Input, Ready, Send } from "../../broker/src/core/types.ts";
import type { MemoryDisk } from "../../broker/src/store/memory-disk.ts";
import type { Auditor } from "./auditor.ts";
import { placeKey } from "./ledger-facts.ts";
import type { Time } from "./time.ts";
import type { Trace } from "./trace.ts";
import { demand, Violation } from "./violation.ts";

/** The engine is compared with the ledger as a whole: often, and not at each step. */
const LOOKS_EVERY_TICKS = 8;
/** Small, so that some parts of a checkpoint are full. */
const PART_SIZES = { chunks: 1, items: 5 };

export class Witness {
  readonly #auditor: Auditor;
  readonly #time: Time;
  readonly #trace: Trace;
  readonly #disk: () => MemoryDisk;
  #engine: Engine | null = null;
  #save: () => Iterable<unknown> = () => [];
  /** Block n at index n - 1, as it was sealed last. */
  readonly #sealed: SealedBlock[] = [];
  readonly #bodies = new Map<string, Uint8Array>();
  /** The block that each word rests on. */
  readonly #restsOn = new Map<string, number>();
  readonly #tokens = new Set<string>();
  /** Replies on their way, each once. */
  #replies: string[] = [];
  /** Parts of checkpoints, by names that last. */
  readonly #lasting = new Map<string, unknown>();
  #ticks = 0;
  steps = 0;

  constructor(auditor: Auditor, time: Time, trace: Trace, disk: () => MemoryDisk) {
    this.#auditor = auditor;
    this.#time = time;
    this.#trace = trace;
    this.#disk = disk;
  }

  /** The engine that serves, or served last. */
  get engine(): Engine {
    if (this.#engine === null) throw new Error("No broker has served yet.");
    return this.#engine;
  }

  /** The blocks that are on disk. */
  get durable(): readonly SealedBlock[] {
    return this.#sealed.slice(0, this.#disk().blocks.length);
  }

  /** The same engine, but each of its steps is seen. */
  watched(engine: Engine): Engine {
    const step = engine.step.bind(engine);
    const sealBlock = engine.sealBlock.bind(engine);
    const save = engine.save.bind(engine);
    let lastNowMs = 0;
    return Object.assign(engine, {
      step: (input: Input, nowMs: number, isMoreComing = false): Ready =>
        this.guarded(() => {
          lastNowMs = nowMs;
          if (input.kind === "open") {
            this.#save = save;
            this.#opened(engine);
          }
          if (input.kind === "copied") this.#demandSameBytes(input.messages);
          const ready = step(input, nowMs, isMoreComing);
          this.#stepped(engine, input, ready, nowMs);
          if (!isMoreComing && ++this.#ticks % LOOKS_EVERY_TICKS === 0)
            this.#auditor.quiet(engine, nowMs);
          return ready;
        }),
      sealBlock: (): SealedBlock | null => {
        const block = sealBlock();
        if (block !== null) this.#keep(block);
        return block;
      },
      save: (): Iterable<unknown> => {
        this.#auditor.saved(lastNowMs - engine.core.state.atMs);
        return this.#saved(save(PART_SIZES));
      },
    });
  }

  /** P10: what has a name that was saved before is what it was. Taken when its block is on disk. */
  *#saved(parts: Iterable<unknown>): Iterable<unknown> {
    for (const part of parts) {
      if (part instanceof LastingPart) this.guarded(() => this.#demandSameAsBefore(part));
      yield part;
    }
  }

  #demandSameAsBefore({ name, make }: LastingPart): void {
    const made = structuredClone(make());
    const known = this.#lasting.get(name) ?? made;
    demand(isDeepStrictEqual(known, made), "P10", () => `${name} is not what it was`);
    this.#lasting.set(name, known);
  }

  /** On its way to a client. */
  said(connection: number, frame: BrokerFrame, nowMs: number): void {
    if (frame.type === "ok" || frame.type === "error")
      this.#demandDurable(`${connection} ${frame.re}`, frame.type);
    if (frame.type === "check")
      this.#demandDurable(`${frame.transactionId} ${frame.attempt}`, "check");
    if (frame.type === "replied") this.#demandReply(connection, frame.correlation);
    if (frame.type !== "deliver") return;
    for (const { token, message, atMs } of frame.deliveries) {
      this.#demandDurable(token, "delivery");
      this.#demandAlive(message, atMs, frame.deliveries[0]?.topic ?? "", nowMs);
      demand(!this.#tokens.has(token), "D3", () => `token ${token} is given twice`);
      this.#tokens.add(token);
    }
  }

  /** On its way to an endpoint. */
  asks(transactionId: string, attempt: number): void {
    this.guarded(() => this.#demandDurable(`${transactionId} ${attempt}`, "question"));
  }

  /** What was not on disk never happened. */
  crashed(): void {
    this.#restsOn.clear();
    this.#replies = [];
    this.#auditor.crashed(this.durable);
  }

  /** All that the engine did is on disk. */
  get isAtRest(): boolean {
    const engine = this.#engine;
    return (
      engine !== null &&
      !engine.isBlockOpen &&
      engine.core.state.block === this.#disk().blocks.length
    );
  }

  /** The parts of the engine's state, without its taking this for a checkpoint. */
  parts(): unknown[] {
    return [...this.#save()];
  }

  /** What is thrown here the broker would take for a fault of its own. */
  guarded<Result>(act: () => Result): Result {
    try {
      return act();
    } catch (error) {
      this.#time.fail(error);
      throw error;
    }
  }

  /** As `guarded`; but what is read from the disk first is sent where nobody catches anything. */
  noted(act: () => void): void {
    try {
      act();
    } catch (error) {
      this.#time.fail(error);
    }
  }

  /** The id of the message that was written there. */
  messageAt(place: Place): string {
    return decodeMessage(this.#bodyAt(place)).id;
  }

  #opened(engine: Engine): void {
    this.#engine = engine;
    this.crashed();
    this.#auditor.recovered(engine);
    this.#demandThere(engine.core.state.neededBlock, "the state after a start");
  }

  #stepped(engine: Engine, input: Input, ready: Ready, nowMs: number): void {
    const { block, atMs } = engine.core.state;
    this.#auditor.stepped(input, ready, nowMs, block, atMs);
    this.#trace.add(input, ready.records, nowMs);
    this.steps++;
    for (const send of ready.sends) this.#note(send, block);
  }

  #note(send: Send, block: number): void {
    switch (send.kind) {
      case "frame":
        if ("re" in send.frame) this.#restsOn.set(`${send.to} ${send.frame.re}`, block);
        return;
      case "inspect":
        this.#restsOn.set(`${send.to} ${send.re}`, block);
        return;
      case "deliver":
        for (const { token, place } of send.deliveries) {
          // A number that was lost with its block may come again: nobody has seen it.
          demand(!this.#tokens.has(token), "D3", () => `token ${token} is used twice`);
          this.#demandThere(place.block, "a delivery");
          this.#restsOn.set(token, block);
        }
        return;
      case "look":
        for (const { block: at } of send.places) this.#demandThere(at, "a look");
        return;
      case "reply":
        this.#replies.push(`${send.to} ${send.correlation}`);
        return;
      case "check":
      case "askEndpoint":
        if (send.slots.length > 0) this.#demandThere(send.block, "a check");
        this.#restsOn.set(`${send.transactionId} ${send.attempt}`, block);
    }
  }

  #keep(block: SealedBlock): void {
    this.#sealed[block.number - 1] = block;
    let slot = 0;
    for (const record of block.records) {
      if (!("messages" in record)) continue;
      for (const { data } of record.messages)
        if (data !== null) this.#bodies.set(`${block.number}.${slot++}`, data);
    }
  }

  #demandReply(connection: number, correlation: string): void {
    const at = this.#replies.indexOf(`${connection} ${correlation}`);
    demand(at >= 0, "Q2", () => `a reply to ${correlation} goes out that no step made`);
    this.#replies.splice(at, 1);
  }

  #demandDurable(word: string, what: string): void {
    const restsOn = this.#restsOn.get(word);
    demand(restsOn !== undefined, "P4", () => `a ${what} goes out that no step made`);
    const { acked } = this.#disk();
    demand(restsOn <= acked, "P4", () => `a ${what} goes out before block ${restsOn} is on disk`);
  }

  /** Dead letters do not end by themselves. */
  #demandAlive(message: Uint8Array, atMs: number, topic: string, nowMs: number): void {
    const { id, ttlMs = Number.POSITIVE_INFINITY } = decodeMessage(message);
    const lateMs = nowMs - (atMs + ttlMs);
    const isAlive = lateMs <= 0 || topic.startsWith("%DLQ%");
    // Not thrown: what is read from the disk is sent where nobody catches anything.
    if (!isAlive)
      this.#time.fail(new Violation("D15", `${id} is sent ${lateMs} ms after its time to live`));
  }

  #demandThere(block: number, what: string): void {
    const { first } = this.#disk();
    demand(block >= first, "A3", () => `${what} needs block ${block}, which was removed`);
  }

  #demandSameBytes(messages: readonly Copied[]): void {
    for (const { of, data } of messages)
      for (const [at, bytes] of data.entries()) {
        const place = { ...of.place, slot: of.place.slot + at };
        const isSame = Buffer.from(bytes).equals(this.#bodyAt(place));
        demand(isSame, "F1", () => `what is copied forward from ${placeKey(place)} is another`);
      }
  }

  #bodyAt(place: Place): Uint8Array {
    return this.#bodies.get(placeKey(place)) ?? new Uint8Array();
  }
}
