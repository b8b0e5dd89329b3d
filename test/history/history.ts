/**
 * What clients asked of a broker and what they heard, kept outside of it. Whoever drives a broker (simulation,
 * kill loop, power cuts) records here, and judge.ts judges.
 *
 * An operation is invoked, and ends as `ok` (it happened), `fail` (it did not) or `info` (nobody knows: the
 * answer was lost, or it has not come yet). Positions in the history (`…At`) say what came before what; times
 * (`…AtMs`) are only for what the broker does when time has passed.
 */
import { Heard } from "./gaps.ts";
import { Talk } from "./replies.ts";

export type Outcome = "ok" | "fail" | "info";
export type Decision = "commit" | "rollback";
export type State = "none" | "undecided" | "parked" | "committed" | "rolledBack";

export interface Operation {
  readonly invokedAt: number;
  /** Infinite as long as nobody knows. */
  endedAt: number;
  outcome: Outcome;
}

/** A message, before it was sent: nothing else may ever be delivered. */
export interface SaidMessage {
  readonly id: string;
  readonly topic: string;
  /** Tells one content from another. */
  readonly digest: number;
  readonly key?: string | undefined;
  readonly tag?: string | undefined;
  readonly headers?: Readonly<Record<string, string>> | undefined;
  /** It is not visible with its send or commit, but at a time of its own. */
  readonly isDelayed?: boolean;
  /** Nobody may be given it earlier. */
  readonly notBeforeMs?: number;
  /** Nobody may be given it so long after it became visible. */
  readonly ttlMs?: number | undefined;
}

/** What a group's filter lets pass, by a reading of its own: never by the broker's. */
export type Wants = (message: SaidMessage) => boolean;

/** How much earlier than its sender a broker may take its time to be: two clocks, in two processes. */
const CLOCKS_APART_MS = 50;
/** How much later than the broker its client may notice: both may have had other things to do. */
const NOTICED_LATE_MS = 2_000;

export interface Send extends Operation {
  readonly id: string;
  readonly messages: readonly string[];
}

/** A message that is not visible yet is called back. */
export interface Recall extends Operation {
  readonly message: string;
}

export interface Prepare extends Operation {
  readonly kind: "prepare";
  /** The same messages in the same order are the same content. */
  readonly messages: readonly string[];
  readonly joins: readonly Delivery[];
  /** It asked for the next place of the keys of its messages. */
  readonly reservesKeys: boolean;
  /** Refused because the id has another content. */
  isConflict: boolean;
  told: State | null;
}

export interface SaidVerdict extends Operation {
  readonly kind: "verdict";
  readonly verdict: Decision;
  /** What the broker said has been decided before; "none": it does not know the transaction. */
  told: State | null;
}

/** The answer to a check, or what a policy may do by itself: nobody ever hears whether it counted. */
export interface Suggestion extends Operation {
  readonly kind: "suggestion";
  readonly verdict: Decision;
}

/** Somebody was told a state, or got a message. */
export interface Sighting extends Operation {
  readonly kind: "sighting";
  readonly state: State;
  /** The message, if that was it. */
  readonly message: string | null;
}

export type TransactionStep = Prepare | SaidVerdict | Suggestion | Sighting;

export interface Transaction {
  readonly id: string;
  readonly steps: TransactionStep[];
}

/** A subscription; when it ends, what it had is given back. */
export interface Reader {
  readonly group: string;
  readonly beganAt: number;
  endedAt: number;
}

export interface Delivery {
  readonly reader: Reader;
  /** readKey of what was delivered. */
  readonly key: string;
  readonly attempt: number;
  /** Grows with each delivery to the group; never given twice. */
  readonly deliveryNo: number;
  readonly at: number;
  readonly atMs: number;
  /** The shortest lease that was asked for. */
  leaseMs: number;
  readonly ends: DeliveryEnd[];
}

export interface DeliveryEnd extends Operation {
  readonly kind: "ack" | "retry" | "release" | "bury";
}

/** One message as one group sees it. */
export interface Read {
  readonly key: string;
  readonly message: string;
  readonly deliveries: Delivery[];
  readonly joins: { readonly delivery: Delivery; readonly transaction: Transaction }[];
}

/** An operator takes a group back or forward or past a message, or a dead letter back to it or away. */
export interface Intervention extends Operation {
  readonly kind: "reset" | "replay" | "purge" | "skip";
  readonly group: string;
  readonly topic: string;
  /** Null: all. */
  readonly offset: number | null;
}

/** An operator has nothing delivered to a group, or something again. */
export interface GroupPause extends Operation {
  readonly group: string;
  readonly isPaused: boolean;
}

/** What a consumer was given. */
export interface Given {
  readonly id: string;
  readonly topic: string;
  readonly digest: number;
  readonly offset: number;
  readonly attempt: number;
  readonly token: string;
  readonly leaseMs: number;
}

export const readKey = (group: string, topic: string, offset: number): string =>
  `${group} ${topic}@${offset}`;

export class History {
  readonly messages = new Map<string, SaidMessage>();
  readonly sends: Send[] = [];
  readonly recalls: Recall[] = [];
  readonly transactions = new Map<string, Transaction>();
  /** By readKey. */
  readonly reads = new Map<string, Read>();
  readonly interventions: Intervention[] = [];
  readonly groupPauses: GroupPause[] = [];
  /** Topics whose creation was answered ok. */
  readonly topics = new Set<string>();
  /** Of groups that have had a filter from their beginning: those that they had. */
  readonly wants = new Map<string, readonly Wants[]>();
  /** Groups that have been ordered from their beginning. */
  readonly ordered = new Set<string>();
  /** Groups that ever were, so that a message may wait for another one. */
  readonly mayHold = new Set<string>();
  readonly heard = new Heard();
  readonly talk = new Talk();
  /** What went wrong with the recording itself. */
  readonly problems: string[] = [];
  readonly counts: Record<Outcome, number> = { ok: 0, fail: 0, info: 0 };
  /** By message: the transaction that is to bring it, until it has been seen. */
  readonly #unseen = new Map<string, Transaction>();
  /** By message with a time to live: when it was visible at the latest. */
  readonly #visibleByMs = new Map<string, number>();
  #at = 0;

  /** Later than everything so far. */
  now(): number {
    return ++this.#at;
  }

  says(message: SaidMessage): void {
    this.messages.set(message.id, message);
  }

  /** Its sender has just heard so, and it had not to wait for its time. */
  visible(message: string, atMs: number): void {
    this.#visibleByMs.set(message, atMs);
  }

  send(id: string, messages: readonly string[]): Send {
    const send: Send = { id, messages, ...this.#invoked() };
    this.sends.push(send);
    return send;
  }

  recall(message: string): Recall {
    const recall: Recall = { message, ...this.#invoked() };
    this.recalls.push(recall);
    return recall;
  }

  prepare(
    transactionId: string,
    messages: readonly string[],
    joins: readonly Delivery[] = [],
    reservesKeys = false,
  ): Prepare {
    const prepare: Prepare = {
      kind: "prepare",
      messages,
      joins,
      reservesKeys,
      isConflict: false,
      told: null,
      ...this.#invoked(),
    };
    const transaction = this.#transaction(transactionId);
    transaction.steps.push(prepare);
    for (const message of messages) this.#unseen.set(message, transaction);
    for (const delivery of joins) {
      const joined = this.reads.get(delivery.key)?.joins;
      if (joined?.some((one) => one.transaction === transaction && one.delivery === delivery))
        continue;
      joined?.push({ delivery, transaction });
    }
    return prepare;
  }

  verdict(transactionId: string, verdict: Decision): SaidVerdict {
    const said: SaidVerdict = { kind: "verdict", verdict, told: null, ...this.#invoked() };
    this.#transaction(transactionId).steps.push(said);
    return said;
  }

  /** A check was answered, or from now on the broker may decide by itself. */
  suggests(transactionId: string, verdict: Decision): void {
    const { steps } = this.#transaction(transactionId);
    // One that was made before can take effect as late as this one.
    if (steps.some((step) => step.kind === "suggestion" && step.verdict === verdict)) return;
    steps.push({ kind: "suggestion", verdict, ...this.#invoked() });
  }

  /** Somebody asked for the state, and this is what was answered. */
  asked(transactionId: string): { heard(state: State): void } {
    const { invokedAt } = this.#invoked();
    const heard = (state: State): void => {
      const endedAt = this.now();
      const sighting = { kind: "sighting", state, message: null } as const;
      this.#transaction(transactionId).steps.push({
        ...sighting,
        invokedAt,
        endedAt,
        outcome: "ok",
      });
    };
    return { heard };
  }

  /** False: it never is to be delivered to the group. */
  mayWant(group: string, id: string): boolean {
    const message = this.messages.get(id);
    const filters = this.wants.get(group);
    return message === undefined || filters?.some((wants) => wants(message)) !== false;
  }

  /** True: it is to be delivered to the group, whichever of its filters counted then. */
  mustWant(group: string, id: string): boolean {
    const message = this.messages.get(id);
    const filters = this.wants.get(group);
    return message === undefined || filters?.every((wants) => wants(message)) !== false;
  }

  reader(group: string): Reader {
    return { group, beganAt: this.now(), endedAt: Number.POSITIVE_INFINITY };
  }

  left(reader: Reader): void {
    if (reader.endedAt === Number.POSITIVE_INFINITY) reader.endedAt = this.now();
  }

  delivered(reader: Reader, given: Given, atMs: number): Delivery {
    const { id, topic, offset, attempt, token, leaseMs } = given;
    const said = this.messages.get(id);
    if (said === undefined) this.problem(`D1: ${topic}@${offset} is ${id}, which nobody sent`);
    else if (atMs < (said.notBeforeMs ?? 0) - CLOCKS_APART_MS)
      this.problem(`D13: ${id} comes ${(said.notBeforeMs ?? 0) - atMs} ms before its time`);
    else if (atMs > this.#lapsesByMs(said) + NOTICED_LATE_MS)
      this.problem(`D15: ${id} comes ${atMs - this.#lapsesByMs(said)} ms after its time to live`);
    else if (said.digest !== given.digest) this.problem(`D1: the content of ${id} is another one`);
    else if (said.topic !== topic && !topic.startsWith("%DLQ%"))
      this.problem(`D1: ${id} was for ${said.topic}, and is in ${topic}`);
    const key = readKey(reader.group, topic, offset);
    const read = this.reads.get(key) ?? { key, message: id, deliveries: [], joins: [] };
    this.reads.set(key, read);
    if (read.message !== id) this.problem(`T3: ${key} was ${read.message} and is ${id} now`);
    const at = this.now();
    this.#sees(id, at);
    const deliveryNo = deliveryNoOf(token);
    const delivery: Delivery = {
      reader,
      key,
      attempt,
      deliveryNo,
      at,
      atMs,
      leaseMs,
      ends: [],
    };
    read.deliveries.push(delivery);
    return delivery;
  }

  ends(delivery: Delivery, kind: DeliveryEnd["kind"]): DeliveryEnd {
    const end: DeliveryEnd = { kind, ...this.#invoked() };
    delivery.ends.push(end);
    return end;
  }

  intervenes(
    kind: Intervention["kind"],
    group: string,
    topic: string,
    offset: number | null = null,
  ): Intervention {
    const intervention: Intervention = { kind, group, topic, offset, ...this.#invoked() };
    this.interventions.push(intervention);
    return intervention;
  }

  pauses(group: string, isPaused: boolean): GroupPause {
    const pause: GroupPause = { group, isPaused, ...this.#invoked() };
    this.groupPauses.push(pause);
    return pause;
  }

  /** How an operation ended. What was given up may still happen later. */
  ended(operation: Operation, outcome: Outcome): void {
    operation.outcome = outcome;
    if (outcome !== "info") operation.endedAt = this.now();
    this.counts[outcome]++;
  }

  problem(text: string | null): void {
    if (text !== null) this.problems.push(text);
  }

  /** A copy of what is known now, for who goes on from here alone: every connection is gone. */
  cut(): History {
    const { messages, sends, recalls, transactions, reads, interventions, topics, problems } = this;
    const { groupPauses } = this;
    const unseen = this.#unseen;
    // One call: what is one object in the history stays one object in its copy.
    const known = structuredClone({
      messages,
      sends,
      recalls,
      transactions,
      reads,
      interventions,
      groupPauses,
      topics,
      problems,
      unseen,
    });
    const { unseen: stillUnseen, ...rest } = known;
    const copy = Object.assign(new History(), rest);
    copy.#at = this.#at;
    for (const [group, wants] of this.wants) copy.wants.set(group, wants);
    for (const group of this.ordered) copy.ordered.add(group);
    for (const group of this.mayHold) copy.mayHold.add(group);
    for (const [key, total] of this.heard.totals) copy.heard.totals.set(key, total);
    for (const [message, atMs] of this.#visibleByMs) copy.#visibleByMs.set(message, atMs);
    for (const [message, transaction] of stillUnseen) copy.#unseen.set(message, transaction);
    for (const { deliveries } of copy.reads.values())
      for (const { reader } of deliveries) copy.left(reader);
    return copy;
  }

  #lapsesByMs({ id, ttlMs = Number.POSITIVE_INFINITY }: SaidMessage): number {
    return (this.#visibleByMs.get(id) ?? Number.POSITIVE_INFINITY) + ttlMs;
  }

  /** Once is enough: what was committed stays so. */
  #sees(message: string, at: number): void {
    const transaction = this.#unseen.get(message);
    if (transaction === undefined) return;
    this.#unseen.delete(message);
    const when = { invokedAt: at, endedAt: at, outcome: "ok" } as const;
    transaction.steps.push({ kind: "sighting", state: "committed", message, ...when });
  }

  #transaction(id: string): Transaction {
    const known = this.transactions.get(id);
    if (known !== undefined) return known;
    const transaction: Transaction = { id, steps: [] };
    this.transactions.set(id, transaction);
    return transaction;
  }

  #invoked(): Operation {
    return { invokedAt: this.now(), endedAt: Number.POSITIVE_INFINITY, outcome: "info" };
  }
}

/** Tokens are opaque to clients; a checker knows what the broker makes them of (core/token.ts). */
function deliveryNoOf(token: string): number {
  const [cursorNo = 0, , no = Number.NaN] = token
    .split(".")
    .map((part) => Number.parseInt(part, 36));
  // An instance that was forgotten counts anew, in a progress of a higher number.
  return (cursorNo - 1) * 2 ** 32 + no;
}
