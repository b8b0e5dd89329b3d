/** What the broker counts and shows: counted as things are said, gauges read when somebody asks. */
import type { LogRecord } from "../core/records.ts";
import type { Send } from "../core/types.ts";
import type { MemoryFigures } from "./flow.ts";
import { Counter, gaugeText, Histogram } from "./metrics-text.ts";

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
  readonly scheduled: number;
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

export class Metrics {
  readonly #records = new Counter("records_total", "Records written, by kind", "kind");
  readonly #messages = new Counter("messages_in_total", "Messages accepted by send and prepare");
  readonly #verdicts = new Counter("verdicts_total", "Transactions decided", "verdict", "by");
  readonly #checks = new Counter("checks_total", "Checks ended, by outcome", "outcome");
  readonly #deliveries = new Counter("deliveries_total", "Deliveries started");
  readonly #returns = new Counter(
    "returns_total",
    "Deliveries that ended without an ack, by cause",
    "cause",
  );
  readonly #refusals = new Counter("refusals_total", "Requests refused, by code", "code");
  readonly #replies = new Counter("replies_total", "Replies handed to who asked");
  readonly #unreadable = new Counter(
    "unreadable_messages_total",
    "Messages whose bytes did not match their checksum",
  );
  readonly #failures = new Counter(
    "store_failures_total",
    "Times the store failed and was reopened",
  );
  readonly #tooSlow = new Counter(
    "too_slow_total",
    "Connections closed because of what they did not read, or did not finish",
  );
  readonly #sync = new Histogram(
    "block_write_seconds",
    "Time from handing a block to the store until it is on disk",
    [0.0002, 0.0005, 0.001, 0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1],
  );
  readonly #figures: () => Figures;

  constructor(figures: () => Figures) {
    this.#figures = figures;
  }

  text(): string {
    const counted = [
      this.#records,
      this.#messages,
      this.#verdicts,
      this.#checks,
      this.#deliveries,
      this.#returns,
      this.#refusals,
      this.#replies,
      this.#unreadable,
      this.#failures,
      this.#tooSlow,
      this.#sync,
    ];
    return [...counted.map((one) => one.text()), ...gaugeTexts(this.#figures())].join("\n");
  }

  wrote(records: readonly LogRecord[], seconds: number): void {
    this.#sync.observe(seconds);
    for (const record of records) this.#wrote(record);
  }

  said(send: Send): void {
    if (send.kind === "reply") this.#replies.add();
    if (send.kind === "frame" && send.frame.type === "error")
      this.#refusals.add(1, send.frame.code);
  }

  unreadable(): void {
    this.#unreadable.add();
  }

  tooSlow(): void {
    this.#tooSlow.add();
  }

  storeFailed(): void {
    this.#failures.add();
  }

  #wrote(record: LogRecord): void {
    this.#records.add(1, record.kind);
    switch (record.kind) {
      case "sent":
      case "prepared":
        return this.#messages.add(record.messages.length);
      case "decided":
        return this.#verdicts.add(1, `${record.verdict} ${record.by}`);
      case "checked":
        return this.#checks.add(1, record.outcome);
      case "delivered":
        return this.#deliveries.add(record.offsets.length);
      case "returned":
        return this.#returns.add(1, record.cause);
      default:
    }
  }
}

const gaugeTexts = (figures: Figures): string[] => [
  ...GAUGES.map(([name, help, read]) => gaugeText(name, help, read(figures))),
  gaugeText(
    "memory_bytes",
    "What peers make the broker hold, by part of memoryBytesMax",
    Object.entries(figures.memory),
    "part",
  ),
];

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
  ["scheduled_messages", "Messages that wait for their time", (figures) => figures.scheduled],
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
