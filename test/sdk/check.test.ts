import { describe, expect, it } from "vitest";
import { type CheckHandler, createProducer } from "../../producer-sdk/src/index.ts";
import { encodeMessage } from "../../protocol/src/index.ts";
import { deferred, FakeBroker, url } from "./fake-broker.ts";

async function start(onCheck?: CheckHandler, checkTimeoutMs?: number) {
  const broker = new FakeBroker();
  const starting = createProducer(
    {
      url,
      group: "shop",
      ...(onCheck === undefined ? {} : { onCheck }),
      ...(checkTimeoutMs === undefined ? {} : { checkTimeoutMs }),
    },
    broker.environment,
  );
  await broker.settle();
  await starting;
  return broker;
}

const body = new TextEncoder().encode('{"n":1}');
const message = encodeMessage({ id: "m1", topic: "orders", key: "42", body });

function ask(broker: FakeBroker, transactionId: string, messages = [message]): void {
  broker.connection.send({
    type: "check",
    transactionId,
    group: "shop",
    attempt: 2,
    ageMs: 6_500,
    messages,
  });
}

const txA = "a".repeat(32);
const txB = "b".repeat(32);

describe("a check", () => {
  it.each(["commit", "rollback", "unknown"] as const)(
    "is answered with the handler's %s",
    async (verdict) => {
      const broker = await start(() => verdict);
      ask(broker, txA);
      await broker.settle();
      expect(broker.received("answer")).toEqual([
        { type: "answer", transactionId: txA, attempt: 2, verdict },
      ]);
    },
  );

  it("shows the transaction's id, attempt, age and messages", async () => {
    const seen: unknown[] = [];
    const broker = await start(({ id, attempt, ageMs, messages }) => {
      seen.push({ id, attempt, ageMs, messages });
      return "commit";
    });
    ask(broker, txA);
    await broker.settle();
    const shown = { id: "m1", topic: "orders", key: "42", headers: {}, body: expect.anything() };
    expect(seen).toEqual([{ id: txA, attempt: 2, ageMs: 6_500, messages: [shown] }]);
  });

  it("does not decode messages that the handler never looks at", async () => {
    const broken = new Uint8Array([0xc1]);
    const broker = await start((check) =>
      check.id === txA || check.messages.length > 0 ? "commit" : "rollback",
    );
    ask(broker, txA, [broken]);
    ask(broker, txB, [broken]);
    await broker.settle();
    expect(broker.received("answer").map(({ verdict }) => verdict)).toEqual(["commit", "unknown"]);
  });

  it.each([
    [
      "throws",
      () => {
        throw new Error("fault");
      },
    ],
    ["rejects", () => Promise.reject(new Error("fault"))],
    ["answers nonsense", () => "yes" as "commit"],
  ])("is unknown when the handler %s", async (_, onCheck) => {
    const broker = await start(onCheck);
    ask(broker, txA);
    await broker.settle();
    expect(broker.received("answer").map(({ verdict }) => verdict)).toEqual(["unknown"]);
  });

  it("is unknown when the handler takes longer than its time, and holds up no other check", async () => {
    const signals: AbortSignal[] = [];
    const late = deferred<"commit">();
    const broker = await start(({ id, signal }) => {
      signals.push(signal);
      return id === txA ? late.promise : "commit";
    }, 3_000);
    ask(broker, txA);
    ask(broker, txB);
    await broker.settle();
    expect(broker.received("answer").map(({ transactionId }) => transactionId)).toEqual([txB]);
    await broker.advance(3_000);
    late.resolve("commit");
    await broker.settle();
    expect(broker.received("answer").map(({ verdict }) => verdict)).toEqual(["commit", "unknown"]);
    expect(signals.map(({ aborted }) => aborted)).toEqual([true, false]);
  });

  it("is not answered on another connection than the one that asked", async () => {
    const answer = deferred<"commit">();
    const broker = await start(() => answer.promise);
    ask(broker, txA);
    await broker.settle();
    broker.connection.drop();
    await broker.advance(1_000);
    answer.resolve("commit");
    await broker.settle();
    expect(broker.connections).toHaveLength(2);
    expect(broker.received("answer")).toHaveLength(0);
  });

  it("of a producer without a handler is unknown", async () => {
    const broker = await start();
    ask(broker, txA);
    await broker.settle();
    expect(broker.received("announce")).toMatchObject([{ checker: false }]);
    expect(broker.received("answer").map(({ verdict }) => verdict)).toEqual(["unknown"]);
  });
});
