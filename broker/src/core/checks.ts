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
import type { Connection } from "./connections.ts";
import type { Core, Due } from "./core.ts";
import type { Deadline } from "./deadlines.ts";
import type { CheckOutcome, DecidedBy } from "./records.ts";
import type { Transaction } from "./transaction.ts";
import type { Turn } from "./turn.ts";
import type { Input, Question } from "./types.ts";

type Checking =
  | { readonly kind: "scheduled"; readonly deadline: Deadline<Due> }
  /** Due, but nobody is there or free; the deadline is the age limit. */
  | { readonly kind: "queued"; readonly deadline: Deadline<Due> }
  | {
      readonly kind: "asked";
      readonly deadline: Deadline<Due>;
      /** Null: the group's endpoint. */
      readonly connection: Connection | null;
      readonly attempt: number;
      readonly atMs: number;
    };

interface ProducerGroup {
  /** Connections that answer checks, in the order in which they are asked. */
  readonly checkers: Connection[];
  readonly queue: Set<Transaction>;
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

const checkingOf = (transaction: Transaction): Checking | null =>
  transaction.checking as Checking | null;

export class Checks {
  readonly #core: () => Core;
  readonly #decide: Decide;
  readonly #groups = new Map<string, ProducerGroup>();
  /** Groups whose queue may move. */
  readonly #stirred = new Set<string>();
  #inFlight = 0;

  constructor(core: () => Core, decide: Decide) {
    this.#core = core;
    this.#decide = decide;
  }

  get inFlight(): number {
    return this.#inFlight;
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

  /** A transaction was prepared, recovered or resumed. */
  schedule(transaction: Transaction): void {
    const { deadlines } = this.#core();
    const atMs = Math.min(transaction.nextCheckAtMs, this.#ageLimitMs(transaction));
    const deadline = deadlines.add(atMs, { kind: "check", transaction });
    transaction.checking = { kind: "scheduled", deadline } satisfies Checking;
  }

  /** The transaction was decided or parked: whatever was under way is over (C2). */
  forget(transaction: Transaction): void {
    const checking = checkingOf(transaction);
    if (checking === null) return;
    this.#core().deadlines.cancel(checking.deadline);
    if (checking.kind === "queued") this.#groupOf(transaction.group).queue.delete(transaction);
    if (checking.kind === "asked") this.#free(transaction, checking.connection);
    transaction.checking = null;
  }

  /** Its time has come: a check, or the age limit. */
  due(transaction: Transaction, turn: Turn): void {
    if (turn.nowMs >= this.#ageLimitMs(transaction)) return this.#giveUp(transaction, "age", turn);
    this.enqueue(transaction);
  }

  /** Asks as soon as somebody is free. What is being asked is not asked a second time (C7). */
  enqueue(transaction: Transaction): void {
    if (checkingOf(transaction)?.kind === "asked") return;
    this.forget(transaction);
    const deadline = this.#core().deadlines.add(this.#ageLimitMs(transaction), {
      kind: "check",
      transaction,
    });
    transaction.checking = { kind: "queued", deadline } satisfies Checking;
    this.#groupOf(transaction.group).queue.add(transaction);
    this.stir(transaction.group);
  }

  noAnswer(transaction: Transaction, turn: Turn): void {
    const checking = checkingOf(transaction);
    const connection = checking?.kind === "asked" ? checking.connection : null;
    const asked = connection === null ? "endpoint" : connection.client;
    // Who does not answer is not preferred any more: another instance may know.
    if (connection?.id === transaction.preparedBy) transaction.preparedBy = null;
    this.#ended(transaction, "timeout", { isCounted: true, asked }, turn);
  }

  /** The connection that was asked is gone. */
  disconnected(connection: Connection, turn: Turn): void {
    const ending = { isCounted: true, asked: connection.client };
    for (const transaction of [...connection.checks])
      this.#ended(transaction, "disconnected", ending, turn);
  }

  /** An answer from a connection. Late ones count as verdicts, too: the first durable verdict wins (T2). */
  answered(transaction: Transaction, answer: Answer, connection: Connection, turn: Turn): void {
    const { attempt, verdict } = answer;
    const checking = checkingOf(transaction);
    const isCounted =
      checking?.kind === "asked" &&
      checking.connection === connection &&
      checking.attempt === attempt;
    // A late unknown says nothing, and must not end the question that is open now.
    if (!isCounted && verdict === "unknown") return;
    this.#ended(transaction, verdict, { isCounted, asked: connection.client }, turn);
  }

  endpointAnswered(transaction: Transaction, answer: EndpointAnswer, turn: Turn): void {
    const checking = checkingOf(transaction);
    if (checking?.kind !== "asked" || checking.connection !== null) return;
    if (checking.attempt !== answer.attempt) return;
    const asked = answer.note === "" ? "endpoint" : `endpoint (${answer.note})`;
    this.#ended(transaction, answer.outcome, { isCounted: answer.isCounted, asked }, turn);
  }

  /** The question never left: its messages could not be read. It is put again after the interval. */
  notAsked(transaction: Transaction, attempt: number, turn: Turn): void {
    const checking = checkingOf(transaction);
    if (checking?.kind !== "asked" || checking.attempt !== attempt) return;
    this.#ended(transaction, "failed", { isCounted: false, asked: "nobody" }, turn);
  }

  /** Asks about queued transactions while somebody is free. */
  pump(turn: Turn): void {
    for (const name of [...this.#stirred]) {
      this.#stirred.delete(name);
      const group = this.#groupOf(name);
      for (const transaction of group.queue) {
        if (this.#inFlight >= this.#core().policy.checksTotalMax) {
          this.#stirred.add(name);
          return;
        }
        if (!this.#ask(transaction, group, turn)) break;
      }
      if (group.queue.size === 0 && group.checkers.length === 0 && group.endpointInFlight === 0)
        this.#groups.delete(name);
    }
  }

  #ask(transaction: Transaction, group: ProducerGroup, turn: Turn): boolean {
    const { policy, state } = this.#core();
    const connection = this.#pickConnection(transaction, group);
    if (connection !== null) {
      this.#asked(transaction, connection, turn);
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
    this.#asked(transaction, null, turn);
    turn.send({ kind: "askEndpoint", ...endpoint, ...question(transaction, turn.nowMs) });
    return true;
  }

  /** The connection that prepared, else the others of the group in turn (RocketMQ asks any, #9791). */
  #pickConnection(transaction: Transaction, { checkers }: ProducerGroup): Connection | null {
    const isFree = (one: Connection): boolean =>
      one.checks.size < this.#core().policy.checksPerConnectionMax;
    const first =
      checkers.find((one) => one.id === transaction.preparedBy && isFree(one)) ??
      checkers.find(isFree);
    if (first === undefined) return null;
    checkers.splice(checkers.indexOf(first), 1);
    checkers.push(first);
    return first;
  }

  #asked(transaction: Transaction, connection: Connection | null, turn: Turn): void {
    const { deadlines, policy } = this.#core();
    this.forget(transaction);
    this.#inFlight++;
    connection?.checks.add(transaction);
    const deadline = deadlines.add(turn.nowMs + policy.checkAnswerWithinMs, {
      kind: "noAnswer",
      transaction,
    });
    const attempt = transaction.checks + 1;
    transaction.checking = {
      kind: "asked",
      deadline,
      connection,
      attempt,
      atMs: turn.nowMs,
    } satisfies Checking;
  }

  #ended(transaction: Transaction, outcome: CheckOutcome, how: Ending, turn: Turn): void {
    const { policy } = this.#core();
    const checking = checkingOf(transaction);
    const atMs = checking?.kind === "asked" ? checking.atMs : turn.nowMs;
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

  #free(transaction: Transaction, connection: Connection | null): void {
    this.#inFlight--;
    if (connection !== null) connection.checks.delete(transaction);
    else this.#groupOf(transaction.group).endpointInFlight--;
    this.stir(transaction.group);
  }

  #ageLimitMs(transaction: Transaction): number {
    return transaction.ageFromMs + this.#core().policy.undecidedAgeMaxMs;
  }

  #groupOf(name: string): ProducerGroup {
    const known = this.#groups.get(name);
    if (known !== undefined) return known;
    const group: ProducerGroup = { checkers: [], queue: new Set(), endpointInFlight: 0 };
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
