/** Answers of a broker, as the tests of several commands need them. */
import type {
  DeadLetterView,
  GroupView,
  ProducerView,
  StatsView,
  TopicView,
  TransactionTimeline,
  TransactionView,
} from "@escrowmq/protocol";

export const topic = (changes: Partial<TopicView> = {}): TopicView => ({
  topic: "orders",
  firstOffset: 0,
  nextOffset: 1_234_567,
  bytes: 1_536,
  paused: false,
  bodyBytesMax: 1_048_576,
  groups: ["billing"],
  retentionMs: 604_800_000,
  retentionBytes: 0,
  unsettled: "keep",
  expired: 0,
  heldBytes: 0,
  heldBy: [],
  scheduled: 0,
  queued: 0,
  ...changes,
});

export const group = (changes: Partial<GroupView> = {}): GroupView => ({
  group: "billing",
  policy: {
    leaseMs: 60_000,
    attemptsMax: 16,
    retryDelaysMs: [10_000, 90_000],
    jitterPercent: 10,
    ordered: false,
  },
  topics: [
    {
      topic: "orders",
      nextOffset: 20,
      lag: 7,
      ready: 4,
      leased: 2,
      waiting: 1,
      pending: 0,
      held: 0,
      takenIn: 3,
      filter: "",
      filtered: 0,
      expired: 0,
      lapsed: 0,
      oldestAgeMs: 133_000,
      heldBytes: 0,
    },
  ],
  consumers: [
    { connection: 3, client: "billing-1", leased: 2, creditMessages: 16, creditBytes: 1_048_576 },
  ],
  deadLetters: 2,
  changes: [],
  ...changes,
});

export const producer = (changes: Partial<ProducerView> = {}): ProducerView => ({
  group: "order-service",
  connections: 2,
  checkers: 1,
  undecided: 3,
  parked: 0,
  undecidedBytes: 2_048,
  oldestAgeMs: 133_000,
  ...changes,
});

export const TX_ID = "4f9Zr0mT1c2yQ7uWbLk8Xg";
const PREPARED_AT_MS = Date.UTC(2025, 0, 31, 8, 0, 0);

export const transaction = (changes: Partial<TransactionView> = {}): TransactionView => ({
  transactionId: TX_ID,
  group: "order-service",
  state: "undecided",
  preparedAtMs: PREPARED_AT_MS,
  ageMs: 133_000,
  messages: [
    { topic: "orders", bytes: 1_536 },
    { topic: "mail", bytes: 300 },
  ],
  acks: 1,
  checks: 4,
  nextCheckAtMs: PREPARED_AT_MS + 145_000,
  ...changes,
});

export const timeline = (changes: Partial<TransactionTimeline> = {}): TransactionTimeline => {
  const { nextCheckAtMs: _none, ...decided } = transaction({
    state: "committed",
    checks: 2,
    decidedAtMs: PREPARED_AT_MS + 36_012,
    decidedBy: "check-back of order-service",
  });
  const at = (ms: number): number => PREPARED_AT_MS + ms;
  return {
    ...decided,
    timeline: [
      { atMs: at(0), event: "prepared", text: "2 messages, 1 ack, by order-service" },
      { atMs: at(6_004), event: "checked", text: "attempt 1: unknown after 3 ms" },
      { atMs: at(36_010), event: "checked", text: "attempt 2: commit after 2 ms" },
      { atMs: at(36_012), event: "committed", text: "by check-back of order-service" },
      { atMs: at(36_014), event: "delivered", text: "orders@41 to billing, attempt 1" },
      { atMs: at(168_000), event: "acked", text: "orders@41 by billing" },
    ],
    isTruncated: false,
    isHistoryRetired: false,
    ...changes,
  };
};

export const deadLetter = (changes: Partial<DeadLetterView> = {}): DeadLetterView => ({
  offset: 0,
  topic: "orders",
  originOffset: 100,
  attempts: 16,
  reason: "timeout calling tax service",
  buriedAtMs: PREPARED_AT_MS,
  bytes: 300,
  ...changes,
});

/** So many dead letters, in pages as the broker would give them. */
export const deadLetterPages =
  (letters: readonly DeadLetterView[], pageItems: number) =>
  ({ after }: { readonly after?: string | undefined }) => {
    const from = after === undefined ? 0 : Number(after);
    const next = from + pageItems;
    const items = letters.slice(from, next);
    return next < letters.length ? { items, next: String(next) } : { items };
  };

export const stats: StatsView = {
  version: "0.1.0",
  uptimeMs: 12_345_678,
  connections: 1,
  topics: 2,
  groups: 3,
  undecided: 4,
  parked: 1,
  undecidedBytes: 2_048,
  oldestUndecidedAgeMs: 133_000,
  decisionsKept: 10,
  messages: 1_000,
  leased: 1,
  waiting: 2,
  held: 0,
  filtered: 0,
  standing: 0,
  pausedGroups: 0,
  deadLetters: 3,
  blocks: 100,
  retired: 12,
  expired: 0,
  scheduled: 7,
  queued: 0,
  reservedKeys: 0,
  scheduledBytes: 1_024,
  overdueMs: 0,
  lapsed: 2,
  storeBytes: 1_048_576,
  rssBytes: 83_886_080,
};
