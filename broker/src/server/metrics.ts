/** Prometheus metrics: counted as things are said, gauges read when somebody asks. */
import { Counter, Gauge, Histogram, Registry } from "prom-client";
import type { LogRecord } from "../core/records.ts";
import type { Send } from "../core/types.ts";
import type { MemoryFigures } from "./flow.ts";

export interface Figures {
  readonly connections: number;
  readonly undecided: number;
  readonly parked: number;
  readonly undecidedBytes: number;
  readonly oldestUndecidedAgeMs: number;
  readonly messages: number;
  readonly leased: number;
  readonly waiting: number;
  readonly deadLetters: number;
  readonly storeBytes: number;
  readonly freeBytes: number;
  readonly pausedConnections: number;
  readonly memory: MemoryFigures;
}

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

  constructor(figures: () => Figures) {
    for (const [name, help, read] of GAUGES) {
      new Gauge({
        name: `escrowmq_${name}`,
        help,
        registers: [this.#registry],
        collect() {
          this.set(read(figures()));
        },
      });
    }
    const memory = new Gauge({
      name: "escrowmq_memory_bytes",
      help: "What peers make the broker hold, by part of memoryBytesMax",
      labelNames: ["part"],
      registers: [this.#registry],
      collect() {
        for (const [part, bytes] of Object.entries(figures().memory)) memory.set({ part }, bytes);
      },
    });
  }

  get contentType(): string {
    return this.#registry.contentType;
  }

  text(): Promise<string> {
    return this.#registry.metrics();
  }

  wrote(records: readonly LogRecord[], seconds: number): void {
    this.#sync.observe(seconds);
    const counts = new Map<string, number>();
    for (const record of records) {
      counts.set(record.kind, (counts.get(record.kind) ?? 0) + 1);
      this.#wroteOne(record);
    }
    for (const [kind, count] of counts) this.#records.inc({ kind }, count);
  }

  said(send: Send): void {
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

  #wroteOne(record: LogRecord): void {
    switch (record.kind) {
      case "sent":
      case "prepared":
        return this.#messages.inc(record.messages.length);
      case "decided":
        return this.#verdicts.inc({ verdict: record.verdict, by: record.by });
      case "checked":
        return this.#checks.inc({ outcome: record.outcome });
      case "delivered":
        return this.#deliveries.inc(record.offsets.length);
      case "returned":
        return this.#returns.inc({ cause: record.cause });
      default:
    }
  }

  #counter<Label extends string>(
    name: string,
    help: string,
    labelNames: readonly Label[],
  ): Counter<Label> {
    return new Counter({ name: `escrowmq_${name}`, help, labelNames, registers: [this.#registry] });
  }
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
  ["dead_letters", "Messages in dead-letter topics", (figures) => figures.deadLetters],
  ["store_bytes", "Bytes of all blocks", (figures) => figures.storeBytes],
  ["disk_free_bytes", "Free bytes on the data directory's disk", (figures) => figures.freeBytes],
];
