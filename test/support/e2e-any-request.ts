/** Any request of the protocol, out of small worlds of names and tokens, so that requests meet each other. */
import { randomBytes } from "node:crypto";
import {
  type ClientFrame,
  deadLetterTopic,
  encodeMessage,
  instanceGroup,
} from "@escrowmq/protocol";
import type { Random } from "./e2e-random.ts";

/** What earlier answers and deliveries have brought, to be used by later requests. */
export interface Known {
  readonly tokens: string[];
  readonly transactions: string[];
}

const TOPICS = ["x", "y", "z"] as const;
const GROUPS = ["g", "h"] as const;
const INSTANCES = ["n1", "n2"] as const;

export class AnyRequest {
  readonly #random: Random;
  readonly #known: Known;

  constructor(random: Random, known: Known) {
    this.#random = random;
    this.#known = known;
  }

  /** A well-formed frame with this id, if it has one. */
  next(id: number): ClientFrame {
    const kinds = Object.keys(this.#makers(id));
    const kind = kinds[this.#random.between(0, kinds.length - 1)] ?? "";
    const make = this.#makers(id)[kind];
    if (make === undefined) throw new Error("there is a maker for each kind");
    return make();
  }

  #makers(id: number): Readonly<Record<string, () => ClientFrame>> {
    const audit = { operator: "ada", reason: "chance" };
    const group = this.#one(GROUPS);
    const topic = this.#one(TOPICS);
    const token = this.#token();
    const transactionId = this.#transaction();
    const subscription = this.#random.between(1, 3);
    const count = this.#random.between(0, 6);
    const some = [...new Set([this.#token(), this.#token(), token])];
    return {
      announce: () => ({ type: "announce", id, group, checker: this.#chance() }),
      send: () => ({ type: "send", id, sendId: this.#small("s"), messages: this.#messages() }),
      sendNew: () => ({ type: "send", id, sendId: newId(), messages: this.#messages() }),
      prepare: () => ({
        type: "prepare",
        id,
        transactionId: this.#newTransaction(),
        group,
        messages: this.#messages(),
        acks: this.#chance() ? some.slice(0, 1) : [],
        checkAfterMs: count * 10,
        onUndecided: this.#one(["park", "rollback"]),
        reserveKeys: this.#one([undefined, false, true]),
      }),
      verdict: () => ({ type: "verdict", id, transactionId, group, verdict: this.#verdict() }),
      answer: () => ({ type: "answer", transactionId, attempt: count, verdict: this.#verdict() }),
      recall: () => ({ type: "recall", id, topic, messageId: this.#small("m") }),
      subscribe: () => ({
        type: "subscribe",
        id,
        subscription,
        group,
        topics: [
          {
            topic: this.#anyTopic(),
            from: this.#one(["earliest", "latest", "offset"]),
            at: count,
            filter: this.#one([undefined, undefined, "*", "red", "sql: size > 1", "sql: size >"]),
          },
        ],
        leaseMs: 1_000,
      }),
      subscribeInstance: () => ({
        type: "subscribe",
        id,
        subscription,
        group,
        topics: [{ topic: this.#anyTopic() }],
        leaseMs: 1_000,
        instance: this.#one(INSTANCES),
      }),
      describeInstance: () => ({ type: "group.describe", id, group: this.#instance(group) }),
      deleteInstance: () => ({ type: "group.delete", id, group: this.#instance(group), ...audit }),
      inbox: () => ({ type: "inbox", id }),
      reply: () => ({
        type: "reply",
        id,
        inbox: `1.${count}`,
        correlation: this.#small("r"),
        body: Buffer.from("chance"),
      }),
      unsubscribe: () => ({ type: "unsubscribe", id, subscription }),
      credit: () => ({ type: "credit", subscription, messages: count, bytes: 10_000 }),
      ack: () => ({ type: "ack", id, tokens: some }),
      release: () => ({ type: "release", id, tokens: some }),
      extend: () => ({ type: "extend", id, tokens: some }),
      retry: () => ({ type: "retry", id, token, delayMs: count * 5 }),
      bury: () => ({ type: "bury", id, token, reason: "chance" }),
      createTopic: () => ({ type: "topic.create", id, topic }),
      updateTopic: () => ({
        type: "topic.update",
        id,
        topic: this.#anyTopic(),
        paused: count === 0,
      }),
      deleteTopic: () => ({ type: "topic.delete", id, topic, ...audit }),
      describeTopic: () => ({ type: "topic.describe", id, topic: this.#anyTopic() }),
      listTopics: () => ({ type: "topic.list", id, limit: 1 + count }),
      describeGroup: () => ({ type: "group.describe", id, group }),
      listGroups: () => ({ type: "group.list", id }),
      updateGroup: () => ({
        type: "group.update",
        id,
        group,
        attemptsMax: 1 + count,
        retryDelaysMs: [count],
        ordered: this.#chance(),
      }),
      resetGroup: () => ({
        type: "group.reset",
        id,
        group,
        topic: this.#chance() ? this.#anyTopic() : undefined,
        from: this.#one(["earliest", "latest", "offset", "time"]),
        at: count,
        dryRun: this.#chance(),
        ...audit,
      }),
      pauseGroup: () => ({ type: "group.pause", id, group, ...audit }),
      resumeGroup: () => ({ type: "group.resume", id, group, ...audit }),
      skip: () => ({
        type: "group.skip",
        id,
        group,
        topic: this.#anyTopic(),
        offsets: [count, count + 7, count * 9],
        ...audit,
      }),
      showMessage: () => ({ type: "message.show", id, topic: this.#anyTopic(), offset: count }),
      findMessages: () => ({
        type: "message.find",
        id,
        topic: this.#anyTopic(),
        after: this.#chance() ? `${count}.${count * 5}` : undefined,
        limit: 1 + count,
      }),
      traceMessage: () => ({
        type: "message.trace",
        id,
        topic: this.#anyTopic(),
        offset: count,
        after: this.#chance() ? `${count},s:1:${count}` : undefined,
      }),
      deleteGroup: () => ({ type: "group.delete", id, group, ...audit }),
      listProducers: () => ({ type: "producer.list", id }),
      listTransactions: () => ({ type: "tx.list", id, state: this.#one(["undecided", "parked"]) }),
      showTransaction: () => ({ type: "tx.show", id, transactionId }),
      checkTransaction: () => ({ type: "tx.check", id, transactionId, ...audit }),
      decide: () => ({
        type: "tx.decide",
        id,
        transactionId,
        verdict: this.#one(["commit", "rollback"]),
        ...audit,
      }),
      resume: () => ({ type: "tx.resume", id, transactionId, ...audit }),
      listDead: () => ({ type: "dlq.list", id, group }),
      showDead: () => ({ type: "dlq.show", id, group, offset: count }),
      replay: () => ({
        type: "dlq.replay",
        id,
        group,
        offsets: [count, count + 1, count],
        ...audit,
      }),
      purge: () => ({ type: "dlq.purge", id, group, offsets: [count, count], ...audit }),
      stats: () => ({ type: "stats", id }),
      doctor: () => ({ type: "doctor", id }),
    };
  }

  #messages(): Uint8Array[] {
    return Array.from({ length: this.#random.between(1, 3) }, () => {
      const key = this.#one([undefined, "ann", "bob"]);
      const plain = { topic: this.#one(TOPICS), key, body: Buffer.from("chance") };
      if (this.#random.next() < 0.7) return encodeMessage({ ...plain, id: newId() });
      const times = { delayMs: this.#random.between(0, 300), ttlMs: this.#random.between(1, 300) };
      return encodeMessage({ ...plain, ...times, id: this.#small("m") });
    });
  }

  #token(): string {
    const { tokens } = this.#known;
    return tokens[this.#random.between(Math.max(0, tokens.length - 20), tokens.length)] ?? "1.0.1";
  }

  #transaction(): string {
    const { transactions } = this.#known;
    const from = Math.max(0, transactions.length - 8);
    return transactions[this.#random.between(from, transactions.length)] ?? newId();
  }

  #newTransaction(): string {
    const id = newId();
    this.#known.transactions.push(id);
    return id;
  }

  #anyTopic(): string {
    return this.#random.next() < 0.2 ? deadLetterTopic(this.#one(GROUPS)) : this.#one(TOPICS);
  }

  #instance(group: string): string {
    return instanceGroup(group, this.#one(INSTANCES));
  }

  #verdict(): "commit" | "rollback" | "unknown" {
    return this.#one(["commit", "rollback", "unknown"]);
  }

  #small(prefix: string): string {
    return `${prefix}-${this.#random.between(0, 5)}`;
  }

  #chance(): boolean {
    return this.#random.next() < 0.5;
  }

  #one<const T>(items: readonly [T, ...T[]]): T {
    return items[this.#random.between(0, items.length - 1)] ?? items[0];
  }
}

const newId = (): string => randomBytes(16).toString("hex");
