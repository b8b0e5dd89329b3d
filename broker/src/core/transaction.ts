/**
 * An undecided transaction, and what is remembered of a decided one.
 *
 *   prepare --> undecided --commit--> committed      checks: due -> asked -> due … -> parked
 *                        --rollback-> rolledBack     resumed: parked -> due, counting from 0
 *               parked   --the same verdicts
 *
 * Invariants
 * - X1 A transaction is undecided in one table or decided in the other, never in both (T2).
 * - X2 Parked is undecided: it takes a verdict, and nothing decides it by itself (promise 5).
 */
import type { DecidedBy, LoggedMessage, Place, Timing } from "./records.ts";

export interface HalfMessage {
  readonly topicNo: number;
  readonly bytes: number;
  readonly timing?: Timing;
}

/** It does not become visible with its send or commit. */
export const isDelayed = ({
  timing,
}: {
  readonly timing?: Pick<Timing, "delayMs" | "deliverAtMs">;
}): boolean => timing !== undefined && (timing.delayMs > 0 || timing.deliverAtMs > 0);

/** Its key is reserved by its transaction, if that reserves keys. One with a delay takes its place when it is due. */
export const keyToReserve = (message: Pick<HalfMessage, "timing">): number =>
  isDelayed(message) ? 0 : (message.timing?.key ?? 0);

export interface JoinedAck {
  readonly cursorNo: number;
  readonly offset: number;
}

/** The durable part: what a checkpoint holds. */
export interface TransactionFacts {
  readonly id: string;
  readonly group: string;
  readonly digest: number;
  readonly preparedAtMs: number;
  /** It was prepared in this block. */
  readonly block: number;
  readonly messages: readonly HalfMessage[];
  readonly acks: readonly JoinedAck[];
  readonly onUndecided: "park" | "rollback";
  /** Of its places in the queues of its keys (key-queues.ts); NOTHING: it reserves none. */
  readonly reservationNo: number;
}

/** What changes while it is undecided. */
export interface TransactionProgress {
  /** Where the first of its messages stands; the others follow it, slot by slot. */
  place: Place;
  /** Broker time that this transaction's age counts from: preparedAtMs plus all pauses of the broker. */
  ageFromMs: number;
  /** Counted checks: those that reached somebody. */
  checks: number;
  /** Not before this; meaningless while parked. */
  nextCheckAtMs: number;
  parked: "attempts" | "age" | null;
}

/** One that is undecided. An object for the moment: its row stands in a table (transactions.ts). */
export interface Transaction extends TransactionFacts, TransactionProgress {
  /** Its row in the table; another one's after the verdict. */
  readonly rowNo: number;
  readonly bytes: number;
}

export interface Decision {
  readonly state: "committed" | "rolledBack";
  readonly group: string;
  readonly digest: number;
  readonly by: DecidedBy;
  readonly who: string;
  readonly atMs: number;
  readonly preparedAtMs: number;
  readonly preparedBlock: number;
  readonly decidedBlock: number;
}

export const totalBytes = (messages: readonly (HalfMessage | LoggedMessage)[]): number =>
  messages.reduce((total, message) => total + message.bytes, 0);

/** What a producer group has undecided: for limits and for people. */
export interface UndecidedTotals {
  count: number;
  bytes: number;
  parked: number;
}
