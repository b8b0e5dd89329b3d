import { describe, expect, it } from "vitest";
import { codeOf, deferred, deliver, delivery, FakeBroker } from "./fake-broker.ts";
import { start, tokensOf } from "./started-consumer.ts";

describe("the sequential form", () => {
  it("gives one message at a time, to be ended by hand", async () => {
    const broker = new FakeBroker();
    const consumer = await start<Uint8Array>(broker);
    const loop = (async () => {
      for await (const message of consumer) {
        if (message.token === "a") await message.ack();
        if (message.token === "b") await message.retry({ delayMs: 5, reason: "later" });
        if (message.token === "c") await message.bury("never");
        if (message.token === "d") await message.release();
        if (message.token === "d") return "left";
      }
      return "ended";
    })();
    await broker.settle();
    expect(broker.received("credit")).toMatchObject([{ messages: 2 }]);
    deliver(broker.connection, ...["a", "b", "c", "d", "e"].map((token) => delivery(token)));
    await broker.settle();
    expect(await loop).toBe("left");
    expect(tokensOf(broker, "ack")).toEqual(["a"]);
    expect(broker.received("retry")).toMatchObject([{ token: "b", delayMs: 5, reason: "later" }]);
    expect(broker.received("bury")).toMatchObject([{ token: "c", reason: "never" }]);
    expect(tokensOf(broker, "release")).toEqual(["d", "e"]);
  });

  it("tells a settlement that came too late, and one that is repeated", async () => {
    const broker = new FakeBroker();
    const messages = (await start<Uint8Array>(broker))[Symbol.asyncIterator]();
    broker.on("ack", (frame, to) => to.send({ type: "ok", re: frame.id, stale: ["a"] }));
    deliver(broker.connection, delivery("a"), delivery("b"));
    const first = messages.next();
    await broker.settle();
    const { value } = await first;
    const late = codeOf(value?.ack() ?? Promise.resolve());
    const again = codeOf(value?.release() ?? Promise.resolve());
    await broker.settle();
    expect([await late, await again]).toEqual(["STALE_DELIVERY", "STALE_DELIVERY"]);
    const second = messages.next();
    await broker.settle();
    const other = (await second).value;
    broker.connection.drop();
    await broker.settle();
    expect(await codeOf(other?.ack() ?? Promise.resolve())).toBe("STALE_DELIVERY");
    expect(other?.signal.aborted).toBe(true);
  });

  it("tells a release that came too late, or that the connection did not live to carry", async () => {
    const broker = new FakeBroker();
    const messages = (await start<Uint8Array>(broker))[Symbol.asyncIterator]();
    broker.on("release", (frame, to) => to.send({ type: "ok", re: frame.id, stale: ["a"] }));
    deliver(broker.connection, delivery("a"), delivery("b"));
    await broker.settle();
    const first = (await messages.next()).value;
    const late = codeOf(first?.release() ?? Promise.resolve());
    await broker.settle();
    expect(await late).toBe("STALE_DELIVERY");
    const second = (await messages.next()).value;
    broker.connection.drop();
    const cut = codeOf(second?.release() ?? Promise.resolve());
    await broker.settle();
    expect(await cut).toBe("STALE_DELIVERY");
    expect(tokensOf(broker, "release")).toEqual(["a"]);
  });

  it("tells an ack that the connection did not live to carry", async () => {
    const broker = new FakeBroker();
    const messages = (await start<Uint8Array>(broker))[Symbol.asyncIterator]();
    deliver(broker.connection, delivery("a"));
    const first = messages.next();
    await broker.settle();
    const { value } = await first;
    broker.connection.drop();
    const acked = codeOf(value?.ack() ?? Promise.resolve());
    await broker.settle();
    expect(await acked).toBe("STALE_DELIVERY");
    expect(broker.received("ack")).toHaveLength(0);
  });

  it("renews the message of the loop's body, and lets one that was left behind run out", async () => {
    const broker = new FakeBroker();
    const messages = (await start<Uint8Array>(broker))[Symbol.asyncIterator]();
    deliver(
      broker.connection,
      delivery("a", { leaseMs: 8_000 }),
      delivery("b", { leaseMs: 8_000 }),
    );
    await broker.settle();
    const { value } = await messages.next();
    await messages.next();
    await broker.advance(9_000);
    expect(new Set(tokensOf(broker, "extend"))).toEqual(new Set(["b"]));
    expect(value?.signal.aborted).toBe(true);
  });

  it("lets a message that was taken out of its loop still be acked", async () => {
    const broker = new FakeBroker();
    const consumer = await start<Uint8Array>(broker);
    const taken = (async () => {
      for await (const message of consumer) return message;
      return undefined;
    })();
    await broker.settle();
    deliver(broker.connection, delivery("a"));
    await broker.settle();
    const acked = codeOf((await taken)?.ack() ?? Promise.resolve());
    await broker.settle();
    expect(await acked).toBe("ok");
    expect(tokensOf(broker, "ack")).toEqual(["a"]);
    consumer.run(() => undefined);
    await broker.settle();
    deliver(broker.connection, delivery("next"));
    await broker.settle();
    expect(tokensOf(broker, "ack")).toEqual(["a", "next"]);
  });

  it("ends when the consumer is drained, once the message in hand is settled", async () => {
    const broker = new FakeBroker();
    const consumer = await start<Uint8Array>(broker);
    const hold = deferred<void>();
    const loop = (async () => {
      for await (const message of consumer) {
        await hold.promise;
        await message.ack();
      }
      return "ended";
    })();
    await broker.settle();
    deliver(broker.connection, delivery("a"));
    await broker.settle();
    const drained = consumer.drain({ timeoutMs: 5_000 });
    hold.resolve();
    await broker.settle();
    expect(await drained).toEqual({ drained: true, inFlight: 0 });
    expect(await loop).toBe("ended");
  });
});
