/** Retention on a real disk: space comes back, kills in between lose nothing, nobody's message goes too early. */
import { readdirSync, statSync } from "node:fs";
import { join } from "node:path";
import { verifyStore } from "@escrowmq/broker";
import { Bury } from "@escrowmq/consumer";
import { encodeMessage } from "@escrowmq/protocol";
import type { AdminClient } from "@escrowmq/protocol/client";
import { describe, expect, it } from "vitest";
import { AUDIT, gather, said, useBench } from "../support/e2e-broker.ts";
import { metric } from "../support/e2e-metrics.ts";
import { Random } from "../support/e2e-random.ts";
import { RawClient } from "../support/e2e-raw-client.ts";
import { waitFor } from "../support/e2e-wait.ts";
import { diesByItself, type KillPoint, POINTS_OF_RETIREMENT } from "../support/kill-points.ts";

const bench = useBench();
const MIB = 1_048_576;
const IS_LONG = process.env.KILLS !== undefined;
/** Every other one of the named points, by the seed, and one moment of chance. */
const KILLS = Number(process.env.KILLS ?? 6);
const POINT_WITHIN_MS = 5_000;
const SEED = Number(process.env.SEED ?? Date.now() % 1_000_000_007);
/** Segments of 1 MiB, so that they come and go all the time. */
const SMALL = {
  segmentBytesMax: MIB,
  checkpointEveryBytes: MIB / 2,
  copyForwardAfterMs: 0,
};
/** The default numbers of the core but for its pace. */
const HASTY = { retentionEveryMs: 50, dropAfterStartMs: 0 };
const BODY = "x".repeat(16_384);
const TX = "transaction-0123456789ab";

/** Null: something went while it was looked at, which is what these tests are about. */
function bytesUnder(directory: string): number | null {
  try {
    let bytes = 0;
    for (const name of readdirSync(directory, { recursive: true }))
      bytes += statSync(join(directory, String(name))).size;
    return bytes;
  } catch (error) {
    if ((error as { code?: string }).code === "ENOENT") return null;
    throw error;
  }
}

const fitsIn = (directory: string, bytesMax: number): boolean =>
  (bytesUnder(directory) ?? Number.POSITIVE_INFINITY) < bytesMax;

/** The numbers of their first blocks; without those that are being removed. */
const segmentsOf = (dataDir: string): readonly number[] =>
  readdirSync(join(dataDir, "segments"))
    .filter((name) => !name.endsWith(".retired"))
    .map(Number);

const viewOf = (admin: AdminClient) => admin.request("topic.describe", { topic: "orders" });

/** 64 messages of 16 KiB for each MiB, some at a time, each one answered; adds to `sent` what was. */
async function sendAll(url: string, mib: number, sent = new Set<string>()): Promise<void> {
  const producer = await bench.producer({ url, group: "shop", requestTimeoutMs: 2_000 });
  const some = Array.from({ length: 32 });
  try {
    for (let left = mib * 64; left > 0; left -= some.length)
      await Promise.all(
        some.map(async () => sent.add((await producer.send({ topic: "orders", body: BODY })).id)),
      );
  } finally {
    await producer.close();
  }
}

/** A half message that nobody decides for now. */
async function prepareHalf(url: string): Promise<void> {
  const raw = await RawClient.open(url);
  await raw.ask({ type: "announce", group: "shop", checker: true });
  const body = new TextEncoder().encode(JSON.stringify("half"));
  const message = encodeMessage({ id: "0".repeat(32), topic: "orders", body });
  const prepare = { type: "prepare", transactionId: TX, group: "shop", acks: [] } as const;
  const answer = await raw.ask({ ...prepare, messages: [message], checkAfterMs: 3_600_000 });
  expect(answer).toMatchObject({ type: "ok" });
  raw.close();
}

describe("a topic that keeps 2 MiB", () => {
  it("takes no more of the disk than a few segments, whatever is sent", async () => {
    const dataDir = bench.newDirectory();
    const broker = await bench.broker({ ...SMALL, policy: HASTY, dataDir });
    const admin = await bench.admin(broker.url);
    await admin.request("topic.create", { topic: "orders", retentionBytes: 2 * MIB });
    await sendAll(broker.url, 16);
    await waitFor("the space", () => fitsIn(dataDir, 8 * MIB));
    const { bytes, firstOffset, nextOffset } = await viewOf(admin);
    expect(nextOffset).toBe(1_024);
    expect(bytes).toBeLessThanOrEqual(2 * MIB);
    expect(firstOffset).toBeGreaterThan(850);
    const stats = await admin.request("stats", {});
    expect(stats.storeBytes).toBeLessThan(8 * MIB);
    expect(stats.retired).toBe(firstOffset);
    expect(await metric(broker.url, "escrowmq_retired_bytes")).toBeGreaterThan(8 * MIB);
    const subscribe = [{ topic: "orders" }];
    const messages = gather(await bench.consumer({ url: broker.url, group: "late", subscribe }));
    await waitFor("what is left", () => messages.length === nextOffset - firstOffset);
    expect(Math.min(...messages.map(({ offset }) => offset))).toBe(firstOffset);
  });

  it("keeps what a group has not read, says so, and lets it go when it has", async () => {
    const broker = await bench.broker({ ...SMALL, policy: HASTY });
    const admin = await bench.admin(broker.url);
    await admin.request("topic.create", { topic: "orders", retentionBytes: 2 * MIB });
    const slow = { url: broker.url, group: "slow", subscribe: [{ topic: "orders" }] };
    await (await bench.consumer(slow)).close();
    await sendAll(broker.url, 6);
    const held = await waitFor("the hold", async () => {
      const view = await viewOf(admin);
      return view.heldBytes > 0 && view;
    });
    expect(held).toMatchObject({ firstOffset: 0, heldBy: ["slow"], expired: 0 });
    const { findings } = await admin.request("doctor", {});
    expect(findings.filter(({ area }) => area === "retention")).toMatchObject([
      { level: "warning", text: expect.stringMatching(/Group slow in topic orders holds back/) },
    ]);
    const messages = gather(await bench.consumer(slow));
    await waitFor("all messages", () => messages.length === 384);
    await waitFor("retention", async () => (await viewOf(admin)).bytes <= 2 * MIB);
    expect(await viewOf(admin)).toMatchObject({ heldBytes: 0, heldBy: [], expired: 0 });
  });

  it("drops what a group has not read if it is told to, and counts it", async () => {
    const broker = await bench.broker({ ...SMALL, policy: HASTY });
    const admin = await bench.admin(broker.url);
    const settings = { retentionBytes: 2 * MIB, unsettled: "drop" } as const;
    await admin.request("topic.create", { topic: "orders", ...settings });
    const slow = { url: broker.url, group: "slow", subscribe: [{ topic: "orders" }] };
    await (await bench.consumer(slow)).close();
    await sendAll(broker.url, 6);
    await waitFor("retention", async () => (await viewOf(admin)).bytes <= 2 * MIB);
    const { firstOffset, expired } = await viewOf(admin);
    expect(expired).toBe(firstOffset);
    const { topics } = await admin.request("group.describe", { group: "slow" });
    expect(topics).toMatchObject([{ expired, lag: 384 - firstOffset }]);
    const metrics = await (await fetch(`${broker.url.replace("ws:", "http:")}/metrics`)).text();
    expect(metrics).toContain(`escrowmq_expired_messages ${expired}\n`);
  });
});

describe("retention by age", () => {
  it("counts the time that a killed broker was down, keeps what is unsettled, and does not undo itself", async () => {
    const broker = await bench.brokerProcess({ policy: HASTY });
    const { url } = broker;
    const setup = await bench.admin(url);
    const retentionMs = 2_000;
    for (const topic of ["orders", "mail"])
      await setup.request("topic.create", { topic, retentionMs });
    const billing = { url, group: "billing", subscribe: [{ topic: "mail" }] };
    await (await bench.consumer(billing)).close();
    const producer = await bench.producer({ url, group: "shop" });
    const send = (body: string) =>
      producer.sendAll(["orders", "orders", "mail"].map((topic) => ({ topic, body })));
    await send("old");
    const oldMs = performance.now();
    await broker.kill();
    await waitFor("their age", () => performance.now() > oldMs + retentionMs);
    await broker.restart();
    const readyMs = performance.now();
    const admin = await bench.admin(url);
    const mail = () => admin.request("topic.describe", { topic: "mail" });
    await waitFor("retention", async () => (await viewOf(admin)).firstOffset === 2);
    expect(performance.now() - readyMs).toBeLessThan(retentionMs);
    await waitFor("the hold", async () => (await mail()).heldBytes > 0);
    expect(await mail()).toMatchObject({ firstOffset: 0, heldBy: ["billing"], expired: 0 });
    await admin.request("topic.update", { topic: "orders", retentionMs: 3_600_000 });
    await send("young");
    await broker.kill();
    await broker.restart();
    const after = await bench.admin(url);
    expect(await viewOf(after)).toMatchObject({
      ...{ firstOffset: 2, nextOffset: 4, expired: 0, retentionMs: 3_600_000 },
    });
    const subscribe = [{ topic: "orders" }];
    const got = gather(await bench.consumer({ url, group: "late", subscribe }));
    const held = gather(await bench.consumer(billing));
    await waitFor("what is left", () => got.length === 2 && held.length === 2);
    expect(said(got)).toEqual(["young", "young"]);
    // What is read from disk may come behind what is not.
    expect(said(held).sort()).toEqual(["old", "young"]);
    await waitFor("the rest", async () => {
      const view = await after.request("topic.describe", { topic: "mail" });
      return view.firstOffset === 2 && view.expired === 0;
    });
  });
});

describe("a broker that is killed while it retires", () => {
  it(
    `loses nothing that is needed, and frees all the rest (${KILLS} kills, seed ${SEED})`,
    async () => {
      const random = new Random(SEED);
      const broker = await bench.brokerProcess({ ...SMALL, policy: HASTY });
      const setup = await bench.admin(broker.url);
      await setup.request("topic.create", { topic: "orders", retentionBytes: MIB });
      await prepareHalf(broker.url);
      const shop = await bench.producer({ url: broker.url, group: "shop" });
      await shop.send({ topic: "orders", body: "broken" });
      await shop.close();
      const billing = await bench.consumer({
        url: broker.url,
        group: "billing",
        subscribe: [{ topic: "orders" }],
      });
      const seen = new Set<string>();
      void billing.run((message) => {
        seen.add(message.id);
        if (message.text().includes("broken")) throw new Bury("no luck");
      });
      await waitFor("the dead letter", async () => {
        const { items } = await setup.request("dlq.list", { group: "billing" }).catch(() => NONE);
        return items.length === 1;
      });
      await setup.close();

      let isOver = false;
      const sent = new Set<string>();
      const sending = (async () => {
        while (!isOver) await sendAll(broker.url, 1, sent).catch(() => undefined);
      })();
      const met = new Set<KillPoint>();
      for (let kill = 0; kill < KILLS; kill++) {
        const point = pointOf(kill);
        if (point !== undefined) {
          await broker.kill();
          await broker.restart({ KILL_AT: point });
          if (await diesByItself(broker, POINT_WITHIN_MS)) met.add(point);
        }
        const atMs = performance.now() + random.between(150, 900);
        if (point === undefined) await waitFor("the moment", () => performance.now() > atMs);
        await broker.kill();
        await broker.restart({});
      }
      // In a hurry one of them may not be come to in its time.
      expect(met.size).toBeGreaterThanOrEqual(Math.min(6, (KILLS >> 1) - 1));
      console.info(`retention: seed ${SEED}, ${KILLS} kills, died at ${[...met].join("; ")}`);
      isOver = true;
      await sending;
      await sendAll(broker.url, 8, sent);

      // Retention keeps what a group has not settled: whatever was answered came to it.
      await waitFor("all of it", () => [...sent].every((id) => seen.has(id)), 30_000);
      // The first segment holds a half message and a dead letter: they are copied, and it goes.
      await waitFor("the space", () => fitsIn(broker.dataDir, 8 * MIB), 30_000);
      await waitFor(
        "the first segment to go",
        () => !segmentsOf(broker.dataDir).includes(1),
        30_000,
      );
      const admin = await bench.admin(broker.url);
      expect(await viewOf(admin)).toMatchObject({ unsettled: "keep", expired: 0 });
      const { topics } = await admin.request("group.describe", { group: "billing" });
      expect(topics).toMatchObject([{ topic: "orders", expired: 0 }]);
      const { items } = await admin.request("dlq.list", { group: "billing" });
      expect(items).toHaveLength(1);
      const offset = items[0]?.offset ?? 0;
      const { message } = await admin.request("dlq.show", { group: "billing", offset });
      expect(new TextDecoder().decode(message)).toContain("broken");
      expect(await admin.request("tx.show", { transactionId: TX })).toMatchObject({
        state: "undecided",
        isHistoryRetired: true,
        messages: [{ topic: "orders" }],
      });
      const late = await bench.consumer({
        url: broker.url,
        group: "late",
        subscribe: [{ topic: "orders", from: "latest" }],
      });
      const messages = gather(late);
      await waitFor("its place at the end", async () =>
        admin.request("group.describe", { group: "late" }).catch(() => null),
      );
      await admin.request("tx.decide", { transactionId: TX, verdict: "commit", ...AUDIT });
      const [half] = await waitFor("the half message", () => messages.length > 0 && messages);
      expect(half?.text()).toBe('"half"');
      await billing.close();
      await late.close();
      await broker.kill("SIGTERM");
      expect(await verifyStore(broker.dataDir)).toMatchObject({ problems: [] });
    },
    60_000 + KILLS * 10_000,
  );
});

const NONE = { items: [] };

/** Undefined: any moment. The long form takes turns. */
function pointOf(kill: number): KillPoint | undefined {
  if (!IS_LONG) return POINTS_OF_RETIREMENT[2 * kill + (SEED % 2)];
  return kill % 2 === 0
    ? undefined
    : POINTS_OF_RETIREMENT[(kill >> 1) % POINTS_OF_RETIREMENT.length];
}
