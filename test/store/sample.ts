/** Blocks and records to store: plain, and the same each time. */
import type { LogRecord, RecordKind, RecordOf } from "../../broker/src/core/records.ts";
import type { Block, BlockStore, CheckpointPart, Recovered } from "../../broker/src/store/store.ts";

export const START_MS = 1_760_000_000_000;

export const bytesOf = (text: string): Uint8Array => new TextEncoder().encode(text);

export const messageOf = (block: number, slot: number, bytes = 40): Uint8Array =>
  bytesOf(`message ${slot} of block ${block} `.padEnd(bytes, "."));

/** A block of one `sent` record with these many messages. */
export function blockOf(number: number, messages = 3, messageBytes = 40): Block {
  const logged = Array.from({ length: messages }, (_, slot) => {
    const data = messageOf(number, slot, messageBytes);
    return { topicNo: 1, bytes: data.length, data };
  });
  return {
    number,
    atMs: START_MS + number,
    records: [{ kind: "sent", sendId: `send-${number}`, digest: number, messages: logged }],
  };
}

/** What a block looks like when it is read back. */
export const withoutData = (block: Block): Block => ({
  ...block,
  records: block.records.map(recordWithoutData),
});

export const recordWithoutData = (record: LogRecord): LogRecord =>
  "messages" in record
    ? { ...record, messages: record.messages.map((message) => ({ ...message, data: null })) }
    : record;

/** What a store gives at open, with all parts of its checkpoint. */
export type Found =
  | (Extract<Recovered, { readonly kind: "checkpoint" }> & { readonly parts: CheckpointPart[] })
  | Extract<Recovered, { readonly kind: "block" }>;

export async function recovered(store: BlockStore): Promise<Found[]> {
  const all: Found[] = [];
  for await (const one of store.recover()) {
    if (one.kind === "block") {
      all.push(one);
      continue;
    }
    const parts: CheckpointPart[] = [];
    for await (const part of one.parts) parts.push(part);
    all.push({ ...one, parts });
  }
  return all;
}

/** Opened, recovered and filled up to block `last`. */
export async function fill(store: BlockStore, last: number, messageBytes = 40): Promise<void> {
  for (let number = store.tail + 1; number <= last; number++)
    await store.append(blockOf(number, 3, messageBytes));
}

export const codeOf = async (work: Promise<unknown>): Promise<string> => {
  try {
    await work;
    return "ok";
  } catch (error) {
    return (error as { code?: string }).code ?? String(error);
  }
};

const by = { operator: "ada", reason: "because – ünïcode" };

/** One of every kind; the type makes sure that none is forgotten. */
export const ONE_OF_EACH: { readonly [Kind in RecordKind]: RecordOf<Kind> } = {
  opened: { kind: "opened", atMs: START_MS, pausedMs: 1_234.5 },
  topicCreated: {
    kind: "topicCreated",
    topicNo: 1,
    topic: "orders",
    settings: {
      bodyBytesMax: 65_536,
      isPaused: false,
      retentionMs: 604_800_000,
      retentionBytes: 0,
      unsettled: "keep",
    },
  },
  topicUpdated: {
    kind: "topicUpdated",
    topicNo: 1,
    settings: {
      bodyBytesMax: 1_048_576,
      isPaused: true,
      retentionMs: 1_000,
      retentionBytes: 2 ** 40,
      unsettled: "drop",
    },
  },
  topicDeleted: { kind: "topicDeleted", topicNo: 300, ...by },
  groupUpdated: {
    kind: "groupUpdated",
    groupNo: 2,
    group: "billing",
    policy: {
      leaseMs: 60_000,
      attemptsMax: 16,
      retryDelaysMs: [10_000, 30_000],
      jitterPercent: 10,
      isOrdered: true,
    },
  },
  groupDeleted: { kind: "groupDeleted", groupNo: 2, ...by },
  cursorOpened: { kind: "cursorOpened", cursorNo: 3, groupNo: 2, topicNo: 1, nextOffset: 2 ** 40 },
  cursorReset: { kind: "cursorReset", cursorNo: 3, nextOffset: 0, ...by },
  cursorFiltered: { kind: "cursorFiltered", cursorNo: 3, filter: "paid || shipped" },
  taken: {
    kind: "taken",
    cursorNo: 3,
    nextOffset: 2 ** 33,
    offsets: [100, 101, 2 ** 33 - 1],
    keys: [0, 0xffff_ffff, 7],
    filtered: 12,
  },
  sent: {
    kind: "sent",
    sendId: "0123456789abcdef0123456789abcdef",
    digest: 0xffff_ffff,
    messages: [
      { topicNo: 1, bytes: 5, data: bytesOf("hello") },
      { topicNo: 300, bytes: 0, data: bytesOf("") },
    ],
  },
  prepared: {
    kind: "prepared",
    transactionId: "tx-1",
    group: "order-service",
    digest: 7,
    messages: [{ topicNo: 1, bytes: 4, data: bytesOf("half") }],
    acks: [
      { cursorNo: 3, offset: 2 ** 33 },
      { cursorNo: 4, offset: 0 },
    ],
    checkAtMs: START_MS + 6_000,
    onUndecided: "rollback",
  },
  decided: {
    kind: "decided",
    transactionId: "tx-1",
    verdict: "rollback",
    by: "operator",
    who: "ada",
    reason: "",
  },
  checked: {
    kind: "checked",
    transactionId: "tx-1",
    outcome: "unreachable",
    isCounted: false,
    latencyMs: 5_000,
    asked: "endpoint",
    nextCheckAtMs: START_MS + 36_000,
  },
  parked: { kind: "parked", transactionId: "tx-1", cause: "age" },
  resumed: { kind: "resumed", transactionId: "tx-1", checkAtMs: START_MS, ...by },
  endpointSet: {
    kind: "endpointSet",
    group: "order-service",
    endpoint: { url: "https://example.org/check", isIdsOnly: true, secrets: ["aa", "bb"] },
    ...by,
  },
  delivered: {
    kind: "delivered",
    cursorNo: 3,
    firstDeliveryNo: 2 ** 41,
    offsets: [100, 101, 102, 90, 2 ** 34],
    connection: 12,
  },
  acked: { kind: "acked", cursorNo: 3, offsets: [102, 100, 101] },
  returned: {
    kind: "returned",
    cursorNo: 3,
    offset: 5,
    cause: "unreadable",
    readyAtMs: START_MS,
    isCounted: true,
    reason: "threw",
  },
  buried: { kind: "buried", cursorNo: 3, offset: 5, deadTopicNo: 9, reason: "too often" },
  replayed: { kind: "replayed", deadTopicNo: 9, offset: 0, ...by },
  purged: { kind: "purged", deadTopicNo: 9, offset: 1, ...by },
  clock: { kind: "clock" },
  instanceOpened: { kind: "instanceOpened", groupNo: 5, parentNo: 2, instance: "node-1" },
  instanceSeen: { kind: "instanceSeen", groupNo: 5, isHere: true },
  instanceForgotten: { kind: "instanceForgotten", groupNo: 5 },
  abandoned: { kind: "abandoned", cursorNo: 3, offset: 2 ** 33, reason: "no – luck" },
  gapTold: { kind: "gapTold", cursorNo: 3, lost: 1_000 },
  retired: { kind: "retired", topicNo: 1, beforeOffset: 2 ** 33 },
  moved: {
    kind: "moved",
    messages: [
      { topicNo: 1, bytes: 3, data: bytesOf("old") },
      { topicNo: 2, bytes: 4, data: bytesOf("half") },
    ],
    entries: [
      { topicNo: 1, offset: 2 ** 33, at: 0, from: { block: 3, slot: 1 } },
      { topicNo: 9, offset: 0, at: 0, from: { block: 3, slot: 1 } },
    ],
    transactions: [{ transactionId: "tx-1", at: 1 }],
    scheduled: [{ messageId: "m-1", at: 0, from: { block: 3, slot: 2 } }],
  },
  due: { kind: "due", topicNo: 1, place: { block: 2 ** 33, slot: 4 } },
  queued: { kind: "queued", topicNo: 1, place: { block: 2 ** 33, slot: 5 } },
  recalled: {
    kind: "recalled",
    topicNo: 1,
    messageId: "m-1",
    places: [
      { block: 3, slot: 1 },
      { block: 2 ** 33, slot: 0 },
    ],
    client: "orders/1.4",
  },
  lapsed: { kind: "lapsed", cursorNo: 3, offsets: [7, 5, 2 ** 33] },
  groupPaused: { kind: "groupPaused", groupNo: 2, isPaused: true, ...by },
  skipped: { kind: "skipped", cursorNo: 3, offsets: [5, 7, 2 ** 33], ...by },
};
