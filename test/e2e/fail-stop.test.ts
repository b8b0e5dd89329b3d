/** What clients see when the store fails: I5 over real sockets. The disk is one that fails when told. */
import { type Broker, createBroker } from "@escrowmq/broker";
import { encodeBatch } from "@escrowmq/protocol";
import { describe, expect, it } from "vitest";
import { systemClock } from "../../broker/src/server/clock.ts";
import { MemoryDisk } from "../../broker/src/store/memory-disk.ts";
import { openMemoryStore } from "../../broker/src/store/memory-store.ts";
import { gather, said, useBench } from "../support/e2e-broker.ts";
import { RawClient } from "../support/e2e-raw-client.ts";
import { waitFor } from "../support/e2e-wait.ts";

const bench = useBench();
const subscribe = [{ topic: "orders" }];

async function onDisk(disk: MemoryDisk) {
  const broker = await bench.broker({ openStore: () => openMemoryStore(disk) });
  await bench.admin(broker.url, "orders");
  return broker;
}

const isReady = async (broker: Broker): Promise<boolean> =>
  (await fetch(`${broker.url.replace("ws:", "http:")}/readyz`)).status === 200;

describe("a broker whose store fails", () => {
  for (const block of ["lost", "kept"] as const)
    it(`tells its clients, reopens and loses nothing that it acknowledged (the block was ${block})`, async () => {
      const disk = new MemoryDisk();
      const broker = await onDisk(disk);
      const producer = await bench.producer({ url: broker.url, group: "shop" });
      const raw = await RawClient.open(broker.url);
      const got = gather(await bench.consumer({ url: broker.url, group: "g", subscribe }));
      const acked: number[] = [];
      const sending = Array.from({ length: 600 }, async (_, body) => {
        // In waves, so that the failure falls between answers.
        await waitFor("its turn", () => acked.length >= body - 50);
        await producer.send({ topic: "orders", body });
        acked.push(body);
        if (acked.length === 150 || acked.length === 400) disk.failNextAppend({ block });
      });
      expect(await raw.ended()).toMatchObject({ why: "STORE_FAILED", code: 1001 });
      await Promise.all(sending);
      await waitFor("all", () => new Set(said(got)).size === 600);
      const admin = await bench.admin(broker.url);
      // T3: the SDK has repeated what was not answered, and nothing stands there twice.
      const { nextOffset } = await admin.request("topic.describe", { topic: "orders" });
      expect(nextOffset).toBe(600);
      const metrics = await (await fetch(`${broker.url.replace("ws:", "http:")}/metrics`)).text();
      expect(metrics).toContain("escrowmq_store_failures_total 2");
    });

  it("answers nothing ok between the failure and the reopening", async () => {
    const disk = new MemoryDisk();
    const broker = await onDisk(disk);
    const raw = await RawClient.open(broker.url);
    await raw.ask({ type: "topic.create", topic: "before" });
    disk.failNextAppend({ block: "lost" });
    const heard = raw.frames.length;
    raw.say({ type: "topic.create", id: 2, topic: "during" });
    // Reads, too: they would tell of a state that is not on disk.
    raw.say({ type: "topic.list", id: 3 });
    expect(await raw.ended()).toMatchObject({ why: "STORE_FAILED" });
    expect(raw.frames.slice(heard).map(({ type }) => type)).toEqual(["closing"]);
    await waitFor("the reopening", () => isReady(broker));
    const admin = await bench.admin(broker.url);
    const { items } = await admin.request("topic.list", {});
    expect(items.map(({ topic }) => topic)).toEqual(["before", "orders"]);
  });

  it("is not ready and refuses connections until the store can be opened again", async () => {
    const disk = new MemoryDisk();
    const reopening = { isBroken: false, tries: 0 };
    const broker = await bench.broker({
      openStore: async () => {
        if (!reopening.isBroken) return openMemoryStore(disk);
        reopening.tries++;
        throw new Error("the disk is away");
      },
    });
    const admin = await bench.admin(broker.url, "orders");
    reopening.isBroken = true;
    disk.failNextAppend();
    await expect(admin.request("topic.create", { topic: "more" })).rejects.toMatchObject({
      code: "OUTCOME_UNKNOWN",
    });
    expect(await isReady(broker)).toBe(false);
    const raw = await RawClient.open(broker.url, { isGreeting: false });
    expect(await raw.ended()).toEqual({ why: "STORE_FAILED", code: 1013 });
    await waitFor("a try", () => reopening.tries > 0);
    reopening.isBroken = false;
    await waitFor("the reopening", () => isReady(broker));
    await bench.admin(broker.url, "more");
  });

  it("gives up when the store stays away, and says why", async () => {
    const disk = new MemoryDisk();
    const state = { isBroken: false };
    const clock = systemClock();
    const broker = await createBroker({
      port: null,
      logLevel: "silent",
      // Time that passes at once: between two tries there are up to ten seconds.
      clock: {
        ...clock,
        setTimer: (callback, delayMs) => clock.setTimer(callback, Math.min(delayMs, 5)),
      },
      openStore: async () => {
        if (state.isBroken) throw new Error("the disk is gone");
        return openMemoryStore(disk);
      },
    });
    bench.later(() => broker.close());
    state.isBroken = true;
    disk.failNextAppend();
    const events = broker.accept({
      send: () => undefined,
      close: () => undefined,
      terminate: () => undefined,
      pause: () => undefined,
      bufferedBytes: 0,
    });
    events.message(encodeBatch([{ type: "hello", version: 1, client: "raw" }]));
    events.message(encodeBatch([{ type: "topic.create", id: 1, topic: "t" }]));
    expect((await broker.failed).message).toBe("the disk is gone");
  });

  it("that is closed while it reopens lets go of the store", async () => {
    const disk = new MemoryDisk();
    let open: () => void = () => undefined;
    const gate = new Promise<void>((resolve) => {
      open = resolve;
    });
    let opened = 0;
    let stores = 0;
    const broker = await bench.broker({
      openStore: async () => {
        if (opened++ > 0) await gate;
        const store = await openMemoryStore(disk);
        stores++;
        return store;
      },
    });
    const raw = await RawClient.open(broker.url);
    disk.failNextAppend();
    raw.say({ type: "topic.create", id: 1, topic: "t" });
    await waitFor("the second opening", () => opened === 2);
    await broker.close();
    open();
    await waitFor("the store that comes too late", () => stores === 2);
    await waitFor(
      "the disk to be free",
      async () => {
        try {
          await (await openMemoryStore(disk)).close();
          return true;
        } catch {
          // Still locked by the broker that was closed.
          return false;
        }
      },
      2_000,
    );
  });

  it("in the middle of its closing tells its clients, and leaves what the disk holds", async () => {
    const disk = new MemoryDisk();
    const broker = await onDisk(disk);
    const raw = await RawClient.open(broker.url);
    disk.holdAppends();
    raw.say({ type: "topic.create", id: 1, topic: "never" });
    await fetch(broker.url.replace("ws:", "http:"));
    const closing = broker.close();
    disk.failNextAppend({ block: "lost" });
    disk.releaseAppends();
    expect((await raw.ended()).code).toBe(1001);
    await closing;
    expect(raw.frames.filter(({ type }) => type === "ok")).toEqual([]);
    const again = await bench.broker({ openStore: () => openMemoryStore(disk) });
    const { items } = await (await bench.admin(again.url)).request("topic.list", {});
    expect(items.map(({ topic }) => topic)).toEqual(["orders"]);
  });
});
