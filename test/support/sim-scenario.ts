/**
 * Runs a scenario: steps of one or more command lines, `----`, and what they bring about, in words. The
 * commands stand in test/scenarios/README.md. UPDATE_SCENARIOS=1 writes down what happens instead of
 * comparing; a changed line is kept only by somebody who can say why it changed.
 */
import type { Verdict } from "@escrowmq/protocol";
import type { Policy } from "../../broker/src/core/policy.ts";
import type { Unsent } from "../../broker/src/core/types.ts";
import { Driver, type Effects, message, type Request, timed } from "./sim-driver.ts";
import { isTooOld } from "./sim-looking.ts";
import { type Names, sayRecord, saySend } from "./sim-words.ts";

/** The scenario's text with what really happened in place of what stands there. */
export function play(scenario: string): string {
  let stage: Stage | null = null;
  return scenario
    .trimEnd()
    .split(/\n\n+/)
    .map((step) => {
      const lines = (step.split("\n----")[0] ?? "").split("\n");
      if (lines.every((line) => line.startsWith("#"))) return step;
      stage ??= new Stage();
      const happened = lines.filter((line) => !line.startsWith("#")).flatMap(commandOf(stage));
      return [...lines, "----", ...(happened.length === 0 ? ["nothing"] : happened)].join("\n");
    })
    .join("\n\n")
    .concat("\n");
}

const commandOf =
  (stage: Stage) =>
  (line: string): readonly string[] =>
    stage.run(line);

interface Words {
  readonly verb: string;
  readonly plain: readonly string[];
  readonly named: Readonly<Record<string, string>>;
}

const SCALE = { ms: 1, s: 1_000, m: 60_000, h: 3_600_000 } as const;

function toMs(span: string): number {
  const [, count, unit] = /^(\d+)(ms|s|m|h)$/.exec(span) ?? [];
  if (unit === undefined) throw new Error(`${span} is no span of time.`);
  return Number(count) * SCALE[unit as keyof typeof SCALE];
}

/** `verb plain plain name=value name="two words"` */
function read(line: string): Words {
  const words = line.match(/[^\s"]+"[^"]*"|\S+/g) ?? [];
  const named: Record<string, string> = {};
  const plain: string[] = [];
  for (const word of words.slice(1)) {
    const [, name, value] = /^([a-zA-Z]+)=(.*)$/.exec(word) ?? [];
    if (name === undefined || value === undefined) plain.push(word);
    else named[name] = value.replaceAll('"', "");
  }
  return { verb: words[0] ?? "", plain, named };
}

class Stage implements Names {
  driver: Driver;
  startMs: number;
  readonly #connections = new Map<string, number>();
  readonly #groups = new Map<string, string>();
  readonly #tokens: string[] = [];
  #sends = 0;

  constructor() {
    this.driver = new Driver();
    this.startMs = this.driver.nowMs;
  }

  connection(id: number): string {
    return [...this.#connections].find(([, known]) => known === id)?.[0] ?? `connection ${id}`;
  }

  delivery = (token: string): string => {
    if (!this.#tokens.includes(token)) this.#tokens.push(token);
    return `d${this.#tokens.indexOf(token) + 1}`;
  };

  run(line: string): readonly string[] {
    const effects = this.#sent(this.#do(read(line)));
    return [
      // Noted once a minute while something waits: of no interest to a story.
      ...effects.records
        .filter(({ kind }) => kind !== "clock")
        .map((record) => `log ${sayRecord(this, record)}`),
      ...effects.sends.flatMap((send) => saySend(this, send)),
    ];
  }

  /** As the shell sends it: without what is too old, of which it tells the core. */
  #sent({ records, sends }: Effects): Effects {
    const { blocks, nowMs } = this.driver;
    const unsent: Unsent[] = [];
    const left = sends.map((send) => {
      if (send.kind !== "deliver" || !send.hasTtl) return send;
      const old = send.deliveries.filter((delivery) => isTooOld(blocks, delivery, nowMs));
      if (old.length > 0) unsent.push({ holderNo: send.holderNo, deliveries: old });
      return { ...send, deliveries: send.deliveries.filter((one) => !old.includes(one)) };
    });
    const after = unsent.map((one) => this.#sent(this.driver.step({ kind: "lapsed", ...one })));
    return {
      records: [...records, ...after.flatMap((effects) => effects.records)],
      sends: [...left, ...after.flatMap((effects) => effects.sends)],
    };
  }

  /** `latest`, `offset:2`, `time:1m`: a time counts from the start. */
  #start(word: string) {
    const [from = "", at = ""] = word.split(":");
    if (from === "offset") return { from, at: Number(at) } as const;
    if (from === "time") return { from, at: this.startMs + toMs(at) } as const;
    return { from: from === "latest" ? "latest" : "earliest" } as const;
  }

  #do(words: Words): Effects {
    const { verb, plain, named } = words;
    const [name = ""] = plain;
    switch (verb) {
      case "policy":
        return this.#policy(named);
      case "connect":
        this.#connections.set(name, this.driver.connect(name));
        return NOTHING;
      case "disconnect":
        return this.driver.disconnect(this.#from(name));
      case "advance":
        return this.driver.advance(toMs(name));
      case "crash":
        return this.driver.crash(toMs(named.down ?? "0s"));
      case "credit":
        return this.driver.step({
          kind: "frame",
          from: this.#from(name),
          frame: {
            type: "credit",
            subscription: 1,
            messages: Number(plain[1]),
            bytes: Number(named.bytes ?? 1_000_000),
          },
        });
      case "send":
        return this.driver.send(
          this.#from(name),
          named.id ?? `s${++this.#sends}`,
          ...messagesOf(plain, named),
        );
      case "prepare":
        return this.#prepare(words);
      case "answer":
        return this.driver.step({
          kind: "frame",
          from: this.#from(name),
          frame: {
            type: "answer",
            transactionId: plain[1] ?? "",
            attempt: Number(named.attempt ?? 1),
            verdict: plain[2] as Verdict,
          },
        });
      default:
        return this.driver.request(this.#from(name), this.#request(words));
    }
  }

  #request({ verb, plain, named }: Words): Request {
    const [name = "", first = "", ...rest] = plain;
    const reason = named.reason ?? "";
    const audit = { operator: name, reason };
    const delay = named.delay === undefined ? {} : { delayMs: toMs(named.delay) };
    const lease = named.lease === undefined ? {} : { leaseMs: toMs(named.lease) };
    const offsets = [first, ...rest].map(Number);
    const token = this.#tokens[Number(first.slice(1)) - 1] ?? first;
    const tokens = [first, ...rest].map((one) => this.#tokens[Number(one.slice(1)) - 1] ?? one);
    switch (verb) {
      case "topic":
        return { type: "topic.create", topic: first };
      case "recall":
        return { type: "recall", topic: first, messageId: rest[0] ?? "" };
      case "announce":
        this.#groups.set(name, first);
        return { type: "announce", group: first, checker: rest[0] !== "no-checker" };
      case "commit":
      case "rollback":
      case "unknown": {
        const group = named.group ?? this.#groups.get(name) ?? "";
        return { type: "verdict", transactionId: first, group, verdict: verb };
      }
      case "subscribe": {
        const filter = named.filter === undefined ? {} : { filter: named.filter };
        const start = named.from === undefined ? {} : this.#start(named.from);
        const topics = [first, ...rest].map((text) => {
          const [topic = "", weight] = text.split("*");
          const its = weight === undefined ? {} : { weight: Number(weight) };
          return { topic, ...start, ...filter, ...its };
        });
        const instance = named.instance === undefined ? {} : { instance: named.instance };
        const group = named.group ?? "";
        return { type: "subscribe", subscription: 1, group, topics, ...lease, ...instance };
      }
      case "unsubscribe":
        return { type: "unsubscribe", subscription: 1 };
      case "retain":
        return {
          type: "topic.update",
          topic: first,
          retentionMs: toMs(rest[0] ?? ""),
          unsettled: named.unsettled === "drop" ? "drop" : "keep",
        };
      case "inbox":
        return { type: "inbox" };
      case "reply":
        return { type: "reply", inbox: first, correlation: rest[0] ?? "", body: NO_BODY };
      case "ack":
      case "release":
        return { type: verb, tokens };
      case "extend":
        return { type: "extend", tokens, ...lease };
      case "retry":
        return { type: "retry", token, reason, ...delay };
      case "bury":
        return { type: "bury", token, reason };
      case "order":
        return { type: "group.update", group: first, ordered: rest[0] !== "no" };
      case "ladder": {
        const retryDelaysMs = rest.map(toMs);
        const attemptsMax = Number(named.attempts ?? rest.length + 1);
        return { type: "group.update", group: first, retryDelaysMs, attemptsMax, jitterPercent: 0 };
      }
      case "pause-group":
        return { type: "group.pause", group: first, ...audit };
      case "resume-group":
        return { type: "group.resume", group: first, ...audit };
      case "skip": {
        const { group = "", topic = "" } = named;
        return { type: "group.skip", group, topic, offsets, ...audit };
      }
      case "reset": {
        const where = named.topic === undefined ? {} : { topic: named.topic };
        const to = this.#start(first);
        const dryRun = named.dryRun === "yes";
        return { type: "group.reset", group: named.group ?? "", ...where, ...to, dryRun, ...audit };
      }
      case "show-group":
        return { type: "group.describe", group: first };
      case "show-message":
        return { type: "message.show", topic: first, offset: Number(rest[0] ?? 0) };
      case "parked":
        return { type: "tx.list", state: "parked" };
      case "show":
        return { type: "tx.show", transactionId: first };
      case "decide": {
        const verdict = rest[0] === "commit" ? "commit" : "rollback";
        return { type: "tx.decide", transactionId: first, verdict, ...audit };
      }
      case "resume":
        return { type: "tx.resume", transactionId: first, ...audit };
      case "dead-letters":
        return { type: "dlq.list", group: first };
      case "replay":
        return {
          type: "dlq.replay",
          group: named.group ?? "",
          offsets,
          ...audit,
        };
      case "purge":
        return {
          type: "dlq.purge",
          group: named.group ?? "",
          offsets,
          ...audit,
        };
      default:
        throw new Error(`${verb} is no command of a scenario.`);
    }
  }

  #prepare({ plain, named }: Words): Effects {
    const [name = ""] = plain;
    const acks = named.acks?.split(",").map((one) => this.#tokens[Number(one.slice(1)) - 1] ?? one);
    return this.driver.prepare(this.#from(name), named.tx ?? "", {
      messages: messagesOf(plain, named),
      group: named.group ?? this.#groups.get(name) ?? "",
      ...(acks === undefined ? {} : { acks }),
      ...(named.checkAfter === undefined ? {} : { checkAfterMs: toMs(named.checkAfter) }),
      ...(named.onUndecided === "rollback" ? { onUndecided: "rollback" as const } : {}),
      ...(named.reserveKeys === "yes" ? { reserveKeys: true } : {}),
    });
  }

  #policy(named: Words["named"]): Effects {
    if (this.#connections.size > 0) throw new Error("A scenario sets its policy first.");
    const policy: Partial<Policy> =
      named.checks === undefined ? {} : { checkAttemptsMax: Number(named.checks) };
    this.driver = new Driver(policy);
    this.startMs = this.driver.nowMs;
    return NOTHING;
  }

  #from(name: string): number {
    const connection = this.#connections.get(name);
    if (connection === undefined) throw new Error(`${name} is not connected.`);
    return connection;
  }
}

const NO_BODY = new Uint8Array();
const NOTHING: Effects = { records: [], sends: [] };

/** `orders:hello` is the message "hello" for the topic orders; one with a delay or a time to live has its body as id. */
const messagesOf = (words: readonly string[], { delay, ttl }: Words["named"]) =>
  words.slice(1).map((word) => {
    const [topic = "", body = ""] = word.split(":");
    if (delay === undefined && ttl === undefined) return message(topic, body);
    return timed(topic, { id: body, delayMs: toMs(delay ?? "0s"), ttlMs: toMs(ttl ?? "0s") });
  });
