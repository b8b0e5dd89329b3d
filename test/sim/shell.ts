/**
 * The shell around the engine as broker/src/server/loop.ts is: inputs are stepped as they come, one block is
 * written at a time, what a step wants said waits for its block; one timer. Here the disk is slow, the power
 * goes at any moment, and the block under way is then lost or kept (I2).
 */
import { isDeepStrictEqual } from "node:util";
import { type Copied, type Movable, movableBefore } from "../../broker/src/core/copy-forward.ts";
import type { Engine, SealedBlock } from "../../broker/src/core/engine.ts";
import { LastingPart, wholePart } from "../../broker/src/core/lasting-part.ts";
import type { Policy } from "../../broker/src/core/policy.ts";
import type { Place, RecordOf } from "../../broker/src/core/records.ts";
import type { Input, Question, Send } from "../../broker/src/core/types.ts";
import type { Auditor } from "./auditor.ts";
import type { Random } from "./random.ts";
import { sameStates } from "./same-states.ts";
import type { Time } from "./time.ts";
import { demand } from "./violation.ts";

export interface ShellOptions {
  readonly time: Time;
  readonly random: Random;
  readonly auditor: Auditor;
  readonly policy: Policy;
  readonly makeEngine: (policy: Policy) => Engine;
  /** A planted bug: what a step wants said is said at once. */
  readonly answersBeforeSync: boolean;
  readonly deliver: (send: Send) => void;
  readonly trace: (input: Input, records: readonly unknown[], nowMs: number) => void;
}

interface Checkpoint {
  readonly block: number;
  readonly parts: readonly unknown[];
  /** How far the engine had run beyond its block's time. */
  readonly slackMs: number;
}

/** A checkpoint whose parts are taken one by one, while inputs come. */
interface Saving {
  readonly block: number;
  readonly parts: Iterator<unknown>;
  readonly taken: unknown[];
  readonly lasting: Map<string, unknown>;
  readonly slackMs: number;
}

/** Small, so that some parts are full. */
const PART_SIZES = { chunks: 1, items: 5 };
/** Small, so that segments go all the time. */
const SEGMENT_BLOCKS = 4;

export class Shell {
  readonly #options: ShellOptions;
  #engine: Engine | null = null;
  #life = 0;
  #sends: Send[] = [];
  #writing: { readonly block: SealedBlock; readonly sends: readonly Send[] } | null = null;
  #isScheduled = false;
  #wakeAtMs: number | null = null;
  #frozenUntilMs = 0;
  /** What came while it stood still. */
  #frozen: (() => void)[] = [];
  /** As the store does: the newest last, two at most. */
  #checkpoints: readonly Checkpoint[] = [];
  #saving: Saving | null = null;
  /** What checkpoints have written under names that last. */
  readonly #lasting = new Map<string, unknown>();
  /** Blocks before it were removed: their records are kept for the oracle only. */
  #first = 1;
  #steps = 0;
  readonly #durable: SealedBlock[] = [];
  readonly #bodies = new Map<string, Uint8Array>();
  /** The server never lets an input but the tick be the last before a block; others may, as well. */
  readonly #shareOfMore: number;

  constructor(options: ShellOptions) {
    this.#options = options;
    this.#shareOfMore = options.random.pick([0.7, 1]);
  }

  get isRunning(): boolean {
    return this.#engine !== null;
  }

  get steps(): number {
    return this.#steps;
  }

  get durable(): readonly SealedBlock[] {
    return this.#durable;
  }

  /** How many blocks retention has removed. */
  get removed(): number {
    return this.#first - 1;
  }

  get engine(): Engine | null {
    return this.#engine;
  }

  body({ block, slot }: Place): Uint8Array {
    return this.#bodies.get(`${block}.${slot}`) ?? new Uint8Array();
  }

  start(): void {
    const { auditor, policy, makeEngine, random } = this.#options;
    const engine = makeEngine(policy);
    const [older = null, newer = null] = this.#checkpoints;
    const isNewest = random.chance(0.5);
    // Without the beginning of the log there is no start without a checkpoint; the newest may be damaged.
    const checkpoint = isNewest ? (newer ?? older) : this.#first > 1 ? older : null;
    if (checkpoint !== null) engine.load(structuredClone(checkpoint.parts));
    for (const block of this.#durable.slice(checkpoint?.block ?? 0)) engine.replay(block);
    auditor.recovered(engine, checkpoint?.slackMs ?? 0);
    this.#demandThere(engine.core.state.neededBlock, "the state after a start");
    this.#engine = engine;
    this.#life++;
    this.take({ kind: "open" });
  }

  /** The power goes. */
  crash(): void {
    const engine = this.#engine;
    if (engine === null) return;
    const { auditor, random, policy, makeEngine, time } = this.#options;
    const writing = this.#writing;
    const isKept = random.chance(0.5);
    if (writing !== null && isKept) this.#keep(writing.block);
    if (!engine.isBlockOpen && (writing === null || isKept)) {
      const replayed = makeEngine(policy);
      for (const block of this.#durable) replayed.replay(block);
      sameStates([...engine.save()], [...replayed.save()], Math.floor(time.nowMs));
    }
    this.#engine = null;
    this.#frozenUntilMs = 0;
    this.#sends = [];
    this.#writing = null;
    this.#saving = null;
    this.#isScheduled = false;
    this.#wakeAtMs = null;
    auditor.crashed(this.#durable);
  }

  /** The process stands still, as under SIGSTOP or on a paused virtual machine. */
  freeze(ms: number): void {
    const { time } = this.#options;
    if (this.#frozenUntilMs > time.nowMs) return;
    this.#frozenUntilMs = time.nowMs + ms;
    time.at(this.#frozenUntilMs, () => {
      for (const callback of this.#frozen.splice(0)) callback();
    });
  }

  take(input: Input): void {
    this.#awake(() => this.#step(input));
  }

  #step(input: Input): void {
    const engine = this.#engine;
    if (engine === null) return;
    const { time, auditor, trace, random } = this.#options;
    const nowMs = Math.floor(time.nowMs);
    const ready = engine.step(
      input,
      nowMs,
      input.kind !== "tick" && random.chance(this.#shareOfMore),
    );
    this.#takeParts();
    const { block, atMs } = engine.core.state;
    auditor.stepped(input, ready, nowMs, block, atMs);
    trace(input, ready.records, nowMs);
    if (++this.#steps % 16 === 0) auditor.quiet(engine, nowMs);
    if (this.#options.answersBeforeSync) for (const send of ready.sends) this.#release(send);
    else this.#sends.push(...ready.sends);
    if (ready.records.length > 0 || ready.sends.length > 0) this.#schedule();
    this.#sleepUntil(ready.wakeAtMs);
  }

  #schedule(): void {
    if (this.#isScheduled || this.#writing !== null) return;
    this.#isScheduled = true;
    this.#after(this.#options.random.next(), () => {
      this.#isScheduled = false;
      this.#advance();
    });
  }

  #advance(): void {
    const engine = this.#engine;
    if (this.#writing !== null || engine === null) return;
    const { random, time } = this.#options;
    const block = engine.sealBlock();
    const sends = this.#sends;
    this.#sends = [];
    if (block === null) return this.#say(sends);
    if (this.#saving === null && random.chance(0.06))
      this.#saving = {
        block: block.number,
        parts: engine.save(PART_SIZES)[Symbol.iterator](),
        taken: [],
        lasting: new Map(),
        slackMs: Math.max(0, Math.floor(time.nowMs) - block.atMs),
      };
    const { neededBlock } = engine.core.state;
    this.#writing = { block, sends };
    this.#after(random.chance(0.05) ? random.between(20, 400) : random.next() * 3, () => {
      this.#writing = null;
      this.#keep(block);
      this.#retire(neededBlock);
      this.#copyForward(engine);
      this.#say(sends);
    });
  }

  /** Some parts of the checkpoint: they must say how it was after its block, whatever came since (P9). */
  #takeParts(): void {
    const saving = this.#saving;
    if (saving === null) return;
    const { block, parts, taken, lasting, slackMs } = saving;
    for (let left = this.#options.random.between(1, 4); left > 0; left--) {
      const next = parts.next();
      if (next.done === true) break;
      taken.push(this.#kept(next.value, saving.lasting));
      if (left === 1) return;
    }
    if (this.#durable.length < block) return;
    this.#checkpoints = [...this.#checkpoints.slice(-1), { block, parts: taken, slackMs }];
    for (const [name, part] of lasting) this.#lasting.set(name, part);
    this.#saving = null;
  }

  /** As a store does: what has a name that it knows is taken from there. It would be made the same (P10). */
  #kept(part: unknown, lasting: Map<string, unknown>): unknown {
    const made = structuredClone(wholePart(part));
    if (!(part instanceof LastingPart)) return made;
    const known = this.#lasting.get(part.name) ?? made;
    demand(isDeepStrictEqual(known, made), "P10", () => `${part.name} is not what it was`);
    lasting.set(part.name, known);
    return known;
  }

  #keep(block: SealedBlock): void {
    this.#durable.push(block);
    let slot = 0;
    for (const record of block.records) {
      if (!("messages" in record)) continue;
      if (record.kind === "moved") this.#demandSameBytes(record);
      for (const { data } of record.messages)
        this.#bodies.set(`${block.number}.${slot++}`, data ?? new Uint8Array());
    }
  }

  /** As the store does: whole segments, and only what lies before the older one of two checkpoints. */
  #retire(neededBlock: number): void {
    const [older, newer] = this.#checkpoints;
    if (older === undefined || newer === undefined) return;
    const before = Math.min(neededBlock, older.block);
    this.#first = Math.max(this.#first, before - (before % SEGMENT_BLOCKS));
  }

  /** D1, F1: what is copied forward is what stood there. */
  #demandSameBytes({ messages, entries }: RecordOf<"moved">): void {
    for (const { at, from } of entries)
      demand(
        Buffer.from(messages[at]?.data ?? []).equals(this.body(from)),
        "F1",
        () => `what is copied forward from ${from.block}.${from.slot} is something else`,
      );
  }

  /** As broker/src/server/copy-forward.ts does, but whatever the segment holds; it is read for a while. */
  #copyForward(engine: Engine): void {
    const { random } = this.#options;
    if (!random.chance(0.02) || engine.core.admission !== "all") return;
    const [older] = this.#checkpoints;
    if (older === undefined) return;
    const messages: Copied[] = [];
    for (const of of movableBefore(engine.core.state, older.block)) {
      if (of === null) continue;
      if (messages.push(this.#read(of)) >= random.between(1, 20)) break;
    }
    if (messages.length > 0)
      this.#after(random.next() * 20, () => this.#step({ kind: "copied", messages }));
  }

  #read(of: Movable): Copied {
    const { block, slot } = of.place;
    this.#demandThere(block, "a copy");
    const count = of.kind === "entry" ? 1 : of.count;
    const data = Array.from({ length: count }, (_, at) => this.body({ block, slot: slot + at }));
    return { of, data };
  }

  /** A3: nothing refers to what retention has removed. */
  #demandThere(block: number, what: string): void {
    demand(block >= this.#first, "A3", () => `${what} needs block ${block}, which was removed`);
  }

  #say(sends: readonly Send[]): void {
    for (const send of sends) this.#release(send);
    if (this.#engine?.isBlockOpen === true || this.#sends.length > 0) this.#schedule();
  }

  #release(send: Send): void {
    this.#options.auditor.released(send, this.#durable.length);
    if (send.kind === "deliver") return this.#releaseDeliveries(send);
    const isCheck = send.kind === "check" || send.kind === "askEndpoint";
    if (isCheck && send.slots.length > 0 && send.block < this.#first) return this.#tooLate(send);
    this.#options.deliver(send);
  }

  /** Copied forward in the very block that these rest on, which let its segment go: they cannot be read. */
  #releaseDeliveries(send: Extract<Send, { readonly kind: "deliver" }>): void {
    const { deliver } = this.#options;
    const state = this.#engine?.core.state;
    const deliveries = send.deliveries.filter(({ place, offset, token }) => {
      if (place.block >= this.#first) return true;
      const now = state?.topicsByName.get(send.topic)?.neededPlaceOf(offset);
      this.#demandThere(now?.block ?? this.#first, "a delivery");
      this.#after(1, () => this.#step({ kind: "unreadable", token }));
      return false;
    });
    if (deliveries.length > 0) deliver({ ...send, deliveries });
  }

  /** As with such deliveries: it is asked again, from where the messages stand now. */
  #tooLate({ transactionId, attempt }: Question): void {
    const transaction = this.#engine?.core.state.transactions.get(transactionId);
    this.#demandThere(transaction?.place.block ?? this.#first, "a check");
    this.#after(1, () => this.#step({ kind: "notAsked", transactionId, attempt }));
  }

  #sleepUntil(wakeAtMs: number | null): void {
    if (wakeAtMs === null) return;
    const { time } = this.#options;
    if (this.#wakeAtMs !== null && this.#wakeAtMs <= wakeAtMs) return;
    this.#wakeAtMs = wakeAtMs;
    this.#after(Math.max(0, wakeAtMs - time.nowMs), () => {
      if (this.#wakeAtMs !== wakeAtMs) return;
      this.#wakeAtMs = null;
      this.#step({ kind: "tick" });
    });
  }

  /** In this life of the broker, after `ms`, and not while it stands still. */
  #after(ms: number, callback: () => void): void {
    const life = this.#life;
    this.#options.time.after(ms, () => {
      if (life === this.#life && this.#engine !== null) this.#awake(callback);
    });
  }

  #awake(callback: () => void): void {
    if (this.#frozenUntilMs <= this.#options.time.nowMs) return callback();
    const life = this.#life;
    this.#frozen.push(() => {
      if (life === this.#life && this.#engine !== null) callback();
    });
  }
}
