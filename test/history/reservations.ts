/**
 * Keys that a transaction reserves, from its prepare until the verdict.
 *
 * Rules, each for the messages of one key in one topic
 * - D20 What is said first after the prepare was ok is delivered to nobody before a verdict is asked for, and stands
 *   behind the transaction's own messages. What is sent after something was sent stands behind that. And nothing waits
 *   in the end unless a transaction is undecided for which it may wait.
 */
import type { Final } from "./final.ts";
import type { Delivery, History, Operation, Prepare, SaidMessage, Transaction } from "./history.ts";

export function reservationProblems(history: History, final: Final): string[] {
  const brought = broughtIn(history);
  const delivered = firstDeliveries(history);
  const offsets = new Map(
    [...final.visible.values()].flatMap((ids) => ids.map((id, offset) => [id, offset] as const)),
  );
  const problems = [...waitsInVain(history, final), ...sentInOrder(history, offsets)];
  for (const reservation of reservationsIn(history, final))
    for (const { message, invokedAt } of brought.get(reservation.lane) ?? []) {
      const { id, from, to, own } = reservation;
      if (invokedAt <= from || own.includes(message)) continue;
      const at = delivered.get(message)?.at ?? Number.POSITIVE_INFINITY;
      if (at < to) problems.push(`D20: ${message} was delivered, and ${id} reserves its key`);
      const first = own.find((one) => isBefore(offsets, message, one));
      if (first !== undefined) problems.push(`D20: ${message} stands before ${first} of ${id}`);
    }
  return problems;
}

const laneOf = ({ topic, key }: SaidMessage): string | null =>
  key === undefined ? null : `${topic} ${key}`;

function isBefore(offsets: ReadonlyMap<string, number>, one: string, other: string): boolean {
  const [at, otherAt] = [offsets.get(one), offsets.get(other)];
  return at !== undefined && otherAt !== undefined && at < otherAt;
}

interface Brought {
  readonly message: string;
  /** Nobody had said it before. */
  readonly invokedAt: number;
}

/** By lane: messages that were sent or prepared. */
function broughtIn({ messages, sends, transactions }: History): Map<string, Brought[]> {
  const first = new Map<string, number>();
  const prepares = [...transactions.values()].flatMap(preparesOf);
  for (const { messages: all, invokedAt } of [...sends, ...prepares])
    for (const message of all)
      first.set(message, Math.min(first.get(message) ?? Number.POSITIVE_INFINITY, invokedAt));
  const lanes = new Map<string, Brought[]>();
  for (const [message, invokedAt] of first) {
    const said = messages.get(message);
    const lane = said === undefined ? null : laneOf(said);
    if (lane === null) continue;
    const known = lanes.get(lane) ?? [];
    known.push({ message, invokedAt });
    lanes.set(lane, known);
  }
  return lanes;
}

function firstDeliveries({ reads }: History): Map<string, Delivery> {
  const first = new Map<string, Delivery>();
  for (const { message, deliveries } of reads.values())
    for (const delivery of deliveries)
      if (delivery.at < (first.get(message)?.at ?? Number.POSITIVE_INFINITY))
        first.set(message, delivery);
  return first;
}

interface Reservation {
  readonly id: string;
  readonly lane: string;
  /** It is reserved for sure after this, and before that. */
  readonly from: number;
  readonly to: number;
  /** The transaction's messages in this lane that take its place. */
  readonly own: readonly string[];
}

const preparesOf = ({ steps }: Transaction): Prepare[] =>
  steps.filter((step): step is Prepare => step.kind === "prepare" && step.outcome !== "fail");

function* reservationsIn(history: History, final: Final): Iterable<Reservation> {
  for (const transaction of history.transactions.values()) {
    const prepares = preparesOf(transaction);
    const from = firstEndOf(prepares);
    // Of two that say otherwise either may have been the first.
    if (from === Number.POSITIVE_INFINITY || prepares.some(({ reservesKeys }) => !reservesKeys))
      continue;
    const to = decidedFrom(transaction, final);
    const ok = prepares.filter(({ outcome }) => outcome === "ok");
    for (const [lane, own] of ownLanes(history, ok))
      yield { id: transaction.id, lane, from, to, own };
  }
}

const firstEndOf = (operations: readonly Operation[]): number =>
  Math.min(
    Number.POSITIVE_INFINITY,
    ...operations.filter(({ outcome }) => outcome === "ok").map(({ endedAt }) => endedAt),
  );

/** Nobody had asked for its verdict before. */
function decidedFrom({ id, steps }: Transaction, { transactions }: Final): number {
  const state = transactions.get(id);
  if (state !== "committed" && state !== "rolledBack") return Number.POSITIVE_INFINITY;
  const verdict = state === "committed" ? "commit" : "rollback";
  const asked = steps.filter(
    (step) =>
      (step.kind === "verdict" || step.kind === "suggestion") &&
      step.verdict === verdict &&
      step.outcome !== "fail",
  );
  return Math.min(Number.POSITIVE_INFINITY, ...asked.map(({ invokedAt }) => invokedAt));
}

function ownLanes({ messages }: History, [prepare]: readonly Prepare[]): Map<string, string[]> {
  const lanes = new Map<string, string[]>();
  for (const id of prepare?.messages ?? []) {
    const said = messages.get(id);
    const lane = said === undefined || said.isDelayed === true ? null : laneOf(said);
    if (lane !== null) lanes.set(lane, [...(lanes.get(lane) ?? []), id]);
  }
  return lanes;
}

function* waitsInVain(history: History, { waiting, transactions }: Final): Iterable<string> {
  if (waiting.size === 0) return;
  const open = new Set<string>();
  for (const transaction of history.transactions.values()) {
    const state = transactions.get(transaction.id);
    if (state !== "undecided" && state !== "parked") continue;
    for (const prepare of preparesOf(transaction))
      if (prepare.reservesKeys)
        for (const lane of ownLanes(history, [prepare]).keys()) open.add(lane);
  }
  for (const id of waiting) {
    const said = history.messages.get(id);
    const lane = said === undefined ? null : laneOf(said);
    if (said === undefined) yield `D1: ${id} waits, which nobody sent`;
    else if (lane === null || !open.has(lane))
      yield `D20: ${id} waits, and nobody reserves its key`;
  }
}

/** What was sent, and not committed: it is visible in the order in which it came, whatever it waits for. */
function* sentInOrder(history: History, offsets: ReadonlyMap<string, number>): Iterable<string> {
  for (const lane of sentLanes(history).values()) {
    /** Of those that were ok before: the one that stands last. */
    let last = { message: "", offset: -1 };
    const ended = [...lane].sort((one, other) => one.endedAt - other.endedAt);
    let next = 0;
    for (const { message, invokedAt } of lane.sort(
      (one, other) => one.invokedAt - other.invokedAt,
    )) {
      for (let one = ended[next]; one !== undefined && one.endedAt < invokedAt; one = ended[next]) {
        const offset = offsets.get(one.message) ?? -1;
        if (offset > last.offset) last = { message: one.message, offset };
        next++;
      }
      const offset = offsets.get(message);
      if (offset !== undefined && offset < last.offset)
        yield `D20: ${message} stands before ${last.message}, which was sent before`;
    }
  }
}

interface Sent extends Brought {
  readonly endedAt: number;
}

function sentLanes({ messages, sends }: History): Map<string, Sent[]> {
  const spans = new Map<string, Sent>();
  for (const { messages: all, invokedAt, endedAt, outcome } of sends)
    for (const message of all) {
      const known = spans.get(message) ?? { message, invokedAt, endedAt: Number.POSITIVE_INFINITY };
      const end = outcome === "ok" ? endedAt : Number.POSITIVE_INFINITY;
      spans.set(message, { ...known, endedAt: Math.min(known.endedAt, end) });
    }
  const lanes = new Map<string, Sent[]>();
  for (const one of spans.values()) {
    const said = messages.get(one.message);
    const lane = said === undefined || said.isDelayed === true ? null : laneOf(said);
    if (lane === null) continue;
    const known = lanes.get(lane) ?? [];
    known.push(one);
    lanes.set(lane, known);
  }
  return lanes;
}
