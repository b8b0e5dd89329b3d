/** A consumer that is an instance of a broadcast group: what it says, and what it hears of its losses. */
import { describe, expect, it } from "vitest";
import { type ConsumerOptions, createConsumer, type Gap } from "../../consumer-sdk/src/index.ts";
import { codeOf, deliver, delivery, FakeBroker, url } from "./fake-broker.ts";

type Told = { topic: string; lost?: number; total: number };

async function start(broker: FakeBroker, options: Partial<ConsumerOptions> = {}) {
  const gaps: Gap[] = [];
  const consumer = createConsumer(
    {
      url,
      group: "cache",
      subscribe: [{ topic: "orders" }],
      broadcast: { instance: "node-1" },
      onGap: (gap) => void gaps.push(gap),
      ...options,
    },
    broker.environment,
  );
  await broker.settle();
  return { consumer: await consumer, gaps };
}

const answering = (broker: FakeBroker, ...gaps: readonly Told[]): void =>
  broker.on("subscribe", (frame, to) => to.send({ type: "ok", re: frame.id, gaps: [...gaps] }));

describe("an instance", () => {
  it("names itself on each connection", async () => {
    const broker = new FakeBroker();
    await start(broker);
    broker.connection.drop();
    await broker.advance(1_000);
    expect(broker.received("subscribe").map(({ instance }) => instance)).toEqual([
      "node-1",
      "node-1",
    ]);
  });

  it("has a name like a group's, or is refused before anything is sent", async () => {
    const broker = new FakeBroker();
    const options = { url, group: "cache", subscribe: [{ topic: "orders" }] };
    const named = (instance: string) =>
      codeOf(createConsumer({ ...options, broadcast: { instance } }, broker.environment));
    expect([await named(""), await named("a%b"), await named("a b")]).toEqual([
      "INVALID_INSTANCE",
      "INVALID_INSTANCE",
      "INVALID_INSTANCE",
    ]);
    expect(broker.dials).toBe(0);
  });

  it("whose place is taken ends its run, and does not take it back", async () => {
    const broker = new FakeBroker();
    const { consumer } = await start(broker);
    const run = codeOf(consumer.run(() => undefined));
    broker.connection.send({
      type: "ended",
      subscription: 1,
      code: "INSTANCE_REPLACED",
      message: "another",
    });
    await broker.advance(60_000);
    expect(await run).toBe("INSTANCE_REPLACED");
    expect(broker.dials).toBe(1);
    expect(broker.timersRunning).toBe(0);
  });
});

describe("onGap", () => {
  it("tells what the answer to the subscription says, and what comes later", async () => {
    const broker = new FakeBroker();
    answering(broker, { topic: "orders", lost: 3, total: 10 });
    const { gaps } = await start(broker);
    const later = [{ topic: "orders", lost: 2, total: 12 }];
    broker.connection.send({ type: "gap", subscription: 1, gaps: later });
    await broker.settle();
    expect(gaps).toEqual([
      { topic: "orders", lost: 3 },
      { topic: "orders", lost: 2 },
    ]);
  });

  it("tells nothing twice: what a new connection says again was heard", async () => {
    const broker = new FakeBroker();
    answering(broker, { topic: "orders", lost: 3, total: 3 });
    const { gaps } = await start(broker);
    answering(broker, { topic: "orders", lost: 5, total: 5 });
    broker.connection.drop();
    await broker.advance(1_000);
    expect(gaps).toEqual([
      { topic: "orders", lost: 3 },
      { topic: "orders", lost: 2 },
    ]);
  });

  it("tells null where the broker knows the instance not, or no longer", async () => {
    const broker = new FakeBroker();
    answering(broker, { topic: "orders", total: 0 });
    const { gaps } = await start(broker);
    broker.connection.drop();
    await broker.advance(1_000);
    expect(gaps).toEqual([
      { topic: "orders", lost: null },
      { topic: "orders", lost: null },
    ]);
  });

  it("that throws costs no message", async () => {
    const broker = new FakeBroker();
    answering(broker, { topic: "orders", lost: 1, total: 1 });
    const { consumer } = await start(broker, {
      onGap: () => {
        throw new Error("a fault of the application");
      },
    });
    const seen: string[] = [];
    void consumer.run(({ token }) => void seen.push(token));
    await broker.settle();
    deliver(broker.connection, delivery("a"));
    await broker.settle();
    expect(seen).toEqual(["a"]);
  });
});
