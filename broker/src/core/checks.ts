/**
 * Check-back: when an undecided transaction is asked about, and whom.
 *
 *   scheduled --due--> asked --answer--> decided | scheduled again | parked
 *                      queued (nobody free) --somebody comes--> asked
 *
 * Invariants
 * - C1 A due transaction is asked about as soon as somebody of its group is connected, or has an endpoint.
 * - C2 Nothing is asked about a transaction that is decided.
 * - C3 Only checks that reached somebody are counted; at the maximum the transaction is parked (or rolled
 *   back, if that is what its producer chose), never dropped.
 * - C4 A group waits in a queue of its own: an absent, slow or throwing producer delays no other group.
 * - C6 Only the group's own connections and endpoint are asked.
 * - C7 Checks in flight are bounded for each connection, each endpoint and in total.
 */
import type { ClientFrames, FinalVerdict } from "@escrowmq/protocol";
import { Alarms } from "./alarms.ts";
import { Chain, Links } from "./chain.ts";
import { Column } from "./columns.ts";
import type { Connection } from "./connections.ts";
import type { Core } from "./core.ts";
import { NOWHERE } from "./places.ts";
import type { CheckOutcome, DecidedBy } from "./records.ts";
import type { Transaction } from "./transaction.ts";
import type { Turn } from "./turn.ts";
import type { ConnectionId, Input, Question } from "./types.ts";

/** What is under way for a transaction, by its row; while it is parked, nothing. */
const IDLE = 0;
const SCHEDULED = 1;
/** Due, but nobody is there or free; the alarm is the age limit. */
const QUEUED = 2;
const ASKED = 3;

/** A question that is open. */
interface Asked {
  /** Null: the group's endpoint. */
  readonly connection: Connection | null;
  readonly attempt: number;
  readonly atMs: number;
}

interface ProducerGroup {
  /** Connections that answer checks, in the order in which they are asked. */
  readonly checkers: Connection[];
  /** Rows of transactions. */
  readonly queue: Chain;
  endpointInFlight: number;
}

/** What decides a transaction; given by transact.ts, so that there is one way to decide. */
export type Decide = (
  core: Core,
  turn: Turn,
  transaction: Transaction,
  verdict: FinalVerdict,
  by: DecidedBy,
  who: string,
  reason: string,
) => void;

type Answer = ClientFrames["answer"];
type EndpointAnswer = Extract<Input, { readonly kind: "endpointAnswered" }>;

/** How a check ended, for the count and for the inspector. */
interface Ending {
  readonly isCounted: boolean;
  readonly asked: string;
}

export class Checks {
  readonly #core: () => Core;
  readonly #decide: Decide;
  readonly #groups = new Map<string, ProducerGroup>();
  /** Groups whose queue may move. */
  readonly #stirred = new Set<string>();
  /** One alarm for each that is not parked: the check, the age limit, or the end of the wait for an answer. */
  readonly #alarms = new Alarms();
  readonly #kinds = new Column(Uint8Array);
  /** The connection that prepared, plus 1; asked first. 0: it is not known, or did not answer. */
  readonly #preparedBy = new Column(Float64Array);
  readonly #queueLinks = new Links();
  readonly #asked = new Map<number, Asked>();

  constructor(core: () => Core, decide: Decide) {
    this.#core = core;
    this.#decide = decide;
  }

  get inFlight(): number {
    return this.#asked.size;
  }

  /** How many transactions wait for something. */
  get waiting(): number {
    return this.#alarms.size;
  }

  get nextAtMs(): number {
    return this.#alarms.nextAtMs;
  }

  /** The question about this transaction that is open. */
  askedOf({ rowNo }: Transaction): Asked | undefined {
    return this.#asked.get(rowNo);
  }

  checkersOf(group: string): number {
    return this.#groups.get(group)?.checkers.length ?? 0;
  }

  canAsk(group: string): boolean {
    return this.checkersOf(group) > 0 || this.#core().state.endpoints.has(group);
  }

  announce(connection: Connection, group: string, isChecker: boolean): void {
    this.retract(connection, group);
    connection.producerOf.set(group, isChecker);
    if (!isChecker) return;
    this.#groupOf(group).checkers.push(connection);
    this.stir(group);
  }

  retract(connection: Connection, group: string): void {
    connection.producerOf.delete(group);
    const checkers = this.#groups.get(group)?.checkers ?? [];
    const at = checkers.indexOf(connection);
    if (at < 0) return;
    checkers.splice(at, 1);
    // With nobody connected the endpoint is asked, if there is one (C1).
    this.stir(group);
  }

  /** Somebody may be free for this group now. */
  stir(group: string): void {
    this.#stirred.add(group);
  }

  /** A transaction was prepared; this connection is asked first. */
  prepared(transaction: Transaction, by: ConnectionId): void {
    this.schedule(transaction);
    this.#preparedBy.set(transaction.rowNo, by + 1);
  }

  /** A transaction was prepared, recovered or resumed. */
  schedule(transaction: Transaction): void {
    const atMs = Math.min(transaction.nextCheckAtMs, this.#ageLimitMs(transaction));
    this.#become(SCHEDULED, transaction, atMs);
  }

  /** The transaction was parked: whatever was under way is over (C2). */
  forget(transaction: Transaction): void {
    const { rowNo } = transaction;
    const kind = this.#kinds.at(rowNo);
    if (kind === IDLE) return;
    this.#alarms.cancel(rowNo);
    if (kind === QUEUED) this.#groupOf(transaction.group).queue.remove(rowNo);
    if (kind === ASKED) this.#free(transaction);
    this.#kinds.set(rowNo, IDLE);
  }

  /** The transaction is being decided: nothing here may know its row any more (Q1). */
  decided(transaction: Transaction): void {
    this.forget(transaction);
    if (this.#preparedBy.at(transaction.rowNo) !== 0) this.#preparedBy.set(transaction.rowNo, 0);
  }

  /** Works on the first one whose time has come: a check, the age limit, or no answer. False: there is none. */
  workOffDue(turn: Turn): boolean {
    const rowNo = this.#alarms.takeDue(turn.nowMs);
    if (rowNo === NOWHERE) return false;
    const transaction = this.#core().state.transactions.at(rowNo);
    if (this.#kinds.at(rowNo) === ASKED) this.#noAnswer(transaction, turn);
    else if (turn.nowMs >= this.#ageLimitMs(transaction)) this.#giveUp(transaction, "age", turn);
    else this.enqueue(transaction);
    return true;
  }

  /** Asks as soon as somebody is free. What is being asked is not asked a second time (C7). */
  enqueue(transaction: Transaction): void {
    if (this.#asked.has(transaction.rowNo)) return;
    this.#become(QUEUED, transaction, this.#ageLimitMs(transaction));
    this.#groupOf(transaction.group).queue.append(transaction.rowNo);
    this.stir(transaction.group);
  }

  #become(kind: number, transaction: Transaction, atMs: number): void {
    this.forget(transaction);
    while (this.#kinds.length <= transaction.rowNo) {
      this.#kinds.push(IDLE);
      this.#preparedBy.push(0);
    }
    this.#kinds.set(transaction.rowNo, kind);
    this.#alarms.set(transaction.rowNo, atMs);
  }

  #noAnswer(transaction: Transaction, turn: Turn): void {
    const connection = this.#asked.get(transaction.rowNo)?.connection ?? null;
    const asked = connection === null ? "endpoint" : connection.client;
    // Who does not answer is not preferred any more: another instance may know.
    if (connection !== null && this.#preparedBy.at(transaction.rowNo) === connection.id + 1)
      this.#preparedBy.set(transaction.rowNo, 0);
    this.#ended(transaction, "timeout", { isCounted: true, asked }, turn);
  }

  /** The connection that was asked is gone. */
  disconnected(connection: Connection, turn: Turn): void {
    const ending = { isCounted: true, asked: connection.client };
    const { transactions } = this.#core().state;
    for (const rowNo of [...connection.checks])
      this.#ended(transactions.at(rowNo), "disconnected", ending, turn);
  }

  /** An answer from a connection. Late ones count as verdicts, too: the first durable verdict wins (T2). */
  answered(transaction: Transaction, answer: Answer, connection: Connection, turn: Turn): void {
    const { attempt, verdict } = answer;
    const asked = this.#asked.get(transaction.rowNo);
    const isCounted = asked?.connection === connection && asked.attempt === attempt;
    // A late unknown says nothing, and must not end the question that is open now.
    if (!isCounted && verdict === "unknown") return;
    this.#ended(transaction, verdict, { isCounted, asked: connection.client }, turn);
  }

  endpointAnswered(transaction: Transaction, answer: EndpointAnswer, turn: Turn): void {
    const open = this.#asked.get(transaction.rowNo);
    if (open === undefined || open.connection !== null || open.attempt !== answer.attempt) return;
    const asked = answer.note === "" ? "endpoint" : `endpoint (${answer.note})`;
    this.#ended(transaction, answer.outcome, { isCounted: answer.isCounted, asked }, turn);
  }

  /** The question never left: its messages could not be read. It is put again after the interval. */
  notAsked(transaction: Transaction, attempt: number, turn: Turn): void {
    if (this.#asked.get(transaction.rowNo)?.attempt !== attempt) return;
    this.#ended(transaction, "failed", { isCounted: false, asked: "nobody" }, turn);
  }

  /** Asks about queued transactions while somebody is free. */
  pump(turn: Turn): void {
    for (const name of [...this.#stirred]) {
      this.#stirred.delete(name);
      const group = this.#groupOf(name);
      for (const rowNo of group.queue.places()) {
        if (this.inFlight >= this.#core().policy.checksTotalMax) {
          this.#stirred.add(name);
          return;
        }
        if (!this.#ask(this.#core().state.transactions.at(rowNo), group, turn)) break;
      }
      if (group.queue.size === 0 && group.checkers.length === 0 && group.endpointInFlight === 0)
        this.#groups.delete(name);
    }
  }

  #ask(transaction: Transaction, group: ProducerGroup, turn: Turn): boolean {
    const { policy, state } = this.#core();
    const connection = this.#pickConnection(transaction, group);
    if (connection !== null) {
      this.#opened(transaction, connection, turn);
      turn.send({ kind: "check", to: connection.id, ...question(transaction, turn.nowMs) });
      return true;
    }
    const endpoint = state.endpoints.get(transaction.group);
    const isConnected = group.checkers.length > 0;
    if (
      endpoint === undefined ||
      isConnected ||
      group.endpointInFlight >= policy.checksPerEndpointMax
    )
      return false;
    group.endpointInFlight++;
    this.#opened(transaction, null, turn);
    turn.send({ kind: "askEndpoint", ...endpoint, ...question(transaction, turn.nowMs) });
    return true;
  }

  /** The connection that prepared, else the others of the group in turn (RocketMQ asks any, #9791). */
  #pickConnection(transaction: Transaction, { checkers }: ProducerGroup): Connection | null {
    const isFree = (one: Connection): boolean =>
      one.checks.size < this.#core().policy.checksPerConnectionMax;
    const preparedBy = this.#preparedBy.at(transaction.rowNo) - 1;
    const first =
      checkers.find((one) => one.id === preparedBy && isFree(one)) ?? checkers.find(isFree);
    if (first === undefined) return null;
    checkers.splice(checkers.indexOf(first), 1);
    checkers.push(first);
    return first;
  }

  #opened(transaction: Transaction, connection: Connection | null, turn: Turn): void {
    const { checkAnswerWithinMs } = this.#core().policy;
    this.#become(ASKED, transaction, turn.nowMs + checkAnswerWithinMs);
    const attempt = transaction.checks + 1;
    this.#asked.set(transaction.rowNo, { connection, attempt, atMs: turn.nowMs });
    connection?.checks.add(transaction.rowNo);
  }

  #ended(transaction: Transaction, outcome: CheckOutcome, how: Ending, turn: Turn): void {
    const { policy } = this.#core();
    const atMs = this.#asked.get(transaction.rowNo)?.atMs ?? turn.nowMs;
    this.forget(transaction);
    turn.log({
      kind: "checked",
      transactionId: transaction.id,
      outcome,
      isCounted: how.isCounted,
      latencyMs: Math.round(turn.nowMs - atMs),
      asked: how.asked,
      nextCheckAtMs: turn.nowMs + policy.checkIntervalMs,
    });
    if (outcome === "commit" || outcome === "rollback")
      return this.#decide(this.#core(), turn, transaction, outcome, "check", how.asked, "");
    if (transaction.parked !== null) return;
    if (transaction.checks >= policy.checkAttemptsMax)
      return this.#giveUp(transaction, "attempts", turn);
    this.schedule(transaction);
  }

  #giveUp(transaction: Transaction, cause: "attempts" | "age", turn: Turn): void {
    this.forget(transaction);
    if (transaction.onUndecided === "rollback")
      return this.#decide(
        this.#core(),
        turn,
        transaction,
        "rollback",
        "policy",
        "onUndecided",
        `undecided: ${cause}`,
      );
    turn.log({ kind: "parked", transactionId: transaction.id, cause });
  }

  #free({ rowNo, group }: Transaction): void {
    const connection = this.#asked.get(rowNo)?.connection ?? null;
    this.#asked.delete(rowNo);
    if (connection !== null) {
      connection.checks.delete(rowNo);
      // Its place is for any of the groups that it answers for.
      for (const [name, isChecker] of connection.producerOf) if (isChecker) this.stir(name);
    } else this.#groupOf(group).endpointInFlight--;
    this.stir(group);
  }

  #ageLimitMs(transaction: Transaction): number {
    return transaction.ageFromMs + this.#core().policy.undecidedAgeMaxMs;
  }

  #groupOf(name: string): ProducerGroup {
    const known = this.#groups.get(name);
    if (known !== undefined) return known;
    const group: ProducerGroup = {
      checkers: [],
      queue: new Chain(this.#queueLinks),
      endpointInFlight: 0,
    };
    this.#groups.set(name, group);
    return group;
  }
}

function question(transaction: Transaction, nowMs: number): Question {
  return {
    transactionId: transaction.id,
    group: transaction.group,
    attempt: transaction.checks + 1,
    ageMs: Math.round(nowMs - transaction.preparedAtMs),
    block: transaction.place.block,
    slots: transaction.messages.map((_, at) => transaction.place.slot + at),
  };
}
