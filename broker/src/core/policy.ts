/** The numbers that the core goes by, with unit and reason. All may be set when a broker is created. */
import type { GroupPolicy, TopicSettings } from "./records.ts";

export interface Policy {
  readonly checkAfterMs: number;
  readonly checkIntervalMs: number;
  readonly checkAttemptsMax: number;
  readonly checkAnswerWithinMs: number;
  readonly undecidedAgeMaxMs: number;
  readonly checksPerConnectionMax: number;
  readonly checksPerEndpointMax: number;
  readonly checksTotalMax: number;
  readonly undecidedPerGroupMax: number;
  readonly undecidedMax: number;
  readonly undecidedBytesPerGroupMax: number;
  readonly undecidedBytesMax: number;
  readonly decisionsKeptMs: number;
  readonly decisionsKeptMax: number;
  readonly sendsKeptMs: number;
  readonly sendsKeptMax: number;
  readonly scheduledMax: number;
  readonly reservationsMax: number;
  readonly duePerStepMax: number;
  readonly deliveriesPerStepMax: number;
  readonly deliveryBytesPerStepMax: number;
  readonly windowMessagesMax: number;
  readonly windowBytesMax: number;
  readonly windowBlocksMax: number;
  readonly takenInMax: number;
  readonly lookAgainMs: number;
  readonly retentionEveryMs: number;
  readonly dropAfterStartMs: number;
  readonly instanceKeptMs: number;
  readonly instancesPerGroupMax: number;
  /** What a new topic gets, dead-letter topics included. */
  readonly topic: Pick<TopicSettings, "retentionMs" | "retentionBytes" | "unsettled">;
  readonly group: GroupPolicy;
}

const SECOND = 1_000;
const MINUTE = 60 * SECOND;
const HOUR = 60 * MINUTE;
const DAY = 24 * HOUR;
const GIB = 1_073_741_824;

export const DEFAULT_POLICY: Policy = {
  // RocketMQ's transactionTimeOut, transactionCheckInterval and transactionCheckMax.
  checkAfterMs: 6 * SECOND,
  checkIntervalMs: 30 * SECOND,
  checkAttemptsMax: 15,
  // An answer needs one look into a database; later ones still count as verdicts.
  checkAnswerWithinMs: 10 * SECOND,
  // A long weekend: somebody will have looked by then.
  undecidedAgeMaxMs: 72 * HOUR,
  // A producer's pool of database connections must survive its own restart.
  checksPerConnectionMax: 32,
  checksPerEndpointMax: 8,
  checksTotalMax: 512,
  // What an hour of check-backs can settle, and what memory holds: 200 to 500 bytes each.
  undecidedPerGroupMax: 500_000,
  undecidedMax: 1_000_000,
  undecidedBytesPerGroupMax: 4 * GIB,
  undecidedBytesMax: 8 * GIB,
  // Longer than anybody retries; bounded by memory, about 200 bytes each.
  decisionsKeptMs: 7 * DAY,
  decisionsKeptMax: 1_000_000,
  // Longer than an SDK resends (30 s by default); bounded by memory, about 120 bytes each.
  sendsKeptMs: 10 * MINUTE,
  sendsKeptMax: 1_000_000,
  // What memory holds: about 120 bytes each.
  scheduledMax: 1_000_000,
  // What memory holds: about 900 bytes each. A key is reserved for as long as a local transaction takes.
  reservationsMax: 100_000,
  // A few milliseconds: a million may be due at once, and leases and checks have their turn in between.
  duePerStepMax: 1_024,
  // One step may not hold the loop: the rest follows in the next.
  deliveriesPerStepMax: 2_048,
  // What one step may add to the sockets' buffers before anybody can see that a peer reads slowly.
  deliveryBytesPerStepMax: 4_194_304,
  // One look of a cursor with a filter or an order: a millisecond or two of judging.
  windowMessagesMax: 512,
  // What is read for it at once, and what reading it may cost where each message stands in a block of its own.
  windowBytesMax: 1_048_576,
  windowBlocksMax: 64,
  // An ordered group looks beyond keys that are stuck, but not for ever: about 80 bytes each, 130 more a key.
  takenInMax: 100_000,
  // A block that cannot be read: long enough not to fill the log with complaints.
  lookAgainMs: MINUTE,
  // How far retention may lag behind: at 100 MB/s a limit in bytes is passed by 100 MB.
  retentionEveryMs: SECOND,
  // Messages grow older while the broker is down. Where the unsettled ones are dropped, groups get this
  // long to come back, and operators to change their mind.
  dropAfterStartMs: HOUR,
  // A long weekend: a process that is away for longer is not restarted any more, it is replaced.
  instanceKeptMs: 72 * HOUR,
  // A fleet, and those that it replaced; about 1 KiB each and topic. Beyond it the longest away is forgotten.
  instancesPerGroupMax: 1_000,
  // Kafka's log.retention.hours. What a group has not settled is never lost unless somebody says so.
  topic: { retentionMs: 7 * DAY, retentionBytes: 0, unsettled: "keep" },
  group: {
    leaseMs: 60 * SECOND,
    attemptsMax: 16,
    // RocketMQ's ladder: retry n waits for delay level n + 2.
    retryDelaysMs: [
      10, 30, 60, 120, 180, 240, 300, 360, 420, 480, 540, 600, 1_200, 1_800, 3_600, 7_200,
    ].map((seconds) => seconds * SECOND),
    jitterPercent: 10,
    // Order costs a look at each message, and keys that wait.
    isOrdered: false,
  },
};

/** The delay before the next delivery after `failures` counted failures; spread by `spread`, any integer. */
export function retryDelayMs(policy: GroupPolicy, failures: number, spread: number): number {
  const delays = policy.retryDelaysMs;
  const delayMs = delays[Math.min(Math.max(failures, 1), delays.length) - 1] ?? 0;
  // Deterministic, so that the core needs no randomness: neighbours differ, a replay does not.
  const share = ((spread * 2_654_435_761) >>> 0) / 0x1_0000_0000;
  return Math.round(delayMs * (1 + (share * policy.jitterPercent) / 100));
}
