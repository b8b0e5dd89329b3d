/** Filters and order by key as applications use them: SDK, CLI's requests, and a broker that is killed. */
import type { ConsumerOptions } from "@escrowmq/consumer";
import { EscrowError } from "@escrowmq/protocol";
import { describe, expect, it } from "vitest";
import { gather, useBench } from "../support/e2e-broker.ts";
import { staysTrue, waitFor } from "../support/e2e-wait.ts";

const bench = useBench();

/** Deliveries may come again after a kill; what counts is what came first, and what came at all. */
const distinct = <T>(items: readonly T[]): T[] => [...new Set(items)];

async function errorOf(work: Promise<unknown>): Promise<EscrowError> {
  try {
    await work;
  } catch (error) {
    if (EscrowError.is(error)) return error;
    throw error;
  }
  throw new Error("it was not refused");
}

const paid: ConsumerOptions["subscribe"] = [{ topic: "orders", filter: "paid || shipped" }];

async function shop() {
  const broker = await bench.broker();
  const { url } = broker;
  const admin = await bench.admin(url, "orders");
  const onCheck = () => "unknown" as const;
  const producer = await bench.producer({ url, group: "shop", onCheck });
  const topicOf = async (group: string) =>
    (await admin.request("group.describe", { group })).topics[0];
  return { url, admin, producer, topicOf };
}

describe("a filter", () => {
  it("by tags lets pass what it names, and the group comes to its end", async () => {
    const { url, producer, topicOf } = await shop();
    const got = gather(await bench.consumer({ url, group: "billing", subscribe: paid }));
    for (const tag of ["open", "paid", "open", "shipped", "open"])
      await producer.send({ topic: "orders", body: tag, tag });
    await waitFor("two", () => got.length === 2);
    expect(got.map(({ tag }) => tag)).toEqual(["paid", "shipped"]);
    await waitFor("the end", async () => (await topicOf("billing"))?.lag === 0);
    expect(await topicOf("billing")).toMatchObject({ filter: "paid || shipped", filtered: 3 });
  });

  it("over headers lets pass what is true, inside transactions and outside", async () => {
    const { url, producer, topicOf } = await shop();
    const filter = "sql: amount > 100 AND region IN ('eu', 'uk') AND note IS NULL";
    const got = gather(
      await bench.consumer({ url, group: "big", subscribe: [{ topic: "orders", filter }] }),
    );
    const order = (amount: string, region: string, more = {}) => ({
      topic: "orders",
      body: amount,
      headers: { amount, region, ...more },
    });
    await producer.sendAll([order("99", "eu"), order("1000", "eu"), order("200", "us")]);
    await producer.transaction(async (tx) => {
      await tx.prepare([order("101", "uk"), order("500", "eu", { note: "test" })]);
    });
    await waitFor("the end", async () => (await topicOf("big"))?.lag === 0);
    expect(got.map(({ headers }) => headers.amount)).toEqual(["1000", "101"]);
  });

  it("that passes a message of a transaction over is in the timeline of the transaction", async () => {
    const { url, admin, producer, topicOf } = await shop();
    await bench.consumer({ url, group: "billing", subscribe: paid });
    const { id: transactionId } = await producer.transaction(async (tx) => {
      await tx.prepare([{ topic: "orders", body: "x", tag: "open" }]);
    });
    await waitFor("the end", async () => (await topicOf("billing"))?.lag === 0);
    const { timeline } = await admin.request("tx.show", { transactionId });
    expect(timeline.at(-1)).toMatchObject({
      event: "filtered",
      text: "orders@0 for billing, it does not match",
    });
  });

  it("passes over twenty thousand messages without a delivery or a record for each", async () => {
    const { url, admin, producer, topicOf } = await shop();
    const count = 20_000;
    const all = Array.from({ length: count }, () =>
      producer.send({ topic: "orders", body: "x", tag: "open" }),
    );
    await Promise.all(all);
    await producer.send({ topic: "orders", body: "y", tag: "paid" });
    const got = gather(await bench.consumer({ url, group: "billing", subscribe: paid }));
    await waitFor("the one", () => got.length === 1, 20_000);
    expect(await topicOf("billing")).toMatchObject({ filtered: count });
    const { blocks } = await admin.request("stats", {});
    expect(blocks).toBeLessThan(count / 4);
  });

  it("that is wrong is refused with its place and the reason", async () => {
    const { url } = await shop();
    const subscribe = [{ topic: "orders", filter: "sql: amount >" }];
    const error = await errorOf(bench.consumer({ url, group: "billing", subscribe }));
    expect(error).toMatchObject({ code: "FILTER_INVALID" });
    expect(error.detail.position).toBe(13);
    expect(error.detail.reason).toBeTypeOf("string");
  });

  it("other than that of the group's other consumers waits until they are gone", async () => {
    const { url, producer } = await shop();
    const first = await bench.consumer({ url, group: "billing", subscribe: paid });
    const other = { url, group: "billing", subscribe: [{ topic: "orders", filter: "open" }] };
    const error = await errorOf(bench.consumer({ ...other, requestTimeoutMs: 300 }));
    expect(error.code).toBe("FILTER_CONFLICT");
    const waiting = bench.consumer({ ...other, requestTimeoutMs: 10_000 });
    await first.close();
    const got = gather(await waiting);
    for (const tag of ["paid", "open"]) await producer.send({ topic: "orders", body: tag, tag });
    await waitFor("the open one", () => got.length === 1);
    expect(got[0]?.tag).toBe("open");
  });
});

describe("order by key", () => {
  it("gives handlers one message of a key at a time, and many keys at once", async () => {
    const { url, admin, producer } = await shop();
    await admin.request("group.update", { group: "billing", ordered: true });
    const running = new Map<string, number>();
    const done: string[] = [];
    const twice: string[] = [];
    let most = 0;
    const run = async (): Promise<void> => {
      const subscribe = [{ topic: "orders" }];
      const consumer = await bench.consumer({ url, group: "billing", subscribe, concurrency: 16 });
      void consumer.run(async ({ key = "", offset }) => {
        if (running.has(key)) twice.push(`${key}${offset} beside ${key}${running.get(key)}`);
        running.set(key, offset);
        most = Math.max(most, running.size);
        await new Promise((resolve) => setTimeout(resolve, 3));
        running.delete(key);
        done.push(`${key}${offset}`);
      });
    };
    await run();
    await run();
    const keys = ["a", "b", "c", "d", "e", "f"];
    const count = 120;
    for (let at = 0; at < count; at++)
      await producer.send({ topic: "orders", body: at, key: keys[at % keys.length] ?? "" });
    await waitFor("all", () => done.length === count);
    expect(twice).toEqual([]);
    expect(most).toBeGreaterThan(1);
    for (const key of keys) {
      const offsets = done.filter((one) => one[0] === key).map((one) => Number(one.slice(1)));
      expect(offsets).toEqual([...offsets].sort((one, other) => one - other));
    }
  });

  it("holds across a retry, while other keys go on", async () => {
    const { url, admin, producer } = await shop();
    await admin.request("group.update", {
      group: "billing",
      ordered: true,
      retryDelaysMs: [300],
      jitterPercent: 0,
    });
    for (const [key, body] of [
      ["a", 0],
      ["a", 1],
      ["b", 2],
      ["a", 3],
    ] as const)
      await producer.send({ topic: "orders", key, body });
    const seen: string[] = [];
    const subscribe = [{ topic: "orders" }];
    const consumer = await bench.consumer({ url, group: "billing", subscribe });
    void consumer.run(({ key, offset, attempt }) => {
      seen.push(`${key}${offset}#${attempt}`);
      if (offset === 0 && attempt < 3) throw new Error("not yet");
    });
    await waitFor("all", () => seen.length === 6);
    expect(seen).toEqual(["a0#1", "b2#1", "a0#2", "a0#3", "a1#1", "a3#1"]);
  });

  it("survives a consumer that is killed: what it had in hand comes first of its key, and through the filter", async () => {
    const { url, admin, producer } = await shop();
    await admin.request("group.update", { group: "billing", ordered: true, retryDelaysMs: [0] });
    for (let body = 0; body < 12; body++) {
      const tag = body % 3 === 0 ? "drop" : "paid";
      await producer.send({ topic: "orders", key: `k${body % 2}`, tag, body });
    }
    const args = [url, "billing", "8", JSON.stringify(paid)];
    const program = bench.program("e2e-consumer-process.mjs", args);
    await waitFor("one of each key in its hands", () => program.lines.length === 2);
    const next = await bench.consumer({ url, group: "billing", subscribe: paid, concurrency: 8 });
    const got = gather(next);
    await staysTrue("its keys", 200, () => got.length === 0);
    await program.kill();
    await waitFor("all", () => got.length === 8);
    const of = (key: string) =>
      got.filter((one) => one.key === key).map(({ offset, attempt }) => `${offset}#${attempt}`);
    expect(of("k0")).toEqual(["2#2", "4#1", "8#1", "10#1"]);
    expect(of("k1")).toEqual(["1#2", "5#1", "7#1", "11#1"]);
  });

  it("survives a broker that is killed, and so do filter and place", async () => {
    const broker = await bench.brokerProcess();
    const { url } = broker;
    const admin = await bench.admin(url, "orders");
    await admin.request("group.update", { group: "billing", ordered: true });
    const producer = await bench.producer({ url, group: "shop" });
    const count = 300;
    const seen: { key: string; body: number }[] = [];
    const consumer = await bench.consumer({
      url,
      group: "billing",
      subscribe: [{ topic: "orders", filter: "keep" }],
      concurrency: 8,
    });
    void consumer.run(async (message) => {
      seen.push({ key: message.key ?? "", body: message.json<number>() });
      await new Promise((resolve) => setTimeout(resolve, 2));
    });
    const send = async (from: number, to: number): Promise<void> => {
      for (let body = from; body < to; body++)
        await producer.send({
          topic: "orders",
          key: `k${body % 5}`,
          tag: body % 3 === 0 ? "drop" : "keep",
          body,
        });
    };
    await send(0, count / 2);
    await waitFor("some", () => seen.length > 20);
    await broker.kill();
    await broker.restart();
    await send(count / 2, count);
    const wanted = Array.from({ length: count }, (_, body) => body).filter((body) => body % 3 > 0);
    await waitFor("all", () => distinct(seen.map(({ body }) => body)).length === wanted.length);
    await staysTrue("nothing else", 200, () => seen.every(({ body }) => body % 3 > 0));
    for (let key = 0; key < 5; key++) {
      const bodies = seen.filter((one) => one.key === `k${key}`).map(({ body }) => body);
      // What comes again stands directly behind itself: nothing of its key came in between.
      expect(bodies).toEqual([...bodies].sort((one, other) => one - other));
    }
    const after = await bench.admin(url);
    const { policy, topics } = await after.request("group.describe", { group: "billing" });
    expect(policy.ordered).toBe(true);
    expect(topics[0]).toMatchObject({ filter: "keep", filtered: count / 3, held: 0 });
  });
});
