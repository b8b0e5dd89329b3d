/**
 * Every limit of the wire, once: value, unit and reason. Both sides check them; the broker is the
 * one that refuses. PROTOCOL.md section "Limits" is compared with this table by a test.
 */
export interface Limit {
  readonly value: number;
  readonly unit: "bytes" | "characters" | "items" | "ms" | "levels";
  readonly reason: string;
}

const MIB = 1_048_576;

export const LIMIT_TABLE = {
  batchBytesMax: {
    value: 4 * MIB + 131_072,
    unit: "bytes",
    reason: "one WebSocket message; holds one full transaction, its acks and its framing",
  },
  helloBytesMax: { value: 4_096, unit: "bytes", reason: "a stranger may cost no more than this" },
  batchFramesMax: {
    value: 2_048,
    unit: "items",
    reason: "bounds the work that one WebSocket message may bring",
  },
  batchItemsMax: {
    value: 65_536,
    unit: "items",
    reason: "bounds what one WebSocket message may allocate when decoded",
  },
  depthMax: {
    value: 16,
    unit: "levels",
    reason: "no frame needs more; deeper nesting is an attack",
  },
  mapKeysMax: {
    value: 128,
    unit: "items",
    reason: "keys of one map; twice what headers may have, so that too many get their own code",
  },
  stringBytesMax: {
    value: 65_536,
    unit: "bytes",
    reason: "bounds one string before it is decoded",
  },
  bodyBytesMax: {
    value: MIB,
    unit: "bytes",
    reason: "bigger bodies belong in a blob store, with the message naming them",
  },
  replyBytesMax: {
    value: 262_144,
    unit: "bytes",
    reason: "a reply is held in memory for a peer that may read slowly; more belongs in a message",
  },
  transactionBytesMax: {
    value: 4 * MIB,
    unit: "bytes",
    reason: "all messages of a transaction stand in one block",
  },
  transactionMessagesMax: {
    value: 1_000,
    unit: "items",
    reason: "a transaction is one record of one block",
  },
  transactionAcksMax: {
    value: 1_000,
    unit: "items",
    reason: "a transaction is one record of one block",
  },
  headersCountMax: { value: 64, unit: "items", reason: "headers are for routing, not for data" },
  headersBytesMax: {
    value: 16_384,
    unit: "bytes",
    reason: "names and values together; as RocketMQ's user properties",
  },
  nameCharactersMax: {
    value: 128,
    unit: "characters",
    reason: "topics and groups stand in tables, logs and metrics",
  },
  idCharactersMax: {
    value: 64,
    unit: "characters",
    reason: "message and transaction ids; 32 hex digits are 128 bits",
  },
  keyBytesMax: { value: 256, unit: "bytes", reason: "a key is an identifier" },
  tagBytesMax: { value: 128, unit: "bytes", reason: "a tag is a word" },
  reasonCharactersMax: {
    value: 512,
    unit: "characters",
    reason: "reasons are kept in the log for ever",
  },
  settleTokensMax: {
    value: 1_024,
    unit: "items",
    reason: "acks, releases and extensions of one request",
  },
  pageItemsMax: { value: 1_000, unit: "items", reason: "one page of a listing" },
  skipAheadMax: {
    value: 10_000,
    unit: "items",
    reason:
      "messages not yet given to a group that a skip may reach over; each is held until settled",
  },
  traceAfterBytesMax: {
    value: 4_096,
    unit: "bytes",
    reason: "where a trace goes on, with the transactions and dead letters that it follows",
  },
  creditMessagesMax: {
    value: 100_000,
    unit: "items",
    reason: "what one subscription may have in flight",
  },
  creditBytesMax: {
    value: 256 * MIB,
    unit: "bytes",
    reason: "what one subscription may have in flight",
  },
  windowBytesMax: {
    value: 2 * MIB,
    unit: "bytes",
    reason: "sends and prepares that a client may have unanswered, until the broker says less",
  },
  leaseMsMin: {
    value: 1_000,
    unit: "ms",
    reason: "below this a lease expires while the message travels",
  },
  leaseMsMax: {
    value: 43_200_000,
    unit: "ms",
    reason: "12 hours, as RocketMQ's longest invisible time",
  },
  delayMsMax: { value: 31_536_000_000, unit: "ms", reason: "a year" },
  retentionMsMin: {
    value: 1_000,
    unit: "ms",
    reason: "retention looks once a second",
  },
  retentionMsMax: {
    value: 3_153_600_000_000,
    unit: "ms",
    reason: "100 years: for ever, in effect",
  },
  checkAfterMsMax: {
    value: 3_600_000,
    unit: "ms",
    reason: "an hour, as RocketMQ's longest first check delay",
  },
  helloWithinMs: { value: 5_000, unit: "ms", reason: "a connection that says nothing is closed" },
  pingEveryMs: {
    value: 9_000,
    unit: "ms",
    reason: "two missed pings in a row find a half-open peer within 30 s",
  },
  filterCharactersMax: {
    value: 2_048,
    unit: "characters",
    reason: "a filter is judged once for each message; what is longer belongs in the consumer",
  },
  filterConditionsMax: {
    value: 64,
    unit: "items",
    reason: "comparisons of one filter; a long choice is one IN",
  },
  filterDepthMax: {
    value: 16,
    unit: "levels",
    reason: "parentheses and NOTs in each other; deeper nesting is an attack",
  },
  filterPatternCharactersMax: {
    value: 256,
    unit: "characters",
    reason: "what LIKE and its kin look for, at a cost for each 32 of them",
  },
  weightMax: {
    value: 16,
    unit: "items",
    reason:
      "messages of one topic before another one's turn; more is nearly never for the light ones",
  },
} as const satisfies Record<string, Limit>;

export type LimitName = keyof typeof LIMIT_TABLE;

/** The values of the table, by name. */
export const LIMITS = Object.fromEntries(
  Object.entries(LIMIT_TABLE).map(([name, limit]) => [name, limit.value]),
) as Readonly<Record<LimitName, number>>;
