import { createHmac } from "node:crypto";
import { describe, expect, it } from "vitest";
import { signature as brokerSignature } from "../../broker/src/server/check-question.ts";
import {
  type CheckEndpointOptions,
  createCheckEndpoint,
  createNonceMemory,
  verifyCheckRequest,
} from "../../producer-sdk/src/index.ts";
import { FakeBroker } from "./fake-broker.ts";

const secret = "ab".repeat(32);
const nowMs = 1_700_000_000_000;
const transactionId = "a".repeat(32);
const question = {
  transactionId,
  group: "shop",
  attempt: 1,
  ageMs: 6_000,
  messages: [
    { id: "m1", topic: "orders", headers: { a: "b" }, body: Buffer.from("{}").toString("base64") },
  ],
};

interface Signed {
  readonly method?: string;
  readonly path?: string;
  readonly timestamp?: string;
  readonly nonce?: string;
  readonly body?: string;
  readonly by?: string;
}

function signed({
  method = "POST",
  path = "/check?v=1",
  timestamp = String(nowMs),
  nonce = "0f1e",
  body = JSON.stringify(question),
  by = secret,
}: Signed = {}) {
  const hex = createHmac("sha256", by)
    .update(`${method}\n${path}\n${timestamp}\n${nonce}\n${body}`)
    .digest("hex");
  return { method, path, timestamp, nonce, body, signature: `v1=${hex}` };
}

const verify = (request: ReturnType<typeof signed>) =>
  verifyCheckRequest({ ...request, secret, nowMs, nonces: createNonceMemory() });

function endpoint(options: Partial<CheckEndpointOptions> = {}) {
  const handle = createCheckEndpoint({
    secrets: [secret],
    onCheck: () => "commit",
    nowMs: () => nowMs,
    ...options,
  });
  return async (request: ReturnType<typeof signed>) => {
    const response = await handle(
      new Request(`https://shop.test${request.path}`, {
        method: request.method,
        headers: {
          "escrowmq-timestamp": request.timestamp,
          "escrowmq-nonce": request.nonce,
          "escrowmq-signature": request.signature,
        },
        ...(request.method === "GET" ? {} : { body: request.body }),
      }),
    );
    return { status: response.status, body: await response.text() };
  };
}

describe("a check request's signature", () => {
  it("covers method, path, timestamp, nonce and body", async () => {
    expect(await verify(signed())).toEqual({ kind: "valid" });
    const wrong = { kind: "invalid", because: "wrongSignature" };
    expect(await verify({ ...signed(), method: "PUT" })).toEqual(wrong);
    expect(await verify({ ...signed(), path: "/check?v=2" })).toEqual(wrong);
    expect(await verify({ ...signed(), timestamp: String(nowMs + 1) })).toEqual(wrong);
    expect(await verify({ ...signed(), nonce: "0f1f" })).toEqual(wrong);
    expect(await verify({ ...signed(), body: "{}" })).toEqual(wrong);
    expect(await verify(signed({ by: "cd".repeat(32) }))).toEqual(wrong);
  });

  it("is refused when it is older than five minutes, or as far ahead", async () => {
    const stale = { kind: "invalid", because: "stale" };
    expect(await verify(signed({ timestamp: String(nowMs - 300_000) }))).toEqual({ kind: "valid" });
    expect(await verify(signed({ timestamp: String(nowMs - 300_001) }))).toEqual(stale);
    expect(await verify(signed({ timestamp: String(nowMs + 300_001) }))).toEqual(stale);
  });

  it.each([
    ["signature", "v1=00"],
    ["signature", null],
    ["signature", `v2=${"0".repeat(64)}`],
    ["timestamp", "soon"],
    ["timestamp", null],
    ["nonce", ""],
    ["nonce", "not hex"],
    ["nonce", "0".repeat(129)],
  ])("is malformed when its %s is %s", async (part, value) => {
    const request = { ...signed(), [part]: value, secret, nowMs };
    expect(await verifyCheckRequest(request)).toEqual({ kind: "invalid", because: "malformed" });
  });

  it("is accepted under either key of a rotation, and under no empty one", async () => {
    const nonces = createNonceMemory();
    const request = { ...signed(), secrets: ["cd".repeat(32), secret], nowMs, nonces };
    expect(await verifyCheckRequest(request)).toEqual({ kind: "valid" });
    const empty = { ...signed(), secret: "", nowMs, nonces };
    expect(await verifyCheckRequest(empty)).toEqual({ kind: "invalid", because: "wrongSignature" });
  });

  it("is accepted as the broker makes it, with one signature for each of its keys", async () => {
    const { path, timestamp, nonce, body } = signed();
    const parts = { path, timestamp, nonce, body: new TextEncoder().encode(body) };
    const old = "cd".repeat(32);
    const other = "ef".repeat(32);
    const header = brokerSignature([old, secret], parts);
    const verifyWith = (known: string) =>
      verifyCheckRequest({
        ...signed(),
        signature: header,
        secret: known,
        nowMs,
        nonces: createNonceMemory(),
      });
    expect(await verifyWith(secret)).toEqual({ kind: "valid" });
    expect(await verifyWith(old)).toEqual({ kind: "valid" });
    expect(await verifyWith(other)).toEqual({ kind: "invalid", because: "wrongSignature" });
    const many = { ...signed(), signature: Array(5).fill(header).join(","), secret, nowMs };
    expect(await verifyCheckRequest(many)).toEqual({ kind: "invalid", because: "malformed" });
  });

  it("is accepted once", async () => {
    const nonces = createNonceMemory();
    const request = { ...signed(), secret, nowMs, nonces };
    expect(await verifyCheckRequest(request)).toEqual({ kind: "valid" });
    expect(await verifyCheckRequest(request)).toEqual({ kind: "invalid", because: "repeated" });
  });
});

describe("a memory of nonces", () => {
  it("knows a nonce to the end of its time, and not after it", () => {
    const nonces = createNonceMemory();
    expect(nonces.remember("a", 100, 0)).toBe(true);
    expect(nonces.remember("a", 200, 100)).toBe(false);
    expect(nonces.remember("a", 200, 101)).toBe(true);
  });

  it("refuses when it is full instead of forgetting, and makes room when time has passed", () => {
    const nonces = createNonceMemory(2);
    expect(nonces.remember("a", 100, 0)).toBe(true);
    expect(nonces.remember("b", 200, 0)).toBe(true);
    expect(nonces.remember("c", 300, 50)).toBe(false);
    expect(nonces.remember("a", 300, 100)).toBe(false);
    expect(nonces.remember("c", 300, 101)).toBe(true);
  });
});

describe("a check endpoint", () => {
  it("answers exactly the verdict, having shown the question", async () => {
    let seen: unknown;
    const ask = endpoint({
      onCheck: ({ id, attempt, ageMs, messages }) => {
        seen = { id, attempt, ageMs, messages };
        return "rollback";
      },
    });
    expect(await ask(signed())).toEqual({ status: 200, body: '{"verdict":"rollback"}' });
    const body = new Uint8Array([0x7b, 0x7d]);
    const messages = [{ id: "m1", topic: "orders", headers: { a: "b" }, body }];
    expect(seen).toEqual({ id: transactionId, attempt: 1, ageMs: 6_000, messages });
  });

  it("takes a question without messages, as operators can choose it", async () => {
    const { messages: _, ...idsOnly } = question;
    expect(await endpoint()(signed({ body: JSON.stringify(idsOnly) }))).toMatchObject({
      status: 200,
    });
  });

  it("never runs the handler for a stranger", async () => {
    let runs = 0;
    const ask = endpoint({
      onCheck: () => {
        runs++;
        return "commit";
      },
    });
    expect(await ask(signed({ by: "cd".repeat(32) }))).toEqual({ status: 401, body: "" });
    const again = signed({ nonce: "01" });
    expect((await ask(again)).status).toBe(200);
    expect((await ask(again)).status).toBe(401);
    expect((await ask(signed({ method: "GET" }))).status).toBe(405);
    expect((await ask(signed({ nonce: "02", body: "x".repeat(8_388_609) }))).status).toBe(413);
    expect(runs).toBe(1);
  });

  it.each([
    "",
    "null",
    "[]",
    "{}",
    '{"transactionId":1}',
    '{"transactionId":"a","attempt":1,"ageMs":1,"messages":[1]}',
  ])("refuses %s although it is signed", async (body) => {
    expect((await endpoint()(signed({ body }))).status).toBe(400);
  });

  it("says unknown when the handler throws or takes too long", async () => {
    const broker = new FakeBroker();
    const { startTimer } = broker.environment;
    const throwing = endpoint({
      onCheck: () => {
        throw new Error("fault");
      },
    });
    expect(await throwing(signed())).toEqual({ status: 200, body: '{"verdict":"unknown"}' });
    const hanging = endpoint({ onCheck: () => new Promise(() => undefined), startTimer })(signed());
    while (broker.timersRunning === 0) await broker.settle();
    await broker.advance(4_000);
    expect(await hanging).toEqual({ status: 200, body: '{"verdict":"unknown"}' });
  });

  it("verifies the path that the broker was told when a proxy has changed it", async () => {
    const ask = endpoint({ path: "/outer/check" });
    const request = { ...signed({ path: "/outer/check" }), path: "/inner" };
    expect((await ask(request)).status).toBe(200);
  });
});
