/**
 * Compares a history with what a broker holds in the end, when everything is settled.
 *
 * Checked
 * - I1 What was answered ok is there.  I2 An info op happened wholly or not at all.
 * - T1, T2 Verdicts: the final state is one that somebody asked for, and the one that was answered.
 * - T3 Each visible message has one place in its topic, and none came from nowhere (D1).
 * - D2 Each group has settled each message.  D4 Nothing is delivered after its ack was ok.
 * - D5 Every repeat has a cause.  D6 No delivery comes twice; attempts rise by one for each that was used up.
 */
import {
  type Decision,
  type DeliveryFacts,
  type History,
  type Outcome,
  type ReadFacts,
  readKey,
  type SendFacts,
  type TransactionFacts,
} from "./e2e-history.ts";

export type FinalState = "committed" | "rolledBack" | "undecided" | "parked" | "none";

export interface Final {
  readonly groups: readonly string[];
  /** By topic: the ids of its messages, by offset. */
  readonly visible: ReadonlyMap<string, readonly string[]>;
  readonly transactions: ReadonlyMap<string, FinalState>;
  /** readKeys of what stands in the dead letters. */
  readonly dead: ReadonlySet<string>;
  /** Topics that exist. */
  readonly topics: ReadonlySet<string>;
  readonly leaseMs: number;
}

const STATE_OF: Readonly<Record<Decision, FinalState>> = {
  commit: "committed",
  rollback: "rolledBack",
};
/** A lease begins at the broker, and its end is seen here: both are that much late at most. */
const LATENESS_MS = 2_000;

/** Whole sentences; none for a history that keeps all promises. */
export function judge(history: History, final: Final): string[] {
  return new Judge(history, final).judge();
}

class Judge {
  readonly #history: History;
  readonly #final: Final;
  readonly #problems: string[];
  /** By message id. */
  readonly #places = new Map<string, number>();

  constructor(history: History, final: Final) {
    this.#history = history;
    this.#final = final;
    this.#problems = [...history.problems];
  }

  judge(): string[] {
    this.#countPlaces();
    for (const send of this.#history.sends) this.#send(send);
    for (const transaction of this.#history.transactions.values()) this.#transaction(transaction);
    for (const group of this.#final.groups) this.#group(group);
    for (const topic of this.#history.topics)
      if (!this.#final.topics.has(topic)) this.#say(`I1: the topic ${topic} is lost`);
    return this.#problems;
  }

  #countPlaces(): void {
    for (const [topic, ids] of this.#final.visible)
      for (const id of ids) {
        this.#places.set(id, (this.#places.get(id) ?? 0) + 1);
        if (!this.#history.owners.has(id)) this.#say(`D1: ${topic} holds ${id}, which nobody sent`);
      }
  }

  /** How many of these are visible, having complained about those that are so more than once. */
  #visible(messages: readonly string[]): number {
    let visible = 0;
    for (const id of messages) {
      const places = this.#places.get(id) ?? 0;
      if (places > 0) visible++;
      if (places > 1) this.#say(`T3: ${id} has ${places} places`);
    }
    return visible;
  }

  #send({ id, messages, outcome }: SendFacts): void {
    const visible = this.#visible(messages);
    if (visible > 0 && visible < messages.length)
      this.#say(`I3: half of the send ${id} is visible`);
    if (outcome === "ok" && visible === 0) this.#say(`I1: the send ${id} was ok and is lost`);
    if (outcome === "fail" && visible > 0) this.#say(`E2: the send ${id} failed and is visible`);
  }

  #transaction(transaction: TransactionFacts): void {
    const { id, messages, prepare, said, database } = transaction;
    const state = this.#final.transactions.get(id) ?? "none";
    const visible = this.#visible(messages);
    if (visible !== (state === "committed" ? messages.length : 0))
      this.#say(
        `T1: ${visible} of ${messages.length} messages of ${id} are visible: it is ${state}`,
      );
    if (state === "none") {
      if (prepare === "ok") this.#say(`I1: the prepare of ${id} was ok and is lost`);
      return;
    }
    if (prepare === "fail") this.#say(`E2: the prepare of ${id} failed and is known`);
    if (state === "undecided" || state === "parked") this.#say(`C1: ${id} is ${state} for ever`);
    const wanted = said.filter(({ outcome }) => outcome !== "fail").map(({ verdict }) => verdict);
    if (database !== null) wanted.push(database);
    if (!wanted.some((verdict) => STATE_OF[verdict] === state))
      this.#say(`T2: ${id} is ${state}, and nobody wanted that`);
    for (const { verdict, outcome, told } of said) {
      if (outcome === "ok" && STATE_OF[verdict] !== state)
        this.#say(`I1: the ${verdict} of ${id} was ok, and it is ${state}`);
      if (told !== null && STATE_OF[told] !== state)
        this.#say(`T2: ${id} was said to be decided (${told}), and it is ${state}`);
    }
  }

  #group(group: string): void {
    for (const [topic, ids] of this.#final.visible)
      for (const [offset, id] of ids.entries()) {
        const key = readKey(group, topic, offset);
        const read = this.#history.reads.get(key);
        if (read === undefined) this.#say(`D2: ${key} was settled and never delivered`);
        else this.#read(key, id, read);
      }
    for (const [key, { message }] of this.#history.reads)
      if (key.startsWith(`${group} `) && !this.#places.has(message))
        this.#say(`T1: ${key} was delivered: ${message}, which is not visible`);
  }

  #read(key: string, id: string, read: ReadFacts): void {
    if (read.message !== id) this.#say(`T3: ${key} was ${read.message} and is ${id} in the end`);
    const deliveries = [...read.deliveries].sort((one, other) => one.deliveryNo - other.deliveryNo);
    for (const [at, delivery] of deliveries.entries()) {
      const next = deliveries[at + 1];
      if (next !== undefined) this.#repeat(key, delivery, next);
    }
    const isDead = this.#final.dead.has(key);
    const isSettled = deliveries.some((one) => this.#mayHaveSettled(one));
    if (!isDead && !isSettled && !read.isInDoubt) this.#say(`D2: ${key} was settled by nobody`);
    const last = deliveries.at(-1)?.end;
    if (last?.kind === "bury" && last.outcome === "ok" && !isDead)
      this.#say(`I1: ${key} was buried and is no dead letter`);
    if (isDead && deliveries.some((one) => this.#isAcked(one)))
      this.#say(`D4: ${key} was acked and is a dead letter`);
  }

  #repeat(key: string, one: DeliveryFacts, next: DeliveryFacts): void {
    const { attempt } = one;
    if (one.deliveryNo === next.deliveryNo) return this.#say(`D6: a delivery of ${key} came twice`);
    const rise = next.attempt - attempt;
    const isUsedUp = one.end.kind === "retry" && one.end.outcome === "ok";
    if (rise < (isUsedUp ? 1 : 0) || rise > 1)
      return this.#say(`D6: attempt ${next.attempt} of ${key} followed attempt ${attempt}`);
    if (this.#isAcked(one) || (one.end.kind === "bury" && one.end.outcome === "ok"))
      return this.#say(`D4: ${key} was ended at attempt ${attempt} and came again`);
    const isGivenBack = one.end.kind === "retry" && one.end.outcome !== "fail";
    const isRolledBack = one.end.kind === "join";
    const isExpired = next.atMs - one.atMs > this.#final.leaseMs - LATENESS_MS;
    if (one.run === next.run && !isGivenBack && !isRolledBack && !isExpired)
      this.#say(`D5: ${key} came again after attempt ${attempt}, and nobody knows why`);
  }

  #isAcked({ end }: DeliveryFacts): boolean {
    if (end.kind === "join") return this.#isCommitted(end.transaction);
    return end.kind === "ack" && end.outcome === "ok";
  }

  #mayHaveSettled({ end }: DeliveryFacts): boolean {
    const isDone = (outcome: Outcome): boolean => outcome === "ok" || outcome === "info";
    if (end.kind === "join") return this.#isCommitted(end.transaction);
    return (end.kind === "ack" || end.kind === "bury") && isDone(end.outcome);
  }

  #isCommitted({ id }: TransactionFacts): boolean {
    return this.#final.transactions.get(id) === "committed";
  }

  #say(text: string): void {
    this.#problems.push(text);
  }
}
