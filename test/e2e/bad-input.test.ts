/** What strangers and mistakes may send: each gets its code, and changes nothing (promise 8, A2, A4, K2). */
import type { Broker } from "@escrowmq/broker";
import { encodeBatch, encodeMessage, LIMITS, PROTOCOL_VERSION } from "@escrowmq/protocol";
import type { AdminClient } from "@escrowmq/protocol/client";
import { Packr } from "msgpackr";
import { describe, expect, it } from "vitest";
import { AUDIT, useBench } from "../support/e2e-broker.ts";
import { errorOf, RawClient, type RawOptions } from "../support/e2e-raw-client.ts";

const bench = useBench();
/** An encoder that checks nothing. */
const foreign = new Packr({ useRecords: false, variableMapSize: true });
const hello = { type: "hello", version: PROTOCOL_VERSION, client: "raw" } as const;
const message = (body = "1", topic = "orders") =>
  encodeMessage({ id: "m-1", topic, body: Buffer.from(body) });
/** MessagePack: an array of one array of one array … */
const nested = (levels: number): Uint8Array => new Uint8Array(levels).fill(0x91);

interface World {
  readonly broker: Broker;
  readonly admin: AdminClient;
  readonly unchanged: () => Promise<void>;
}

/** A broker with something in it, and the proof that it is as it was. */
async function world(): Promise<World> {
  const broker = await bench.broker();
  const admin = await bench.admin(broker.url, "orders");
  const producer = await bench.producer({ url: broker.url, group: "shop" });
  await producer.send({ topic: "orders", body: 1 });
  const look = async () => {
    const { topics, groups, messages, undecided } = await admin.request("stats", {});
    return { topics, groups, messages, undecided };
  };
  const before = await look();
  const unchanged = async () => {
    expect(await look()).toEqual(before);
    expect((await producer.send({ topic: "orders", body: 2 })).duplicate).toBe(false);
  };
  return { broker, admin, unchanged };
}

interface Attack {
  readonly name: string;
  readonly why: string;
  readonly isGreeting?: boolean;
  readonly attack: (raw: RawClient) => void;
}

const unsafely = (frame: object): Uint8Array => encodeBatch([frame as typeof hello]);

const ATTACKS: readonly Attack[] = [
  {
    name: "bytes that are no MessagePack",
    why: "BAD_FRAME",
    attack: (raw) => raw.sayBytes(Uint8Array.of(0xc1, 0xff, 0xff)),
  },
  {
    name: "a batch that was cut off",
    why: "BAD_FRAME",
    attack: (raw) => raw.sayBytes(encodeBatch([{ type: "stats", id: 1 }]).slice(0, -3)),
  },
  { name: "no bytes at all", why: "BAD_FRAME", attack: (raw) => raw.sayBytes(new Uint8Array(0)) },
  {
    name: "a batch with something behind it",
    why: "BAD_FRAME",
    attack: (raw) =>
      raw.sayBytes(Buffer.concat([encodeBatch([{ type: "ping" }]), Buffer.of(0xc0)])),
  },
  { name: "deep nesting", why: "BAD_FRAME", attack: (raw) => raw.sayBytes(nested(100_000)) },
  {
    name: "an array that claims four billion items",
    why: "BAD_FRAME",
    attack: (raw) => raw.sayBytes(Uint8Array.of(0xdd, 0xff, 0xff, 0xff, 0xff)),
  },
  { name: "an empty batch", why: "BAD_FRAME", attack: (raw) => raw.sayBytes(Uint8Array.of(0x90)) },
  {
    name: "a request without an id",
    why: "BAD_FRAME",
    attack: (raw) => raw.sayBytes(unsafely({ type: "stats" })),
  },
  {
    name: "an unknown frame",
    why: "UNKNOWN_FRAME",
    attack: (raw) => raw.sayBytes(unsafely({ type: "explode", id: 1 })),
  },
  {
    name: "a frame named like a property of every object",
    why: "UNKNOWN_FRAME",
    attack: (raw) => raw.sayBytes(unsafely({ type: "constructor", id: 1 })),
  },
  {
    name: "a frame of the other direction",
    why: "UNKNOWN_FRAME",
    attack: (raw) => raw.sayBytes(encodeBatch([{ type: "ok", re: 1 }])),
  },
  { name: "a second hello", why: "HELLO_EXPECTED", attack: (raw) => raw.say(hello) },
  {
    name: "a bad frame behind a good request",
    why: "UNKNOWN_FRAME",
    attack: (raw) =>
      raw.sayBytes(
        encodeBatch([
          { type: "send", id: 1, sendId: "s-1", messages: [message()] },
          { type: "explode" } as unknown as typeof hello,
        ]),
      ),
  },
  {
    name: "a request before the hello",
    why: "HELLO_EXPECTED",
    isGreeting: false,
    attack: (raw) => raw.say({ type: "stats", id: 1 }),
  },
  {
    name: "a hello in company",
    why: "HELLO_EXPECTED",
    isGreeting: false,
    attack: (raw) => raw.say(hello, { type: "send", id: 1, sendId: "s-1", messages: [message()] }),
  },
  {
    name: "a hello of another version",
    why: "UNSUPPORTED_VERSION",
    isGreeting: false,
    attack: (raw) => raw.say({ ...hello, version: 99 }),
  },
  {
    name: "a hello that is too large",
    why: "BATCH_TOO_LARGE",
    isGreeting: false,
    attack: (raw) => raw.say({ ...hello, client: "x".repeat(LIMITS.helloBytesMax) }),
  },
];

describe("a connection that sends", () => {
  for (const { name, why, isGreeting = true, attack } of ATTACKS) {
    it(`${name} is closed with ${why}, and nothing has changed`, async () => {
      const { broker, unchanged } = await world();
      const raw = await RawClient.open(broker.url, { isGreeting });
      attack(raw);
      expect(await raw.ended()).toEqual({ why, code: 1008 });
      await unchanged();
    });
  }

  it("a WebSocket message beyond the limit is closed with 1009 before it is read", async () => {
    const { broker, unchanged } = await world();
    const raw = await RawClient.open(broker.url);
    raw.sayBytes(new Uint8Array(LIMITS.batchBytesMax + 1));
    expect((await raw.ended()).code).toBe(1009);
    await unchanged();
  });

  it("a text frame is closed with 1003", async () => {
    const { broker, unchanged } = await world();
    const raw = await RawClient.open(broker.url);
    raw.sayText('{"type":"stats","id":1}');
    expect((await raw.ended()).code).toBe(1003);
    await unchanged();
  });

  it("nothing is closed after five seconds", async () => {
    const { broker, unchanged } = await world();
    const startMs = performance.now();
    const raw = await RawClient.open(broker.url, { isGreeting: false });
    await raw.closed;
    expect(performance.now() - startMs).toBeGreaterThan(LIMITS.helloWithinMs - 100);
    expect(performance.now() - startMs).toBeLessThan(LIMITS.helloWithinMs + 2_000);
    await unchanged();
  });
});

describe("an upgrade", () => {
  const refused: readonly (readonly [name: string, options: RawOptions, status: number])[] = [
    ["from a web page", { headers: { origin: "https://evil.example" } }, 403],
    ["for another host", { headers: { host: "evil.example" } }, 403],
    ["without the subprotocol", { subprotocols: [] }, 400],
    ["for another subprotocol", { subprotocols: ["escrowmq.v9"] }, 400],
  ];
  for (const [name, options, status] of refused) {
    it(`${name} is refused with ${status}`, async () => {
      const { broker, unchanged } = await world();
      await expect(RawClient.open(broker.url, options)).rejects.toThrow(String(status));
      await unchanged();
    });
  }

  it("from a page that the operator allowed is taken", async () => {
    const broker = await bench.broker({ allowedOrigins: ["https://shop.example"] });
    await RawClient.open(broker.url, { headers: { origin: "https://shop.example" } });
  });
});

describe("a request that cannot be done", () => {
  it("for an unknown topic names the command that creates it", async () => {
    const { broker, unchanged } = await world();
    const raw = await RawClient.open(broker.url);
    const answers = [
      await raw.ask({ type: "send", sendId: "s", messages: [message("1", "nowhere")] }),
      await raw.ask({
        type: "subscribe",
        subscription: 1,
        group: "g",
        topics: [{ topic: "nowhere" }],
      }),
      await raw.ask({ type: "topic.describe", topic: "nowhere" }),
    ];
    for (const answer of answers)
      expect(answer).toMatchObject({
        code: "TOPIC_NOT_FOUND",
        message: expect.stringContaining("escrow topic create nowhere"),
      });
    await unchanged();
  });

  it("with a filter that is wrong, or is not that of the group, is refused with the reason", async () => {
    const { broker, unchanged } = await world();
    const raw = await RawClient.open(broker.url);
    const other = await RawClient.open(broker.url);
    const subscribe = (client: RawClient, filter: string) =>
      client.ask({
        type: "subscribe",
        subscription: 1,
        group: "picky",
        topics: [{ topic: "orders", filter }],
      });
    expect(await subscribe(raw, "paid ||")).toMatchObject({
      code: "FILTER_INVALID",
      detail: { position: 7, reason: expect.any(String) },
    });
    for (const length of [2_049, 65_536])
      expect(await subscribe(raw, "x||".repeat(length).slice(0, length))).toMatchObject({
        code: "FILTER_INVALID",
        detail: { position: 2_048, reason: "it is longer than 2048 characters" },
      });
    await unchanged();
    expect(await subscribe(raw, "paid")).toMatchObject({ type: "ok" });
    expect(await subscribe(other, "open")).toMatchObject({
      code: "FILTER_CONFLICT",
      message: expect.stringContaining("picky"),
    });
    expect(await subscribe(other, " paid ")).toMatchObject({ type: "ok" });
  });

  it("for an illegal name is refused, and the connection goes on", async () => {
    const { broker, unchanged } = await world();
    const raw = await RawClient.open(broker.url);
    for (const topic of ["", "../../etc", "a b", "%DLQ%orders", "x".repeat(129), "-", "a\u0000b"])
      expect([topic, errorOf(await raw.ask({ type: "topic.create", topic }))]).toEqual([
        topic,
        "INVALID_TOPIC",
      ]);
    await unchanged();
  });

  it("has a code of its own for each thing that people name", async () => {
    const { broker, unchanged } = await world();
    const raw = await RawClient.open(broker.url);
    const topics = [{ topic: "orders" }];
    const subscribe = { type: "subscribe", subscription: 1, group: "g", topics } as const;
    const prepare = { type: "prepare", group: "g", messages: [message()] } as const;
    const asked: readonly (readonly [string, Parameters<typeof raw.ask>[0]])[] = [
      ["INVALID_GROUP", { ...subscribe, group: "a%b" }],
      ["INVALID_GROUP", { type: "announce", group: "", checker: false }],
      ["INVALID_GROUP", { type: "group.describe", group: "a%b%c" }],
      ["INVALID_GROUP", { type: "group.update", group: "a%b" }],
      ["INVALID_TOPIC", { ...subscribe, topics: [{ topic: "%RETRY%g" }] }],
      ["INVALID_TOPIC", { type: "topic.describe", topic: "a\nb" }],
      ["INVALID_INSTANCE", { ...subscribe, instance: "" }],
      ["INVALID_TRANSACTION_ID", { ...prepare, transactionId: "short" }],
      ["INVALID_MESSAGE_ID", { type: "send", sendId: "a b", messages: [message()] }],
      ["INVALID_MESSAGE_ID", { type: "reply", inbox: "1.1", correlation: "", body: Buffer.of(1) }],
      ["INVALID_ARGUMENT", { ...subscribe, topics: [] }],
    ];
    for (const [code, request] of asked)
      expect([request, errorOf(await raw.ask(request))]).toEqual([request, code]);
    await unchanged();
  });

  it.each([
    ["INVALID_MESSAGE", { body: "text" }],
    ["INVALID_MESSAGE_ID", { id: "" }],
    ["INVALID_TOPIC", { topic: "%DLQ%g" }],
    ["INVALID_KEY", { key: "line\nend" }],
    ["INVALID_TAG", { tag: "a|b" }],
    ["INVALID_HEADER", { headers: { "escrowmq-mine": "x" } }],
    ["INVALID_DELAY", { delayMs: -1 }],
    ["INVALID_DELAY", { delayMs: 1, deliverAtMs: 1 }],
    ["INVALID_TTL", { ttlMs: 0 }],
    [
      "TOO_MANY_HEADERS",
      { headers: Object.fromEntries(Array.from({ length: 65 }, (_, at) => [`h${at}`, ""])) },
    ],
    ["HEADERS_TOO_LARGE", { headers: { big: "x".repeat(LIMITS.headersBytesMax) } }],
    ["BODY_TOO_LARGE", { body: new Uint8Array(LIMITS.bodyBytesMax + 1) }],
  ])("of a foreign client's message is %s, in a send and in a prepare", async (code, wrong) => {
    const { broker, unchanged } = await world();
    const raw = await RawClient.open(broker.url);
    await raw.ask({ type: "announce", group: "shop", checker: true });
    const bad = foreign.pack({ id: "m-1", topic: "orders", body: Buffer.of(1), ...wrong });
    const transactionId = "t".repeat(22);
    const prepare = { type: "prepare", transactionId, group: "shop", messages: [bad] } as const;
    expect(errorOf(await raw.ask({ type: "send", sendId: "s", messages: [bad] }))).toBe(code);
    expect(errorOf(await raw.ask(prepare))).toBe(code);
    await unchanged();
  });

  it("is refused by the CLI with the same codes, and exit code 1", async () => {
    const { broker, unchanged } = await world();
    const send = ["send", "--url", broker.url, "--topic", "orders", "--body", "x"];
    const wrong = { INVALID_KEY: ["--key", ""], INVALID_TAG: ["--tag", "a|b"] } as const;
    for (const [code, options] of Object.entries(wrong)) {
      const program = bench.program("../../cli/dist/main.js", [...send, ...options]);
      expect((await program.exited).code).toBe(1);
      expect(program.stderr).toContain(`escrow: ${code}: `);
    }
    await unchanged();
  });

  it("to reply where nobody is, is INBOX_NOT_FOUND", async () => {
    const { broker, unchanged } = await world();
    const raw = await RawClient.open(broker.url);
    const reply = { type: "reply", inbox: "1.1", correlation: "r", body: Buffer.of(1) } as const;
    expect(errorOf(await raw.ask(reply))).toBe("INBOX_NOT_FOUND");
    await unchanged();
  });

  it("for one instance more than a group may have is INSTANCE_LIMIT", async () => {
    const broker = await bench.broker({ policy: { instancesPerGroupMax: 1 } });
    await bench.admin(broker.url, "orders");
    const raw = await RawClient.open(broker.url);
    const topics = [{ topic: "orders" }];
    const join = (subscription: number) =>
      raw.ask({
        type: "subscribe",
        subscription,
        group: "g",
        topics,
        instance: `n${subscription}`,
      });
    expect([errorOf(await join(1)), errorOf(await join(2))]).toEqual(["ok", "INSTANCE_LIMIT"]);
  });

  it("with a body or headers that are too large has a code for each", async () => {
    const { broker, admin } = await world();
    const producer = await bench.producer({ url: broker.url, group: "shop" });
    await admin.request("topic.create", { topic: "small", bodyBytesMax: 100 });
    const send = (topic: string, body: Uint8Array, headers = {}) =>
      producer.send({ topic, body, headers });
    await expect(send("orders", new Uint8Array(LIMITS.bodyBytesMax + 1))).rejects.toMatchObject({
      code: "BODY_TOO_LARGE",
    });
    await expect(send("small", new Uint8Array(101))).rejects.toMatchObject({
      code: "BODY_TOO_LARGE",
    });
    await expect(
      send("orders", new Uint8Array(1), { big: "x".repeat(LIMITS.headersBytesMax) }),
    ).rejects.toMatchObject({ code: "HEADERS_TOO_LARGE" });
    expect((await send("small", new Uint8Array(100))).duplicate).toBe(false);
    const { messages } = await admin.request("stats", {});
    expect(messages).toBe(2);
  });

  it("with more messages than a transaction may hold has a code, and costs nobody the connection", async () => {
    const { broker } = await world();
    const options = { url: broker.url, group: "shop", requestTimeoutMs: 2_000 };
    const producer = await bench.producer(options);
    const tooMuch = Array.from({ length: 5 }, () => ({
      topic: "orders",
      body: new Uint8Array(LIMITS.bodyBytesMax),
    }));
    await expect(producer.sendAll(tooMuch)).rejects.toMatchObject({
      code: "TRANSACTION_TOO_LARGE",
    });
  });

  it("with one bad message among good ones stores none of them", async () => {
    const { broker, unchanged } = await world();
    const raw = await RawClient.open(broker.url);
    const answer = await raw.ask({
      type: "send",
      sendId: "s",
      messages: [message(), Uint8Array.of(0xc1)],
    });
    expect(errorOf(answer)).toBe("INVALID_MESSAGE");
    await unchanged();
  });

  it("without who and why is refused where an audit needs both", async () => {
    const { broker, unchanged } = await world();
    const raw = await RawClient.open(broker.url);
    const { reason, ...withoutReason } = { ...AUDIT };
    expect(reason).not.toBe("");
    const answer = await raw.ask({
      type: "topic.delete",
      topic: "orders",
      ...withoutReason,
    } as Parameters<typeof raw.ask>[0]);
    expect(errorOf(answer)).toBe("INVALID_ARGUMENT");
    await unchanged();
  });

  it("of a producer group that the connection has not announced is refused", async () => {
    const { broker, unchanged } = await world();
    const raw = await RawClient.open(broker.url);
    const answer = await raw.ask({
      type: "prepare",
      transactionId: "0123456789abcdef0123456789abcdef",
      group: "shop",
      messages: [message()],
    });
    expect(errorOf(answer)).toBe("NOT_ANNOUNCED");
    await unchanged();
  });

  it("with a token that is nobody's is stale, and settles nothing", async () => {
    const { broker, unchanged } = await world();
    const raw = await RawClient.open(broker.url);
    for (const token of ["", "x", "0.0.0", "1.0.1", "-1.-1.-1", "9007199254740993.0.0"]) {
      const acked = await raw.ask({ type: "ack", tokens: [token] });
      expect(acked).toMatchObject({ type: "ok", stale: [token] });
      expect(errorOf(await raw.ask({ type: "retry", token }))).toBe("STALE_DELIVERY");
    }
    await unchanged();
  });
});
