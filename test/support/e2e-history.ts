/**
 * What was asked of a broker and what it answered, kept outside of it. An operation is invoked (`running`)
 * and ends as `ok` (it happened), `fail` (it did not) or `info` (nobody knows: the answer was lost).
 */
export type Outcome = "running" | "ok" | "fail" | "info";
export type Decision = "commit" | "rollback";

/** A send or sendAll. */
export interface SendFacts {
  readonly kind: "send";
  readonly id: string;
  readonly messages: readonly string[];
  outcome: Outcome;
}

export interface SaidVerdict {
  readonly verdict: Decision;
  outcome: Outcome;
  /** What the broker said had been decided before. */
  told: Decision | null;
}

export interface TransactionFacts {
  readonly kind: "transaction";
  readonly id: string;
  readonly messages: readonly string[];
  prepare: Outcome;
  /** What the application's own database says, and so what a check is answered; null: it is not known yet. */
  database: Decision | null;
  readonly said: SaidVerdict[];
}

export type DeliveryEnd =
  | { readonly kind: "none" }
  | { readonly kind: "ack" | "bury" | "retry"; outcome: Outcome }
  | { readonly kind: "join"; readonly transaction: TransactionFacts };

export interface DeliveryFacts {
  readonly attempt: number;
  /** Grows with each delivery of the message to the group; never given twice. */
  readonly deliveryNo: number;
  /** Each consumer has one connection to one run of the broker. */
  readonly run: number;
  readonly atMs: number;
  end: DeliveryEnd;
}

/** One message as one group sees it. */
export interface ReadFacts {
  readonly message: string;
  /** Since the last replay out of the dead letters, which starts over. */
  deliveries: DeliveryFacts[];
  /** A bury or a replay was asked for whose outcome is not known. */
  isInDoubt: boolean;
}

export const readKey = (group: string, topic: string, offset: number): string =>
  `${group} ${topic}@${offset}`;

export class History {
  /** By message id: who was to bring it. */
  readonly owners = new Map<string, SendFacts | TransactionFacts>();
  readonly sends: SendFacts[] = [];
  readonly transactions = new Map<string, TransactionFacts>();
  /** By readKey. */
  readonly reads = new Map<string, ReadFacts>();
  /** Topics whose creation was answered ok. */
  readonly topics = new Set<string>();
  /** What could be told wrong at once. */
  readonly problems: string[] = [];
  readonly counts = { ok: 0, fail: 0, info: 0 };

  send(id: string, messages: readonly string[]): SendFacts {
    const facts: SendFacts = { kind: "send", id, messages, outcome: "running" };
    this.sends.push(facts);
    for (const message of messages) this.owners.set(message, facts);
    return facts;
  }

  transaction(id: string, messages: readonly string[]): TransactionFacts {
    const facts: TransactionFacts = {
      kind: "transaction",
      id,
      messages,
      prepare: "running",
      database: null,
      said: [],
    };
    this.transactions.set(id, facts);
    for (const message of messages) this.owners.set(message, facts);
    return facts;
  }

  delivery(
    group: string,
    message: { id: string; topic: string; offset: number; attempt: number; token: string },
    run: number,
  ): DeliveryFacts {
    const key = readKey(group, message.topic, message.offset);
    const read = this.reads.get(key) ?? { message: message.id, deliveries: [], isInDoubt: false };
    this.reads.set(key, read);
    if (read.message !== message.id)
      this.problem(`${key} was ${read.message} and is ${message.id} now`);
    const facts: DeliveryFacts = {
      attempt: message.attempt,
      deliveryNo: deliveryNoOf(message.token),
      run,
      atMs: performance.now(),
      end: { kind: "none" },
    };
    read.deliveries.push(facts);
    return facts;
  }

  /** Before a replay is asked for: what is delivered from now on starts over. */
  replaying(group: string, topic: string, offset: number): ReadFacts | undefined {
    const read = this.reads.get(readKey(group, topic, offset));
    if (read !== undefined) {
      read.deliveries = [];
      read.isInDoubt = true;
    }
    return read;
  }

  /** Notes how an operation ended. */
  ended<Facts extends { outcome: Outcome }>(
    facts: Facts,
    outcome: Exclude<Outcome, "running">,
  ): void {
    facts.outcome = outcome;
    this.counts[outcome]++;
  }

  problem(text: string): void {
    this.problems.push(text);
  }
}

/** Tokens are opaque to clients; the oracle knows what the broker makes them of (core/token.ts). */
const deliveryNoOf = (token: string): number => Number.parseInt(token.split(".")[2] ?? "", 36);
