/** Requests and replies at both ends, against a broker by script. */
import { describe, expect, it } from "vitest";
import { createConsumer } from "../../consumer-sdk/src/index.ts";
import { createProducer, json, type ProducerOptions } from "../../producer-sdk/src/index.ts";
import { decodeMessage, encodeMessage, LIMITS } from "../../protocol/src/index.ts";
import { codeOf, deliver, delivery, FakeBroker, type FakeConnection, url } from "./fake-broker.ts";

const bytes = (text: string): Uint8Array => new TextEncoder().encode(text);

async function producerOf(broker: FakeBroker, options: Partial<ProducerOptions> = {}) {
  let opened = 0;
  broker.on("inbox", ({ id }, to) => to.send({ type: "ok", re: id, inbox: `inbox-${++opened}` }));
  const starting = createProducer({ url, group: "web", ...options }, broker.environment);
  await broker.settle();
  return starting;
}

/** What the last request's message says of where its reply goes. */
function headersOf(broker: FakeBroker): Record<string, string> {
  const data = broker.received("send").at(-1)?.messages[0] ?? new Uint8Array();
  return { ...decodeMessage(data).headers };
}

function replyTo(broker: FakeBroker, body: string, to: FakeConnection = broker.connection): void {
  const { "escrowmq-inbox": inbox = "", "escrowmq-correlation": correlation = "" } =
    headersOf(broker);
  to.send({ type: "replied", inbox, correlation, body: bytes(body) });
}

describe("a request", () => {
  it("is a message with an inbox and a correlation, besides its own headers", async () => {
    const broker = new FakeBroker();
    const producer = await producerOf(broker);
    const asked = producer.request({
      topic: "orders",
      id: "m1",
      headers: { a: "b" },
      body: { n: 1 },
    });
    await broker.settle();
    expect(headersOf(broker)).toEqual({
      a: "b",
      "escrowmq-inbox": "inbox-1",
      "escrowmq-correlation": "m1",
    });
    replyTo(broker, '{"n":2}');
    await broker.settle();
    const answer = await asked;
    expect([answer.id, answer.json(), answer.text(), answer.body]).toEqual([
      "m1",
      { n: 2 },
      '{"n":2}',
      bytes('{"n":2}'),
    ]);
  });

  it("is not handed to anybody once nobody waits for its reply, unless it says otherwise", async () => {
    const broker = new FakeBroker();
    const producer = await producerOf(broker);
    const ttlOf = async (fields: object) => {
      const asked = producer.request({ topic: "orders", body: 1, timeoutMs: 1_500.5, ...fields });
      await broker.settle();
      const data = broker.received("send").at(-1)?.messages[0] ?? new Uint8Array();
      replyTo(broker, "1");
      await broker.settle();
      await asked;
      return decodeMessage(data).ttlMs;
    };
    expect(await ttlOf({})).toBe(1_501);
    expect(await ttlOf({ ttlMs: 60_000 })).toBe(60_000);
  });

  it("shares the inbox of its connection, which is opened when the first one needs it", async () => {
    const broker = new FakeBroker();
    const producer = await producerOf(broker);
    const sent = producer.send({ topic: "orders", body: 1 });
    await broker.settle();
    await sent;
    expect(broker.received("inbox")).toHaveLength(0);
    for (let at = 0; at < 3; at++) {
      const asked = producer.request({ topic: "orders", body: 1 });
      await broker.settle();
      replyTo(broker, "1");
      await broker.settle();
      await asked;
    }
    expect(broker.received("inbox")).toHaveLength(1);
  });

  it("takes the first reply; a second one, or one to nobody, changes nothing", async () => {
    const broker = new FakeBroker();
    const producer = await producerOf(broker);
    const asked = producer.request({ topic: "orders", body: 1 });
    await broker.settle();
    replyTo(broker, "1");
    replyTo(broker, "2");
    const strange = { inbox: "inbox-1", correlation: "strange", body: bytes("3") };
    broker.connection.send({ type: "replied", ...strange });
    await broker.settle();
    expect((await asked).text()).toBe("1");
  });

  it("without a reply in its time is NO_REPLY, and leaves no timer", async () => {
    const broker = new FakeBroker();
    const producer = await producerOf(broker);
    const asked = codeOf(producer.request({ topic: "orders", body: 1, timeoutMs: 500 }));
    const before = broker.timersRunning;
    await broker.advance(500);
    expect(await asked).toBe("NO_REPLY");
    expect(broker.timersRunning).toBeLessThan(before + 1);
    await producer.close();
    expect(broker.timersRunning).toBe(0);
  });

  it("whose connection is lost is INBOX_LOST at once; the next one has a new inbox", async () => {
    const broker = new FakeBroker();
    const producer = await producerOf(broker);
    const asked = codeOf(producer.request({ topic: "orders", body: 1 }));
    await broker.settle();
    broker.connection.drop();
    await broker.settle();
    expect(await asked).toBe("INBOX_LOST");
    await broker.advance(1_000);
    const again = producer.request({ topic: "orders", body: 2 });
    await broker.settle();
    expect(headersOf(broker)["escrowmq-inbox"]).toBe("inbox-2");
    replyTo(broker, "2");
    await broker.settle();
    expect((await again).text()).toBe("2");
  });

  it("that the broker refuses rejects with the refusal", async () => {
    const broker = new FakeBroker();
    const producer = await producerOf(broker);
    broker.on("send", ({ id }, to) =>
      to.send({ type: "error", re: id, code: "TOPIC_NOT_FOUND", message: "create it" }),
    );
    const asked = codeOf(producer.request({ topic: "orders", body: 1 }));
    await broker.settle();
    expect(await asked).toBe("TOPIC_NOT_FOUND");
  });

  it("is refused for a time, an id or a body that cannot be used, and sends nothing", async () => {
    const broker = new FakeBroker();
    const producer = await producerOf(broker);
    const codes = [
      codeOf(producer.request({ topic: "orders", body: 1, timeoutMs: 0 })),
      codeOf(producer.request({ topic: "orders", body: 1, id: "no spaces" })),
      codeOf(producer.request({ topic: "no such name", body: 1 })),
      codeOf(producer.request({ topic: "orders", body: 1n })),
    ];
    await broker.settle();
    expect(await Promise.all(codes)).toEqual([
      "INVALID_ARGUMENT",
      "INVALID_MESSAGE_ID",
      "INVALID_TOPIC",
      "ENCODE_FAILED",
    ]);
    expect(broker.received("send")).toEqual([]);
  });

  it("ends with CLOSED when its signal aborts or the producer closes; a drain waits for it", async () => {
    const broker = new FakeBroker();
    const producer = await producerOf(broker);
    const abort = new AbortController();
    const aborted = codeOf(producer.request({ topic: "orders", body: 1, signal: abort.signal }));
    const closed = codeOf(producer.request({ topic: "orders", body: 2 }));
    await broker.settle();
    abort.abort();
    expect(await aborted).toBe("CLOSED");
    const drained = producer.drain({ timeoutMs: 1_000 });
    await broker.advance(1_000);
    expect(await drained).toEqual({ drained: false, unanswered: 1 });
    expect(await closed).toBe("CLOSED");
  });

  it("whose reply does not fit its codec is DECODE_FAILED", async () => {
    const broker = new FakeBroker();
    const producer = await producerOf(broker);
    const asked = codeOf(producer.request({ topic: "orders", body: 1, reply: json }));
    await broker.settle();
    replyTo(broker, "no JSON");
    await broker.settle();
    expect(await asked).toBe("DECODE_FAILED");
  });
});

describe("a handler", () => {
  const request = encodeMessage({
    id: "m1",
    topic: "orders",
    headers: { "escrowmq-inbox": "i1", "escrowmq-correlation": "c1" },
    body: bytes("1"),
  });

  async function handling(broker: FakeBroker, body: unknown) {
    const options = { url, group: "prices", subscribe: [{ topic: "orders" }] };
    const starting = createConsumer(options, broker.environment);
    await broker.settle();
    const codes: string[] = [];
    void (await starting).run(async (_message, context) => {
      codes.push(`${context.isRequest} ${await codeOf(context.reply(body))}`);
    });
    await broker.settle();
    return codes;
  }

  it("replies to the inbox that the message names, and its end is another matter", async () => {
    const broker = new FakeBroker();
    broker.on("reply", ({ id }, to) => to.send({ type: "ok", re: id }));
    const codes = await handling(broker, { yes: true });
    deliver(broker.connection, delivery("a", { message: request }));
    await broker.settle();
    expect(codes).toEqual(["true ok"]);
    expect(broker.received("reply")).toMatchObject([
      { inbox: "i1", correlation: "c1", body: bytes('{"yes":true}') },
    ]);
    expect(broker.received("ack").flatMap(({ tokens }) => tokens)).toEqual(["a"]);
  });

  it("waits while the owner of the inbox does not read, and learns when it is gone", async () => {
    const broker = new FakeBroker();
    let refusals = 0;
    broker.on("reply", ({ id }, to) =>
      refusals++ < 2
        ? to.send({ type: "error", re: id, code: "INBOX_FULL", message: "later" })
        : to.send({ type: "error", re: id, code: "INBOX_NOT_FOUND", message: "gone" }),
    );
    const codes = await handling(broker, 1);
    deliver(broker.connection, delivery("a", { message: request }));
    await broker.advance(5_000);
    expect(codes).toEqual(["true INBOX_NOT_FOUND"]);
  });

  it("is told when the message asks for no reply, or the reply is too large", async () => {
    const broker = new FakeBroker();
    const codes = await handling(broker, new Uint8Array(LIMITS.replyBytesMax + 1));
    deliver(broker.connection, delivery("a"), delivery("b", { message: request }));
    await broker.settle();
    expect(codes.sort()).toEqual(["false NOT_A_REQUEST", "true BODY_TOO_LARGE"]);
    expect(broker.received("reply")).toEqual([]);
  });
});
