/**
 * A world from a seed: a broker that crashes, a disk that forgets, a network that breaks, processes that die,
 * and an auditor that sees everything. First faults, then quiet, in which everything must come to its end.
 */

import { Engine } from "../../broker/src/core/engine.ts";
import { DEFAULT_POLICY, type Policy } from "../../broker/src/core/policy.ts";
import type { CheckOutcome, Place } from "../../broker/src/core/records.ts";
import type { ConnectionId, Input, NewMessage, Send } from "../../broker/src/core/types.ts";
import { message } from "../support/sim-driver.ts";
import { Auditor } from "./auditor.ts";
import { Consumer } from "./consumer.ts";
import { Operator } from "./operator.ts";
import type { Peer } from "./peer.ts";
import { Producer } from "./producer.ts";
import { Random } from "./random.ts";
import { Shell } from "./shell.ts";
import { Time } from "./time.ts";
import { Trace } from "./trace.ts";
import { Database } from "./trader.ts";
import { demand } from "./violation.ts";

export interface WorldOptions {
  readonly makeEngine?: (policy: Policy) => Engine;
  readonly answersBeforeSync?: boolean;
  readonly isTraced?: boolean;
}

export interface Outcome {
  readonly steps: number;
  readonly virtualMs: number;
  readonly traceHash: string;
  readonly crashes: number;
  /** Messages retired, those of them that a group lost, and blocks removed. */
  readonly retired: number;
  readonly expired: number;
  readonly removed: number;
  readonly counts: Readonly<Record<string, number>>;
}

const SECOND = 1_000;
const MINUTE = 60 * SECOND;
/** Within this everything must have ended once faults stop: 5 checks, 6 attempts, leases of 30 s. */
const QUIET_MAX_MS = 60 * MINUTE;

export class World {
  readonly random: Random;
  readonly time = new Time();
  readonly auditor: Auditor;
  readonly database = new Database();
  readonly topics: readonly string[];
  readonly groups: readonly string[];
  isQuiet = false;
  readonly #shell: Shell;
  readonly #trace: Trace;
  readonly #peers = new Map<ConnectionId, Peer>();
  readonly #producers: Producer[] = [];
  readonly #consumers: Consumer[] = [];
  readonly #operator: Operator;
  readonly #startMs: number;
  #nextConnection = 1;
  #nextId = 1;
  #crashes = 0;

  constructor(seed: number, options: WorldOptions = {}) {
    this.random = new Random(seed);
    const { random } = this;
    const policy = policyOf(random);
    this.auditor = new Auditor(policy);
    this.#trace = new Trace(options.isTraced ?? false);
    this.#startMs = this.time.nowMs;
    this.#shell = new Shell({
      time: this.time,
      random,
      auditor: this.auditor,
      policy,
      makeEngine: options.makeEngine ?? ((one) => new Engine(one)),
      answersBeforeSync: options.answersBeforeSync ?? false,
      deliver: (send) => this.#deliver(send),
      trace: (input, records, nowMs) => this.#trace.add(input, records, nowMs),
    });
    this.topics = ["orders", "mail", "stock"].slice(0, random.between(1, 3));
    this.groups = ["billing", "ledger", "search"].slice(0, random.between(1, 3));
    this.#operator = new Operator(this, "ann");
    this.#hire();
  }

  /** Throws a Violation, or whatever else went wrong. */
  run(): Outcome {
    const { random, time } = this;
    this.#shell.start();
    this.#operator.dial();
    this.#operator.setUp();
    time.run(10 * SECOND);
    for (const peer of [...this.#producers, ...this.#consumers]) peer.dial();
    for (const producer of this.#producers) producer.work();
    this.#operator.work();
    this.#plague();
    time.run(random.between(1, 4) * MINUTE);
    this.#calm();
    const untilMs = time.nowMs + QUIET_MAX_MS;
    while (!this.#isSettled()) {
      demand(time.nowMs < untilMs, "P5", () => `it does not come to its end: ${this.#unsettled()}`);
      time.run(10 * SECOND);
    }
    this.#finish();
    return {
      steps: this.#shell.steps,
      virtualMs: time.nowMs - this.#startMs,
      traceHash: this.#trace.hash,
      crashes: this.#crashes,
      ...this.#retention(),
      counts: this.auditor.history.counts,
    };
  }

  latencyMs(): number {
    return this.random.next() * (this.random.chance(0.02) ? 500 : 3);
  }

  newId(kind: string): string {
    return `${kind}-${this.#nextId++}`;
  }

  /** Every message is another one, so that what is delivered says which it is. */
  newMessage(topic: string): NewMessage {
    const body = this.newId("m");
    this.auditor.history.says(body, topic);
    return message(topic, body);
  }

  someMessages(): readonly NewMessage[] {
    return Array.from({ length: this.random.between(1, 3) }, () =>
      this.newMessage(this.random.pick(this.topics)),
    );
  }

  body(place: Place): Uint8Array {
    return this.#shell.body(place);
  }

  /** Null: the broker is down. */
  accept(peer: Peer): ConnectionId | null {
    if (!this.#shell.isRunning) return null;
    const connection = this.#nextConnection++;
    this.#peers.set(connection, peer);
    return connection;
  }

  take(connection: ConnectionId, input: Input): void {
    if (this.#peers.has(connection)) this.#shell.take(input);
  }

  /** The connection is broken; the broker still believes in it for a while. */
  lost(connection: ConnectionId, noticedAfterMs: number): void {
    this.time.after(noticedAfterMs, () => {
      if (!this.#peers.delete(connection)) return;
      this.#shell.take({ kind: "disconnected", connection });
    });
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
    const [billing = ""] = this.groups;
    if (random.chance(0.3))
      this.#consumers.push(new Consumer(this, "support", "support", [`%DLQ%${billing}`]));
  }

  #deliver(send: Send): void {
    const { random, time } = this;
    if (send.kind === "askEndpoint") return this.#askEndpoint(send);
    if (send.kind === "deliver" && random.chance(0.002) && !this.isQuiet)
      for (const { token } of send.deliveries)
        return time.after(1, () => this.#shell.take({ kind: "unreadable", token }));
    if (send.kind === "check" && random.chance(0.01) && !this.isQuiet) {
      const { transactionId, attempt } = send;
      return time.after(1, () => this.#shell.take({ kind: "notAsked", transactionId, attempt }));
    }
    const peer = this.#peers.get(send.to);
    time.after(this.latencyMs(), () => {
      if (peer !== undefined && peer.connection === send.to) peer.receive(send);
    });
  }

  #askEndpoint({ transactionId, attempt }: Extract<Send, { readonly kind: "askEndpoint" }>): void {
    const { random, time, database, isQuiet } = this;
    const latencyMs = random.between(1, 5_000);
    const fails = random.chance(0.3) && !isQuiet;
    const failure: CheckOutcome = random.pick(["failed", "timeout", "unreachable"]);
    time.after(latencyMs, () => {
      // A timeout at the endpoint is the engine's own, so that both can be told apart here.
      const outcome = fails && failure !== "timeout" ? failure : database.look(transactionId);
      const isCounted = outcome !== "unreachable";
      this.#shell.take({
        kind: "endpointAnswered",
        transactionId,
        attempt,
        outcome,
        isCounted,
        latencyMs,
        note: "",
      });
    });
  }

  /** Faults, until it is quiet. */
  #plague(): void {
    const { random, time } = this;
    if (this.isQuiet) return;
    time.after(random.between(200, 12_000), () => this.#plague());
    const peers = [...this.#peers.values()];
    const fault = random.weighted({ crash: 3, drop: 6, freeze: 1, congest: 2, admission: 1 });
    if (fault === "crash") return this.#crash();
    if (fault === "freeze") return this.#shell.freeze(random.between(100, 60_000));
    if (fault === "admission") {
      this.#shell.take({ kind: "admission", admission: random.pick(["settle", "settle", "none"]) });
      return time.after(3_000, () => this.#shell.take({ kind: "admission", admission: "all" }));
    }
    if (peers.length === 0) return;
    const peer = random.pick(peers);
    if (fault === "drop")
      return peer.hangUp(random.chance(0.3) ? random.below(35_000) : 5, random.below(5_000));
    const { connection } = peer;
    if (connection === null) return;
    const congest = (isCongested: boolean): void =>
      this.take(connection, { kind: "congested", connection, isCongested });
    congest(true);
    time.after(random.between(100, 10_000), () => congest(false));
  }

  #crash(): void {
    const { random, time } = this;
    if (!this.#shell.isRunning) return;
    this.#crashes++;
    this.#shell.crash();
    const peers = [...this.#peers.values()];
    this.#peers.clear();
    for (const peer of peers) peer.hangUp(0, random.between(1, 3_000));
    time.after(random.chance(0.7) ? random.below(3_000) : random.below(120_000), () => {
      this.#shell.start();
      // I7: it dies again while it opens.
      if (random.chance(0.15)) time.after(random.below(6), () => this.#crash());
    });
  }

  #calm(): void {
    this.isQuiet = true;
    for (const producer of this.#producers) producer.calm();
    for (const consumer of this.#consumers) consumer.dial();
    this.#operator.dial();
    this.#operator.calm();
    this.#shell.take({ kind: "admission", admission: "all" });
  }

  #isSettled(): boolean {
    return this.#shell.isRunning && this.#unsettled() === "";
  }

  /** P5, C1, D2: what has not come to its end. */
  #unsettled(): string {
    const { ledger } = this.auditor;
    const waiting = [...this.#producers, ...this.#consumers].find((peer) => peer.waiting > 0);
    if (waiting !== undefined) return `${waiting.name} waits for an answer`;
    for (const { id, state } of ledger.undecided.values()) if (state !== "parked") return id;
    for (const cursor of ledger.cursors.values()) {
      const { name, places } = ledger.topic(cursor.topicNo);
      if (ledger.nextFresh(cursor) < places.length) return `${ledger.groupName(cursor)} in ${name}`;
      for (const [offset, { kind }] of cursor.entries)
        if (kind !== "pending") return `${ledger.groupName(cursor)} in ${name}/${offset}, ${kind}`;
    }
    return "";
  }

  #retention(): Pick<Outcome, "retired" | "expired" | "removed"> {
    let retired = 0;
    let expired = 0;
    for (const topic of this.auditor.ledger.topics.values()) {
      retired += topic.firstOffset;
      expired += topic.expired;
    }
    return { retired, expired, removed: this.#shell.removed };
  }

  #finish(): void {
    const { engine, durable } = this.#shell;
    if (engine === null) throw new Error("The broker is down.");
    this.time.run(SECOND);
    this.auditor.quiet(engine, Math.floor(this.time.nowMs));
    this.#shell.crash();
    this.auditor.crashed(durable);
    this.auditor.history.finish(this.auditor.ledger);
    this.#shell.start();
  }
}

/** Small numbers, so that every limit is met. */
function policyOf(random: Random): Policy {
  return {
    ...DEFAULT_POLICY,
    checkAfterMs: random.pick([1_000, 6_000]),
    checkIntervalMs: random.pick([2_000, 10_000, 30_000]),
    checkAttemptsMax: random.between(2, 5),
    checkAnswerWithinMs: random.pick([1_000, 10_000]),
    undecidedAgeMaxMs: random.pick([3 * MINUTE, 72 * 60 * MINUTE]),
    checksPerConnectionMax: random.pick([1, 2, 32]),
    checksPerEndpointMax: random.pick([1, 8]),
    checksTotalMax: random.pick([2, 512]),
    undecidedPerGroupMax: random.pick([8, 500]),
    sendsKeptMs: 24 * 60 * MINUTE,
    retentionEveryMs: random.pick([100, 1_000]),
    dropAfterStartMs: random.pick([0, 5_000, 60_000]),
    deliveriesPerStepMax: random.pick([1, 5, 2_048]),
    deliveryBytesPerStepMax: random.pick([20, 4_194_304]),
  };
}
