import { channel } from "node:diagnostics_channel";
import { describe, expect, it } from "vitest";
import {
  Bury,
  type ConsumerOptions,
  type Context,
  createConsumer,
  type Message,
  Release,
  Retry,
  text,
  topic,
} from "../../consumer-sdk/src/index.ts";
import { encodeMessage } from "../../protocol/src/index.ts";
import { codeOf, deferred, deliver, delivery, FakeBroker, url } from "./fake-broker.ts";
import { start, tokensOf } from "./started-consumer.ts";

/** A handler whose runs end when the test says so. */
function byHand() {
  const runs: { message: Message; context: Context; end: ReturnType<typeof deferred<void>> }[] = [];
  const handler = (message: Message, context: Context): Promise<void> => {
    const end = deferred<void>();
    runs.push({ message, context, end });
    return end.promise;
  };
  return { runs, handler };
}

describe("a consumer", () => {
  it("subscribes on each connection, and grants nothing before somebody reads", async () => {
    const broker = new FakeBroker();
    await start(broker, {
      subscribe: [{ topic: "orders", from: "offset", at: 7, filter: "paid" }],
      leaseMs: 5_000,
    });
    broker.connection.drop();
    await broker.advance(1_000);
    expect(broker.received("subscribe")).toHaveLength(2);
    expect(broker.received("subscribe")[1]).toMatchObject({
      group: "billing",
      topics: [{ topic: "orders", from: "offset", at: 7 }],
      leaseMs: 5_000,
    });
    expect(broker.received("credit")).toHaveLength(0);
  });

  it("says how much its topics are worth", async () => {
    const broker = new FakeBroker();
    await start(broker, { subscribe: [{ topic: "urgent", weight: 4 }, { topic: "orders" }] });
    expect(broker.received("subscribe")).toMatchObject([
      { topics: [{ topic: "urgent", weight: 4 }, { topic: "orders" }] },
    ]);
  });

  it("is refused for options that cannot be used, and by a broker that has no such topic", async () => {
    const broker = new FakeBroker();
    const make = (options: Partial<ConsumerOptions>) =>
      codeOf(
        createConsumer(
          { url, group: "g", subscribe: [{ topic: "a" }], ...options },
          broker.environment,
        ),
      );
    expect(await make({ subscribe: [] })).toBe("INVALID_ARGUMENT");
    expect(await make({ subscribe: [{ topic: "no such name" }] })).toBe("INVALID_TOPIC");
    expect(await make({ group: "a%b" })).toBe("INVALID_GROUP");
    for (const weight of [0, 17, 1.5])
      expect(await make({ subscribe: [{ topic: "a", weight }] })).toBe("INVALID_ARGUMENT");
    expect(await make({ concurrency: 0 })).toBe("INVALID_ARGUMENT");
    expect(await make({ leaseMs: 10 })).toBe("INVALID_ARGUMENT");
    expect(await make({ maxBytesInFlight: 1_000 })).toBe("INVALID_ARGUMENT");
    broker.on("subscribe", (frame, to) =>
      to.send({ type: "error", re: frame.id, code: "TOPIC_NOT_FOUND", message: "create it" }),
    );
    const refused = make({});
    await broker.settle();
    expect(await refused).toBe("TOPIC_NOT_FOUND");
  });

  it("ends its run with the error when the topic is gone after a reconnect", async () => {
    const broker = new FakeBroker();
    const run = codeOf((await start(broker)).run(() => undefined));
    broker.on("subscribe", (frame, to) =>
      to.send({ type: "error", re: frame.id, code: "TOPIC_NOT_FOUND", message: "gone" }),
    );
    broker.connection.drop();
    await broker.advance(1_000);
    expect(await run).toBe("TOPIC_NOT_FOUND");
    expect(broker.timersRunning).toBe(0);
  });

  it("is read by one reader at a time", async () => {
    const consumer = await start(new FakeBroker());
    consumer.run(() => undefined);
    expect(await codeOf(consumer.run(() => undefined))).toBe("INVALID_ARGUMENT");
    expect(() => consumer[Symbol.asyncIterator]()).toThrow("being read already");
  });

  it("has at most the credit that it granted under way, and grants anew as handlers end", async () => {
    const broker = new FakeBroker();
    const { runs, handler } = byHand();
    (await start<Uint8Array>(broker, { concurrency: 2 })).run(handler);
    await broker.settle();
    expect(broker.received("credit")).toMatchObject([{ subscription: 1, messages: 4 }]);
    deliver(broker.connection, ...["a", "b", "c", "d"].map((token) => delivery(token)));
    await broker.settle();
    expect(runs.map(({ message }) => message.token)).toEqual(["a", "b"]);
    expect(broker.received("credit")).toHaveLength(1);
    runs[0]?.end.resolve();
    await broker.settle();
    expect(runs).toHaveLength(3);
    expect(broker.received("credit")[1]).toMatchObject({ messages: 1 });
  });
});

describe("a handler", () => {
  it("sees the message: id, key, attempt, body by its topic's codec, raw bytes", async () => {
    const broker = new FakeBroker();
    const Orders = topic<{ of: string }>("orders");
    const starting = createConsumer(
      {
        url,
        group: "g",
        subscribe: [{ topic: Orders }, { topic: topic("notes", text) }, { topic: "raw" }],
      },
      broker.environment,
    );
    await broker.settle();
    const seen: unknown[] = [];
    const consumer = await starting;
    consumer.run(
      ({ id, key, attempt, body }, context) =>
        void seen.push([id, key, attempt, body, context.attempt]),
    );
    const bytes = new TextEncoder().encode("hi");
    deliver(
      broker.connection,
      delivery("a", { key: "42", attempt: 3 }),
      delivery("b", { topic: "notes", body: bytes }),
      delivery("c", { topic: "raw", body: bytes }),
    );
    await broker.settle();
    expect(seen).toEqual([
      ["id-a", "42", 3, { of: "a" }, 3],
      ["id-b", undefined, 1, "hi", 1],
      ["id-c", undefined, 1, bytes, 1],
    ]);
  });

  it("may keep a message without keeping all that came with it", async () => {
    const broker = new FakeBroker();
    const kept: Uint8Array[] = [];
    (await start(broker)).run(({ raw }) => void kept.push(raw));
    deliver(broker.connection, delivery("a", { body: new Uint8Array(10) }));
    await broker.settle();
    expect(kept.map(({ buffer }) => buffer.byteLength)).toEqual([10]);
  });

  it("that resolves acks its message; acks of one turn share a frame", async () => {
    const broker = new FakeBroker();
    (await start(broker, { concurrency: 8 })).run(async () => undefined);
    deliver(broker.connection, ...["a", "b", "c"].map((token) => delivery(token)));
    await broker.settle();
    expect(broker.received("ack").map(({ tokens }) => tokens)).toEqual([["a", "b", "c"]]);
  });

  it("that throws gives its message back for another attempt, with the reason", async () => {
    const broker = new FakeBroker();
    (await start(broker, { concurrency: 8 })).run((message) => {
      if (message.token === "a") throw new TypeError("no such customer");
      if (message.token === "b") throw new Retry({ delayMs: 2_000.4, reason: "limited" });
      if (message.token === "c") throw new Retry({ cause: new Error("inner") });
      return Promise.reject(new Error("x".repeat(2_000)));
    });
    deliver(broker.connection, ...["a", "b", "c", "d"].map((token) => delivery(token)));
    await broker.settle();
    const retries = broker.received("retry");
    expect(
      retries.slice(0, 3).map(({ token, delayMs, reason }) => [token, delayMs, reason]),
    ).toEqual([
      ["a", undefined, "TypeError: no such customer"],
      ["b", 2_000, "limited"],
      ["c", undefined, "Error: inner"],
    ]);
    expect(retries[3]?.reason).toHaveLength(512);
    expect(tokensOf(broker, "ack")).toEqual([]);
  });

  it("that throws Bury puts its message into the dead-letter topic", async () => {
    const broker = new FakeBroker();
    (await start(broker)).run(() => Promise.reject(new Bury("negative amount")));
    deliver(broker.connection, delivery("a"));
    await broker.settle();
    expect(broker.received("bury")).toMatchObject([{ token: "a", reason: "negative amount" }]);
  });

  it("that throws Release gives its message back as it came: no attempt, no failure", async () => {
    const events: unknown[] = [];
    const listen = (event: unknown): void => void events.push(event);
    const broker = new FakeBroker();
    const consumer = await start(broker, { concurrency: 1 });
    consumer.run(() => Promise.reject(new Release()));
    channel("escrowmq:consumer").subscribe(listen);
    deliver(broker.connection, delivery("a"), delivery("b"));
    await broker.settle();
    channel("escrowmq:consumer").unsubscribe(listen);
    expect(tokensOf(broker, "release")).toEqual(["a", "b"]);
    expect(broker.received("retry")).toEqual([]);
    expect(events).toEqual([]);
    expect(broker.received("credit").reduce((sum, { messages }) => sum + messages, 0)).toBe(2 + 2);
  });

  it("sees when its message was to come, and for how long it may", async () => {
    const broker = new FakeBroker();
    const seen: unknown[] = [];
    (await start(broker)).run(({ delayMs, deliverAt, ttlMs }) => {
      seen.push([delayMs, deliverAt, ttlMs]);
    });
    const body = new Uint8Array();
    const message = (fields: { delayMs?: number; deliverAtMs?: number; ttlMs?: number }) =>
      encodeMessage({ id: "m", topic: "orders", body, ...fields });
    deliver(
      broker.connection,
      delivery("a", { message: message({ delayMs: 5_000, ttlMs: 9_000 }) }),
      delivery("b", { message: message({ deliverAtMs: 1_798_761_600_000 }) }),
      delivery("c"),
    );
    await broker.settle();
    expect(seen).toEqual([
      [5_000, undefined, 9_000],
      [undefined, new Date("2027-01-01T00:00:00Z"), undefined],
      [undefined, undefined, undefined],
    ]);
  });

  it("never sees what does not decode: that is buried with its reason", async () => {
    const broker = new FakeBroker();
    const seen: string[] = [];
    const Orders = topic<object>("orders");
    (await start(broker, { subscribe: [{ topic: Orders }] })).run(
      (message) => void seen.push(message.token),
    );
    const broken = encodeMessage({ id: "m", topic: "orders", body: new Uint8Array([0x7b]) });
    deliver(
      broker.connection,
      delivery("broken", { message: broken }),
      delivery("no message", { message: new Uint8Array([0xc1]) }),
      delivery("fine"),
    );
    await broker.settle();
    expect(seen).toEqual(["fine"]);
    expect(broker.received("bury").map(({ token }) => token)).toEqual(["broken", "no message"]);
    for (const { reason } of broker.received("bury")) expect(reason).toMatch(/^DECODE_FAILED: ./);
  });

  it("does not lose credit to what does not decode", async () => {
    const broker = new FakeBroker();
    (await start(broker, { concurrency: 2 })).run(() => undefined);
    await broker.settle();
    const message = new Uint8Array([0xc1]);
    for (let round = 0; round < 10; round++) {
      deliver(
        broker.connection,
        delivery(`a${round}`, { message }),
        delivery(`b${round}`, { message }),
      );
      await broker.settle();
    }
    const granted = broker.received("credit").reduce((sum, { messages }) => sum + messages, 0);
    expect(granted).toBe(4 + 20);
  });

  it("keeps its lease, renewed at half its time, as do messages that wait for a handler", async () => {
    const broker = new FakeBroker();
    const { runs, handler } = byHand();
    (await start<Uint8Array>(broker, { concurrency: 1 })).run(handler);
    deliver(
      broker.connection,
      delivery("a", { leaseMs: 8_000 }),
      delivery("b", { leaseMs: 8_000 }),
    );
    await broker.advance(3_900);
    expect(tokensOf(broker, "extend")).toEqual([]);
    await broker.advance(200);
    expect(broker.received("extend").map(({ tokens }) => tokens)).toEqual([["a", "b"]]);
    await broker.advance(4_000);
    expect(broker.received("extend")).toHaveLength(2);
    runs[0]?.end.resolve();
    await broker.settle();
    runs[1]?.end.resolve();
    await broker.advance(60_000);
    expect(broker.received("extend")).toHaveLength(2);
    expect(tokensOf(broker, "ack")).toEqual(["a", "b"]);
  });

  it("is told by its signal when the lease is lost, and its end is then nobody's business", async () => {
    const broker = new FakeBroker();
    const { runs, handler } = byHand();
    (await start<Uint8Array>(broker)).run(handler);
    broker.on("extend", (frame, to) => to.send({ type: "ok", re: frame.id, stale: ["a"] }));
    deliver(
      broker.connection,
      delivery("a", { leaseMs: 8_000 }),
      delivery("b", { leaseMs: 8_000 }),
    );
    await broker.settle();
    const signals = runs.map(({ context }) => context.signal);
    await broker.advance(4_100);
    expect(signals.map(({ aborted }) => aborted)).toEqual([true, false]);
    expect(signals[0]?.reason).toMatchObject({ code: "STALE_DELIVERY" });
    for (const { end } of runs) end.resolve();
    await broker.settle();
    expect(tokensOf(broker, "ack")).toEqual(["b"]);
  });

  it("loses its lease by the clock when the broker answers no renewal", async () => {
    const broker = new FakeBroker();
    const { runs, handler } = byHand();
    (await start<Uint8Array>(broker)).run(handler);
    broker.ignore("extend");
    deliver(broker.connection, delivery("a", { leaseMs: 8_000 }));
    await broker.settle();
    const signal = runs[0]?.context.signal;
    await broker.advance(7_900);
    expect(signal?.aborted).toBe(false);
    await broker.advance(1_000);
    expect(signal?.aborted).toBe(true);
    expect(broker.received("extend").length).toBeGreaterThan(1);
  });

  it("that joined a transaction while a renewal was under way is not told that the lease is lost", async () => {
    const broker = new FakeBroker();
    const { runs, handler } = byHand();
    (await start<Uint8Array>(broker)).run(handler);
    const ids: number[] = [];
    broker.on("extend", ({ id }) => void ids.push(id));
    deliver(broker.connection, delivery("a", { leaseMs: 8_000 }));
    await broker.advance(4_100);
    runs[0]?.message.joined();
    broker.connection.send({ type: "ok", re: ids[0] ?? 0, stale: ["a"] });
    await broker.settle();
    expect(ids).toHaveLength(1);
    expect(runs[0]?.context.signal.aborted).toBe(false);
  });

  it("can renew its lease for a time of its own", async () => {
    const broker = new FakeBroker();
    const { runs, handler } = byHand();
    (await start<Uint8Array>(broker)).run(handler);
    deliver(broker.connection, delivery("a", { leaseMs: 8_000 }));
    await broker.settle();
    const extended = codeOf(runs[0]?.context.extend(60_000) ?? Promise.resolve());
    await broker.advance(20_000);
    expect(await extended).toBe("ok");
    expect(broker.received("extend")).toMatchObject([{ tokens: ["a"], leaseMs: 60_000 }]);
  });

  it("whose ack has joined a transaction is not acked again, and not aborted by a lost connection", async () => {
    const broker = new FakeBroker();
    const { runs, handler } = byHand();
    (await start<Uint8Array>(broker)).run(handler);
    deliver(broker.connection, delivery("a"), delivery("b"));
    await broker.settle();
    for (const { message } of runs) message.joined();
    const signal = runs[0]?.context.signal;
    runs[0]?.end.resolve();
    runs[1]?.end.reject(new Error("fault"));
    await broker.advance(120_000);
    broker.connection.drop();
    await broker.settle();
    expect(signal?.aborted).toBe(false);
    const settling = ["ack", "retry", "extend", "release"] as const;
    expect(settling.map((type) => broker.received(type).length)).toEqual([0, 0, 0, 0]);
  });
});

describe("a lost connection", () => {
  it("aborts the handlers, and nothing of it is settled on the next one", async () => {
    const broker = new FakeBroker();
    const { runs, handler } = byHand();
    (await start<Uint8Array>(broker)).run(handler);
    deliver(broker.connection, ...["a", "b", "c"].map((token) => delivery(token)));
    await broker.settle();
    const signals = runs.map(({ context }) => context.signal);
    broker.connection.drop();
    await broker.advance(1_000);
    expect(signals.map(({ aborted }) => aborted)).toEqual([true, true]);
    runs[0]?.end.resolve();
    runs[1]?.end.reject(new Error("aborted"));
    deliver(broker.connection, delivery("a2"));
    await broker.settle();
    expect(runs.map(({ message }) => message.token)).toEqual(["a", "b", "a2"]);
    runs[2]?.end.resolve();
    await broker.settle();
    expect(broker.connections).toHaveLength(2);
    expect(tokensOf(broker, "ack")).toEqual(["a2"]);
    expect(broker.received("retry")).toHaveLength(0);
  });

  it("leaves the places of handlers that still run taken", async () => {
    const broker = new FakeBroker();
    const { runs, handler } = byHand();
    (await start<Uint8Array>(broker, { concurrency: 2 })).run(handler);
    deliver(broker.connection, delivery("a"), delivery("b"));
    await broker.settle();
    broker.connection.drop();
    await broker.advance(1_000);
    expect(broker.connection.received("credit")).toMatchObject([{ messages: 2 }]);
    deliver(broker.connection, delivery("c"));
    await broker.settle();
    expect(runs).toHaveLength(2);
    runs[0]?.end.resolve();
    await broker.settle();
    expect(runs).toHaveLength(3);
  });
});

describe("what waits too long for a handler", () => {
  it("goes back to the group, but for one message for each handler", async () => {
    const broker = new FakeBroker();
    const { runs, handler } = byHand();
    (await start<Uint8Array>(broker, { concurrency: 1 })).run(handler);
    deliver(broker.connection, ...["a", "b", "c", "d"].map((token) => delivery(token)));
    await broker.advance(1_500);
    expect(tokensOf(broker, "release")).toEqual([]);
    await broker.advance(1_000);
    expect(tokensOf(broker, "release")).toEqual(["c", "d"]);
    expect(runs).toHaveLength(1);
  });
});

describe("draining a consumer", () => {
  it("waits for handlers and for the broker's word, gives back what was not started, and closes", async () => {
    const broker = new FakeBroker();
    const { runs, handler } = byHand();
    const consumer = await start<Uint8Array>(broker, { concurrency: 1 });
    const run = codeOf(consumer.run(handler));
    deliver(broker.connection, delivery("a"), delivery("b"));
    await broker.settle();
    const drained = consumer.drain({ timeoutMs: 5_000 });
    deliver(broker.connection, delivery("late"));
    await broker.settle();
    expect(tokensOf(broker, "release")).toEqual(["b", "late"]);
    const acks: number[] = [];
    broker.on("ack", ({ id }) => void acks.push(id));
    runs[0]?.end.resolve();
    await broker.settle();
    expect(broker.connection.isOpen).toBe(true);
    broker.connection.send({ type: "ok", re: acks[0] ?? 0 });
    await broker.settle();
    expect(await drained).toEqual({ drained: true, inFlight: 0 });
    expect(await run).toBe("ok");
    expect(broker.connection.isOpen).toBe(false);
    expect(broker.timersRunning).toBe(0);
    expect(runs).toHaveLength(1);
  });

  it("leaves the group before the connection ends, so that what is unsettled used up no attempt", async () => {
    const broker = new FakeBroker();
    const { handler } = byHand();
    const consumer = await start<Uint8Array>(broker);
    consumer.run(handler);
    deliver(broker.connection, delivery("a"));
    await broker.settle();
    await consumer.close();
    await broker.settle();
    expect(broker.received("unsubscribe")).toMatchObject([{ subscription: 1 }]);
    expect(broker.timersRunning).toBe(0);
  });

  it("says how many were left when the time was up, and tells their handlers", async () => {
    const broker = new FakeBroker();
    const { runs, handler } = byHand();
    const consumer = await start<Uint8Array>(broker);
    consumer.run(handler);
    deliver(broker.connection, delivery("a"), delivery("b"));
    await broker.settle();
    const signal = runs[0]?.context.signal;
    const drained = consumer.drain({ timeoutMs: 5_000 });
    await broker.advance(5_000);
    expect(await drained).toEqual({ drained: false, inFlight: 2 });
    expect(signal?.reason).toMatchObject({ code: "CLOSED" });
  });

  it("by its signal is immediate: handlers are told, acks that were ready leave", async () => {
    const broker = new FakeBroker();
    const abort = new AbortController();
    const { runs, handler } = byHand();
    const run = codeOf((await start<Uint8Array>(broker, { signal: abort.signal })).run(handler));
    deliver(broker.connection, delivery("a"), delivery("b"));
    await broker.settle();
    const signal = runs[1]?.context.signal;
    runs[0]?.end.resolve();
    await Promise.resolve();
    await Promise.resolve();
    abort.abort();
    await broker.settle();
    expect(signal?.reason).toMatchObject({ code: "CLOSED" });
    expect(tokensOf(broker, "ack")).toEqual(["a"]);
    expect(await run).toBe("ok");
  });
});

describe("diagnostics of a consumer", () => {
  it("name what failed, what did not decode and what came too late", async () => {
    const events: { event: string }[] = [];
    const listen = (event: unknown): void => void events.push(event as { event: string });
    channel("escrowmq:consumer").subscribe(listen);
    const broker = new FakeBroker();
    broker.on("ack", (frame, to) => to.send({ type: "ok", re: frame.id, stale: frame.tokens }));
    const consumer = await start(broker);
    consumer.run((message) =>
      message.token === "a" ? Promise.reject(new Error("fault")) : undefined,
    );
    deliver(broker.connection, delivery("a"), delivery("b"));
    deliver(broker.connection, delivery("c", { message: new Uint8Array([1]) }));
    await broker.settle();
    await consumer.close();
    channel("escrowmq:consumer").unsubscribe(listen);
    expect(events.map(({ event }) => event)).toEqual([
      "connected",
      "unreadable",
      "failed",
      "unsettled",
      "disconnected",
      "closed",
    ]);
  });
});
