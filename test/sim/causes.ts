/**
 * Why each record may stand in the log: nothing happens without somebody having asked for it, or its time
 * having come. So a verdict from the wrong group, an ack of another's delivery, or a return that nobody
 * caused is seen when it is written, not when somebody misses a message.
 */
import { crc32 } from "node:zlib";
import { decodeMessage, type WireMessage } from "@escrowmq/protocol";
import type { Policy } from "../../broker/src/core/policy.ts";
import type { LogRecord, RecordOf } from "../../broker/src/core/records.ts";
import type { ConnectionId, Input } from "../../broker/src/core/types.ts";
import type { Ledger } from "./ledger.ts";
import type { LedgerCursor } from "./ledger-facts.ts";
import { demandOpened, demandReset } from "./positions.ts";
import type { Presence } from "./presence.ts";
import { demand } from "./violation.ts";

export interface TokenFacts {
  readonly cursorNo: number;
  readonly offset: number;
  readonly deliveryNo: number;
}

export interface LeaseFacts {
  readonly connection: ConnectionId;
  readonly leaseMs: number;
  untilMs: number;
}

/** What is known while a step's records are looked at. */
export interface Moment {
  readonly input: Input;
  readonly nowMs: number;
  readonly ledger: Ledger;
  readonly presence: Presence;
  readonly policy: Policy;
  /** The tokens of this request that were valid when it came, by `cursor.offset`. */
  readonly valid: ReadonlyMap<string, TokenFacts>;
  readonly lease: (cursorNo: number, offset: number) => LeaseFacts | undefined;
}

export const entryKey = (cursorNo: number, offset: number): string => `${cursorNo}.${offset}`;

/** The request's frame, if the input is a request. */
export const frameOf = (input: Input) => ("frame" in input ? input.frame : null);

export function demandCause(record: LogRecord, moment: Moment): void {
  const { input, ledger } = moment;
  const frame = frameOf(input);
  switch (record.kind) {
    case "opened":
      return demand(input.kind === "open", "C5", () => "opened without a start");
    case "clock":
      return demand(
        moment.nowMs - ledger.atMs >= 60_000,
        "C5",
        () => "the clock is noted more often than once a minute",
      );
    case "sent":
      demandTimings(record, moment);
      return demand(
        frame?.type === "send" && frame.sendId === record.sendId,
        "D1",
        () => `${record.sendId} was not sent now`,
      );
    case "prepared":
      demandTimings(record, moment);
      demandReserving(record, moment);
      return demand(
        frame?.type === "prepare" && frame.transactionId === record.transactionId,
        "D1",
        () => `${record.transactionId} was not prepared now`,
      );
    case "decided":
      return demandVerdict(record, moment);
    case "checked":
      return demandAnswer(record, moment);
    case "resumed":
      return demand(frame?.type === "tx.resume", "C3", () => "resumed by nobody");
    case "acked":
      for (const offset of record.offsets)
        demand(
          frame?.type === "ack" && moment.valid.has(entryKey(record.cursorNo, offset)),
          "D3",
          () => `cursor ${record.cursorNo}/${offset} is acked without a valid token`,
        );
      return;
    case "recalled":
      return demand(
        frame?.type === "recall" && frame.messageId === record.messageId,
        "D14",
        () => `${record.messageId} is recalled by nobody`,
      );
    case "lapsed":
      return demand(input.kind === "lapsed", "D15", () => "nobody found it too old");
    case "returned":
      return demandReturn(record, moment);
    case "abandoned":
    case "buried": {
      const cursor = ledger.cursor(record.cursorNo);
      if (frame?.type === "bury" && moment.valid.has(entryKey(cursor.no, record.offset))) return;
      return demand(
        isLastFailure(ledger, cursor, record.offset),
        "D6",
        () => `cursor ${cursor.no}/${record.offset} is buried before its last attempt`,
      );
    }
    case "instanceOpened":
      return demand(frame?.type === "subscribe", "S1", () => "an instance by nobody");
    case "instanceSeen":
      return demand(
        frame?.type === "subscribe" ||
          (!record.isHere && (frame?.type === "unsubscribe" || input.kind === "disconnected")),
        "S1",
        () => "an instance comes or goes by nobody's doing",
      );
    case "gapTold":
      return demand(frame?.type === "credit", "S3", () => "a gap is heard without a credit");
    case "replayed":
      return demand(frame?.type === "dlq.replay", "D8", () => "replayed by nobody");
    case "purged":
      return demand(frame?.type === "dlq.purge", "D8", () => "purged by nobody");
    case "groupPaused":
      return demand(
        frame?.type === (record.isPaused ? "group.pause" : "group.resume"),
        "D16",
        () => "paused or resumed by nobody",
      );
    case "skipped":
      return demand(
        frame?.type === "group.skip" &&
          record.offsets.every((offset) => frame.offsets.includes(offset)),
        "D17",
        () => "skipped by nobody",
      );
    case "taken": {
      const isAnswer = input.kind === "looked" && input.cursorNo === record.cursorNo;
      return demand(isAnswer, "V6", () => `cursor ${record.cursorNo} takes in without a look`);
    }
    case "cursorFiltered":
      return demand(frame?.type === "subscribe", "V6", () => "filtered by nobody");
    case "cursorOpened":
      return demandOpened(record, frame, ledger);
    case "cursorReset":
      return demandReset(record, frame, ledger);
    default:
      return;
  }
}

/** What the log says of a message's times is what its sender said, counted from now if it is sent now. */
function demandTimings({ kind, messages }: RecordOf<"sent" | "prepared">, { nowMs }: Moment): void {
  for (const { data, timing } of messages) {
    if (data === null) continue;
    const { id, key, delayMs = 0, deliverAtMs = 0, ttlMs = 0 } = decodeMessage(data);
    const dueAtMs = deliverAtMs > 0 ? deliverAtMs : nowMs + delayMs;
    const said = [kind === "prepared" ? delayMs : 0, kind === "prepared" ? deliverAtMs : dueAtMs];
    if (kind === "sent" && dueAtMs <= nowMs) said[1] = 0;
    const logged = [timing?.delayMs ?? 0, timing?.deliverAtMs ?? 0, timing?.ttlMs ?? 0];
    demand(
      [...said, ttlMs].join() === logged.join(),
      "D13",
      () => `${id} says ${said}, not ${logged}`,
    );
    const hash = timing?.key ?? 0;
    const isRight = hash === 0 || (key !== undefined && hash === (crc32(key) || 1));
    demand(isRight, "D20", () => `${id} is logged with the key ${hash}`);
  }
}

/** The keys of its messages are reserved if it asked for that and has any to reserve, and only then. */
function demandReserving({ messages, ...record }: RecordOf<"prepared">, { input }: Moment): void {
  const frame = frameOf(input);
  const isAsked = frame?.type === "prepare" && frame.reserveKeys === true;
  const hasAny = messages.some(({ data }) => data !== null && mayReserve(decodeMessage(data)));
  demand(
    (record.reservesKeys === true) === (isAsked && hasAny),
    "D20",
    () => `${record.transactionId} reserves keys: ${record.reservesKeys}`,
  );
}

/** One with a delay takes its place when it is due. */
export const mayReserve = ({ key, delayMs = 0, deliverAtMs = 0 }: WireMessage): boolean =>
  key !== undefined && delayMs + deliverAtMs === 0;

function isLastFailure(ledger: Ledger, cursor: LedgerCursor, offset: number): boolean {
  const attemptsMax = ledger.groups.get(cursor.groupNo)?.policy.attemptsMax ?? 0;
  return (cursor.entries.get(offset)?.failures ?? 0) + 1 >= attemptsMax;
}

/** T2, T4: who decided, and was it theirs to decide? */
function demandVerdict(record: RecordOf<"decided">, moment: Moment): void {
  const { input, ledger, presence, policy } = moment;
  const { transactionId, verdict, by } = record;
  const transaction = ledger.transactions.get(transactionId);
  demand(transaction !== undefined, "T6", () => `${transactionId} is decided but was not prepared`);
  const isLater = transaction.messages.some(
    ({ timing }) => timing !== undefined && timing.delayMs + timing.deliverAtMs > 0,
  );
  const fromAtMs = verdict === "commit" && isLater ? moment.nowMs : undefined;
  demand(record.fromAtMs === fromAtMs, "D13", () => `${transactionId} counts from another time`);
  const frame = frameOf(input);
  switch (by) {
    case "producer":
      demand(
        frame?.type === "verdict" &&
          frame.transactionId === transactionId &&
          frame.verdict === verdict,
        "T2",
        () => `no producer said ${verdict} for ${transactionId}`,
      );
      return demand(
        frame.group === transaction.group,
        "T4",
        () => `${frame.group} is another group`,
      );
    case "operator":
      return demand(
        frame?.type === "tx.decide" &&
          frame.transactionId === transactionId &&
          frame.verdict === verdict,
        "T2",
        () => `no operator said ${verdict} for ${transactionId}`,
      );
    case "policy":
      demand(verdict === "rollback", "T2", () => "a policy never commits");
      demand(
        transaction.onUndecided === "rollback",
        "C3",
        () => `${transactionId} asked to be kept`,
      );
      return demand(
        transaction.checks >= policy.checkAttemptsMax ||
          moment.nowMs - transaction.ageFromMs >= policy.undecidedAgeMaxMs,
        "C3",
        () => `${transactionId} is given up after ${transaction.checks} checks`,
      );
    case "check":
      if (input.kind === "endpointAnswered")
        return demand(
          input.transactionId === transactionId && input.outcome === verdict,
          "T2",
          () => `no endpoint said ${verdict} for ${transactionId}`,
        );
      demand(
        input.kind === "frame" &&
          input.frame.type === "answer" &&
          input.frame.transactionId === transactionId &&
          input.frame.verdict === verdict,
        "T2",
        () => `nobody answered ${verdict} for ${transactionId}`,
      );
      return demand(
        presence.speaksFor(input.from, transaction.group),
        "C6",
        () => `connection ${input.from} answers for ${transaction.group}`,
      );
  }
}

/** C3: what is counted really reached somebody, and ended as the record says. */
function demandAnswer(record: RecordOf<"checked">, moment: Moment): void {
  const { input, nowMs, presence, policy } = moment;
  const { transactionId: id, outcome, isCounted } = record;
  const asked = presence.asked.get(id);
  demand(
    !isCounted || asked !== undefined,
    "C3",
    () => `a check of ${id} counts, but was not sent`,
  );
  demand(
    record.nextCheckAtMs >= nowMs + policy.checkIntervalMs,
    "P7",
    () => `the next check of ${id} comes after ${record.nextCheckAtMs - nowMs} ms`,
  );
  switch (outcome) {
    case "timeout":
      return demand(
        asked !== undefined && nowMs >= asked.atMs + policy.checkAnswerWithinMs,
        "C3",
        () => `a check of ${id} ends before its time`,
      );
    case "disconnected":
      return demand(
        input.kind === "disconnected" && input.connection === asked?.connection,
        "C3",
        () => `who was asked about ${id} is still there`,
      );
    default:
      if (input.kind === "notAsked")
        return demand(!isCounted, "C3", () => `${id} was not asked about, and that counts`);
      if (input.kind === "endpointAnswered") {
        demand(asked?.connection === null, "C3", () => `no endpoint was asked about ${id}`);
        const isRight = !isCounted || input.isCounted;
        return demand(isRight, "C3", () => `a check of ${id} counts, and reached nobody`);
      }
      demand(
        input.kind === "frame" && input.frame.type === "answer",
        "C3",
        () => `nobody answered for ${id}`,
      );
      return demand(
        !isCounted || input.from === asked?.connection,
        "C3",
        () => `who answered for ${id} was not asked`,
      );
  }
}

/** D5, D6, D7: why a delivery ended without an ack, whether it counts, and when it comes again. */
function demandReturn(record: RecordOf<"returned">, moment: Moment): void {
  const { input, nowMs, ledger } = moment;
  const { cursorNo, offset, cause, isCounted, readyAtMs } = record;
  const where = `cursor ${cursorNo}/${offset}`;
  const lease = moment.lease(cursorNo, offset);
  demand(lease !== undefined, "D5", () => `${where} is returned, but nobody has it`);
  const frame = frameOf(input);
  const cursor = ledger.cursor(cursorNo);
  const counts = cause === "retry" || cause === "expired" || cause === "disconnected";
  demand(isCounted === counts, "D6", () => `${where}: ${cause} counts ${isCounted}`);
  if (counts)
    demand(!isLastFailure(ledger, cursor, offset), "D6", () => `${where} has no attempt left`);
  switch (cause) {
    case "retry": {
      demand(
        frame?.type === "retry" && moment.valid.has(entryKey(cursorNo, offset)),
        "D5",
        () => `${where} is retried without a valid token`,
      );
      const policy = ledger.groups.get(cursor.groupNo)?.policy;
      const failures = (cursor.entries.get(offset)?.failures ?? 0) + 1;
      const ladder = policy?.retryDelaysMs ?? [];
      const leastMs = frame.delayMs ?? ladder[Math.min(failures, ladder.length) - 1] ?? 0;
      const mostMs = frame.delayMs ?? leastMs * (1 + (policy?.jitterPercent ?? 0) / 100) + 1;
      const waitMs = readyAtMs === 0 ? 0 : readyAtMs - nowMs;
      return demand(
        waitMs >= leastMs && waitMs <= mostMs,
        "D7",
        () => `${where} waits ${waitMs} ms, not ${leastMs}`,
      );
    }
    case "expired":
      return demand(lease.untilMs <= nowMs, "D5", () => `${where} expires before its time`);
    case "disconnected":
      return demand(
        (input.kind === "disconnected" && input.connection === lease.connection) ||
          (frame?.type === "subscribe" &&
            ledger.groupName(cursor) === `${frame.group}%${frame.instance}`),
        "D5",
        () => `who has ${where} is still there`,
      );
    case "released":
      return demand(
        (frame?.type === "release" && moment.valid.has(entryKey(cursorNo, offset))) ||
          (input.kind === "frame" &&
            frame?.type === "unsubscribe" &&
            input.from === lease.connection),
        "D5",
        () => `nobody released ${where}`,
      );
    case "unreadable":
      return demand(input.kind === "unreadable", "D5", () => `${where} could be read`);
    default:
      return demand(false, "D5", () => `${where} is returned for ${cause}`);
  }
}
