/**
 * Sending: announce, send, prepare, verdict, answer. Each function refuses first, then changes.
 *
 * Invariants
 * - T2 Decided once: the first durable verdict wins; `decide` is the only way to it.
 * - T4 A verdict names a transaction and comes from its producer group.
 * - T7 Prepare and send are idempotent by id.
 * - P3 The same verdict again is `ok`; the other one has a code of its own, with who and when.
 */
import type { ClientFrames, ErrorCode, ErrorDetail, FinalVerdict } from "@escrowmq/protocol";
import { LIMITS } from "@escrowmq/protocol/limits";
import type { Core } from "./core.ts";
import type { Cursor } from "./cursor.ts";
import type { Entry } from "./entries.ts";
import type { DecidedBy, LoggedMessage } from "./records.ts";
import type { State } from "./state.ts";
import { refuseReserving, refuseTimings, timingOf } from "./timing.ts";
import { readToken } from "./token.ts";
import {
  type Decision,
  isDelayed,
  type JoinedAck,
  keyToReserve,
  type Transaction,
} from "./transaction.ts";
import type { Turn } from "./turn.ts";
import type { ConnectionId, Input, NewMessage } from "./types.ts";

type InputOf<Kind extends Input["kind"]> = Extract<Input, { readonly kind: Kind }>;

export interface Refusal {
  readonly code: ErrorCode;
  readonly message: string;
  readonly detail?: ErrorDetail;
}

const FULL: Refusal = { code: "DISK_FULL", message: "The disk is full." };

/** True: nothing may be written any more, and the request is refused. To be asked last, just before the change. */
export function refuseFull({ admission }: Core, turn: Turn, to: ConnectionId, re: number): boolean {
  if (admission === "none") turn.refuse(to, re, FULL.code, FULL.message);
  return admission === "none";
}

export function announce(
  core: Core,
  turn: Turn,
  from: ConnectionId,
  frame: ClientFrames["announce"],
): void {
  core.checks.announce(core.connections.get(from), frame.group, frame.checker);
  turn.ok(from, frame.id);
}

export function send(
  core: Core,
  turn: Turn,
  { from, frame, messages, digest }: InputOf<"send">,
): void {
  const { state } = core;
  const known = state.sends.get(frame.sendId);
  if (known === digest) return turn.ok(from, frame.id, { duplicate: true });
  if (known !== undefined)
    return turn.refuse(
      from,
      frame.id,
      "TX_CONFLICT",
      "This send id was used before with other content.",
    );
  const refusal = refuseSending(core, messages, turn.nowMs);
  if (refusal !== null)
    return turn.refuse(from, frame.id, refusal.code, refusal.message, refusal.detail);
  // From here it must succeed.
  const logged = toLogged(core, messages, turn.nowMs, false);
  turn.log({ kind: "sent", sendId: frame.sendId, digest, messages: logged });
  for (const { topicNo } of logged) core.consumers.stirTopic(topicNo);
  turn.ok(from, frame.id);
}

export function prepare(core: Core, turn: Turn, input: InputOf<"prepare">): void {
  const { from, frame, messages, digest } = input;
  const repeated = repeatedPrepare(core, frame, digest);
  if (repeated === "conflict")
    return turn.refuse(
      from,
      frame.id,
      "TX_CONFLICT",
      "This transaction id was used before with other content.",
    );
  if (repeated !== null) return turn.ok(from, frame.id, { duplicate: true, state: repeated });
  const joined = readAcks(core, frame.acks ?? []);
  const refusal = refusePrepare(core, input, turn.nowMs) ?? (joined === null ? STALE : null);
  if (refusal !== null || joined === null) {
    const { code, message, detail } = refusal ?? STALE;
    return turn.refuse(from, frame.id, code, message, detail);
  }
  // From here it must succeed.
  for (const { entry } of joined) core.consumers.endLease(entry);
  const logged = toLogged(core, messages, null, frame.reserveKeys === true);
  const reservesKeys = frame.reserveKeys === true && logged.some((one) => keyToReserve(one) !== 0);
  const prepared = {
    kind: "prepared",
    transactionId: frame.transactionId,
    group: frame.group,
    digest,
    messages: logged,
    acks: joined.map(({ ack }) => ack),
    checkAtMs: turn.nowMs + (frame.checkAfterMs ?? core.policy.checkAfterMs),
    onUndecided: frame.onUndecided ?? "park",
  } as const;
  turn.log(reservesKeys ? { ...prepared, reservesKeys } : prepared);
  core.checks.prepared(core.state.transaction(frame.transactionId), from);
  turn.ok(from, frame.id, { state: "undecided" });
}

/** The producer's own verdict. */
export function verdict(
  core: Core,
  turn: Turn,
  from: ConnectionId,
  frame: ClientFrames["verdict"],
): void {
  const found = findTransaction(core, frame.transactionId);
  if (found === null) return turn.refuse(from, frame.id, "TX_NOT_FOUND", NOT_FOUND);
  if (found.group !== frame.group)
    return turn.refuse(
      from,
      frame.id,
      "WRONG_GROUP",
      "The transaction was prepared by another producer group.",
    );
  if (frame.verdict === "unknown") return turn.ok(from, frame.id, { state: found.state });
  if (found.decision !== null)
    return answerDecided(turn, from, frame.id, found.decision, frame.verdict);
  if (refuseFull(core, turn, from, frame.id)) return;
  decide(
    core,
    turn,
    found.transaction,
    frame.verdict,
    "producer",
    clientOf(core, from),
    frame.reason ?? "",
  );
  turn.ok(from, frame.id, { state: frame.verdict === "commit" ? "committed" : "rolledBack" });
}

/** The answer to a check. Nobody waits for a reply; one from a stranger, or too late, changes nothing. */
export function answer(
  core: Core,
  turn: Turn,
  from: ConnectionId,
  frame: ClientFrames["answer"],
): void {
  const transaction = core.state.transactions.get(frame.transactionId);
  if (transaction === undefined) return;
  const connection = core.connections.get(from);
  if (!connection.producerOf.has(transaction.group)) return;
  core.checks.answered(transaction, frame, connection, turn);
}

/** T5: the one way a transaction is decided. The caller has made sure that it is undecided. */
export function decide(
  core: Core,
  turn: Turn,
  transaction: Transaction,
  verdict: FinalVerdict,
  by: DecidedBy,
  who: string,
  reason: string,
): void {
  const { id: transactionId, messages, acks } = transaction;
  core.checks.decided(transaction);
  const decided = { kind: "decided", transactionId, verdict, by, who, reason } as const;
  const isLater = verdict === "commit" && messages.some(isDelayed);
  turn.log(isLater ? { ...decided, fromAtMs: turn.nowMs } : decided);
  if (verdict === "commit") for (const { topicNo } of messages) core.consumers.stirTopic(topicNo);
  else for (const { cursorNo } of acks) core.consumers.stir(core.state.cursor(cursorNo));
}

export const NOT_FOUND =
  "The broker does not know this transaction: it was never prepared, or was decided long ago.";

/** Same verdict: ok, nothing done again. The other one: refused, with who and when (P3). */
export function answerDecided(
  turn: Turn,
  to: ConnectionId,
  re: number,
  decision: Decision,
  verdict: FinalVerdict,
): void {
  const isSame = (decision.state === "committed") === (verdict === "commit");
  if (isSame) return turn.ok(to, re, { duplicate: true, state: decision.state });
  const code = decision.state === "committed" ? "TX_ALREADY_COMMITTED" : "TX_ALREADY_ROLLED_BACK";
  const what = decision.state === "committed" ? "committed" : "rolled back";
  const detail = {
    decidedBy: decision.by,
    who: decision.who,
    decidedAtMs: Math.round(decision.atMs),
  };
  turn.refuse(to, re, code, `The transaction was ${what} before, by ${decision.by}.`, detail);
}

export type Found =
  | {
      readonly transaction: Transaction;
      readonly decision: null;
      readonly group: string;
      readonly state: "undecided" | "parked";
    }
  | {
      readonly transaction: null;
      readonly decision: Decision;
      readonly group: string;
      readonly state: Decision["state"];
    };

export function findTransaction(core: Core, id: string): Found | null {
  const transaction = core.state.transactions.get(id);
  if (transaction !== undefined) {
    const state = transaction.parked === null ? "undecided" : "parked";
    return { transaction, decision: null, group: transaction.group, state };
  }
  const decision = core.state.decisions.get(id);
  return decision === undefined
    ? null
    : { transaction: null, decision, group: decision.group, state: decision.state };
}

/** The entry of a delivery that is still under way, or null. */
export function findDelivery(core: Core, token: string): { cursor: Cursor; entry: Entry } | null {
  const ref = readToken(token);
  const cursor = ref === null ? undefined : core.state.cursors.get(ref.cursorNo);
  const entry = ref === null ? undefined : cursor?.leased(ref.offset, ref.deliveryNo);
  return cursor === undefined || entry === undefined ? null : { cursor, entry };
}

export const clientOf = (core: Core, from: ConnectionId): string =>
  core.connections.find(from)?.client ?? "";

export const STALE: Refusal = {
  code: "STALE_DELIVERY",
  message: "The delivery is over: settled, expired, given back, or replaced by a later one.",
};

function repeatedPrepare(
  core: Core,
  frame: ClientFrames["prepare"],
  digest: number,
): Found["state"] | "conflict" | null {
  const found = findTransaction(core, frame.transactionId);
  if (found === null) return null;
  const facts = found.transaction ?? found.decision;
  return facts.digest === digest && facts.group === frame.group ? found.state : "conflict";
}

/** Null if one of the tokens is stale, or stands there twice: the whole prepare is refused. */
function readAcks(
  core: Core,
  tokens: readonly string[],
): { ack: JoinedAck; entry: Entry }[] | null {
  if (tokens.length === 0) return [];
  const joined = new Map<number, { ack: JoinedAck; entry: Entry }>();
  for (const token of tokens) {
    const found = findDelivery(core, token);
    if (found === null || joined.has(found.entry.place)) return null;
    const { cursor, entry } = found;
    joined.set(entry.place, { ack: { cursorNo: cursor.no, offset: entry.offset }, entry });
  }
  return [...joined.values()];
}

function refusePrepare(
  core: Core,
  { from, frame, messages }: InputOf<"prepare">,
  nowMs: number,
): Refusal | null {
  if (!core.connections.get(from).producerOf.has(frame.group))
    return {
      code: "NOT_ANNOUNCED",
      message: `This connection has not announced the producer group ${frame.group}.`,
    };
  if (messages.length === 0 && (frame.acks ?? []).length === 0)
    return {
      code: "INVALID_ARGUMENT",
      message: "A transaction holds at least one message or ack.",
    };
  if (frame.onUndecided !== "rollback" && !core.checks.canAsk(frame.group))
    return {
      code: "NO_CHECKER",
      message: `Nobody can answer checks for ${frame.group}: announce a checker, set an endpoint, or choose onUndecided rollback.`,
    };
  return (
    refuseUndecided(core, frame.group, messages) ??
    refuseSending(core, messages, nowMs) ??
    (frame.reserveKeys === true ? refuseReserving(core, messages) : null)
  );
}

function refuseUndecided(
  { state, policy }: Core,
  group: string,
  messages: readonly NewMessage[],
): Refusal | null {
  const bytes = bytesOf(messages);
  const own = state.totalsByGroup.get(group) ?? { count: 0, bytes: 0 };
  const isGroupFull =
    own.count >= policy.undecidedPerGroupMax ||
    own.bytes + bytes > policy.undecidedBytesPerGroupMax;
  const isFull =
    state.totals.count >= policy.undecidedMax ||
    state.totals.bytes + bytes > policy.undecidedBytesMax;
  if (!isGroupFull && !isFull) return null;
  const where = isGroupFull ? `producer group ${group}` : "broker";
  return {
    code: "UNDECIDED_LIMIT",
    message: `Too much is undecided in this ${where}; decide some of it first.`,
  };
}

function refuseSending(core: Core, messages: readonly NewMessage[], nowMs: number): Refusal | null {
  if (core.admission !== "all")
    return { code: "DISK_FULL", message: "Free disk space is below the limit for sending." };
  if (bytesOf(messages) > LIMITS.transactionBytesMax)
    return {
      code: "TRANSACTION_TOO_LARGE",
      message: `The messages of one transaction may have at most ${LIMITS.transactionBytesMax} bytes together.`,
    };
  for (const message of messages) {
    const refusal = refuseMessage(core, message);
    if (refusal !== null) return refusal;
  }
  return refuseTimings(core, messages, nowMs);
}

function refuseMessage({ state }: Core, { topic: name, bodyBytes }: NewMessage): Refusal | null {
  const topic = state.topicsByName.get(name);
  if (topic === undefined)
    return {
      code: "TOPIC_NOT_FOUND",
      message: `There is no topic ${name}. Create it: escrow topic create ${name}`,
    };
  if (topic.isDeadLetters)
    return {
      code: "INVALID_ARGUMENT",
      message: "Only the broker puts messages into a dead-letter topic.",
    };
  if (topic.settings.isPaused)
    return { code: "TOPIC_PAUSED", message: `Sending to the topic ${name} is paused.` };
  if (bodyBytes > topic.settings.bodyBytesMax)
    return {
      code: "BODY_TOO_LARGE",
      message: `A body in the topic ${name} may have at most ${topic.settings.bodyBytesMax} bytes.`,
    };
  return null;
}

const bytesOf = (messages: readonly NewMessage[]): number => {
  let total = 0;
  for (const { data } of messages) total += data.length;
  return total;
};

/** `nowMs`: they become visible now, or count their delays from now on; null: not before a verdict. */
function toLogged(
  { state }: Core,
  messages: readonly NewMessage[],
  nowMs: number | null,
  reservesKeys: boolean,
): LoggedMessage[] {
  // Of most there is nothing to say, and nobody looks.
  if (!reservesKeys && state.keyQueues.isEmpty && !messages.some(saysTimes))
    return messages.map((message) => plain(state, message));
  return messages.map((message) => {
    const timing = timingOf(state, message, nowMs, reservesKeys);
    const logged = plain(state, message);
    return timing === undefined ? logged : { ...logged, timing };
  });
}

const saysTimes = ({ timing }: NewMessage): boolean => timing !== undefined;

function plain({ topicsByName }: State, { topic, data }: NewMessage): LoggedMessage {
  return { topicNo: topicsByName.get(topic)?.no ?? 0, bytes: data.length, data };
}
