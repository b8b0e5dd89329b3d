/** Delayed messages over real sockets and disks: not before their time, not after a recall, whatever is killed. */
import { encodeMessage } from "@escrowmq/protocol";
import { describe, expect, it } from "vitest";
import { gather, useBench } from "../support/e2e-broker.ts";
import { errorOf, RawClient } from "../support/e2e-raw-client.ts";
import { staysTrue, waitFor } from "../support/e2e-wait.ts";

const bench = useBench();
const topic = "orders";
const subscribe = [{ topic }];

const bodiesOf = (messages: readonly { text(): string }[]): unknown[] =>
  messages.map((message) => JSON.parse(message.text()));

async function world(options = {}) {
  const broker = await bench.broker(options);
  const { url } = broker;
  const admin = await bench.admin(url, topic);
  const producer = await bench.producer({ url, group: "shop", onCheck: () => "unknown" });
  const got = gather(await bench.consumer({ url, group: "billing", subscribe }));
  const view = () => admin.request("topic.describe", { topic });
  return { url, admin, producer, got, view };
}

describe("a delayed message", () => {
  it("comes after its delay, and lets others pass", async () => {
    const { producer, got, view } = await world();
    const startMs = performance.now();
    await producer.send({ topic, body: "later", delayMs: 400 });
    await producer.send({ topic, body: "at", deliverAt: new Date(Date.now() + 800) });
    await producer.send({ topic, body: "now" });
    expect(await view()).toMatchObject({ scheduled: 2, nextDueAtMs: expect.any(Number) });
    await waitFor("the first one", () => got.length === 1);
    await waitFor("the delayed one", () => got.length === 2);
    expect(performance.now() - startMs).toBeGreaterThanOrEqual(399);
    await waitFor("the one with a time", () => got.length === 3);
    expect(performance.now() - startMs).toBeGreaterThanOrEqual(790);
    expect(bodiesOf(got)).toEqual(["now", "later", "at"]);
    expect(await view()).toMatchObject({ scheduled: 0, nextOffset: 3 });
  });

  it("of a transaction counts from the commit", async () => {
    const { producer, got, admin } = await world();
    const work = (ms: number) => new Promise((resolve) => setTimeout(resolve, ms));
    let committedMs = 0;
    const { id } = await producer.transaction(async (tx) => {
      await tx.prepare([{ topic, body: "later", delayMs: 300 }]);
      await work(400);
      committedMs = performance.now();
    });
    await waitFor("it", () => got.length === 1);
    expect(performance.now() - committedMs).toBeGreaterThanOrEqual(299);
    const { timeline } = await admin.request("tx.show", { transactionId: id });
    expect(timeline.map(({ event }) => event)).toEqual(
      expect.arrayContaining(["prepared", "committed", "due", "delivered"]),
    );
  });

  it("that is recalled never comes", async () => {
    const { producer, got, view } = await world();
    const { id } = await producer.send({ topic, body: "no", delayMs: 200 });
    expect(await producer.recall({ topic, id })).toEqual({ id, duplicate: false });
    expect(await producer.recall({ topic, id })).toEqual({ id, duplicate: true });
    await staysTrue("nothing there", 400, () => got.length === 0);
    expect(await view()).toMatchObject({ scheduled: 0, nextOffset: 0 });
    const seen = await producer.send({ topic, body: "yes" });
    await expect(producer.recall({ topic, id: seen.id })).rejects.toMatchObject({
      code: "MESSAGE_NOT_SCHEDULED",
      retriable: false,
    });
  });
});

describe("over a SIGKILL of the broker", () => {
  it("what waits is there, what was recalled is not, and what came due meanwhile comes at once", async () => {
    const broker = await bench.brokerProcess();
    const { url } = broker;
    await bench.admin(url, topic);
    const producer = await bench.producer({ url, group: "shop" });
    const startMs = performance.now();
    const send = (body: string, delayMs: number) => producer.send({ topic, body, delayMs });
    const [recalled] = await Promise.all([
      send("recalled", 1_000),
      send("second", 600),
      send("first", 500),
      send("last", 6_000),
    ]);
    await producer.recall({ topic, id: recalled.id });
    await broker.kill();
    await new Promise((resolve) => setTimeout(resolve, 1_200));
    await broker.restart();
    const got = gather(await bench.consumer({ url, group: "billing", subscribe }));
    await waitFor("what came due", () => got.length === 2);
    expect(bodiesOf(got)).toEqual(["first", "second"]);
    await broker.kill();
    await broker.restart();
    await waitFor("the last one", () => got.some((one) => JSON.parse(one.text()) === "last"));
    expect(performance.now() - startMs).toBeGreaterThanOrEqual(5_999);
    expect(new Set(bodiesOf(got))).toEqual(new Set(["first", "second", "last"]));
  });

  it("nothing is lost or early, wherever it is killed", async () => {
    const broker = await bench.brokerProcess();
    const { url } = broker;
    await bench.admin(url, topic);
    const producer = await bench.producer({ url, group: "shop", requestTimeoutMs: 60_000 });
    const notBefore = new Map<string, number>();
    const early: string[] = [];
    const seen = new Set<string>();
    const consumer = await bench.consumer({ url, group: "billing", subscribe });
    void consumer.run(async ({ id }) => {
      if (performance.now() < (notBefore.get(id) ?? Number.POSITIVE_INFINITY)) early.push(id);
      seen.add(id);
    });
    const recalled = new Set<string>();
    for (let round = 0; round < 4; round++) {
      const sends = Array.from({ length: 50 }, async (_, at) => {
        const delayMs = (at % 10) * 150;
        const id = `m-${round}-${at}`;
        notBefore.set(id, performance.now() + delayMs - 1);
        await producer.send({ topic, id, body: at, delayMs });
        if (at % 7 !== 6) return;
        // Who is too late with it hears so, and the message comes.
        await producer.recall({ topic, id }).then(
          () => recalled.add(id),
          () => undefined,
        );
      });
      await new Promise((resolve) => setTimeout(resolve, 40 + round * 90));
      await broker.kill();
      await broker.restart();
      await Promise.all(sends);
    }
    const awaited = [...notBefore.keys()].filter((id) => !recalled.has(id));
    await waitFor("all of them", () => awaited.every((id) => seen.has(id)), 30_000);
    expect(early).toEqual([]);
    expect([...recalled].filter((id) => seen.has(id))).toEqual([]);
    expect(recalled.size).toBeGreaterThan(0);
  });
});

describe("a message with a time to live", () => {
  it("is not sent to a consumer that comes too late, and the group is done with it", async () => {
    const broker = await bench.broker();
    const { url } = broker;
    const admin = await bench.admin(url, topic);
    const producer = await bench.producer({ url, group: "shop" });
    await producer.send({ topic, body: "stale", ttlMs: 100 });
    await producer.send({ topic, body: "fresh", ttlMs: 60_000 });
    await producer.send({ topic, body: "eternal" });
    await producer.send({ topic, body: "young", delayMs: 600, ttlMs: 5_000 });
    await new Promise((resolve) => setTimeout(resolve, 300));
    const got = gather(await bench.consumer({ url, group: "billing", subscribe, concurrency: 1 }));
    await waitFor("the others", () => got.length === 3);
    expect(bodiesOf(got)).toEqual(["fresh", "eternal", "young"]);
    const group = () => admin.request("group.describe", { group: "billing" });
    await waitFor("all acks", async () => (await group()).topics[0]?.lag === 0);
    expect((await group()).topics).toMatchObject([{ lapsed: 1, expired: 0 }]);
    expect(await admin.request("stats", {})).toMatchObject({ lapsed: 1, deadLetters: 0 });
  });

  it("whose consumer was killed after its time never comes again, nor after SIGKILLs of the broker", async () => {
    const broker = await bench.brokerProcess();
    const { url } = broker;
    const admin = await bench.admin(url, topic);
    await admin.request("group.update", { group: "billing", retryDelaysMs: [0] });
    const program = bench.program("e2e-consumer-process.mjs", [url, "billing", "2"]);
    const group = async (client = admin) =>
      (await client.request("group.describe", { group: "billing" }).catch(() => null))?.topics[0];
    await waitFor("the consumer", async () => (await group()) !== undefined);
    const producer = await bench.producer({ url, group: "shop" });
    const ttlMs = 1_500;
    await producer.sendAll([1, 2].map((body) => ({ topic, body, ttlMs })));
    const overMs = performance.now() + ttlMs;
    await waitFor("both in its hands", () => program.lines.length === 2);
    await waitFor("the end of their time", () => performance.now() > overMs);
    await program.kill();
    await waitFor("both back", async () => (await group())?.ready === 2);
    await broker.kill();
    await broker.restart();
    // Nobody was there who could have been sent them: they lapse only now.
    const got = gather(await bench.consumer({ url, group: "billing", subscribe }));
    const after = await bench.admin(url);
    await waitFor("their end", async () => (await group(after))?.lapsed === 2);
    await producer.send({ topic, body: "first" });
    await waitFor("what is sent later", () => got.length === 1);
    await waitFor("its ack", async () => (await group(after))?.lag === 0);
    await broker.kill();
    await broker.restart();
    await producer.send({ topic, body: "second" });
    await waitFor("what is sent last", () => got.length === 2);
    expect(bodiesOf(got)).toEqual(["first", "second"]);
    const last = await bench.admin(url);
    await waitFor("its ack", async () => (await group(last))?.lag === 0);
    expect(await group(last)).toMatchObject({ lapsed: 2, expired: 0 });
  });

  it("lapses when its retry comes back too late", async () => {
    const broker = await bench.broker();
    const { url } = broker;
    const admin = await bench.admin(url, topic);
    const producer = await bench.producer({ url, group: "shop" });
    const consumer = await bench.consumer({ url, group: "billing", subscribe });
    await admin.request("group.update", { group: "billing", retryDelaysMs: [500] });
    let tries = 0;
    void consumer.run(async () => {
      tries++;
      throw new Error("not now");
    });
    await producer.send({ topic, body: "short", ttlMs: 300 });
    const group = () => admin.request("group.describe", { group: "billing" });
    await waitFor("its end", async () => (await group()).topics[0]?.lapsed === 1);
    expect(tries).toBe(1);
    expect((await group()).topics).toMatchObject([{ lag: 0 }]);
  });
});

describe("what cannot be scheduled", () => {
  it("is refused with a code, and changes nothing", async () => {
    const { url, producer, view } = await world({ policy: { scheduledMax: 1 } });
    await producer.send({ topic, body: 1, delayMs: 60_000 });
    const raw = await RawClient.open(url);
    const ask = async (fields: object) => {
      const message = encodeMessage({ id: "m", topic, body: Buffer.from("1"), ...fields });
      return errorOf(await raw.ask({ type: "send", sendId: "s", messages: [message] }));
    };
    expect(await ask({ delayMs: 1 })).toBe("SCHEDULED_LIMIT");
    expect(await ask({ deliverAtMs: Date.now() + 366 * 86_400_000 })).toBe("INVALID_DELAY");
    const recall = { type: "recall", topic, messageId: "m" } as const;
    expect(errorOf(await raw.ask(recall))).toBe("MESSAGE_NOT_SCHEDULED");
    expect(errorOf(await raw.ask({ ...recall, topic: "nowhere" }))).toBe("TOPIC_NOT_FOUND");
    expect(errorOf(await raw.ask({ ...recall, messageId: "../m" }))).toBe("INVALID_MESSAGE_ID");
    const both = { topic, body: 1, delayMs: 1, deliverAt: new Date() };
    await expect(producer.send(both)).rejects.toMatchObject({ code: "INVALID_DELAY" });
    expect(await view()).toMatchObject({ scheduled: 1, nextOffset: 0 });
  });
});
