/** What operators see: plain data made from the state. Reads only. */
import type {
  DeadLetterView,
  GroupPolicyView,
  GroupView,
  InstanceView,
  Page,
  ProducerView,
  TopicView,
  TransactionView,
} from "@escrowmq/protocol";
import { deadLetterTopic } from "@escrowmq/protocol/names";
import type { Core } from "./core.ts";
import type { Cursor } from "./cursor.ts";
import { NOTHING } from "./key-queues.ts";
import type { GroupPolicy } from "./records.ts";
import { groupsOf, heldBack, lagOf } from "./retention-views.ts";
import type { Group, State } from "./state.ts";
import type { Origin, Topic } from "./topic.ts";
import type { Found } from "./transact.ts";
import { keyToReserve, type Transaction } from "./transaction.ts";
import type { CoreFigures, Reserving } from "./types.ts";

const PAGE_DEFAULT = 100;

interface PageRequest {
  readonly after?: string | undefined;
  readonly limit?: number | undefined;
}

/** A page of a listing fits one frame: views with lists of their own weigh more. */
const PAGE_WEIGHT_MAX = 2_000;

/**
 * Names are paged in their order, so that what comes and goes between two pages disturbs nothing.
 * A page may be shorter than its limit; `next` says whether there is more.
 */
export function pageOfNames<T>(
  names: Iterable<string>,
  request: PageRequest,
  view: (name: string) => T,
  weigh: (view: T) => number = () => 1,
): Page<T> {
  const after = request.after ?? "";
  const sorted = [...names].filter((name) => name > after).sort();
  const items: T[] = [];
  let weight = 0;
  let last = "";
  for (const name of sorted.slice(0, request.limit ?? PAGE_DEFAULT)) {
    const item = view(name);
    weight += weigh(item);
    if (items.length > 0 && weight > PAGE_WEIGHT_MAX) break;
    items.push(item);
    last = name;
  }
  return items.length < sorted.length ? { items, next: last } : { items };
}

/** `nextDue`: by topic, where somebody has worked it out for many topics at once. */
export function topicView(
  core: Core,
  topic: Topic,
  nowMs: number,
  nextDue?: ReadonlyMap<number, number>,
): TopicView {
  const { state } = core;
  const { retentionMs, retentionBytes, unsettled } = topic.settings;
  const { heldBytes, heldBy } = heldBack(core, topic, nowMs);
  const view: TopicView = {
    topic: topic.name,
    firstOffset: topic.firstOffset,
    nextOffset: topic.nextOffset,
    bytes: topic.bytes,
    paused: topic.settings.isPaused,
    bodyBytesMax: topic.settings.bodyBytesMax,
    groups: groupsOf(state.readers.get(topic.no) ?? [], state),
    retentionMs,
    retentionBytes,
    unsettled,
    expired: topic.expired,
    heldBytes,
    heldBy,
    scheduled: topic.scheduled,
    queued: topic.queued,
  };
  if (topic.scheduled === 0) return view;
  const nextDueAtMs = (nextDue ?? state.scheduled.nextAtMsByTopic()).get(topic.no);
  return nextDueAtMs === undefined ? view : { ...view, nextDueAtMs };
}

/** Fresh messages and those that came back. */
export const readyCount = (topic: Topic, cursor: Cursor): number =>
  topic.nextOffset - cursor.nextOffset + cursor.counts.ready;

/** Of all filters of one group together: 64 of the longest are shown whole, and any number fits one frame. */
const FILTERS_SHOWN_CHARACTERS = 131_072;

const shortened = (text: string, charactersMax: number): string =>
  text.length <= charactersMax ? text : `${text.slice(0, Math.max(8, charactersMax - 1))}…`;

const policyView = ({ isOrdered, ...policy }: GroupPolicy): GroupPolicyView => ({
  ...policy,
  ordered: isOrdered,
});

export function groupView(core: Core, group: Group, nowMs: number, instancesMax = 0): GroupView {
  const { state, consumers, windows } = core;
  const leftAtMs = group.instance?.leftAtMs ?? null;
  const view: GroupView = {
    ...(leftAtMs === null ? {} : { awayMs: Math.round(nowMs - leftAtMs) }),
    ...instancesView(core, group, nowMs, instancesMax),
    group: group.name,
    policy: policyView(group.policy),
    topics: [...group.cursors.values()].map((cursor) => {
      const topic = state.topic(cursor.topicNo);
      const { leased, waiting, pending, held } = cursor.counts;
      const ready = readyCount(topic, cursor);
      const lag = ready + leased + waiting + pending + held;
      const standsBecause = windows.standsBecause(cursor, topic);
      return {
        topic: topic.name,
        nextOffset: cursor.nextOffset,
        lag,
        ready,
        leased,
        waiting,
        pending,
        held,
        takenIn: cursor.unsettled,
        filter: shortened(cursor.filter, FILTERS_SHOWN_CHARACTERS / group.cursors.size),
        filtered: cursor.filtered,
        expired: cursor.expired,
        lapsed: cursor.lapsed,
        ...(group.instance === null ? {} : { abandoned: cursor.abandoned }),
        ...lagOf(core, topic, cursor, nowMs),
        ...(standsBecause === null ? {} : { standsBecause }),
      };
    }),
    consumers: consumers
      .subscriptionsOf(group)
      .map(({ connection, leased, creditMessages, creditBytes }) => ({
        connection: connection.id,
        client: connection.client,
        leased: leased.size,
        creditMessages,
        creditBytes,
      })),
    deadLetters: state.topicsByName.get(deadLetterTopic(group.name))?.origins.size ?? 0,
    changes: group.changes.map((change) => ({ ...change, atMs: Math.round(change.atMs) })),
  };
  return { ...view, ...pausedView(group) };
}

/** An instance may be paused with its group, too. */
function pausedView({ paused, instance }: Group): Pick<GroupView, "paused"> {
  if (paused !== null) return { paused: { ...paused, atMs: Math.round(paused.atMs) } };
  const of = instance?.parent;
  if (of === undefined || of.paused === null) return {};
  return { paused: { ...of.paused, atMs: Math.round(of.paused.atMs), group: of.name } };
}

/** Absent for a group that nobody broadcasts to. */
function instancesView(
  { state }: Core,
  { instances }: Group,
  nowMs: number,
  most: number,
): Pick<GroupView, "instances"> {
  if (instances.size === 0) return {};
  const all = [...instances.values()];
  const shown = all.sort(byUrgency).slice(0, most);
  const connected = all.filter(({ instance }) => instance?.leftAtMs === null).length;
  const items = shown.map((group) => instanceView(state, group, nowMs));
  return { instances: { count: all.length, connected, items } };
}

/** Those that are here first, then by name. */
const byUrgency = (one: Group, other: Group): number =>
  Number(one.instance?.leftAtMs !== null) - Number(other.instance?.leftAtMs !== null) ||
  (one.name < other.name ? -1 : 1);

function instanceView(state: State, group: Group, nowMs: number): InstanceView {
  const leftAtMs = group.instance?.leftAtMs ?? null;
  const sum = (of: (cursor: Cursor) => number): number =>
    [...group.cursors.values()].reduce((total, cursor) => total + of(cursor), 0);
  return {
    instance: group.instance?.name ?? "",
    connected: leftAtMs === null,
    ...(leftAtMs === null ? {} : { awayMs: Math.round(nowMs - leftAtMs) }),
    lag: sum((cursor) => lagCount(state.topic(cursor.topicNo), cursor)),
    leased: sum(({ counts }) => counts.leased),
    expired: sum(({ expired }) => expired),
    abandoned: sum(({ abandoned }) => abandoned),
  };
}

const lagCount = (topic: Topic, cursor: Cursor): number =>
  topic.nextOffset - cursor.nextOffset + cursor.unsettled;

/** Every producer group that is connected, has an endpoint, or has something undecided. */
export function producerNames({ state, connections }: Core): Set<string> {
  const names = new Set([...state.totalsByGroup.keys(), ...state.endpoints.keys()]);
  for (const connection of connections.all())
    for (const group of connection.producerOf.keys()) names.add(group);
  return names;
}

export function producerView(core: Core, group: string, nowMs: number): ProducerView {
  const { state, connections, checks } = core;
  const totals = state.totalsByGroup.get(group) ?? { count: 0, bytes: 0, parked: 0 };
  const endpoint = state.endpoints.get(group);
  const view: ProducerView = {
    group,
    connections: [...connections.all()].filter((one) => one.producerOf.has(group)).length,
    checkers: checks.checkersOf(group),
    undecided: totals.count,
    parked: totals.parked,
    undecidedBytes: totals.bytes,
    oldestAgeMs: oldestAgeMs(core, nowMs, group),
  };
  return endpoint === undefined ? view : { ...view, endpoint: endpoint.url };
}

/** Transactions stand in the order of their prepare, so the first one is the oldest. */
export function oldestAgeMs({ state }: Core, nowMs: number, group?: string): number {
  for (const transaction of state.transactions.values()) {
    if (group === undefined || transaction.group === group)
      return Math.round(nowMs - transaction.preparedAtMs);
  }
  return 0;
}

export function transactionView(
  { state }: Core,
  id: string,
  found: Found,
  nowMs: number,
): TransactionView {
  const { transaction, decision } = found;
  if (decision !== null)
    return {
      transactionId: id,
      group: decision.group,
      state: decision.state,
      preparedAtMs: decision.preparedAtMs,
      ageMs: Math.round(nowMs - decision.preparedAtMs),
      // The log has the rest; the inspector reads it there.
      messages: [],
      acks: 0,
      checks: 0,
      decidedAtMs: decision.atMs,
      decidedBy: decision.who === "" ? decision.by : `${decision.by} (${decision.who})`,
    };
  const view: TransactionView = {
    transactionId: id,
    group: transaction.group,
    state: found.state,
    preparedAtMs: transaction.preparedAtMs,
    ageMs: Math.round(nowMs - transaction.preparedAtMs),
    messages: transaction.messages.map(({ topicNo, bytes }) => ({
      topic: state.topic(topicNo).name,
      bytes,
    })),
    acks: transaction.acks.length,
    checks: transaction.checks,
    ...(transaction.reservationNo === NOTHING
      ? {}
      : { queuedBehind: queuedBehind(state, transaction) }),
  };
  return transaction.parked === null
    ? { ...view, nextCheckAtMs: transaction.nextCheckAtMs }
    : { ...view, parkedBecause: transaction.parked };
}

function queuedBehind({ keyQueues }: Core["state"], transaction: Transaction): number {
  const { messages, reservationNo } = transaction;
  const counts = new Map<string, number>();
  for (const message of messages) {
    const { topicNo } = message;
    const key = keyToReserve(message);
    counts.set(`${topicNo} ${key}`, keyQueues.countBehind(topicNo, key, reservationNo));
  }
  return [...counts.values()].reduce((sum, count) => sum + count, 0);
}

export function oldestReserving({ state }: Core, nowMs: number): Reserving | null {
  const transactionId = state.keyQueues.oldestBlocking;
  if (transactionId === null) return null;
  const { preparedAtMs, parked } = state.transaction(transactionId);
  return { transactionId, ageMs: Math.round(nowMs - preparedAtMs), isParked: parked !== null };
}

const keyOf = (transaction: Transaction): string => `${transaction.block}.${transaction.id}`;

export function transactionPage(
  core: Core,
  request: PageRequest & {
    readonly group?: string | undefined;
    readonly state?: "undecided" | "parked" | undefined;
  },
  nowMs: number,
): Page<TransactionView> {
  const limit = request.limit ?? PAGE_DEFAULT;
  const [afterBlock, afterId] = readKey(request.after);
  const found: Transaction[] = [];
  for (const one of core.state.transactions.values()) {
    if (one.block < afterBlock || (one.block === afterBlock && one.id <= afterId)) continue;
    if (request.group !== undefined && one.group !== request.group) continue;
    if (request.state !== undefined && (one.parked !== null) !== (request.state === "parked"))
      continue;
    // Blocks only grow along the way, so a page is complete once a later block begins.
    if (found.length > limit && one.block > (found.at(-1)?.block ?? 0)) break;
    found.push(one);
  }
  found.sort((one, other) => one.block - other.block || (one.id < other.id ? -1 : 1));
  const shown = found.slice(0, limit);
  const items = shown.map((transaction) => {
    const state = transaction.parked === null ? "undecided" : "parked";
    return transactionView(
      core,
      transaction.id,
      { transaction, decision: null, group: transaction.group, state },
      nowMs,
    );
  });
  const last = shown.at(-1);
  return found.length > limit && last !== undefined ? { items, next: keyOf(last) } : { items };
}

function readKey(after: string | undefined): [block: number, id: string] {
  const [block, id] = (after ?? "").split(".");
  return [Number(block) || 0, id ?? ""];
}

export function deadLetterView(
  { state }: Core,
  dead: Topic,
  offset: number,
  origin: Origin,
): DeadLetterView {
  return {
    offset,
    topic: state.topics.get(origin.topicNo)?.name ?? "",
    originOffset: origin.offset,
    attempts: origin.attempts,
    reason: origin.reason,
    buriedAtMs: origin.atMs,
    bytes: dead.bytesOf(offset),
  };
}

export function deadLetterPage(
  core: Core,
  dead: Topic | undefined,
  request: PageRequest,
): Page<DeadLetterView> {
  const limit = request.limit ?? PAGE_DEFAULT;
  const after = request.after === undefined ? -1 : Number(request.after);
  const items: DeadLetterView[] = [];
  for (const [offset, origin] of dead?.origins ?? []) {
    if (dead === undefined || offset <= after) continue;
    if (items.length === limit) return { items, next: String(items.at(-1)?.offset ?? 0) };
    items.push(deadLetterView(core, dead, offset, origin));
  }
  return { items };
}

function pausedCount({ state }: Core): number {
  let paused = 0;
  for (const group of state.groups.values()) if (group.paused !== null) paused++;
  return paused;
}

/** Counters kept step by step; `verify` and the tests compare them with a full scan (B2). */
export function stats(core: Core, nowMs: number): CoreFigures {
  const { state, connections, windows } = core;
  let leased = 0;
  let waiting = 0;
  let lapsed = 0;
  let held = 0;
  let filtered = 0;
  for (const cursor of state.cursors.values()) {
    const { counts } = cursor;
    leased += counts.leased;
    waiting += counts.waiting;
    lapsed += cursor.lapsed;
    held += counts.held;
    filtered += cursor.filtered;
  }
  let messages = 0;
  let deadLetters = 0;
  let retired = 0;
  let expired = 0;
  let queued = 0;
  for (const topic of state.topics.values()) {
    expired += topic.expired;
    queued += topic.queued;
    if (topic.isDeadLetters) deadLetters += topic.origins.size;
    else {
      messages += topic.nextOffset - topic.firstOffset;
      retired += topic.firstOffset;
    }
  }
  return {
    connections: connections.size,
    topics: [...state.topics.values()].filter((topic) => !topic.isDeadLetters).length,
    groups: [...state.groups.values()].filter(({ instance }) => instance === null).length,
    undecided: state.totals.count,
    parked: state.totals.parked,
    undecidedBytes: state.totals.bytes,
    oldestUndecidedAgeMs: oldestAgeMs(core, nowMs),
    decisionsKept: state.decisions.size,
    messages,
    leased,
    waiting,
    held,
    filtered,
    standing: windows.standing().length,
    pausedGroups: pausedCount(core),
    deadLetters,
    blocks: state.block,
    retired,
    expired,
    scheduled: state.scheduled.size - queued,
    queued,
    reservedKeys: state.keyQueues.reserved,
    scheduledBytes: state.scheduled.totalBytes,
    overdueMs: Math.max(0, Math.round(nowMs - state.scheduled.nextAtMs)),
    lapsed,
  };
}
