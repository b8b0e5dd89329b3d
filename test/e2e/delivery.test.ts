/** Delivery as consumers see it: promise 6, leases, sharing, draining, and restarts under way. */
import { Bury, type Consumer, Retry } from "@escrowmq/consumer";
import type { AdminClient } from "@escrowmq/protocol/client";
import { describe, expect, it } from "vitest";
import { gather, useBench } from "../support/e2e-broker.ts";
import { errorOf, RawClient } from "../support/e2e-raw-client.ts";
import { staysTrue, waitFor } from "../support/e2e-wait.ts";

const bench = useBench();
const subscribe = [{ topic: "orders" }];

async function orders(count: number) {
  const broker = await bench.broker();
  const admin = await bench.admin(broker.url, "orders");
  const producer = await bench.producer({ url: broker.url, group: "shop" });
  const sent = await Promise.all(
    Array.from({ length: count }, (_, body) => producer.send({ topic: "orders", body })),
  );
  const lag = async (group: string) =>
    (await admin.request("group.describe", { group })).topics[0]?.lag;
  return { url: broker.url, admin, producer, lag, ids: sent.map(({ id }) => id) };
}

const lastAtMs = async (admin: AdminClient): Promise<number> =>
  (await admin.request("message.find", { topic: "orders" })).items.at(-1)?.atMs ?? 0;

const idsOf = (messages: readonly { id: string }[]): string[] => messages.map(({ id }) => id);

describe("deliveries", () => {
  it("of a consumer that was killed go to another at once, as the next attempt", async () => {
    const { url, ids } = await orders(5);
    const program = bench.program("e2e-consumer-process.mjs", [url, "billing", "5"]);
    await waitFor("all five in its hands", () => program.lines.length === 5);
    const got = gather(await bench.consumer({ url, group: "billing", subscribe }));
    await staysTrue("its lease", 200, () => got.length === 0);
    const startMs = performance.now();
    await program.kill();
    await waitFor("all five", () => got.length === 5);
    // The lease is a minute: it was not waited for.
    expect(performance.now() - startMs).toBeLessThan(2_000);
    expect(idsOf(got).sort()).toEqual([...ids].sort());
    expect(got.map(({ attempt }) => attempt)).toEqual([2, 2, 2, 2, 2]);
  });

  it("are shared by the consumers of a group, and every group gets all", async () => {
    const { url, ids, lag } = await orders(200);
    const slow = (consumer: Consumer<unknown>) => {
      const taken: string[] = [];
      void consumer.run(async ({ id }) => {
        taken.push(id);
        await new Promise((resolve) => setTimeout(resolve, 2));
      });
      return taken;
    };
    const of = (group: string) => bench.consumer({ url, group, subscribe, concurrency: 4 });
    const [one, two, three] = [await of("a"), await of("a"), await of("b")].map(slow);
    await waitFor("both groups", async () => (await lag("a")) === 0 && (await lag("b")) === 0);
    expect([...(one ?? []), ...(two ?? [])].sort()).toEqual([...ids].sort());
    expect(Math.min(one?.length ?? 0, two?.length ?? 0)).toBeGreaterThan(0);
    expect(three?.sort()).toEqual([...ids].sort());
  });

  it("begin where a new group says: the latest, an offset, a time", async () => {
    const { url, producer, admin } = await orders(3);
    const beforeMs = await lastAtMs(admin);
    await waitFor("a later time", () => Date.now() > beforeMs + 5);
    await producer.send({ topic: "orders", body: "mark" });
    const late = gather(
      await bench.consumer({ url, group: "l", subscribe: [{ topic: "orders", from: "latest" }] }),
    );
    const offset = gather(
      await bench.consumer({
        url,
        group: "o",
        subscribe: [{ topic: "orders", from: "offset", at: 2 }],
      }),
    );
    const time = gather(
      await bench.consumer({
        url,
        group: "t",
        subscribe: [{ topic: "orders", from: "time", at: beforeMs + 1 }],
      }),
    );
    await producer.send({ topic: "orders", body: "new" });
    await waitFor("all of them", () => late.length + offset.length + time.length === 6);
    expect(late.map(({ offset }) => offset)).toEqual([4]);
    expect(offset.map(({ offset }) => offset)).toEqual([2, 3, 4]);
    expect(time.map(({ offset }) => offset)).toEqual([3, 4]);
  });

  it("of a slow handler keep their lease until it is done", async () => {
    const { url, lag } = await orders(1);
    const attempts: number[] = [];
    const options = { url, group: "slow", subscribe, leaseMs: 1_000 };
    const run = async (consumer: Consumer<unknown>) =>
      consumer.run(async ({ attempt }) => {
        attempts.push(attempt);
        await new Promise((resolve) => setTimeout(resolve, 2_500));
      });
    void run(await bench.consumer(options));
    void run(await bench.consumer(options));
    await waitFor("the ack", async () => (await lag("slow")) === 0);
    expect(attempts).toEqual([1]);
  });

  it("that nobody ends come again when their lease is over", async () => {
    const { url } = await orders(2);
    const consumer = await bench.consumer({ url, group: "f", subscribe, leaseMs: 1_000 });
    const seen: string[] = [];
    for await (const message of consumer) {
      seen.push(`${message.offset}#${message.attempt}`);
      // The first one is forgotten by the loop, once.
      if (seen.length > 1) await message.ack();
      if (seen.length === 3) break;
    }
    expect(seen).toEqual(["0#1", "1#1", "0#2"]);
  });

  it("that were replaced by a later one cannot be ended by it any more", async () => {
    const { url, lag } = await orders(1);
    const raw = await RawClient.open(url);
    const subscription = { type: "subscribe", group: "old", topics: subscribe } as const;
    await raw.ask({ ...subscription, subscription: 1, leaseMs: 1_000 });
    raw.say({ type: "credit", subscription: 1, messages: 9, bytes: 1_000_000 });
    const tokens = (): string[] =>
      raw.frames.flatMap((frame) =>
        frame.type === "deliver" ? frame.deliveries.map(({ token }) => token) : [],
      );
    const [old = "", current = ""] = await waitFor(
      "the redelivery",
      () => tokens().length === 2 && tokens(),
    );
    expect(await raw.ask({ type: "ack", tokens: [old] })).toMatchObject({ stale: [old] });
    expect(await raw.ask({ type: "extend", tokens: [old] })).toMatchObject({ stale: [old] });
    expect(await raw.ask({ type: "release", tokens: [old] })).toMatchObject({ stale: [old] });
    expect(errorOf(await raw.ask({ type: "retry", token: old }))).toBe("STALE_DELIVERY");
    expect(errorOf(await raw.ask({ type: "bury", token: old, reason: "late" }))).toBe(
      "STALE_DELIVERY",
    );
    expect(await lag("old")).toBe(1);
    expect(errorOf(await raw.ask({ type: "ack", tokens: [current] }))).toBe("ok");
    expect(await lag("old")).toBe(0);
    expect(await raw.ask({ type: "ack", tokens: [current] })).toMatchObject({ stale: [current] });
  });

  it("are ended one by one in the iterator form, and leaving it gives back the rest", async () => {
    const { url, lag } = await orders(3);
    const consumer = await bench.consumer({ url, group: "i", subscribe });
    for await (const message of consumer) {
      await message.ack();
      await expect(message.ack()).rejects.toMatchObject({ code: "STALE_DELIVERY" });
      if (message.offset === 1) break;
    }
    expect(await lag("i")).toBe(1);
    const got = gather(await bench.consumer({ url, group: "i", subscribe }));
    await waitFor("the rest", () => got.length === 1);
    expect(got.map(({ offset }) => offset)).toEqual([2]);
  });

  it("end with a drain: running handlers finish, the rest goes back, and that is no failure", async () => {
    const { url, admin, lag } = await orders(20);
    // The first failure would bury.
    await admin.request("group.update", { group: "d", attemptsMax: 1 });
    const consumer = await bench.consumer({ url, group: "d", subscribe, concurrency: 3 });
    const finishers: (() => void)[] = [];
    const running = consumer.run(() => new Promise<void>((resolve) => finishers.push(resolve)));
    await waitFor("three handlers", () => finishers.length === 3);
    const draining = consumer.drain({ timeoutMs: 5_000 });
    for (const finish of finishers) finish();
    expect(await draining).toEqual({ drained: true, inFlight: 0 });
    await running;
    expect(await lag("d")).toBe(17);
    const got = gather(await bench.consumer({ url, group: "d", subscribe }));
    await waitFor("the rest", () => got.length === 17);
    expect((await admin.request("group.describe", { group: "d" })).deadLetters).toBe(0);
  });

  it("may be looked at and given back from the command line, which is no attempt", async () => {
    const { url } = await orders(20);
    const look = async () => {
      const args = ["consume", "--topic", "orders", "--group", "d", "--url", url];
      const program = bench.program("../../cli/dist/main.js", [
        ...["--json", ...args],
        ...["--no-ack", "--max", "20"],
      ]);
      expect(await program.exited).toEqual({ code: 0, signal: null });
      return program.lines.map((line) => JSON.parse(line));
    };
    const attemptsOf = (messages: readonly { attempt: number }[]) =>
      messages.map(({ attempt }) => attempt);
    expect(attemptsOf(await look())).toEqual(Array(20).fill(1));
    expect(attemptsOf(await look())).toEqual(Array(20).fill(1));
  });

  it("that are still running when the drain's time is up are said to be in flight, and are no failure either", async () => {
    const { url } = await orders(1);
    const consumer = await bench.consumer({ url, group: "d", subscribe });
    const signals: AbortSignal[] = [];
    void consumer.run((_, { signal }) => {
      signals.push(signal);
      return new Promise(() => undefined);
    });
    await waitFor("a handler", () => signals.length === 1);
    expect(await consumer.drain({ timeoutMs: 150 })).toEqual({ drained: false, inFlight: 1 });
    expect(signals[0]?.reason).toMatchObject({ code: "CLOSED" });
    const got = gather(await bench.consumer({ url, group: "d", subscribe }));
    await waitFor("the next one", () => got.length === 1);
    expect(got[0]?.attempt).toBe(1);
  });
});

describe("a handler's throw", () => {
  it("chooses a delay or the dead letters, or else takes the group's ladder", async () => {
    const { url, admin, lag } = await orders(3);
    await admin.request("group.update", {
      group: "t",
      retryDelaysMs: [100],
      jitterPercent: 0,
      attemptsMax: 5,
    });
    const seen: string[] = [];
    const consumer = await bench.consumer({ url, group: "t", subscribe });
    void consumer.run(({ offset, attempt }) => {
      seen.push(`${offset}#${attempt}`);
      if (offset === 0) throw new Bury("never again");
      if (offset === 1 && attempt === 1) throw new Retry({ delayMs: 10, reason: "soon" });
      if (offset === 2 && attempt === 1) throw new Error("by the ladder");
    });
    await waitFor("the end of all", async () => (await lag("t")) === 0);
    expect([...seen].sort()).toEqual(["0#1", "1#1", "1#2", "2#1", "2#2"]);
    expect(seen.indexOf("1#2")).toBeLessThan(seen.indexOf("2#2"));
    const { items } = await admin.request("dlq.list", { group: "t" });
    expect(items).toMatchObject([{ originOffset: 0, attempts: 1, reason: "never again" }]);
  });
});

describe("a broker that is killed and comes back", () => {
  it("has each group begin where it said: the latest, an offset, a time", async () => {
    const broker = await bench.brokerProcess();
    const { url } = broker;
    const admin = await bench.admin(url, "orders");
    const producer = await bench.producer({ url, group: "shop" });
    const send = (...bodies: readonly number[]) =>
      producer.sendAll(bodies.map((body) => ({ topic: "orders", body })));
    await send(0, 1);
    const beforeMs = await lastAtMs(admin);
    await waitFor("a later time", () => Date.now() > beforeMs + 5);
    await send(2, 3);
    const positions = {
      earliest: { from: "earliest" },
      offset: { from: "offset", at: 1 },
      time: { from: "time", at: beforeMs + 1 },
      latest: { from: "latest" },
    } as const;
    // Each is known, and has been given nothing yet: it has no credit.
    const raw = await RawClient.open(url);
    for (const [at, [group, position]] of Object.entries(positions).entries()) {
      const topics = [{ topic: "orders", ...position }];
      const answer = await raw.ask({ type: "subscribe", subscription: at, group, topics });
      expect(answer).toMatchObject({ type: "ok" });
    }
    await broker.kill();
    await broker.restart();
    await send(4);
    const got = new Map<string, readonly { readonly offset: number }[]>();
    for (const group of Object.keys(positions))
      got.set(group, gather(await bench.consumer({ url, group, subscribe })));
    const back = await bench.admin(url);
    await waitFor("the acks of all", async () => {
      const { items } = await back.request("group.list", {});
      return items.every(({ topics }) => topics[0]?.lag === 0);
    });
    const offsets = [...got].map(([group, messages]) => [
      group,
      // What is read from disk may come behind what is not.
      messages.map(({ offset }) => offset).sort(),
    ]);
    expect(Object.fromEntries(offsets)).toEqual({
      earliest: [0, 1, 2, 3, 4],
      offset: [1, 2, 3, 4],
      time: [2, 3, 4],
      latest: [4],
    });
  });

  it("loses nothing of a producer and a consumer that kept running", async () => {
    const broker = await bench.brokerProcess();
    await bench.admin(broker.url, "orders");
    const producer = await bench.producer({ url: broker.url, group: "shop" });
    const consumer = await bench.consumer({ url: broker.url, group: "billing", subscribe });
    const got = gather(consumer);
    const sent: string[] = [];
    let isOver = false;
    const sending = Array.from({ length: 8 }, async () => {
      while (!isOver) sent.push((await producer.send({ topic: "orders", body: 1 })).id);
    });
    for (const round of [1, 2]) {
      await waitFor("traffic", () => got.length > round * 300);
      await broker.kill();
      await broker.restart();
    }
    await waitFor("traffic again", () => got.length > 900);
    isOver = true;
    await Promise.all(sending);
    await waitFor("every message", () => new Set(idsOf(got)).size === sent.length);
    expect(new Set(idsOf(got))).toEqual(new Set(sent));
  });
});
