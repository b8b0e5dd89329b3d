/**
 * Promises 1 and 7, seen from a connection: `ok` means on disk, and a storage error ends all answers.
 * The broker is embedded without a socket, on a memory disk whose writes the test holds or fails.
 */
import {
  type BrokerFrame,
  type ClientFrame,
  decodeBrokerBatch,
  encodeBatch,
  encodeMessage,
} from "@escrowmq/protocol";
import { afterEach, describe, expect, it } from "vitest";
import type { Broker } from "../../broker/src/server/broker.ts";
import { createBroker } from "../../broker/src/server/create-broker.ts";
import type { BrokerOptions } from "../../broker/src/server/options.ts";
import type { Session } from "../../broker/src/server/session.ts";
import { MemoryDisk } from "../../broker/src/store/memory-disk.ts";
import { openMemoryStore } from "../../broker/src/store/memory-store.ts";

interface Peer {
  readonly frames: BrokerFrame[];
  readonly closedWith: string[];
  say(...frames: ClientFrame[]): void;
  /** The first frame that fits, as soon as it is there. */
  hears(fits: (frame: BrokerFrame) => boolean): Promise<BrokerFrame>;
  leave(): void;
}

const brokers: Broker[] = [];
afterEach(async () => {
  await Promise.all(brokers.splice(0).map((broker) => broker.close()));
});

async function brokerOn(disk: MemoryDisk, options: Partial<BrokerOptions> = {}): Promise<Broker> {
  const openStore = (): Promise<Awaited<ReturnType<typeof openMemoryStore>>> =>
    openMemoryStore(disk);
  const broker = await createBroker({ port: null, logLevel: "silent", openStore, ...options });
  brokers.push(broker);
  return broker;
}

function connect(broker: Broker): Peer {
  const frames: BrokerFrame[] = [];
  const closedWith: string[] = [];
  const waiting = new Set<() => void>();
  const session: Session = broker.accept({
    send: (data) => {
      frames.push(...decodeBrokerBatch(data));
      for (const look of [...waiting]) look();
    },
    close: (_code, reason) => closedWith.push(reason),
    terminate: () => undefined,
    pause: () => undefined,
    bufferedBytes: 0,
  });
  const say = (...batch: ClientFrame[]): void => session.message(encodeBatch(batch));
  say({ type: "hello", version: 1, client: "test" });
  return {
    frames,
    closedWith,
    say,
    hears: (fits) =>
      new Promise((resolve) => {
        const look = (): void => {
          const found = frames.find(fits);
          if (found === undefined) return;
          waiting.delete(look);
          resolve(found);
        };
        waiting.add(look);
        look();
      }),
    leave: () => session.closed(),
  };
}

const isAnswer =
  (re: number) =>
  (frame: BrokerFrame): boolean =>
    (frame.type === "ok" || frame.type === "error") && frame.re === re;

const order = (id: number, sendId: string): ClientFrame => ({
  type: "send",
  id,
  sendId,
  messages: [encodeMessage({ id: sendId, topic: "orders", body: new Uint8Array([1]) })],
});

/** Long enough for everything that is not waiting for the disk. */
const everythingElse = async (): Promise<void> => {
  for (let turn = 0; turn < 20; turn++) await new Promise((resolve) => setImmediate(resolve));
};

async function withTopic(
  disk: MemoryDisk,
  options: Partial<BrokerOptions> = {},
): Promise<Peer & { broker: Broker }> {
  const broker = await brokerOn(disk, options);
  const peer = connect(broker);
  peer.say({ type: "topic.create", id: 1, topic: "orders" });
  await peer.hears(isAnswer(1));
  return { ...peer, broker };
}

describe("ok means on disk", () => {
  it("a send is not answered while its block is being synced", async () => {
    const disk = new MemoryDisk();
    const peer = await withTopic(disk);
    disk.holdAppends();
    peer.say(order(2, "m1"));
    await everythingElse();
    expect(peer.frames.filter(isAnswer(2))).toEqual([]);
    disk.releaseAppends();
    expect(await peer.hears(isAnswer(2))).toMatchObject({ type: "ok" });
  });

  it("a message is not delivered while its block is being synced", async () => {
    const disk = new MemoryDisk();
    const peer = await withTopic(disk);
    const consumer = connect(peer.broker);
    consumer.say({
      type: "subscribe",
      id: 1,
      subscription: 1,
      group: "g",
      topics: [{ topic: "orders" }],
    });
    consumer.say({ type: "credit", subscription: 1, messages: 10, bytes: 10_000 });
    await consumer.hears(isAnswer(1));
    disk.holdAppends();
    peer.say(order(2, "m1"));
    await everythingElse();
    expect(consumer.frames.some(({ type }) => type === "deliver")).toBe(false);
    disk.releaseAppends();
    await consumer.hears(({ type }) => type === "deliver");
  });

  it("a repetition is not answered before the first one is on disk", async () => {
    const disk = new MemoryDisk();
    const peer = await withTopic(disk);
    disk.holdAppends();
    peer.say(order(2, "m1"));
    await everythingElse();
    peer.say(order(3, "m1"));
    await everythingElse();
    expect(peer.frames.filter(isAnswer(3))).toEqual([]);
    disk.releaseAppends();
    expect(await peer.hears(isAnswer(3))).toMatchObject({ type: "ok", duplicate: true });
  });
});

describe("a storage error stops all answers", () => {
  it("what was not on disk is not answered, and the connection is told why it ends", async () => {
    const disk = new MemoryDisk();
    const peer = await withTopic(disk);
    disk.failNextAppend({ block: "lost" });
    peer.say(order(2, "m1"));
    await peer.hears(({ type }) => type === "closing");
    expect(peer.frames.filter(isAnswer(2))).toEqual([]);
    expect(peer.frames.at(-1)).toMatchObject({ type: "closing", code: "STORE_FAILED" });
    expect(peer.closedWith).toEqual(["STORE_FAILED"]);
  });

  it("the store is reopened, and what was acknowledged is there", async () => {
    const disk = new MemoryDisk();
    const peer = await withTopic(disk);
    peer.say(order(2, "m1"));
    await peer.hears(isAnswer(2));
    disk.failNextAppend({ block: "lost" });
    peer.say(order(3, "m2"));
    await peer.hears(({ type }) => type === "closing");
    const again = await reconnected(peer.broker);
    again.say(order(2, "m1"), order(3, "m2"));
    expect(await again.hears(isAnswer(2))).toMatchObject({ type: "ok", duplicate: true });
    expect(await again.hears(isAnswer(3))).toMatchObject({ type: "ok", duplicate: undefined });
  });

  it("a block that was written although its write failed is seen by everybody afterwards", async () => {
    const disk = new MemoryDisk();
    const peer = await withTopic(disk);
    disk.failNextAppend({ block: "kept" });
    peer.say(order(2, "m1"));
    await peer.hears(({ type }) => type === "closing");
    const again = await reconnected(peer.broker);
    again.say(order(2, "m1"));
    expect(await again.hears(isAnswer(2))).toMatchObject({ type: "ok", duplicate: true });
  });
});

describe("full disk", () => {
  it("sends are refused below the head-room while verdicts and acks still pass", async () => {
    const disk = new MemoryDisk({ freeBytes: 1_000 });
    const peer = await withTopic(disk, { sendFreeBytesMin: 2_000, settleFreeBytesMin: 500 });
    peer.say(order(2, "m1"));
    expect(await peer.hears(isAnswer(2))).toMatchObject({ type: "error", code: "DISK_FULL" });
    peer.say({ type: "ack", id: 3, tokens: ["0.0.0"] });
    expect(await peer.hears(isAnswer(3))).toMatchObject({ type: "ok", stale: ["0.0.0"] });
  });
});

/** The broker reopens on its own; until then it turns connections away. */
async function reconnected(broker: Broker): Promise<Peer> {
  for (;;) {
    const peer = connect(broker);
    if (peer.closedWith.length === 0) return peer;
    await new Promise((resolve) => setImmediate(resolve));
  }
}
