/** Drives an engine without sockets or disk, for measurements: one producer, one consumer, no block kept. */
import { Engine } from "../broker/dist/core/engine.js";
import { DEFAULT_POLICY } from "../broker/dist/core/policy.js";
import { encodeMessage } from "../protocol/dist/index.js";

const PRODUCER = 1;
const CONSUMER = 2;
const NEVER_MS = 3_600_000;
/** As the limit of a million undecided allows: two groups share it. */
export const GROUPS = ["shop", "depot"];

export class EngineDriver {
  engine;
  nowMs;
  #sealed;
  #sends = [];
  #serial = 0;
  #subscriptions = 0;

  /** `sealed` is given each block; without it blocks are thrown away. */
  constructor({
    policy = {},
    engine = null,
    nowMs = 1_763_700_000_000,
    sealed = () => undefined,
  } = {}) {
    this.engine = engine ?? new Engine({ ...DEFAULT_POLICY, ...policy });
    this.nowMs = nowMs;
    this.#sealed = sealed;
    this.step({ kind: "open" });
    this.step({ kind: "connected", connection: PRODUCER, client: "producer" });
    this.step({ kind: "connected", connection: CONSUMER, client: "consumer" });
    for (const group of GROUPS)
      this.step({
        kind: "frame",
        from: PRODUCER,
        frame: { type: "announce", id: 1, group, checker: true },
      });
    this.seal();
  }

  nextId() {
    return `${(this.#serial++).toString(16).padStart(10, "0")}5bd1e995f00dfeed123456`;
  }

  step(input, isMoreComing = true) {
    const { sends } = this.engine.step(input, this.nowMs, isMoreComing);
    for (const send of sends) {
      if (send.kind === "frame" && send.frame.type === "error") throw new Error(send.frame.message);
      if (send.kind === "deliver") this.#sends.push(send);
    }
  }

  request(frame) {
    this.step({ kind: "frame", from: frame.from ?? PRODUCER, frame: { id: 1, ...frame } });
  }

  /** Works off what the inputs brought about, ends the block, and gives the deliveries' tokens. */
  seal() {
    this.step({ kind: "tick" }, false);
    const block = this.engine.sealBlock();
    if (block !== null) this.#sealed(block);
    this.nowMs += 5;
    const tokens = this.#sends.flatMap(({ deliveries }) => deliveries.map(({ token }) => token));
    this.#sends = [];
    return tokens;
  }

  createTopic(topic) {
    this.request({ type: "topic.create", topic });
    this.seal();
  }

  subscribe(group, topic) {
    this.request({
      type: "subscribe",
      from: CONSUMER,
      subscription: ++this.#subscriptions,
      group,
      topics: [{ topic }],
    });
    this.seal();
  }

  commit(transactionId, group = GROUPS[0]) {
    this.request({ type: "verdict", transactionId, group, verdict: "commit" });
    this.#sealNowAndThen();
  }

  sendInput(kind, frame, messages) {
    this.step({ kind, from: PRODUCER, frame: { id: 1, ...frame }, messages, digest: 7 });
    this.#sealNowAndThen();
  }

  #sealNowAndThen() {
    if (this.#serial % 200 === 0) this.seal();
  }
}

const BODY = new Uint8Array(100);

function messagesOf(driver, topic, count) {
  const data = encodeMessage({ id: driver.nextId(), topic, body: BODY });
  return Array.from({ length: count }, () => ({ topic, bodyBytes: BODY.length, data }));
}

export function send(driver, count, topic = "orders", prefix = "") {
  driver.sendInput(
    "send",
    { type: "send", sendId: prefix + driver.nextId() },
    messagesOf(driver, topic, count),
  );
}

/** So many messages, each with an id of its own, that are due after `delayMs` and a bit. */
export function schedule(driver, count, delayMs, topic = "orders") {
  const messages = Array.from({ length: count }, (_, at) => {
    const id = driver.nextId();
    const data = encodeMessage({ id, topic, body: BODY, delayMs: delayMs + at });
    const timing = { id, delayMs: delayMs + at, deliverAtMs: 0, ttlMs: 0 };
    return { topic, bodyBytes: BODY.length, data, timing };
  });
  driver.sendInput("send", { type: "send", sendId: driver.nextId() }, messages);
}

/** The id of a transaction that is undecided now, and not asked about for an hour. */
export function prepare(driver, count, acks = undefined, group = GROUPS[0], topic = "orders") {
  const transactionId = driver.nextId();
  const frame = { type: "prepare", transactionId, group, acks, checkAfterMs: NEVER_MS };
  driver.sendInput("prepare", frame, messagesOf(driver, topic, count));
  return transactionId;
}

/** Delivers so many messages to the first subscription; their tokens. */
export function deliverAll(driver, count) {
  const tokens = [];
  while (tokens.length < count) {
    const messages = Math.min(1_000, count - tokens.length);
    driver.request({ type: "credit", from: CONSUMER, subscription: 1, messages, bytes: 1_000_000 });
    const delivered = driver.seal();
    if (delivered.length === 0) throw new Error("nothing more is delivered");
    for (const token of delivered) tokens.push(token);
  }
  return tokens;
}

export function ack(driver, tokens) {
  driver.request({ type: "ack", from: CONSUMER, tokens });
}

let retries = 0;
export function retry(driver, token, delayMs) {
  driver.request({ type: "retry", from: CONSUMER, token, delayMs, reason: "TimeoutError" });
  if (++retries % 200 === 0) driver.seal();
}
