/**
 * Mixed load on a broker that dies and comes back, every operation of it in a history: sends, transactions of
 * all kinds, requests, consumers and broadcast instances that ack, retry, bury, join and forget, and operators.
 *
 * Producers live across one death of the broker, so that what was unanswered is sent again; consumers and
 * operators have one connection each (D5 needs to know which).
 */
import { type Consumer, createConsumer } from "@escrowmq/consumer";
import { createProducer, type Producer } from "@escrowmq/producer";
import { instanceGroup } from "@escrowmq/protocol";
import { type AdminClient, createAdmin } from "@escrowmq/protocol/client";
import type { Decision, History, Reader } from "../history/history.ts";
import { hearGap, readConsumer } from "./e2e-load-consumer.ts";
import { LoadOperator } from "./e2e-load-operator.ts";
import { produce } from "./e2e-load-producer.ts";
import {
  BROADCAST_GROUP,
  GROUPS,
  INSTANCES,
  isWanted,
  PICKY_FILTER,
  PICKY_GROUP,
  PRODUCER_GROUP,
  READERS,
  TOPICS,
  WEIGHTED_GROUP,
  WEIGHTS,
  type World,
} from "./e2e-load-world.ts";
import type { Random } from "./e2e-random.ts";
import { waitFor } from "./e2e-wait.ts";

export interface LoadOptions {
  readonly url: string;
  readonly history: History;
  readonly random: Random;
  /** Operations that producers have under way at once. */
  readonly parallel: number;
  /** Goes on with a history in which nobody has decided what is open: a check is answered rollback. */
  readonly isAfterwards?: boolean;
}

export class Load implements World {
  readonly history: History;
  readonly random: Random;
  readonly #url: string;
  readonly #parallel: number;
  #producer: Producer | null = null;
  #admin: AdminClient | null = null;
  #consumers: Consumer<unknown>[] = [];
  #leaving: Promise<unknown>[] = [];
  #workers: Promise<void>[] = [];
  #isEnding = false;
  readonly #isAfterwards: boolean;
  readonly database = new Map<string, Decision>();
  readonly delayed: World["delayed"] = [];
  readonly returned: World["returned"] = [];
  readonly #operator = new LoadOperator(this);
  #readers: Reader[] = [];

  constructor({ url, history, random, parallel, isAfterwards = false }: LoadOptions) {
    this.#url = url;
    this.history = history;
    this.random = random;
    this.#parallel = parallel;
    this.#isAfterwards = isAfterwards;
    history.wants.set(PICKY_GROUP, [isWanted]);
    history.ordered.add(PICKY_GROUP);
    history.mayHold.add(PICKY_GROUP);
  }

  get isEnding(): boolean {
    return this.#isEnding;
  }

  producer(): Producer {
    if (this.#producer === null) throw new Error("connect first");
    return this.#producer;
  }

  admin(): AdminClient | null {
    return this.#admin;
  }

  /** To a broker that has just become ready. */
  async connect(): Promise<void> {
    const url = this.#url;
    const before = this.#producer;
    this.#producer = await createProducer({
      url,
      group: PRODUCER_GROUP,
      requestTimeoutMs: 4_000,
      onCheck: ({ id }) => this.#look(id),
    });
    // Long enough to hear what becomes of all that it had sent.
    if (before !== null) this.#leaving.push(before.drain({ timeoutMs: 6_000 }));
    this.#admin = await createAdmin({ url });
    for (const group of GROUPS) {
      await this.#joinGroup(group, false);
      await this.#joinGroup(group, group === WEIGHTED_GROUP);
    }
    for (const instance of INSTANCES) await this.#joinAsInstance(instance);
  }

  async #joinGroup(group: string, isWeighted: boolean): Promise<void> {
    const filter = group === PICKY_GROUP ? { filter: PICKY_FILTER } : {};
    const subscribe = TOPICS.map((topic) => ({
      topic,
      ...filter,
      ...(isWeighted ? { weight: WEIGHTS[topic] } : {}),
    }));
    this.#reads(group, await createConsumer({ url: this.#url, group, subscribe }));
  }

  async #joinAsInstance(instance: string): Promise<void> {
    const reader = instanceGroup(BROADCAST_GROUP, instance);
    const consumer = await createConsumer({
      url: this.#url,
      group: BROADCAST_GROUP,
      broadcast: { instance },
      subscribe: TOPICS.map((topic) => ({ topic })),
      onGap: (gap) => hearGap(this, reader, gap),
    });
    this.#reads(reader, consumer);
  }

  #reads(group: string, consumer: Consumer<unknown>): void {
    this.#consumers.push(consumer);
    const reader = this.history.reader(group);
    this.#readers.push(reader);
    void readConsumer(this, consumer, reader);
  }

  /** The broker is about to die, or has died. */
  async disconnect(): Promise<void> {
    const consumers = this.#consumers;
    this.#consumers = [];
    await this.#admin?.close();
    this.#admin = null;
    await Promise.all(consumers.map((consumer) => consumer.close()));
    for (const reader of this.#readers.splice(0)) this.history.left(reader);
  }

  start(): void {
    this.#workers = Array.from({ length: this.#parallel }, () => this.#work(() => produce(this)));
    this.#workers.push(this.#work(() => this.#operator.work()));
  }

  /** Starts nothing new, and waits until everything begun has ended. */
  async end(): Promise<void> {
    this.#isEnding = true;
    await Promise.all(this.#workers);
    await this.#operator.calm();
    await Promise.all(this.#leaving);
  }

  async close(): Promise<void> {
    this.#isEnding = true;
    await this.disconnect();
    await this.#producer?.close();
    await Promise.all([...this.#workers, ...this.#leaving]);
  }

  #look(id: string): Decision | "unknown" {
    const verdict = this.database.get(id) ?? (this.#isAfterwards ? "rollback" : "unknown");
    if (verdict !== "unknown") this.history.suggests(id, verdict);
    return verdict;
  }

  async #work(one: () => Promise<void>): Promise<void> {
    while (!this.#isEnding) {
      try {
        await one();
      } catch (error) {
        this.history.problem(`the load failed: ${error instanceof Error ? error.stack : error}`);
        return;
      }
    }
  }
}

/** Everything undecided decided, everything that waits visible, and everything visible settled. */
export async function settled(admin: AdminClient, withinMs: number): Promise<void> {
  await waitFor(
    "the last verdict",
    async () => (await admin.request("stats", {})).undecided === 0,
    withinMs,
  );
  await waitFor(
    "the last message that waits for its time or a verdict",
    async () => {
      const { scheduled, queued } = await admin.request("stats", {});
      return scheduled + queued === 0;
    },
    withinMs,
  );
  for (const group of READERS)
    await waitFor(
      `the last ack of ${group}`,
      async () => {
        const { topics } = await admin.request("group.describe", { group });
        return topics.every(({ lag }) => lag === 0);
      },
      withinMs,
    );
}
