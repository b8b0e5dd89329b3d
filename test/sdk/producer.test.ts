import { channel } from "node:diagnostics_channel";
import { describe, expect, it } from "vitest";
import { createProducer, type ProducerOptions, text, topic } from "../../producer-sdk/src/index.ts";
import { decodeMessage } from "../../protocol/src/index.ts";
import { codeOf, deferred, FakeBroker, url } from "./fake-broker.ts";

async function start(broker: FakeBroker, options: Partial<ProducerOptions> = {}) {
  const starting = createProducer({ url, group: "shop", ...options }, broker.environment);
  await broker.settle();
  return starting;
}

const bodyOf = (broker: FakeBroker, at = 0): string => {
  const message = broker.received("send")[at]?.messages[0];
  return message === undefined ? "" : new TextDecoder().decode(decodeMessage(message).body);
};

describe("a producer", () => {
  it("announces its group, and whether it answers checks, on each connection before anything else", async () => {
    const broker = new FakeBroker();
    await start(broker, { onCheck: () => "unknown" });
    broker.connection.drop();
    await broker.advance(1_000);
    expect(broker.connections).toHaveLength(2);
    for (const connection of broker.connections)
      expect(connection.batches[1]?.[0]).toMatchObject({
        type: "announce",
        group: "shop",
        checker: true,
      });
  });

  it("is refused at once for options that cannot be used", async () => {
    const broker = new FakeBroker();
    const { environment } = broker;
    expect(await codeOf(createProducer({ url: "http://x", group: "g" }, environment))).toBe(
      "INVALID_ARGUMENT",
    );
    expect(await codeOf(createProducer({ url, group: "no spaces" }, environment))).toBe(
      "INVALID_GROUP",
    );
    expect(
      await codeOf(createProducer({ url, group: "g", requestTimeoutMs: 0 }, environment)),
    ).toBe("INVALID_ARGUMENT");
    expect(
      await codeOf(createProducer({ url, group: "g", signal: AbortSignal.abort() }, environment)),
    ).toBe("CLOSED");
    expect(broker.dials).toBe(0);
  });

  it("is UNREACHABLE when no broker answers in the time for requests", async () => {
    const broker = new FakeBroker();
    broker.door = "closed";
    const code = codeOf(
      createProducer({ url, group: "g", requestTimeoutMs: 2_000 }, broker.environment),
    );
    await broker.advance(2_000);
    expect(await code).toBe("UNREACHABLE");
    expect(broker.timersRunning).toBe(0);
  });

  it("closes when its signal aborts", async () => {
    const broker = new FakeBroker();
    const abort = new AbortController();
    const producer = await start(broker, { signal: abort.signal });
    abort.abort();
    await broker.settle();
    expect(await codeOf(producer.send({ topic: "a", body: 1 }))).toBe("CLOSED");
    expect(broker.connection.isOpen).toBe(false);
  });

  it("tells its connections to whoever subscribed to its diagnostics channel", async () => {
    const events: unknown[] = [];
    const listen = (event: unknown): void => void events.push(event);
    channel("escrowmq:producer").subscribe(listen);
    const producer = await start(new FakeBroker());
    await producer.close();
    channel("escrowmq:producer").unsubscribe(listen);
    expect(events).toEqual([
      { event: "connected", group: "shop" },
      { event: "disconnected", group: "shop", code: "CLOSED" },
      { event: "closed", group: "shop", code: "CLOSED" },
    ]);
  });
});

describe("a recall", () => {
  it("names the topic and the message, and is sent again after a reconnect", async () => {
    const broker = new FakeBroker();
    const producer = await start(broker);
    broker.ignore("recall");
    const recalled = producer.recall({ topic: topic("orders", text), id: "m1" });
    await broker.settle();
    broker.on("recall", (frame, to) => to.send({ type: "ok", re: frame.id, duplicate: true }));
    broker.connection.drop();
    await broker.advance(1_000);
    expect(await recalled).toEqual({ id: "m1", duplicate: true });
    expect(broker.received("recall")).toMatchObject([
      { topic: "orders", messageId: "m1" },
      { topic: "orders", messageId: "m1" },
    ]);
  });

  it("that comes too late rejects with the broker's word", async () => {
    const broker = new FakeBroker();
    const producer = await start(broker);
    const code = "MESSAGE_NOT_SCHEDULED";
    broker.on("recall", (frame, to) =>
      to.send({ type: "error", re: frame.id, code, message: "it is visible" }),
    );
    const recalled = codeOf(producer.recall({ topic: "orders", id: "m1" }));
    await broker.settle();
    expect(await recalled).toBe(code);
    expect(await codeOf(producer.recall({ topic: "orders", id: "../m1" }))).toBe(
      "INVALID_MESSAGE_ID",
    );
  });
});

describe("a send", () => {
  it("resolves with the message's id once the broker has said ok", async () => {
    const broker = new FakeBroker();
    const producer = await start(broker);
    const sent = producer.send({
      topic: "orders",
      key: "42",
      tag: "new",
      headers: { a: "b" },
      body: { n: 1 },
    });
    await broker.settle();
    const { id, duplicate } = await sent;
    const frame = broker.received("send")[0];
    expect(id).toMatch(/^[0-9a-f]{32}$/);
    expect(duplicate).toBe(false);
    expect(frame?.sendId).toBe(id);
    expect(decodeMessage(frame?.messages[0] ?? new Uint8Array())).toMatchObject({
      id,
      topic: "orders",
      key: "42",
      tag: "new",
      headers: { a: "b" },
    });
    expect(bodyOf(broker)).toBe('{"n":1}');
  });

  it("says when the message is to come, and for how long it is worth a delivery", async () => {
    const broker = new FakeBroker();
    const producer = await start(broker);
    const deliverAt = new Date(1_790_000_000_000);
    const sent = Promise.all([
      producer.send({ topic: "orders", body: 1, delayMs: 5_000 }),
      producer.send({ topic: "orders", body: 2, deliverAt, ttlMs: 60_000 }),
    ]);
    await broker.settle();
    await sent;
    const messages = broker.received("send").flatMap((frame) => frame.messages.map(decodeMessage));
    expect(messages).toMatchObject([
      { delayMs: 5_000 },
      { deliverAtMs: 1_790_000_000_000, ttlMs: 60_000 },
    ]);
  });

  it("with two times, or with one that is none, is refused before it leaves", async () => {
    const broker = new FakeBroker();
    const producer = await start(broker);
    const deliverAt = new Date("never");
    for (const times of [{ delayMs: 1, deliverAt: new Date() }, { deliverAt }, { delayMs: -1 }])
      expect(await codeOf(producer.send({ topic: "orders", body: 1, ...times }))).toBe(
        "INVALID_DELAY",
      );
    expect(broker.received("send")).toEqual([]);
  });

  it("that was not answered is sent again under the same id after a reconnect", async () => {
    const broker = new FakeBroker();
    const producer = await start(broker);
    broker.ignore("send");
    const sent = producer.send({ topic: "orders", body: 1 });
    await broker.settle();
    broker.on("send", (frame, to) => to.send({ type: "ok", re: frame.id, duplicate: true }));
    broker.connection.drop();
    await broker.advance(1_000);
    const { id, duplicate } = await sent;
    expect(duplicate).toBe(true);
    expect(broker.received("send").map(({ sendId }) => sendId)).toEqual([id, id]);
  });

  it("goes under the caller's id, so that the caller can repeat it", async () => {
    const broker = new FakeBroker();
    const producer = await start(broker);
    const sent = producer.send({ topic: "orders", body: 1, id: "order-42" });
    await broker.settle();
    expect((await sent).id).toBe("order-42");
    expect(broker.received("send")[0]?.sendId).toBe("order-42");
  });

  it("by a topic's name takes bytes as they are and all else as JSON, and by a typed topic its codec", async () => {
    const broker = new FakeBroker();
    const producer = await start(broker);
    const Notes = topic("notes", text);
    const Orders = topic<{ n: number }>("orders");
    producer.send({ topic: "a", body: new TextEncoder().encode("raw") });
    producer.send({ topic: "a", body: "quoted" });
    producer.send({ topic: Notes, body: "plain" });
    producer.send({ topic: Orders, body: { n: 7 } });
    await broker.settle();
    expect([0, 1, 2, 3].map((at) => bodyOf(broker, at))).toEqual([
      "raw",
      '"quoted"',
      "plain",
      '{"n":7}',
    ]);
  });

  it("of what cannot be sent is refused before anything leaves", async () => {
    const broker = new FakeBroker();
    const producer = await start(broker);
    expect(await codeOf(producer.send({ topic: "a", body: undefined }))).toBe("ENCODE_FAILED");
    expect(await codeOf(producer.send({ topic: "a", body: 1n }))).toBe("ENCODE_FAILED");
    expect(await codeOf(producer.send({ topic: "no such name", body: 1 }))).toBe("INVALID_TOPIC");
    expect(await codeOf(producer.send({ topic: "a", body: new Uint8Array(1_048_577) }))).toBe(
      "BODY_TOO_LARGE",
    );
    await broker.settle();
    expect(broker.received("send")).toHaveLength(0);
  });

  it("of several messages is one frame under one id", async () => {
    const broker = new FakeBroker();
    const producer = await start(broker);
    const Orders = topic<{ n: number }>("orders");
    const sent = producer.sendAll([
      { topic: Orders, body: { n: 1 } },
      { topic: "mail", body: { any: "thing" } },
    ]);
    await broker.settle();
    const frames = broker.received("send");
    expect(frames).toHaveLength(1);
    expect(frames[0]?.messages).toHaveLength(2);
    expect(frames[0]?.sendId).toBe((await sent).id);
  });

  it("of messages together is the same to the byte when it is repeated under its id", async () => {
    const broker = new FakeBroker();
    const producer = await start(broker);
    const messages = [
      { topic: "orders", body: 1 },
      { topic: "orders", body: 1 },
      { topic: "orders", body: 1, id: "own" },
    ];
    for (const id of ["day-7", "day-7", "day-8"]) producer.sendAll(messages, { id });
    for (let time = 0; time < 2; time++) producer.sendAll(messages);
    await broker.settle();
    const sends = broker.received("send").map(({ messages }) => messages);
    expect(sends[1]).toEqual(sends[0]);
    const ids = [sends[0], ...sends.slice(2)].flatMap((sent = []) =>
      sent.map((message) => decodeMessage(message).id),
    );
    const made = ids.filter((id) => id !== "own");
    expect(made).toHaveLength(8);
    expect(new Set(made).size).toBe(8);
    for (const id of made) expect(id).toMatch(/^[0-9a-f]{32}$/);
  });

  it("fails with the broker's code", async () => {
    const broker = new FakeBroker();
    const producer = await start(broker);
    broker.on("send", (frame, to) =>
      to.send({
        type: "error",
        re: frame.id,
        code: "TOPIC_NOT_FOUND",
        message: "create it",
        detail: { topic: "a" },
      }),
    );
    const sent = producer.send({ topic: "a", body: 1 }).catch((error: unknown) => error);
    await broker.settle();
    expect(await sent).toMatchObject({
      code: "TOPIC_NOT_FOUND",
      retriable: false,
      detail: { topic: "a" },
    });
  });
});

describe("draining a producer", () => {
  it("waits for answers and running transactions, then closes", async () => {
    const broker = new FakeBroker();
    const producer = await start(broker);
    const work = deferred<void>();
    const transaction = producer.transaction(async (tx) => {
      await work.promise;
      await tx.prepare([{ topic: "a", body: 1 }]);
    });
    const sent = producer.send({ topic: "a", body: 1 });
    const drained = producer.drain({ timeoutMs: 5_000 });
    await broker.settle();
    await sent;
    expect(await codeOf(producer.send({ topic: "a", body: 1 }))).toBe("CLOSED");
    expect(await codeOf(producer.transaction(async () => undefined))).toBe("CLOSED");
    work.resolve();
    await broker.settle();
    expect((await transaction).state).toBe("committed");
    expect(await drained).toEqual({ drained: true, unanswered: 0 });
    expect(broker.timersRunning).toBe(0);
  });

  it("says how much was left when the time was up", async () => {
    const broker = new FakeBroker();
    const producer = await start(broker);
    broker.ignore("send");
    const codes = [1, 2].map((body) => codeOf(producer.send({ topic: "a", body })));
    await broker.settle();
    const drained = producer.drain({ timeoutMs: 5_000 });
    await broker.advance(5_000);
    expect(await drained).toEqual({ drained: false, unanswered: 2 });
    expect(await Promise.all(codes)).toEqual(["OUTCOME_UNKNOWN", "OUTCOME_UNKNOWN"]);
  });
});
