/** Prometheus metrics: counted as things are said, gauges read when somebody asks. */
import { createRequire } from "node:module";
import type * as PromClient from "prom-client";
import type { LogRecord } from "../core/records.ts";
import type { Send } from "../core/types.ts";
import type { MemoryFigures } from "./flow.ts";

// By require, as all CommonJS here, and only these parts: the others bring OpenTelemetry and cluster along (ADR 10).
const require = createRequire(import.meta.url);
const Registry: typeof PromClient.Registry = require("prom-client/lib/registry");
const Counter: typeof PromClient.Counter = require("prom-client/lib/counter");
const Gauge: typeof PromClient.Gauge = require("prom-client/lib/gauge");
const Histogram: typeof PromClient.Histogram = require("prom-client/lib/histogram");

export interface Figures {
  readonly connections: number;
  readonly undecided: number;
  readonly parked: number;
  readonly undecidedBytes: number;
  readonly oldestUndecidedAgeMs: number;
  readonly messages: number;
  readonly leased: number;
  readonly waiting: number;
  readonly held: number;
  readonly filtered: number;
  readonly standing: number;
  readonly pausedGroups: number;
  readonly deadLetters: number;
  readonly instances: number;
  readonly instancesConnected: number;
  readonly retired: number;
  readonly expired: number;
  readonly aboutToLose: number;
  readonly scheduled: number;
  readonly queued: number;
  readonly reservedKeys: number;
  readonly overdueMs: number;
  readonly lapsed: number;
  readonly heldBytes: number;
  readonly storeBytes: number;
  readonly retiredBytes: number;
  readonly frontLiveBytes: number;
  readonly copiedBytes: number;
  readonly freeBytes: number;
  readonly pausedConnections: number;
  readonly memory: MemoryFigures;
}

/** While the broker does not serve. */
export const NO_FIGURES: Figures = {
  connections: 0,
  undecided: 0,
  parked: 0,
  undecidedBytes: 0,
  oldestUndecidedAgeMs: 0,
  messages: 0,
  leased: 0,
  waiting: 0,
  held: 0,
  filtered: 0,
  standing: 0,
  pausedGroups: 0,
  deadLetters: 0,
  instances: 0,
  instancesConnected: 0,
  retired: 0,
  expired: 0,
  aboutToLose: 0,
  scheduled: 0,
  queued: 0,
  reservedKeys: 0,
  overdueMs: 0,
  lapsed: 0,
  heldBytes: 0,
  storeBytes: 0,
  retiredBytes: 0,
  frontLiveBytes: 0,
  copiedBytes: 0,
  freeBytes: 0,
  pausedConnections: 0,
  memory: {
    sending: 0,
    settling: 0,
    assembling: 0,
    blocks: 0,
    reading: 0,
    asking: 0,
    unread: 0,
  },
};

export class Metrics {
  readonly #registry = new Registry();
  readonly #records = this.#counter("records_total", "Records written, by kind", ["kind"]);
  readonly #messages = this.#counter(
    "messages_in_total",
    "Messages accepted by send and prepare",
    [],
  );
  readonly #verdicts = this.#counter("verdicts_total", "Transactions decided", ["verdict", "by"]);
  readonly #checks = this.#counter("checks_total", "Checks ended, by outcome", ["outcome"]);
  readonly #deliveries = this.#counter("deliveries_total", "Deliveries started", []);
  readonly #returns = this.#counter(
    "returns_total",
    "Deliveries that ended without an ack, by cause",
    ["cause"],
  );
  readonly #refusals = this.#counter("refusals_total", "Requests refused, by code", ["code"]);
  readonly #replies = this.#counter("replies_total", "Replies handed to who asked", []);
  readonly #unreadable = this.#counter(
    "unreadable_messages_total",
    "Messages whose bytes did not match their checksum",
    [],
  );
  readonly #failures = this.#counter(
    "store_failures_total",
    "Times the store failed and was reopened",
    [],
  );
  readonly #tooSlow = this.#counter(
    "too_slow_total",
    "Connections closed because of what they did not read, or did not finish",
    [],
  );
  readonly #sync = new Histogram({
    name: "escrowmq_block_write_seconds",
    help: "Time from handing a block to the store until it is on disk",
    buckets: [0.0002, 0.0005, 0.001, 0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1],
    registers: [this.#registry],
  });

  readonly #memory = new Gauge({
    name: "escrowmq_memory_bytes",
    help: "What peers make the broker hold, by part of memoryBytesMax",
    labelNames: ["part"],
    registers: [this.#registry],
  });
  readonly #gauges = GAUGES.map(([name, help, read]) => ({
    gauge: new Gauge({ name: `escrowmq_${name}`, help, registers: [this.#registry] }),
    read,
  }));
  readonly #figures: () => Figures;

  constructor(figures: () => Figures) {
    this.#figures = figures;
  }

  get contentType(): string {
    return this.#registry.contentType;
  }

  /** The figures are gathered once for all gauges: that goes through all topics and groups. */
  text(): Promise<string> {
    const figures = this.#figures();
    for (const { gauge, read } of this.#gauges) gauge.set(read(figures));
    for (const [part, bytes] of Object.entries(figures.memory)) this.#memory.set({ part }, bytes);
    return this.#registry.metrics();
  }

  wrote(records: readonly LogRecord[], seconds: number): void {
    this.#sync.observe(seconds);
    const tally = new Tally();
    for (const record of records) tally.add(record);
    this.#messages.inc(tally.messages);
    this.#deliveries.inc(tally.deliveries);
    for (const [kind, count] of tally.kinds) this.#records.inc({ kind }, count);
    for (const { labels, count } of tally.verdicts.values()) this.#verdicts.inc(labels, count);
    for (const [outcome, count] of tally.checks) this.#checks.inc({ outcome }, count);
    for (const [cause, count] of tally.returns) this.#returns.inc({ cause }, count);
  }

  said(send: Send): void {
    if (send.kind === "reply") this.#replies.inc();
    if (send.kind === "frame" && send.frame.type === "error")
      this.#refusals.inc({ code: send.frame.code });
  }

  unreadable(): void {
    this.#unreadable.inc();
  }

  tooSlow(): void {
    this.#tooSlow.inc();
  }

  storeFailed(): void {
    this.#failures.inc();
  }

  #counter<Label extends string>(
    name: string,
    help: string,
    labelNames: readonly Label[],
  ): PromClient.Counter<Label> {
    return new Counter({ name: `escrowmq_${name}`, help, labelNames, registers: [this.#registry] });
  }
}

/** One block's records, counted before the counters are touched: a touch costs more than the counting. */
class Tally {
  messages = 0;
  deliveries = 0;
  readonly kinds = new Map<string, number>();
  readonly checks = new Map<string, number>();
  readonly returns = new Map<string, number>();
  readonly verdicts = new Map<string, { labels: { verdict: string; by: string }; count: number }>();

  add(record: LogRecord): void {
    countOne(this.kinds, record.kind);
    switch (record.kind) {
      case "sent":
      case "prepared":
        this.messages += record.messages.length;
        return;
      case "decided":
        return this.#decided(record.verdict, record.by);
      case "checked":
        return countOne(this.checks, record.outcome);
      case "delivered":
        this.deliveries += record.offsets.length;
        return;
      case "returned":
        return countOne(this.returns, record.cause);
      default:
    }
  }

  #decided(verdict: string, by: string): void {
    const key = `${verdict} ${by}`;
    const known = this.verdicts.get(key);
    if (known === undefined) this.verdicts.set(key, { labels: { verdict, by }, count: 1 });
    else known.count++;
  }
}

function countOne(counts: Map<string, number>, key: string): void {
  counts.set(key, (counts.get(key) ?? 0) + 1);
}

const GAUGES: readonly (readonly [
  name: string,
  help: string,
  read: (figures: Figures) => number,
])[] = [
  ["connections", "Open connections", (figures) => figures.connections],
  [
    "paused_connections",
    "Connections that are not read from because they send faster than the disk takes it",
    (figures) => figures.pausedConnections,
  ],
  [
    "undecided_transactions",
    "Transactions without a verdict, parked ones included",
    (figures) => figures.undecided,
  ],
  ["parked_transactions", "Transactions that nobody could decide", (figures) => figures.parked],
  ["undecided_bytes", "Bytes of half messages", (figures) => figures.undecidedBytes],
  [
    "oldest_undecided_seconds",
    "Age of the oldest undecided transaction",
    (figures) => figures.oldestUndecidedAgeMs / 1_000,
  ],
  ["messages", "Messages in all topics", (figures) => figures.messages],
  ["leased_deliveries", "Deliveries under way", (figures) => figures.leased],
  ["waiting_retries", "Messages waiting for their next delivery", (figures) => figures.waiting],
  [
    "held_messages",
    "Messages behind another one of their key, in ordered groups",
    (figures) => figures.held,
  ],
  ["filtered_messages", "Messages that filters passed over, ever", (figures) => figures.filtered],
  [
    "standing_groups",
    "Groups, once a topic, that take nothing more in for now",
    (figures) => figures.standing,
  ],
  ["paused_groups", "Groups to which nothing is delivered", (figures) => figures.pausedGroups],
  ["dead_letters", "Messages in dead-letter topics", (figures) => figures.deadLetters],
  ["instances", "Instances of broadcast groups", (figures) => figures.instances],
  ["instances_connected", "Those that are here", (figures) => figures.instancesConnected],
  ["retired_messages", "Messages that retention took, ever", (figures) => figures.retired],
  [
    "expired_messages",
    "Messages that retention took before a group had settled them, once a group, ever",
    (figures) => figures.expired,
  ],
  [
    "groups_about_to_lose",
    "Groups, once a topic, whose oldest messages retention is about to drop",
    (figures) => figures.aboutToLose,
  ],
  ["scheduled_messages", "Messages that wait for their time", (figures) => figures.scheduled],
  [
    "queued_messages",
    "Messages that wait for the verdicts of transactions that reserve their keys",
    (figures) => figures.queued,
  ],
  [
    "reserved_keys",
    "Keys that undecided transactions reserve, once a transaction",
    (figures) => figures.reservedKeys,
  ],
  [
    "scheduled_overdue_ms",
    "For how long the first scheduled message has been due",
    (figures) => figures.overdueMs,
  ],
  [
    "lapsed_messages",
    "Messages whose time to live was over before a group was sent them, once a group, ever",
    (figures) => figures.lapsed,
  ],
  [
    "retention_held_bytes",
    "Bytes that are due to be retired and held back by groups",
    (figures) => figures.heldBytes,
  ],
  ["store_bytes", "Bytes of all blocks on disk", (figures) => figures.storeBytes],
  ["retired_bytes", "Bytes of blocks that were removed, ever", (figures) => figures.retiredBytes],
  [
    "front_segment_live_bytes",
    "Bytes of messages that are all that keeps the oldest segment, counted up to 32 MiB",
    (figures) => figures.frontLiveBytes,
  ],
  [
    "copied_forward_bytes",
    "Bytes of messages copied out of old segments since the start",
    (figures) => figures.copiedBytes,
  ],
  ["disk_free_bytes", "Free bytes on the data directory's disk", (figures) => figures.freeBytes],
];
