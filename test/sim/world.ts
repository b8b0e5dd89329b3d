/**
 * A world from a seed: a broker whose machine crashes, whose disk forgets, fails and lies, whose network breaks,
 * whose clients die, and two oracles: one inside that sees everything (auditor.ts), and one that knows only what
 * clients know (test/history). First faults, then a night in which little happens, then quiet, in which everything
 * must come to its end.
 */
import { crc32 } from "node:zlib";
import { encodeMessage, type Verdict, type WireMessage } from "@escrowmq/protocol";
import { Engine } from "../../broker/src/core/engine.ts";
import type { Policy } from "../../broker/src/core/policy.ts";
import type { EndpointAnswer, EndpointQuestion } from "../../broker/src/server/check-endpoint.ts";
import { gapProblems } from "../history/gaps.ts";
import { History, type SaidMessage } from "../history/history.ts";
import { judge } from "../history/judge.ts";
import { Auditor } from "./auditor.ts";
import { FAULTS, policyOf } from "./chances.ts";
import { Consumer } from "./consumer.ts";
import { finalOf, lostOf } from "./final-of.ts";
import { demandFound } from "./finds.ts";
import { BROADCAST, INSTANCES, Kinds, readersOf, withHeaders } from "./kinds.ts";
import { nextFresh } from "./ledger-deliveries.ts";
import { isBehindPending, isFullOfHeld } from "./ledger-windows.ts";
import { Link, type LinkEnds } from "./link.ts";
import { Machine, type MachineOptions, openStore } from "./machine.ts";
import { Operator } from "./operator.ts";
import { Producer } from "./producer.ts";
import { Random } from "./random.ts";
import { Reserving } from "./reserving.ts";
import { Time } from "./time.ts";
import { Trace } from "./trace.ts";
import { Database } from "./trader.ts";
import { demand, Violation } from "./violation.ts";
import { Witness } from "./witness.ts";

/** Bugs are planted here. */
export interface WorldOptions {
  readonly newEngine?: (policy: Policy) => Engine;
  readonly openStore?: MachineOptions["openStore"];
  readonly isTraced?: boolean;
}

export interface Outcome {
  readonly steps: number;
  readonly virtualMs: number;
  readonly traceHash: string;
  /** How often each kind of thing happened. */
  readonly counts: Readonly<Record<string, number>>;
}

export interface SimMessage extends SaidMessage {
  readonly data: Uint8Array;
  readonly isDelayed: boolean;
}

const SECOND = 1_000;
const MINUTE = 60 * SECOND;
/** Within this everything must have ended once faults stop: 5 checks, 6 attempts, leases of 30 s. */
const QUIET_MAX_MS = 60 * MINUTE;
/** One after the other, 2 s apart; clients repeat themselves for 5 s. */
const SETTLED_LOOKS = 4;
const utf8 = new TextEncoder();

export class World {
  readonly random: Random;
  readonly time = new Time();
  readonly history = new History();
  readonly auditor: Auditor;
  readonly database = new Database();
  readonly topics: readonly string[];
  readonly groups: readonly string[];
  readonly kinds: Kinds;
  readonly reserving: Reserving;
  /** Clients begin new things. */
  isBusy = true;
  /** Faults are over for good. */
  isQuiet = false;
  readonly #witness: Witness;
  readonly #machine: Machine;
  readonly #trace: Trace;
  readonly #links = new Set<Link>();
  readonly #producers: Producer[] = [];
  readonly #consumers: Consumer[] = [];
  readonly #operator: Operator;
  readonly #startMs: number;
  #nextId = 1;
  readonly #met: Record<string, number> = {};

  constructor(seed: number, options: WorldOptions = {}) {
    this.random = new Random(seed);
    const { random, time } = this;
    const policy = policyOf(random);
    this.auditor = new Auditor(policy);
    this.#trace = new Trace(options.isTraced ?? false);
    this.#startMs = time.nowMs;
    this.#witness = new Witness(this.auditor, time, this.#trace, () => this.#machine.disk.disk);
    this.#machine = new Machine({
      time,
      random,
      witness: this.#witness,
      policy,
      newEngine: options.newEngine ?? ((one) => new Engine(one)),
      openStore: options.openStore ?? openStore,
      ask: (question) => this.#askEndpoint(question),
    });
    this.topics = ["orders", "mail", "stock"].slice(0, random.between(1, 3));
    this.groups = ["billing", "ledger", "search"].slice(0, random.between(1, 3));
    this.kinds = new Kinds(random.fork(), [...this.groups, "support", BROADCAST]);
    this.reserving = new Reserving(seed, this.kinds);
    for (const group of [...this.groups, BROADCAST])
      for (const reader of readersOf(group)) this.#tellKinds(group, reader);
    this.#operator = new Operator(this, "ann");
    this.#hire();
  }

  /** Rejects with a Violation, or whatever else went wrong. */
  async run(): Promise<Outcome> {
    const { random, time } = this;
    this.#machine.start();
    this.#operator.dial();
    this.#operator.setUp();
    await time.run(10 * SECOND);
    for (const producer of this.#producers) producer.dial();
    // Who comes late finds something there.
    for (const consumer of this.#consumers)
      time.after(random.chance(0.2) ? random.between(1, 60) * SECOND : 0, () => consumer.dial());
    for (const producer of this.#producers) producer.work();
    this.#operator.work();
    this.#plague(12 * SECOND);
    await time.run(random.between(20, 160) * SECOND);
    this.isBusy = false;
    await time.run(random.pick([0, 0, 20, 120]) * MINUTE);
    this.#calm();
    await this.#settled();
    await this.#told();
    await this.#finish();
    return {
      steps: this.#witness.steps,
      virtualMs: time.nowMs - this.#startMs,
      traceHash: this.#trace.hash,
      counts: this.#counts(),
    };
  }

  /** By the broker's clock. */
  get brokerMs(): number {
    return Math.round(this.#machine.process.nowMs());
  }

  newId(kind: string): string {
    return `${kind}-${this.#nextId++}`;
  }

  /** Every message is another one, so that what is delivered says which it is. */
  newMessage(topic: string, headers?: Readonly<Record<string, string>>): SimMessage {
    const id = this.newId("m");
    const times = this.#someTimes();
    const kind = withHeaders(this.kinds.next(), headers);
    const data = encodeMessage({ id, topic, ...kind, body: utf8.encode(id), ...times });
    const isDelayed = times.delayMs !== undefined || times.deliverAtMs !== undefined;
    const message = { id, topic, ...kind, data, digest: crc32(data), isDelayed };
    this.history.says(message);
    return message;
  }

  /** Most messages say nothing of time. */
  #someTimes(): Pick<WireMessage, "delayMs" | "deliverAtMs" | "ttlMs"> {
    const { random } = this;
    const ttl = random.chance(0.08) ? { ttlMs: random.pick([1, 300, 5_000, 60_000]) } : {};
    if (!random.chance(0.2)) return ttl;
    const delayMs = random.chance(0.8) ? random.below(20_000) : random.below(10 * MINUTE);
    if (random.chance(0.6)) return { ...ttl, delayMs };
    return { ...ttl, deliverAtMs: Math.max(0, this.#machine.process.nowMs() + delayMs - 1_000) };
  }

  someMessages(): readonly SimMessage[] {
    return Array.from({ length: this.random.between(1, 3) }, () =>
      this.newMessage(this.random.pick(this.topics)),
    );
  }

  /** What the application's database says, to be said to the broker. */
  lookFor(transactionId: string): Verdict {
    const verdict = this.database.look(transactionId);
    if (verdict !== "unknown") this.history.suggests(transactionId, verdict);
    return verdict;
  }

  /** Null: nobody answers. */
  connect(ends: LinkEnds): Link | null {
    const { time, random } = this;
    const { process } = this.#machine;
    const link = new Link({
      time,
      random,
      witness: this.#witness,
      process,
      ends: {
        ...ends,
        closed: () => {
          this.#links.delete(link);
          ends.closed();
        },
      },
    });
    const session = this.#machine.accept(link);
    if (session === null) return null;
    this.#links.add(link);
    link.opened(session);
    return link;
  }

  #tellKinds(group: string, reader: string): void {
    const { kinds, history } = this;
    const filters = kinds.filtersOf(group).map(({ wants }) => wants);
    if (filters.length > 0) history.wants.set(reader, filters);
    const order = kinds.orderOf(group);
    if (order === "always") history.ordered.add(reader);
    if (order !== "never") history.mayHold.add(reader);
  }

  #hire(): void {
    const { random } = this;
    for (let at = random.between(1, 4); at > 0; at--) {
      const group = random.pick(["shop", "warehouse"]);
      this.#producers.push(new Producer(this, `${group} ${at}`, group, true));
    }
    if (random.chance(0.5)) this.#producers.push(new Producer(this, "cron", "cron", false));
    for (const group of this.groups)
      for (let at = random.between(1, 3); at > 0; at--)
        this.#consumers.push(new Consumer(this, `${group} ${at}`, group, this.topics));
    for (let at = random.pick([0, 2, 3]); at > 0; at--) {
      // Two of one name take each other's place.
      const instance = random.pick(INSTANCES.slice(0, at));
      this.#consumers.push(
        new Consumer(this, `${instance} ${at}`, BROADCAST, this.topics, instance),
      );
    }
    const [billing = ""] = this.groups;
    if (random.chance(0.3))
      this.#consumers.push(new Consumer(this, "support", "support", [`%DLQ%${billing}`]));
  }

  #askEndpoint({ transactionId, attempt }: EndpointQuestion): Promise<EndpointAnswer> {
    const { random } = this;
    this.#witness.asks(transactionId, attempt);
    const latencyMs = random.between(1, 5_000);
    const failure =
      random.chance(0.3) && !this.isQuiet ? random.pick(["failed", "unreachable"] as const) : null;
    return new Promise((resolve) =>
      this.#machine.process.after(latencyMs, () => {
        const outcome = failure ?? this.lookFor(transactionId);
        resolve({ outcome, latencyMs, note: "" });
      }),
    );
  }

  /** Faults, until it is quiet: many while clients work, few at night. */
  #plague(everyMs: number): void {
    const { random, time } = this;
    if (this.isQuiet) return;
    const mostMs = this.isBusy ? everyMs : 30 * MINUTE;
    time.after(random.between(200, mostMs), () => this.#plague(everyMs));
    const fault = random.weighted(FAULTS);
    this.#met[fault] = (this.#met[fault] ?? 0) + 1;
    this.#strike(fault);
  }

  #strike(fault: keyof typeof FAULTS): void {
    const { random, time } = this;
    const { disk } = this.#machine;
    const link = [...this.#links][random.below(this.#links.size)];
    switch (fault) {
      case "crash":
        return this.#crash();
      case "ambush":
        return disk.lieInWait(() => this.#crash());
      case "freeze":
        return this.#machine.freeze(random.between(100, 60_000));
      case "jump":
        return this.#machine.jump();
      case "failWrite":
        return disk.failNextWrite();
      case "flipBit":
        return this.#damage();
      case "fill":
        disk.fill();
        return time.after(random.between(1_000, 30_000), () => disk.free());
      case "cut":
        return link?.cut(random.below(5_000), random.chance(0.3) ? random.below(35_000) : 5);
      case "halfOpen":
        return link?.die(random.pick(["toBroker", "toClient"]), random.between(1_000, 35_000));
      case "slow":
        return link?.slow(random.between(100, 5_000));
      case "congest":
        return link?.congest(random.between(100, 10_000), random.chance(0.1));
    }
  }

  #damage(): void {
    const { random, time } = this;
    const { disk } = this.#machine;
    disk.flipBit();
    time.after(random.between(1_000, 60_000), () => disk.mend());
  }

  #crash(): void {
    const { random, time } = this;
    if (!this.#machine.process.isAlive) return;
    this.#machine.crash();
    for (const link of [...this.#links]) link.cut(random.between(1, 3_000), 0);
    const { disk } = this.#machine;
    if (random.chance(0.1)) disk.loseCheckpoint();
    if (random.chance(0.7)) disk.bringBack();
    time.after(random.chance(0.7) ? random.below(3_000) : random.below(120_000), () => {
      this.#machine.start();
      // I7: it dies again while it opens.
      if (random.chance(0.15)) time.after(random.below(6), () => this.#crash());
    });
  }

  #calm(): void {
    this.isQuiet = true;
    const { disk } = this.#machine;
    disk.calm();
    for (const producer of this.#producers) producer.calm();
    for (const consumer of this.#consumers) consumer.dial();
    this.#operator.dial();
    this.#operator.calm();
  }

  /** Everything has come to its end, and nothing more follows from it: a late verdict may bring new messages. */
  async #settled(): Promise<void> {
    const { time } = this;
    const untilMs = time.nowMs + QUIET_MAX_MS;
    for (let looks = 0; looks < SETTLED_LOOKS; ) {
      demand(time.nowMs < untilMs, "P5", () => `it does not come to its end: ${this.#unsettled()}`);
      await time.run(2 * SECOND);
      looks = this.#isSettled() ? looks + 1 : 0;
    }
  }

  #isSettled(): boolean {
    return this.#machine.isServing && this.#witness.isAtRest && this.#unsettled() === "";
  }

  /** P5, C1, D2: what has not come to its end. */
  #unsettled(): string {
    const { ledger } = this.auditor;
    const waiting = [...this.#producers, ...this.#consumers].find((peer) => peer.waiting > 0);
    if (waiting !== undefined) return `${waiting.name} waits for an answer`;
    for (const { id, state } of ledger.undecided.values()) if (state !== "parked") return id;
    for (const { id, dueAtMs } of ledger.schedule.all.values())
      if (dueAtMs !== Number.POSITIVE_INFINITY) return `${id} waits for its time`;
    for (const cursor of ledger.cursors.values()) {
      const { name, places } = ledger.topic(cursor.topicNo);
      const isFull = isFullOfHeld(cursor, this.auditor.policy.takenInMax);
      if (nextFresh(ledger, cursor) < places.length && !isFull)
        return `${ledger.groupName(cursor)} in ${name}`;
      for (const [offset, { kind }] of cursor.entries)
        if (kind !== "pending" && !isBehindPending(cursor, offset))
          return `${ledger.groupName(cursor)} in ${name}/${offset}, ${kind}`;
    }
    return "";
  }

  /** The last word is the disk's: with the power cut, or after an orderly end. */
  async #finish(): Promise<void> {
    const { time, random, auditor } = this;
    auditor.quiet(this.#witness.engine, this.#machine.process.nowMs());
    if (random.chance(0.5)) {
      void this.#machine.close();
      await time.run(10 * SECOND);
    }
    this.#machine.crash();
    this.#witness.crashed();
    const final = finalOf(auditor.ledger, this.#witness, this.groups);
    const [problem] = judge(this.history, final);
    if (problem !== undefined) throw new Violation("history", problem);
    for (const find of this.#operator.finds)
      demandFound(find, auditor.ledger, ({ name }, offset) =>
        this.history.messages.get(final.visible.get(name)?.[offset] ?? ""),
      );
    this.#machine.start();
    await time.run(10 * SECOND);
    demand(this.#machine.isServing, "P5", () => "it does not start again");
  }

  /** S3: whatever an instance has lost it hears of, as soon as its link is whole. */
  async #told(): Promise<void> {
    const before = lostOf(this.auditor.ledger);
    await this.time.run(MINUTE);
    const now = lostOf(this.auditor.ledger);
    const lost = new Map([...before].filter(([key, count]) => (now.get(key) ?? -1) >= count));
    const [problem] = gapProblems(this.history, lost);
    if (problem !== undefined) throw new Violation("history", problem);
  }

  #keyedReads(group: string): number {
    const reads = [...this.history.reads.values()];
    return reads.filter(
      ({ key, message }) =>
        key.startsWith(`${group} `) && this.history.messages.get(message)?.key !== undefined,
    ).length;
  }

  #counts(): Record<string, number> {
    const { faults, disk } = this.#machine.disk;
    let retired = 0;
    let expired = 0;
    let filtered = 0;
    let keyed = 0;
    for (const cursor of this.auditor.ledger.cursors.values()) filtered += cursor.filtered;
    for (const group of this.history.ordered) keyed += this.#keyedReads(group);
    for (const topic of this.auditor.ledger.topics.values()) {
      retired += topic.firstOffset;
      expired += topic.expired;
    }
    let lapsed = 0;
    for (const cursor of this.auditor.ledger.cursors.values()) lapsed += cursor.lapsed;
    let deliveries = 0;
    for (const read of this.history.reads.values()) deliveries += read.deliveries.length;
    return {
      operations: this.history.counts.ok,
      unknown: this.history.counts.info,
      transactions: this.history.transactions.size,
      deliveries,
      retired,
      expired,
      lapsed,
      recalled: this.auditor.ledger.schedule.recalled.size,
      ...this.auditor.ledger.schedule.keys.met,
      filtered,
      keyed,
      finds: this.#operator.finds.length,
      found: this.#operator.finds.reduce((found, { view }) => found + view.items.length, 0),
      abandoned: this.auditor.ledger.abandoned.size,
      gaps: this.history.heard.gaps,
      replies: this.history.talk.heard,
      removedBlocks: disk.first - 1,
      refusedStarts: this.#machine.refusals,
      failStops: this.#machine.failStops,
      ...this.#met,
      ...faults,
    };
  }
}
