/**
 * Drives one engine by hand, without shell: every step's records become a block at once, time moves only
 * through `advance`, and `crash` rebuilds the engine from its blocks. For the core's own tests and scenarios.
 */
import type { BrokerFrames, Verdict } from "@escrowmq/protocol";
import { Engine, type SealedBlock } from "../../broker/src/core/engine.ts";
import { wholePart } from "../../broker/src/core/lasting-part.ts";
import { DEFAULT_POLICY, type Policy } from "../../broker/src/core/policy.ts";
import type { LogRecord } from "../../broker/src/core/records.ts";
import type {
  Delivery,
  Input,
  Look,
  NewMessage,
  NewTiming,
  Send,
} from "../../broker/src/core/types.ts";
import { keyIn, lookedAt } from "./sim-looking.ts";

export type PlainFrame = Extract<Input, { readonly kind: "frame" }>["frame"];
type WithoutId<Frame> = Frame extends unknown ? Omit<Frame, "id"> : never;
/** A request without its number: the driver gives it. */
export type Request = WithoutId<Extract<PlainFrame, { readonly id: number }>>;

/** What came of one or more steps. */
export interface Effects {
  readonly records: readonly LogRecord[];
  readonly sends: readonly Send[];
}

export type Reply = BrokerFrames["ok"] | BrokerFrames["error"];
export type Check = Extract<Send, { readonly kind: "check" }>;
export type EndpointCheck = Extract<Send, { readonly kind: "askEndpoint" }>;

export interface Prepare {
  readonly messages?: readonly NewMessage[];
  readonly group?: string;
  readonly acks?: readonly string[];
  readonly checkAfterMs?: number;
  readonly onUndecided?: "park" | "rollback";
  readonly reserveKeys?: boolean;
}

const utf8 = new TextEncoder();

/** `hello@ann` has the key ann; the body is the id, too. */
export const message = (topic: string, body = "body"): NewMessage => {
  const data = utf8.encode(body);
  return { topic, bodyBytes: data.length, data, head: { id: body, key: keyIn(body) } };
};

/** A message that says when it becomes visible, or for how long it is worth a delivery. */
export const timed = (
  topic: string,
  { id, ...timing }: Partial<NewTiming> & { id: string },
): NewMessage => ({
  ...message(topic, id),
  timing: { delayMs: 0, deliverAtMs: 0, ttlMs: 0, ...timing },
});

/** Any function of the content will do; the shell's is a CRC-32. */
export function digestOf(messages: readonly NewMessage[], acks: readonly string[] = []): number {
  let digest = 0x811c9dc5;
  const add = (byte: number): void => {
    digest = Math.imul(digest ^ byte, 0x01000193) >>> 0;
  };
  for (const { topic, data } of messages) {
    for (const byte of utf8.encode(topic)) add(byte);
    for (const byte of data) add(byte);
  }
  for (const token of acks) for (const byte of utf8.encode(token)) add(byte);
  return digest;
}

export class Driver {
  engine: Engine;
  /** Questions of cursors that take messages in are answered at once, from the bodies (sim-looking.ts). */
  isLooking = true;
  nowMs = 1_000_000;
  readonly policy: Policy;
  readonly blocks: SealedBlock[] = [];
  /** By token: what every delivery was part of. */
  readonly #delivered = new Map<string, Extract<Send, { readonly kind: "deliver" }>>();
  #wakeAtMs: number | null = null;
  #nextConnection = 1;
  #nextRequest = 1;

  constructor(policy: Partial<Policy> = {}) {
    this.policy = { ...DEFAULT_POLICY, ...policy };
    this.engine = new Engine(this.policy);
    this.step({ kind: "open" });
  }

  step(input: Input): Effects {
    const { records, sends, wakeAtMs } = this.engine.step(input, this.nowMs);
    this.#wakeAtMs = wakeAtMs;
    const block = this.engine.sealBlock();
    if (block !== null) this.blocks.push(block);
    for (const send of sends)
      if (send.kind === "deliver")
        for (const { token } of send.deliveries) this.#delivered.set(token, send);
    const looks = this.isLooking ? looksOf({ records, sends }) : [];
    if (looks.length === 0) return { records, sends };
    const others = sends.filter(({ kind }) => kind !== "look");
    const more = looks.map((look) => this.step(lookedAt(this.blocks, look)));
    return {
      records: [...records, ...more.flatMap((effects) => effects.records)],
      sends: [...others, ...more.flatMap((effects) => effects.sends)],
    };
  }

  /** True: the engine wants the next step at once. */
  get hasMore(): boolean {
    return this.#wakeAtMs !== null && this.#wakeAtMs <= this.nowMs;
  }

  /** Ticks while the engine has more to do now. */
  settle(): Effects {
    return this.advance(0);
  }

  /** Lets time pass as the shell's timer would: a tick whenever the engine asked for one. */
  advance(ms: number): Effects {
    const untilMs = this.nowMs + ms;
    const records: LogRecord[] = [];
    const sends: Send[] = [];
    while (this.#wakeAtMs !== null && this.#wakeAtMs <= untilMs) {
      this.nowMs = Math.max(this.nowMs, this.#wakeAtMs);
      const effects = this.step({ kind: "tick" });
      records.push(...effects.records);
      sends.push(...effects.sends);
    }
    this.nowMs = untilMs;
    return { records, sends };
  }

  /** The engine is gone, and with it all that is not in a block; a new one opens after `downMs`. */
  crash(downMs = 0): Effects {
    this.engine = new Engine(this.policy);
    for (const block of this.blocks) this.engine.replay(block);
    this.nowMs += downMs;
    return this.step({ kind: "open" });
  }

  saved(): readonly unknown[] {
    return structuredClone(Array.from(this.engine.save(), wholePart));
  }

  connect(client = "client"): number {
    const connection = this.#nextConnection++;
    this.step({ kind: "connected", connection, client });
    return connection;
  }

  disconnect(connection: number): Effects {
    return this.step({ kind: "disconnected", connection });
  }

  /** A connection that announced `group`. */
  producer(group: string, checker = true): number {
    const connection = this.connect(`${group} producer`);
    this.request(connection, { type: "announce", group, checker });
    return connection;
  }

  /** As `consumer`, of one topic, and only what matches. */
  filtering(group: string, topic: string, filter: string): number {
    const connection = this.connect(`${group} consumer`);
    const topics = [{ topic, filter }];
    this.request(connection, { type: "subscribe", subscription: 1, group, topics });
    return connection;
  }

  /** A connection that subscribed as number 1. No credit yet. */
  consumer(group: string, ...topics: string[]): number {
    const connection = this.connect(`${group} consumer`);
    const subscription = { subscription: 1, group, topics: topics.map((topic) => ({ topic })) };
    this.request(connection, { type: "subscribe", ...subscription });
    return connection;
  }

  topic(...topics: string[]): void {
    const operator = this.connect("operator");
    for (const topic of topics) this.request(operator, { type: "topic.create", topic });
    this.disconnect(operator);
  }

  request(from: number, request: Request): Effects & { readonly reply: Reply } {
    const id = this.#nextRequest++;
    return this.#withReply(
      id,
      this.step({ kind: "frame", from, frame: { ...request, id } as PlainFrame }),
    );
  }

  /** As `request`, as somebody who only came for that. */
  ask(request: Request): Effects & { readonly reply: Reply } {
    const operator = this.connect("operator");
    const effects = this.request(operator, request);
    this.disconnect(operator);
    return effects;
  }

  send(
    from: number,
    sendId: string,
    ...messages: NewMessage[]
  ): Effects & { readonly reply: Reply } {
    const id = this.#nextRequest++;
    const frame = { type: "send", id, sendId, messages: [] } as const;
    const digest = digestOf(messages);
    return this.#withReply(id, this.step({ kind: "send", from, frame, messages, digest }));
  }

  prepare(
    from: number,
    transactionId: string,
    prepare: Prepare = {},
  ): Effects & { readonly reply: Reply } {
    const { messages = [], group = "shop", ...rest } = prepare;
    const id = this.#nextRequest++;
    const acks = rest.acks === undefined ? {} : { acks: [...rest.acks] };
    const frame = {
      type: "prepare",
      id,
      transactionId,
      group,
      ...rest,
      ...acks,
      messages: [],
    } as const;
    const digest = digestOf(messages, rest.acks);
    return this.#withReply(id, this.step({ kind: "prepare", from, frame, messages, digest }));
  }

  verdict(
    from: number,
    transactionId: string,
    verdict: Verdict,
    group = "shop",
  ): Effects & { readonly reply: Reply } {
    return this.request(from, { type: "verdict", transactionId, group, verdict });
  }

  answer(from: number, { transactionId, attempt }: Check, verdict: Verdict): Effects {
    const frame = { type: "answer", transactionId, attempt, verdict } as const;
    return this.step({ kind: "frame", from, frame });
  }

  setEndpoint(
    group: string,
    url: string | null = "https://checks.example/",
    secret = "5ec2e7",
  ): Effects & { readonly reply: Reply } {
    const operator = this.connect("operator");
    const id = this.#nextRequest++;
    const frame = {
      type: "producer.endpoint",
      id,
      group,
      operator: "ann",
      reason: "test",
    } as const;
    const effects = this.step({
      kind: "setEndpoint",
      from: operator,
      frame,
      url,
      secret,
    });
    this.disconnect(operator);
    return this.#withReply(id, effects);
  }

  endpointAnswers(question: EndpointCheck, outcome: Verdict | "unreachable"): Effects {
    const { transactionId, attempt } = question;
    const isCounted = outcome !== "unreachable";
    return this.step({
      kind: "endpointAnswered",
      transactionId,
      attempt,
      outcome,
      isCounted,
      latencyMs: 5,
      note: "",
    });
  }

  credit(from: number, messages: number, bytes = 1_000_000): readonly Delivery[] {
    const frame = { type: "credit", subscription: 1, messages, bytes } as const;
    return deliveriesOf(this.step({ kind: "frame", from, frame }));
  }

  /** This delivery did not go out after all. */
  unsent(kind: "lapsed" | "unreadable", token: string): Effects {
    const { holderNo = 0, deliveries = [] } = this.#delivered.get(token) ?? {};
    const these = deliveries.filter((one) => one.token === token);
    return this.step({ kind, holderNo, deliveries: these });
  }

  ack(from: number, ...tokens: string[]): Effects & { readonly reply: Reply } {
    return this.request(from, { type: "ack", tokens });
  }

  #withReply(id: number, effects: Effects): Effects & { readonly reply: Reply } {
    for (const send of effects.sends) {
      if (send.kind === "frame" && "re" in send.frame && send.frame.re === id)
        return { ...effects, reply: send.frame };
      if (send.kind === "inspect" && send.re === id)
        return { ...effects, reply: { type: "ok", re: id, value: send.inspection.value } };
    }
    throw new Error("A request was not answered.");
  }
}

export const deliveriesOf = ({ sends }: Effects, to?: number): readonly Delivery[] =>
  sends.flatMap((send) =>
    send.kind === "deliver" && (to === undefined || send.to === to) ? send.deliveries : [],
  );

export const looksOf = ({ sends }: Effects): readonly Look[] =>
  sends.filter((send) => send.kind === "look");

export const checksOf = ({ sends }: Effects): readonly Check[] =>
  sends.filter((send) => send.kind === "check");

export const endpointChecksOf = ({ sends }: Effects): readonly EndpointCheck[] =>
  sends.filter((send) => send.kind === "askEndpoint");

export const codeOf = (reply: Reply): string => (reply.type === "ok" ? "ok" : reply.code);

/** The only one, where a test knows that there is one. */
export function only<T>(items: readonly T[]): T {
  const [first, ...others] = items;
  if (first === undefined || others.length > 0)
    throw new Error(`One was expected, there are ${items.length}.`);
  return first;
}

/** What an ok reply says in `value`, as plain data to compare with. */
export const adminValue = (reply: Reply): Record<string, unknown> =>
  reply.type === "ok" ? (reply.value as Record<string, unknown>) : { refused: reply.code };
