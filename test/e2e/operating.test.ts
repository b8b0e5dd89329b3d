/** Operators at work over real sockets, with consumers and kills beside it: pause, skip, reset, and questions. */
import { decodeMessage } from "@escrowmq/protocol";
import type { AdminClient, AdminFields } from "@escrowmq/protocol/client";
import { describe, expect, it } from "vitest";
import { AUDIT, gather, useBench } from "../support/e2e-broker.ts";
import { RawClient } from "../support/e2e-raw-client.ts";
import { staysTrue, waitFor } from "../support/e2e-wait.ts";

const bench = useBench();
const subscribe = [{ topic: "orders" }];
const BILLING = { group: "billing" } as const;
const AT = { ...BILLING, topic: "orders" } as const;

/** A broker in a process of its own that can be killed, with a topic and a producer. */
async function shop() {
  const broker = await bench.brokerProcess();
  const admin = await bench.admin(broker.url, "orders");
  const producer = await bench.producer({ url: broker.url, group: "shop" });
  const send = (body: number, key = `k-${body}`) => producer.send({ topic: "orders", body, key });
  return { broker, admin, producer, send };
}

type Find = AdminFields<"message.find">;
const lagOf = async (admin: AdminClient): Promise<number | undefined> =>
  (await admin.request("group.describe", BILLING)).topics[0]?.lag;

describe("a group that is paused", () => {
  it("gets nothing, across a SIGKILL of the broker, and all of it when it is resumed", async () => {
    const { broker, admin, send } = await shop();
    await admin.request("group.update", BILLING);
    const view = await admin.request("group.pause", { ...BILLING, ...AUDIT });
    expect(view.paused).toMatchObject(AUDIT);
    const got = gather(await bench.consumer({ url: broker.url, ...BILLING, subscribe }));
    await send(1);
    await staysTrue("the pause", 200, () => got.length === 0);
    await broker.kill();
    await broker.restart();
    await send(2);
    const back = await bench.admin(broker.url);
    const describe = () => back.request("group.describe", BILLING);
    await waitFor("the consumer", async () => (await describe()).consumers.length === 1);
    await staysTrue("the pause after the kill", 200, () => got.length === 0);
    const again = await describe();
    expect(again.paused).toEqual(view.paused);
    await back.request("group.resume", { ...BILLING, ...AUDIT });
    await waitFor("both", () => got.length === 2);
    expect(got.map(({ attempt }) => attempt)).toEqual([1, 1]);
    const { changes } = await back.request("group.describe", BILLING);
    expect(changes.map(({ what }) => what)).toEqual(["resumed", "paused"]);
  });

  it("may settle what it has in hand", async () => {
    const { broker, admin, send } = await shop();
    const consumer = await bench.consumer({ url: broker.url, ...BILLING, subscribe });
    let release: () => void = () => undefined;
    const held = new Promise<void>((resolve) => {
      release = resolve;
    });
    let taken = 0;
    void consumer.run(async () => {
      taken++;
      await held;
    });
    await send(1);
    await waitFor("the delivery", () => taken === 1);
    await admin.request("group.pause", { ...BILLING, ...AUDIT });
    release();
    await waitFor("the ack", async () => (await lagOf(admin)) === 0);
    const { findings } = await admin.request("doctor", {});
    expect(findings).toContainEqual(
      expect.objectContaining({ area: "paused groups", level: "warning" }),
    );
  });
});

describe("a consumer that is killed while its group is paused", () => {
  it("gives back what it held: it comes after the resume, but for what was skipped", async () => {
    const { broker, admin, send } = await shop();
    await admin.request("group.update", { ...BILLING, retryDelaysMs: [0] });
    const program = bench.program("e2e-consumer-process.mjs", [broker.url, "billing", "3"]);
    for (const body of [0, 1, 2]) await send(body);
    await waitFor("all in its hands", () => program.lines.length === 3);
    await admin.request("group.pause", { ...BILLING, ...AUDIT });
    await program.kill();
    const topicOf = async () => (await admin.request("group.describe", BILLING)).topics[0];
    await waitFor("all back", async () => (await topicOf())?.ready === 3);
    const skipped = await admin.request("group.skip", { ...AT, offsets: [1], ...AUDIT });
    expect(skipped).toEqual({ done: 1, missing: [], pending: [] });
    const got = gather(await bench.consumer({ url: broker.url, ...BILLING, subscribe }));
    await staysTrue("the pause", 200, () => got.length === 0);
    await admin.request("group.resume", { ...BILLING, ...AUDIT });
    await waitFor("the acks", async () => (await topicOf())?.lag === 0);
    expect(got.map(({ offset, attempt }) => [offset, attempt])).toEqual([
      [0, 2],
      [2, 2],
    ]);
    const { timeline } = await admin.request("message.trace", { topic: "orders", offset: 1 });
    expect(timeline.map(({ event }) => event)).toEqual([
      "sent",
      "delivered",
      "returned",
      "skipped",
    ]);
  });
});

describe("a message that is skipped", () => {
  it("comes to nobody of the group again, across a SIGKILL, and its handler is too late", async () => {
    const { broker, admin, send } = await shop();
    const taken: number[] = [];
    const consumer = await bench.consumer({ url: broker.url, ...BILLING, subscribe });
    // A poison message: whoever takes it hangs.
    void consumer.run(async ({ offset }) => {
      taken.push(offset);
      if (offset === 0) await new Promise(() => undefined);
    });
    for (const body of [0, 1, 2]) await send(body);
    await waitFor("the others", async () => (await lagOf(admin)) === 1);
    const skipped = await admin.request("group.skip", { ...AT, offsets: [0, 1], ...AUDIT });
    expect(skipped).toEqual({ done: 1, missing: [1], pending: [] });
    await broker.kill();
    await broker.restart();
    await send(3);
    await waitFor("the next one", () => taken.includes(3));
    await staysTrue("the skip", 200, () => taken.filter((offset) => offset === 0).length === 1);
    const back = await bench.admin(broker.url);
    await waitFor("the acks", async () => (await lagOf(back)) === 0);
    const { timeline } = await back.request("message.trace", { topic: "orders", offset: 0 });
    expect(timeline.map(({ event }) => event)).toEqual(["sent", "delivered", "skipped"]);
  });
});

describe("a reset", () => {
  it("of all topics, by time, delivers again what came since, and nothing else", async () => {
    const { broker, admin, producer } = await shop();
    await admin.request("topic.create", { topic: "mail" });
    const topics = [{ topic: "orders" }, { topic: "mail" }];
    const got = gather(await bench.consumer({ url: broker.url, ...BILLING, subscribe: topics }));
    const sendBoth = async (body: string) => {
      for (const topic of ["orders", "mail"]) await producer.send({ topic, body });
    };
    await sendBoth("old");
    await waitFor("the old ones", () => got.length === 2);
    await new Promise((resolve) => setTimeout(resolve, 20));
    await sendBoth("new");
    await waitFor("the new ones", () => got.length === 4);
    const found = await admin.request("message.find", { topic: "orders" });
    const at = found.items[1]?.atMs ?? 0;
    const settled = async () => {
      const { topics: all } = await admin.request("group.describe", BILLING);
      return all.every(({ lag }) => lag === 0);
    };
    await waitFor("the acks", settled);
    const request = { ...BILLING, from: "time", at, ...AUDIT } as const;
    const plan = await admin.request("group.reset", { ...request, dryRun: true });
    expect(plan.topics.map(({ topic, redelivered }) => [topic, redelivered])).toEqual([
      ["orders", 1],
      ["mail", 1],
    ]);
    await admin.request("group.reset", request);
    await waitFor("the new ones again", () => got.length === 6);
    await waitFor("their acks", settled);
    expect(got.slice(4).map(({ offset }) => offset)).toEqual([1, 1]);
  });
});

describe("a reset that was answered", () => {
  it("holds across a SIGKILL of the broker: exactly what it said comes again, once", async () => {
    const { broker, admin, send } = await shop();
    const consumer = await bench.consumer({ url: broker.url, ...BILLING, subscribe });
    const before = gather(consumer);
    for (const body of [0, 1, 2, 3, 4]) await send(body);
    await waitFor("all", () => before.length === 5);
    await waitFor("the acks", async () => (await lagOf(admin)) === 0);
    await consumer.close();
    await send(5);
    const request = { ...AT, from: "offset", at: 2, ...AUDIT } as const;
    const { topics } = await admin.request("group.reset", request);
    expect(topics).toMatchObject([{ fromOffset: 5, toOffset: 2, redelivered: 3, skipped: 0 }]);
    await broker.kill();
    await broker.restart();
    const back = await bench.admin(broker.url);
    expect(await back.request("group.describe", BILLING)).toMatchObject({
      topics: [{ nextOffset: 2, lag: 4 }],
      changes: [{ what: "reset", topic: "orders", offset: 2, ...AUDIT }],
    });
    const got = gather(await bench.consumer({ url: broker.url, ...BILLING, subscribe }));
    await waitFor("the acks", async () => (await lagOf(back)) === 0);
    await broker.kill();
    await broker.restart();
    await send(6);
    await waitFor("the next one", () => got.some(({ offset }) => offset === 6));
    // Those that are read from disk may pass each other.
    expect(got.map(({ offset }) => offset).sort()).toEqual([2, 3, 4, 5, 6]);
  });
});

describe("questions about messages", () => {
  it("find by id, key, tag and time, over many pages, while consumers read", async () => {
    const { broker, admin, producer } = await shop();
    const got = gather(await bench.consumer({ url: broker.url, ...BILLING, subscribe }));
    const sent = await Promise.all(
      Array.from({ length: 5_000 }, (_, body) =>
        producer.send({ topic: "orders", body, key: `k-${body % 1_000}`, tag: "paid" }),
      ),
    );
    const all = async (fields: Omit<Find, "topic" | "after">) => {
      const items = [];
      let pages = 0;
      for (let after: string | undefined; ; ) {
        const where = { topic: "orders", ...fields, ...(after === undefined ? {} : { after }) };
        const page = await admin.request("message.find", where);
        items.push(...page.items);
        pages++;
        if (page.next === undefined) return { items, pages };
        after = page.next;
      }
    };
    const byKey = await all({ key: "k-7" });
    expect(byKey.items).toHaveLength(5);
    expect(byKey.pages).toBeGreaterThan(1);
    const id = sent[4_321]?.id ?? "";
    const [one] = (await all({ messageId: id })).items;
    expect(one).toMatchObject({ id, key: "k-321", tag: "paid" });
    expect((await all({ tag: "open" })).items).toEqual([]);
    const sinceMs = (await all({})).items.at(-1)?.atMs ?? 0;
    await waitFor("a later time", () => Date.now() > sinceMs + 5);
    const late = await producer.send({ topic: "orders", body: "late", key: "k-7" });
    const after = await all({ sinceMs: sinceMs + 1 });
    expect(after.items.map(({ id }) => id)).toEqual([late.id]);
    const before = await all({ key: "k-7", beforeMs: sinceMs + 1 });
    expect(before.items).toEqual(byKey.items);
    expect((await all({ key: "k-7", sinceMs, beforeMs: sinceMs })).items).toEqual([]);
    const offset = one?.offset ?? 0;
    await waitFor("all deliveries", () => got.length === 5_001);
    await waitFor("all acks", async () => (await lagOf(admin)) === 0);
    const shown = await admin.request("message.show", { topic: "orders", offset });
    expect(decodeMessage(shown.message ?? new Uint8Array())).toMatchObject({ id, key: "k-321" });
    expect(shown.groups).toMatchObject([{ group: "billing", state: "settled" }]);
    const { timeline, next } = await admin.request("message.trace", { topic: "orders", offset });
    expect(timeline.map(({ event }) => event)).toEqual(["sent", "delivered", "acked"]);
    expect(next).toBeUndefined();
  });

  it("do not find half messages, and trace a transaction's message from its prepare on", async () => {
    const { broker, admin } = await shop();
    const producer = await bench.producer({
      url: broker.url,
      group: "desk",
      onCheck: () => "unknown",
    });
    let half = -1;
    await producer.transaction(async (tx) => {
      await tx.prepare([{ topic: "orders", body: "x", key: "k" }]);
      half = (await admin.request("message.find", { topic: "orders" })).items.length;
    });
    expect(half).toBe(0);
    await waitFor("the commit", async () => {
      return (await admin.request("message.find", { topic: "orders" })).items.length === 1;
    });
    const { timeline } = await admin.request("message.trace", { topic: "orders", offset: 0 });
    expect(timeline.map(({ event }) => event)).toEqual(["prepared", "committed"]);
  });

  it("say what was retired and what is not there", async () => {
    const { admin, send } = await shop();
    await send(1);
    const show = (offset: number) => admin.request("message.show", { topic: "orders", offset });
    await expect(show(1)).rejects.toMatchObject({ code: "MESSAGE_NOT_FOUND" });
    await admin.request("topic.update", { topic: "orders", retentionMs: 1_000 });
    await waitFor("retention", async () => {
      const topic = await admin.request("topic.describe", { topic: "orders" });
      return topic.firstOffset === 1;
    });
    await expect(show(0)).rejects.toMatchObject({ code: "MESSAGE_RETIRED" });
    const found = await admin.request("message.find", { topic: "orders" });
    expect(found).toMatchObject({ items: [], fromOffset: 1, endOffset: 1 });
  });

  it("asked by the hundred are answered each, some with OVERLOADED, and hold nobody up", async () => {
    const { broker, admin, send } = await shop();
    await send(1);
    const raw = await RawClient.open(broker.url);
    const ask = (id: number) => ({ type: "message.find", id, topic: "orders" }) as const;
    raw.say(...Array.from({ length: 300 }, (_, id) => ask(id)));
    const answers = () => raw.frames.filter(({ type }) => type === "ok" || type === "error");
    await waitFor("300 answers", () => answers().length === 300);
    const refused = answers().filter(({ type }) => type === "error");
    expect(refused.length).toBeGreaterThan(0);
    for (const one of refused)
      expect(one.type === "error" ? one.code : one.type).toBe("OVERLOADED");
    expect((await admin.request("message.find", { topic: "orders" })).items).toHaveLength(1);
    raw.close();
  });
});
