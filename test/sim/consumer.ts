/** A consumer's process: every way a delivery can end, the wrong ones included. */
import { crc32 } from "node:zlib";
import {
  type BrokerFrames,
  CORRELATION_HEADER,
  decodeMessage,
  INBOX_HEADER,
  instanceGroup,
} from "@escrowmq/protocol";
import type { DeliveryEnd, Reader } from "../history/history.ts";
import type { Reply, Request } from "./peer.ts";
import type { Random } from "./random.ts";
import { type Held, Trader } from "./trader.ts";
import type { World } from "./world.ts";

type Start = Extract<Request, { readonly type: "subscribe" }>["topics"][number];

export class Consumer extends Trader {
  readonly group: string;
  readonly #instance: string | undefined;
  readonly #topics: readonly string[];
  /** For each topic; by chances of its own, as the kinds of messages. Undefined: it says none. */
  readonly #weights: readonly (number | undefined)[];
  readonly #starts: Random;
  readonly #window: number;
  readonly #windowBytes: number;
  #isSubscribed = false;
  #reader: Reader;
  /** What is said for an old subscription may come after the new one. */
  #subscription = 0;
  readonly #readers = new Map<number, Reader>();
  readonly #gathered: Held[] = [];
  /** What was delivered once. */
  readonly #old: Held[] = [];

  constructor(
    world: World,
    name: string,
    group: string,
    topics: readonly string[],
    instance?: string,
  ) {
    super(world, name);
    this.group = group;
    this.#instance = instance;
    this.#topics = topics;
    this.#weights = weightsOf(world.random.fork(), topics.length);
    this.#starts = world.random.fork();
    this.#window = world.random.pick([1, 2, 8, 30]);
    this.#windowBytes = world.random.pick([300, 10_000]);
    this.#reader = world.history.reader(this.readsAs);
  }

  /** As what it is known to operators, and to the history. */
  get readsAs(): string {
    return this.#instance === undefined ? this.group : instanceGroup(this.group, this.#instance);
  }

  protected override lost({ gaps }: BrokerFrames["gap"]): void {
    this.#hears(gaps);
  }

  /** From now on another one may be given what this one holds. */
  protected override ends({ subscription }: BrokerFrames["ended"]): void {
    const reader = this.#readers.get(subscription);
    if (reader !== undefined) this.world.history.left(reader);
  }

  /** Another one has its place; as a process that was started twice would, it tries again, once it is new. */
  protected override ended({ subscription }: BrokerFrames["ended"]): void {
    if (subscription !== this.#subscription) return;
    this.#isSubscribed = false;
    if (this.world.isBusy) this.die(this.world.random.between(1_000, 30_000));
  }

  #hears(gaps: BrokerFrames["gap"]["gaps"]): void {
    const { history } = this.world;
    for (const { topic, lost, total } of gaps)
      history.problem(history.heard.tell(`${this.readsAs} ${topic}`, lost, total));
  }

  protected override up(): void {
    this.announce(`${this.group}-jobs`, true);
    this.#subscribe();
  }

  protected override broken(): void {
    this.world.history.left(this.#reader);
  }

  protected override down(): void {
    this.#isSubscribed = false;
  }

  #subscribe(): void {
    const { link, group, world } = this;
    const filter = world.kinds.filterNow(group);
    const topics = this.#topics.map((topic, at) => ({
      topic,
      filter,
      weight: this.#weights[at],
      ...this.#start(),
    }));
    const leaseMs = world.random.chance(0.3) ? world.random.between(2_000, 20_000) : undefined;
    const subscription = ++this.#subscription;
    this.#reader = world.history.reader(this.readsAs);
    const instance = this.#instance;
    this.#readers.set(subscription, this.#reader);
    this.request({ type: "subscribe", subscription, group, topics, leaseMs, instance }, (reply) => {
      if (link !== this.link || reply === null) return;
      if (reply.type === "ok") this.#hears(reply.gaps ?? []);
      // A dead-letter topic begins to exist with its first dead letter.
      if (reply.type === "error")
        return void world.time.after(10_000, () => {
          if (link === this.link && link !== null) this.#subscribe();
        });
      this.#isSubscribed = true;
      this.#grant(this.#window, this.#windowBytes);
    });
  }

  /** Counts only where the group has never read. An instance that was forgotten would read again what it has settled. */
  #start(): Pick<Start, "from" | "at"> {
    const { world } = this;
    const starts = this.#starts;
    if (this.#instance !== undefined || starts.chance(0.7)) return {};
    const from = starts.pick(["earliest", "latest", "offset", "time"] as const);
    if (from === "offset") return { from, at: starts.below(20) };
    return from === "time" ? { from, at: world.brokerMs - starts.below(60_000) } : { from };
  }

  protected override got(
    { subscription, deliveries }: BrokerFrames["deliver"],
    saidAtMs: number,
  ): void {
    const { world, link } = this;
    const reader = this.#readers.get(subscription) ?? this.#reader;
    for (const { message, ...given } of deliveries) {
      const { id, headers = {} } = decodeMessage(message);
      this.#reply(id, headers);
      const digest = crc32(message);
      const delivery = world.history.delivered(reader, { ...given, id, digest }, saidAtMs);
      const handleMs = world.isQuiet ? 5 : world.random.between(1, 300);
      world.time.after(handleMs, () => {
        if (link === this.link)
          this.#handle({ token: given.token, delivery }, message.length, given.leaseMs);
      });
    }
  }

  /** Some reply, some twice, some not at all; the delivery's own end is another matter. */
  #reply(id: string, headers: Readonly<Record<string, string>>): void {
    const { world } = this;
    const { [INBOX_HEADER]: inbox, [CORRELATION_HEADER]: correlation } = headers;
    if (inbox === undefined || correlation === undefined || world.random.chance(0.2)) return;
    const content = `${this.name} to ${id}`;
    world.history.talk.says(correlation, content);
    const body = new TextEncoder().encode(content);
    this.request({ type: "reply", inbox, correlation, body }, () => undefined);
  }

  #handle(held: Held, bytes: number, leaseMs: number): void {
    const { random, time, isQuiet } = this.world;
    const { token } = held;
    const { link } = this;
    const done = (): void => {
      if (link === this.link) this.#grant(1, bytes);
    };
    this.#old.push(held);
    const end = isQuiet
      ? "ack"
      : random.weighted({
          ack: 66,
          retry: 9,
          bury: 2,
          release: 3,
          hang: 4,
          die: 1,
          join: 8,
          stale: 3,
          extend: 3,
          leave: 1,
        });
    switch (end) {
      case "ack":
        this.#gather(held);
        return done();
      case "retry": {
        const delayMs = random.chance(0.3) ? random.below(5_000) : undefined;
        this.#settle({ type: "retry", token, delayMs, reason: "no luck" }, [held]);
        return done();
      }
      case "bury":
        this.#settle({ type: "bury", token, reason: "hopeless" }, [held]);
        return done();
      case "release":
        this.#settle({ type: "release", tokens: [token, token] }, [held]);
        return done();
      case "hang":
        return time.after(leaseMs + random.below(2_000), () => {
          this.#ack([held]);
          done();
        });
      case "die":
        return this.die(random.between(100, 20_000));
      case "join":
        return this.transact({
          group: `${this.group}-jobs`,
          messages: random.chance(0.8)
            ? [this.world.newMessage(random.pick(this.world.topics))]
            : [],
          acks: random.chance(0.05) ? [held, random.pick(this.#old)] : [held],
          ended: done,
        });
      case "stale":
        this.#ack([held, random.pick(this.#old), held]);
        return done();
      case "extend":
        this.#extend(held, random.between(1_000, 10_000));
        return time.after(random.below(9_000), () => {
          this.#ack([held]);
          done();
        });
      case "leave":
        return this.#leave();
    }
  }

  /** As the SDK does: what ends within a moment is acked in one request. */
  #gather(held: Held): void {
    if (this.#gathered.push(held) > 1) return;
    const { link } = this;
    this.world.time.after(this.world.random.below(60), () => {
      const all = this.#gathered.splice(0);
      if (link === this.link) this.#ack(all);
    });
  }

  #ack(all: readonly Held[]): void {
    this.#settle({ type: "ack", tokens: all.map(({ token }) => token) }, all);
  }

  /** What stands there twice is done once. */
  #settle(
    request: Extract<Request, { readonly type: DeliveryEnd["kind"] }>,
    all: readonly Held[],
  ): void {
    const { history } = this.world;
    const ends = [...new Set(all)].map((held) => ({
      ...held,
      end: history.ends(held.delivery, request.type),
      isTwice: "tokens" in request && request.tokens.filter((one) => one === held.token).length > 1,
    }));
    this.request(request, (reply) => {
      for (const { token, end, isTwice } of ends) history.ended(end, endOf(reply, token, isTwice));
    });
  }

  #extend({ token, delivery }: Held, leaseMs: number): void {
    delivery.leaseMs = Math.min(delivery.leaseMs, leaseMs);
    this.request({ type: "extend", tokens: [token], leaseMs }, () => undefined);
  }

  #leave(): void {
    this.#isSubscribed = false;
    this.world.history.left(this.#reader);
    this.request({ type: "unsubscribe", subscription: this.#subscription }, (reply) => {
      if (reply?.type === "ok") this.#subscribe();
      // With no room on the disk not even this is done; it goes without saying then.
      if (reply?.type === "error") this.hangUp(5, 100);
    });
  }

  #grant(messages: number, bytes: number): void {
    const subscription = this.#subscription;
    if (this.#isSubscribed) this.post({ type: "credit", subscription, messages, bytes });
  }
}

function endOf(reply: Reply | null, token: string, isTwice: boolean): "ok" | "fail" | "info" {
  if (reply === null) return "info";
  if (reply.type === "error") return "fail";
  if (reply.stale?.includes(token) !== true) return "ok";
  return isTwice ? "info" : "fail";
}

const weightsOf = (random: Random, count: number): (number | undefined)[] =>
  random.chance(0.4) ? Array.from({ length: count }, () => random.pick([1, 2, 16])) : [];
