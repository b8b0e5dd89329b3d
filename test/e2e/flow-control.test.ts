/** Flow control over real sockets: who is slowed, who is closed, and what the broker holds meanwhile. */
import { connect, type Socket } from "node:net";
import { type ClientFrame, encodeBatch, encodeMessage, SUBPROTOCOL } from "@escrowmq/protocol";
import { describe, expect, it } from "vitest";
import { MemoryDisk } from "../../broker/src/store/memory-disk.ts";
import { openMemoryStore } from "../../broker/src/store/memory-store.ts";
import { gather, useBench } from "../support/e2e-broker.ts";
import { RawClient } from "../support/e2e-raw-client.ts";
import { waitFor } from "../support/e2e-wait.ts";

const bench = useBench();
const MIB = 1_048_576;
const subscribe = [{ topic: "orders" }];

/** Bytes that peers make the broker hold, by part, as it accounts for them. */
async function heldBy(url: string): Promise<{ parts: Record<string, number>; total: number }> {
  const text = await (await fetch(`${url.replace("ws:", "http:")}/metrics`)).text();
  const parts: Record<string, number> = {};
  for (const [, part = "", bytes] of text.matchAll(/escrowmq_memory_bytes\{part="(\w+)"\} (\S+)/g))
    parts[part] = Number(bytes);
  return { parts, total: Object.values(parts).reduce((sum, bytes) => sum + bytes, 0) };
}

const metric = async (url: string, name: string): Promise<number> => {
  const text = await (await fetch(`${url.replace("ws:", "http:")}/metrics`)).text();
  return Number(new RegExp(`^escrowmq_${name} (\\S+)`, "m").exec(text)?.[1]);
};

let sends = 0;
const order = (id: number, bytes: number): ClientFrame => {
  const sendId = `flow-${sends++}`;
  const message = encodeMessage({ id: sendId, topic: "orders", body: new Uint8Array(bytes) });
  return { type: "send", id, sendId, messages: [message] };
};

/** A connection that begins a message of 4 MiB, sends a part of it, and nothing more. */
async function beginner(url: string, bytes: number): Promise<Socket> {
  const { port } = new URL(url);
  const socket = connect(Number(port), "127.0.0.1");
  socket.on("error", () => undefined);
  socket.write(
    `GET / HTTP/1.1\r\nHost: 127.0.0.1:${port}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n` +
      `Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n` +
      `Sec-WebSocket-Protocol: ${SUBPROTOCOL}\r\n\r\n`,
  );
  await new Promise((resolve) => socket.once("data", resolve));
  const frame = (payload: Uint8Array, length: number): Uint8Array => {
    const header = new Uint8Array(14);
    header.set([0x82, 0xff]);
    new DataView(header.buffer).setBigUint64(2, BigInt(length));
    return Buffer.concat([header, payload]);
  };
  const hello = encodeBatch([{ type: "hello", version: 1, client: "beginner" }]);
  socket.write(frame(hello, hello.length));
  socket.write(frame(new Uint8Array(bytes), 4 * MIB));
  return socket;
}

describe("a consumer that stops reading", () => {
  it("costs the others nothing: they get all the rest, and its part when it is gone", async () => {
    const { url } = await bench.broker();
    await bench.admin(url, "orders");
    const stalled = await Promise.all(Array.from({ length: 10 }, () => RawClient.open(url)));
    for (const one of stalled) {
      await one.ask({ type: "subscribe", subscription: 1, group: "g", topics: subscribe });
      one.stopReading();
      one.say({ type: "credit", subscription: 1, messages: 20, bytes: 64 * MIB });
    }
    const got = gather(await bench.consumer({ url, group: "g", subscribe }));
    const producer = await bench.producer({ url, group: "shop" });
    const body = new Uint8Array(MIB / 8);
    for (let sent = 0; sent < 600; sent += 8)
      await producer.sendAll(Array.from({ length: 8 }, () => ({ topic: "orders", body })));
    // Each of the stalled holds what it was given before it was seen that it does not read.
    await waitFor("the rest", () => got.length >= 400);
    for (const one of stalled) one.close();
    await waitFor("what they held", () => got.length === 600);
    await waitFor("their memory", async () => (await heldBy(url)).parts.unread === 0);
  });
});

describe("a producer faster than the disk", () => {
  it("is slowed, not buffered, and everything is answered in the end", async () => {
    const disk = new MemoryDisk();
    const { url } = await bench.broker({
      openStore: () => openMemoryStore(disk),
      memoryBytesMax: 128 * MIB,
    });
    await bench.admin(url, "orders");
    const raw = await RawClient.open(url);
    disk.holdAppends();
    const count = 1_000;
    for (let id = 1; id <= count; id++) raw.say(order(id, 60_000));
    await waitFor("a pause", async () => (await metric(url, "paused_connections")) === 1);
    for (let look = 0; look < 20; look++) expect((await heldBy(url)).total).toBeLessThan(24 * MIB);
    const answers = (): number => raw.frames.filter(({ type }) => type === "ok").length;
    expect(answers()).toBe(0);
    disk.releaseAppends();
    await waitFor("the answers", () => answers() === count);
    await waitFor("free memory", async () => (await heldBy(url)).total === 0);
  });

  it("through the SDK keeps its sends to itself, and they all arrive once", async () => {
    const disk = new MemoryDisk();
    const { url } = await bench.broker({ openStore: () => openMemoryStore(disk) });
    await bench.admin(url, "orders");
    const producer = await bench.producer({ url, group: "shop" });
    disk.holdAppends();
    const body = new Uint8Array(10_000);
    const all = Array.from({ length: 2_000 }, () => producer.send({ topic: "orders", body }));
    await waitFor("sends", async () => (await heldBy(url)).total > MIB);
    for (let look = 0; look < 20; look++) expect((await heldBy(url)).total).toBeLessThan(3 * MIB);
    disk.releaseAppends();
    const sent = await Promise.all(all);
    expect(sent.some(({ duplicate }) => duplicate)).toBe(false);
  });

  it("that does not await is refused beyond what its options say, and goes on later", async () => {
    const disk = new MemoryDisk();
    const { url } = await bench.broker({ openStore: () => openMemoryStore(disk) });
    await bench.admin(url, "orders");
    const options = { url, group: "shop", unansweredMax: 50, unansweredBytesMax: 10 * MIB };
    const producer = await bench.producer(options);
    disk.holdAppends();
    const body = new Uint8Array(1_000);
    const all = Array.from({ length: 60 }, () =>
      producer.send({ topic: "orders", body }).then(
        () => "ok",
        ({ code }) => code,
      ),
    );
    await waitFor("sends", async () => (await heldBy(url)).total > 0);
    disk.releaseAppends();
    const ends = await Promise.all(all);
    expect(ends.filter((end) => end === "OVERLOADED")).toHaveLength(10);
    expect(ends.filter((end) => end === "ok")).toHaveLength(50);
    await producer.send({ topic: "orders", body });
  });
});

describe("memory", () => {
  it("stays under the bound with any mix of peers, and is free again when they are gone", async () => {
    const memoryBytesMax = 128 * MIB;
    const { url } = await bench.broker({ memoryBytesMax });
    await bench.admin(url, "orders");
    const producer = await bench.producer({ url, group: "shop" });
    const body = new Uint8Array(MIB / 4);
    for (let sent = 0; sent < 240; sent += 8)
      await producer.sendAll(Array.from({ length: 8 }, () => ({ topic: "orders", body })));
    const most: Record<string, number> = {};
    const check = async (): Promise<void> => {
      const { parts, total } = await heldBy(url);
      for (const [part, bytes] of Object.entries(parts))
        most[part] = Math.max(most[part] ?? 0, bytes);
      expect(total).toBeLessThan(memoryBytesMax);
    };
    const begun = await Promise.all(Array.from({ length: 30 }, () => beginner(url, 2 * MIB)));
    const stalled: RawClient[] = [];
    for (let at = 0; at < 30; at++) {
      const one = await RawClient.open(url);
      await one.ask({ type: "subscribe", subscription: 1, group: `g${at}`, topics: subscribe });
      one.stopReading();
      one.say({ type: "credit", subscription: 1, messages: 100_000, bytes: 256 * MIB });
      stalled.push(one);
      await check();
    }
    const flooding = await Promise.all(Array.from({ length: 8 }, () => RawClient.open(url)));
    for (let id = 1; id <= 120; id++) {
      for (const one of flooding) one.say(order(id, 60_000));
      await check();
    }
    await waitFor("the sends", () =>
      flooding.every(({ frames }) => frames.filter(({ type }) => type === "ok").length === 120),
    );
    await check();
    // It was no idle test: the parts were in use.
    expect(most.unread).toBeGreaterThan(8 * MIB);
    expect(most.assembling).toBeGreaterThan(4 * MIB);
    expect(most.sending).toBeGreaterThan(0);
    for (const one of [...stalled, ...flooding]) one.close();
    for (const one of begun) one.destroy();
    await waitFor("free memory", async () => (await heldBy(url)).total === 0);
  });
});
