/** What the metrics say of each feature, over real sockets: an operator's alerts rest on them. */
import { Bury, type Consumer } from "@escrowmq/consumer";
import type { AdminClient } from "@escrowmq/protocol/client";
import { describe, expect, it } from "vitest";
import { AUDIT, gather, useBench } from "../support/e2e-broker.ts";
import { metricsOf } from "../support/e2e-metrics.ts";
import { RawClient } from "../support/e2e-raw-client.ts";
import { waitFor } from "../support/e2e-wait.ts";

const bench = useBench();
const topic = "orders";
const subscribe = [{ topic }] as const;

async function world(options: Parameters<typeof bench.broker>[0] = {}, settings = {}) {
  const { url } = await bench.broker(options);
  const admin = await bench.admin(url);
  await admin.request("topic.create", { topic, ...settings });
  const producer = await bench.producer({ url, group: "shop", onCheck: () => "unknown" });
  const send = async (count: number, more = {}): Promise<void> => {
    for (let body = 0; body < count; body++) await producer.send({ topic, body, ...more });
  };
  /** Until the metrics say so; else what they say instead is the failure. */
  const says = async (expected: Readonly<Record<string, number>>): Promise<void> => {
    const isSo = async () =>
      JSON.stringify(await metricsOf(url, expected)) === JSON.stringify(expected);
    await waitFor("the metrics", isSo).catch(() => undefined);
    expect(await metricsOf(url, expected)).toEqual(expected);
  };
  return { url, admin, producer, send, says };
}

/** Subscribed, and without credit: nothing is delivered to it. */
async function idle(url: string, more: { filter?: string; group?: string } = {}) {
  const { group = "billing", ...filter } = more;
  const raw = await RawClient.open(url);
  const topics = [{ topic, ...filter }];
  expect(await raw.ask({ type: "subscribe", subscription: 1, group, topics })).toMatchObject({
    type: "ok",
  });
  bench.later(() => raw.close());
  return raw;
}

const lagOf = async (admin: AdminClient, group: string): Promise<number> =>
  (await admin.request("group.describe", { group })).topics[0]?.lag ?? 0;

describe("the metrics of groups", () => {
  it("count what stands behind its key, what filters pass over, and groups that stand still", async () => {
    const { url, admin, send, says } = await world({ policy: { takenInMax: 3 } });
    await idle(url, { group: "picky", filter: "paid" });
    await idle(url, { group: "ordered" });
    await admin.request("group.update", { group: "ordered", ordered: true, ...AUDIT });
    await send(5, { key: "42", tag: "open" });
    await says({ held_messages: 2, filtered_messages: 5, standing_groups: 1 });
  });

  it("count groups that are paused", async () => {
    const { url, admin, says } = await world();
    await idle(url);
    await idle(url, { group: "ledger" });
    await admin.request("group.pause", { group: "billing", ...AUDIT });
    await says({ paused_groups: 1, "written groupPaused": 1 });
    await admin.request("group.resume", { group: "billing", ...AUDIT });
    await says({ paused_groups: 0, "written groupPaused": 2 });
  });

  it("count instances, those that are here, and what one went on without", async () => {
    const { url, admin, send, says } = await world();
    const instance = (name: string): Promise<Consumer<unknown>> =>
      bench.consumer({ url, group: "cache", subscribe, broadcast: { instance: name } });
    const here = await instance("here");
    await (await instance("away")).close();
    await admin.request("group.update", { group: "cache", attemptsMax: 1, ...AUDIT });
    void here.run(() => Promise.reject(new Error("no memory")));
    await send(2);
    await says({ instances: 2, instances_connected: 1, "written abandoned": 2, dead_letters: 0 });
  });

  it("count what an operator skipped and reset, and what was buried", async () => {
    const { url, admin, send, says } = await world();
    await idle(url);
    await send(3);
    await admin.request("group.skip", { group: "billing", topic, offsets: [0, 2], ...AUDIT });
    const consumer = await bench.consumer({ url, group: "billing", subscribe });
    void consumer.run(() => Promise.reject(new Bury("never")));
    await says({ "written skipped": 1, dead_letters: 1, "written buried": 1 });
    await consumer.close();
    await admin.request("group.reset", { group: "billing", from: "earliest", ...AUDIT });
    await says({ "written cursorReset": 1, "written skipped": 1 });
  });
});

describe("the metrics of time", () => {
  it("count what waits for its time, what was recalled, and what came", async () => {
    const { producer, send, says } = await world();
    await send(2, { delayMs: 3_600_000 });
    const { id } = await producer.send({ topic, body: 1, delayMs: 3_600_000 });
    await says({ scheduled_messages: 3, messages: 0, "written recalled": 0 });
    await producer.recall({ topic, id });
    await send(1, { delayMs: 1 });
    await says({ scheduled_messages: 2, messages: 1, "written recalled": 1, "written due": 1 });
    await says({ scheduled_overdue_ms: 0 });
  });

  it("say for how long what is due could not come, for want of room on the disk", async () => {
    const dataDir = bench.newDirectory();
    const before = await bench.broker({ dataDir });
    await bench.admin(before.url, topic);
    const producer = await bench.producer({ url: before.url, group: "shop" });
    await producer.send({ topic, body: 1, delayMs: 2_000 });
    await before.close();
    const full = { sendFreeBytesMin: 2 ** 52, settleFreeBytesMin: 2 ** 52 };
    const { url } = await bench.broker({ dataDir, ...full });
    const overdue = async () =>
      (await metricsOf(url, { scheduled_overdue_ms: 0 })).scheduled_overdue_ms;
    await waitFor("what is overdue", async () => (await overdue()) > 0);
    expect(await metricsOf(url, { scheduled_messages: 1, messages: 0 })).toEqual({
      scheduled_messages: 1,
      messages: 0,
    });
  });

  it("count what was not sent in its time to live, once a group", async () => {
    const { url, admin, send, says } = await world();
    await idle(url);
    await idle(url, { group: "ledger" });
    await send(2, { ttlMs: 1 });
    await send(1);
    for (const group of ["billing", "ledger"]) {
      const got = gather(await bench.consumer({ url, group, subscribe }));
      await waitFor("the one that lives", () => got.length === 1);
      await waitFor("its ack", async () => (await lagOf(admin, group)) === 0);
    }
    await says({ lapsed_messages: 4, deliveries_total: 6 });
  });
});

it("the metrics count reserved keys, and what waits for their verdict, until it is there", async () => {
  const { url, producer, send, says } = await world();
  gather(await bench.consumer({ url, group: "billing", subscribe }));
  await producer.transaction(
    async (tx) => {
      await tx.prepare(["ann", "bob", "ann"].map((key) => ({ topic, key, body: 0 })));
      await send(3, { key: "ann" });
      await send(2, { key: "bob" });
      await send(1, { key: "cid" });
      await says({ reserved_keys: 2, queued_messages: 5, scheduled_messages: 0, messages: 1 });
    },
    { reserveKeys: true },
  );
  await says({ reserved_keys: 0, queued_messages: 0, messages: 9, "written due": 5 });
});

describe("the metrics of retention", () => {
  /** Messages are due after a second. */
  const HASTY = { policy: { retentionEveryMs: 50, dropAfterStartMs: 0 } };

  it("count what went, and what groups lost by it", async () => {
    const { url, send, says } = await world(HASTY, { retentionMs: 1_000, unsettled: "drop" });
    await idle(url);
    await idle(url, { group: "ledger" });
    await send(3);
    await says({ retired_messages: 3, expired_messages: 6, messages: 0, retention_held_bytes: 0 });
  });

  it("say how much is held back, which groups are about to lose, and are 0 again once they have read", async () => {
    const { url, admin, send, says } = await world(HASTY, { retentionMs: 1_000 });
    await idle(url);
    await send(3);
    const { bytes } = await admin.request("topic.describe", { topic });
    await says({ retention_held_bytes: bytes, retired_messages: 0, groups_about_to_lose: 0 });
    const safe = { retentionMs: 3_600_000, retentionBytes: bytes, unsettled: "drop" } as const;
    await admin.request("topic.update", { topic, ...safe });
    await says({ retention_held_bytes: 0, groups_about_to_lose: 1 });
    gather(await bench.consumer({ url, group: "billing", subscribe }));
    await says({ retention_held_bytes: 0, groups_about_to_lose: 0, expired_messages: 0 });
  });
});

it("the metrics count replies that were handed to who asked", async () => {
  const { url, producer, says } = await world();
  const consumer = await bench.consumer({ url, group: "prices", subscribe });
  void consumer.run((_, context) => context.reply("42"));
  for (const body of [1, 2]) await producer.request({ topic, body });
  await says({ replies_total: 2 });
});
