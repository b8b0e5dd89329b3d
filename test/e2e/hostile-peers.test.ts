/** Peers that stall, flood or only hold a connection: they hold up nobody else (D10, D12, A4). */
import { connect } from "node:net";
import { describe, expect, it } from "vitest";
import { gather, useBench } from "../support/e2e-broker.ts";
import { RawClient } from "../support/e2e-raw-client.ts";
import { waitFor } from "../support/e2e-wait.ts";

const bench = useBench();
const MIB = 1_048_576;
const subscribe = [{ topic: "orders" }];

describe("a consumer that does not read", () => {
  it("is given no more than its socket takes, and the others of its group get the rest", async () => {
    const { url } = await bench.broker();
    const admin = await bench.admin(url, "orders");
    const producer = await bench.producer({ url, group: "shop" });
    const body = new Uint8Array(MIB / 4);
    for (let sent = 0; sent < 400; sent += 8)
      await producer.sendAll(Array.from({ length: 8 }, () => ({ topic: "orders", body })));
    const raw = await RawClient.open(url);
    await raw.ask({ type: "subscribe", subscription: 1, group: "g", topics: subscribe });
    raw.stopReading();
    raw.say({ type: "credit", subscription: 1, messages: 100_000, bytes: 256 * MIB });
    const leased = async (): Promise<number> => {
      const { consumers } = await admin.request("group.describe", { group: "g" });
      return consumers.find(({ client }) => client === "raw")?.leased ?? 0;
    };
    await waitFor("deliveries", async () => (await leased()) > 0);
    const got = gather(await bench.consumer({ url, group: "g", subscribe }));
    const held = await waitFor("the rest", async () => {
      const count = await leased();
      return got.length + count === 400 && count;
    });
    // One step's worth, and what the kernel's buffers hold.
    expect(held * body.length).toBeLessThan(24 * MIB);
    raw.close();
    await waitFor("what it held", () => got.length === 400);
  });
});

describe("a client that asks and does not read the answers", () => {
  it("is closed before they fill the broker's memory, and the others are served", async () => {
    const broker = await bench.brokerProcess();
    const admin = await bench.admin(broker.url);
    const names = Array.from({ length: 1_000 }, (_, at) => `${"t".repeat(100)}-${at}`);
    await Promise.all(names.map((topic) => admin.request("topic.create", { topic })));
    const raw = await RawClient.open(broker.url);
    raw.stopReading();
    let slowestMs = 0;
    for (let id = 1; id <= 400; id++) {
      raw.say({ type: "topic.list", id, limit: 1_000 });
      if (id % 20 > 0) continue;
      const startMs = performance.now();
      await admin.request("stats", {});
      slowestMs = Math.max(slowestMs, performance.now() - startMs);
    }
    await waitFor("its end", async () => (await admin.request("stats", {})).connections === 1);
    const { rssBytes } = await admin.request("stats", {});
    expect(rssBytes).toBeLessThan(350 * MIB);
    expect(slowestMs).toBeLessThan(1_000);
  });
});

describe("a connection that only exists", () => {
  it("is closed when it has sent no request within a few seconds", async () => {
    const { url } = await bench.broker();
    const socket = connect(Number(new URL(url).port), "127.0.0.1");
    bench.later(() => socket.destroy());
    const startMs = performance.now();
    socket.on("connect", () => socket.write("GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nX-Slow: "));
    await new Promise((resolve) => socket.resume().on("close", resolve));
    expect(performance.now() - startMs).toBeLessThan(9_000);
  });

  it("counts: beyond the limit no more are taken, and a place that becomes free is given away", async () => {
    const { url } = await bench.broker({ connectionsMax: 3 });
    const first = [await RawClient.open(url), await RawClient.open(url), await RawClient.open(url)];
    await expect(RawClient.open(url)).rejects.toThrow();
    first[0]?.close();
    const late = await waitFor("a free place", () => RawClient.open(url).catch(() => null));
    expect(late.frames[0]?.type).toBe("welcome");
  });
});
