import { describe, expect, it } from "vitest";
import { createAdmin } from "../../consumer-sdk/src/index.ts";
import { createAdmin as createAdminOfProducer } from "../../producer-sdk/src/index.ts";
import { codeOf, FakeBroker, url } from "./fake-broker.ts";

async function start(broker: FakeBroker) {
  const starting = createAdmin({ url, requestTimeoutMs: 2_000 }, broker.environment);
  await broker.settle();
  return starting;
}

describe("an operator's client", () => {
  it("is the same in both SDKs", () => {
    expect(createAdminOfProducer).toBe(createAdmin);
  });

  it("sends one request and returns the broker's value", async () => {
    const broker = new FakeBroker();
    const admin = await start(broker);
    broker.on("topic.describe", (frame, to) =>
      to.send({ type: "ok", re: frame.id, value: { topic: frame.topic, bytes: 7 } }),
    );
    const described = admin.request("topic.describe", { topic: "orders" });
    await broker.settle();
    expect(await described).toEqual({ topic: "orders", bytes: 7 });
    await admin.close();
    expect(await codeOf(admin.request("stats", {}))).toBe("CLOSED");
    expect(broker.timersRunning).toBe(0);
  });

  it("fails at once when there is no broker, without dialing again", async () => {
    const broker = new FakeBroker();
    broker.door = "closed";
    const code = codeOf(createAdmin({ url }, broker.environment));
    await broker.settle();
    expect(await code).toBe("UNREACHABLE");
    expect(broker.dials).toBe(1);
    expect(broker.timersRunning).toBe(0);
  });

  it("passes on the broker's refusal, and does not repeat what may have happened", async () => {
    const broker = new FakeBroker();
    const admin = await start(broker);
    broker.on("topic.create", (frame, to) =>
      to.send({ type: "error", re: frame.id, code: "TOPIC_EXISTS", message: "there" }),
    );
    const refused = codeOf(admin.request("topic.create", { topic: "a" }));
    const cut = codeOf(
      admin.request("tx.resume", { transactionId: "a".repeat(32), operator: "me", reason: "r" }),
    );
    await broker.settle();
    expect(await refused).toBe("TOPIC_EXISTS");
    broker.connection.drop();
    await broker.advance(5_000);
    expect(await cut).toBe("OUTCOME_UNKNOWN");
    expect(broker.dials).toBe(1);
    expect(await codeOf(admin.request("stats", {}))).toBe("UNREACHABLE");
  });

  it("stops waiting at its deadline", async () => {
    const broker = new FakeBroker();
    const admin = await start(broker);
    const code = codeOf(admin.request("doctor", {}));
    await broker.advance(2_100);
    expect(await code).toBe("OUTCOME_UNKNOWN");
  });
});
