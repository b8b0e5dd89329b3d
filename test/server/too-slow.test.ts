/** A peer that does not read costs nobody else anything: it is closed with a reason, and its leases go back. */
import {
  type BrokerFrame,
  type ClientFrame,
  decodeBrokerBatch,
  encodeBatch,
  encodeMessage,
} from "@escrowmq/protocol";
import { afterEach, expect, it } from "vitest";
import type { Broker } from "../../broker/src/server/broker.ts";
import { createBroker } from "../../broker/src/server/create-broker.ts";
import { MemoryDisk } from "../../broker/src/store/memory-disk.ts";
import { openMemoryStore } from "../../broker/src/store/memory-store.ts";

const MIB = 1_048_576;

let broker: Broker | null = null;
afterEach(() => broker?.close());

/** `unreadBytes`: what the peer has not taken yet of what it was sent. */
function connect(to: Broker, unreadBytes: () => number) {
  const frames: BrokerFrame[] = [];
  const closedWith: string[] = [];
  const session = to.accept({
    send: (data) => void frames.push(...decodeBrokerBatch(data)),
    close: (_code, reason) => void closedWith.push(reason),
    terminate: () => undefined,
    pause: () => undefined,
    get bufferedBytes() {
      return unreadBytes();
    },
  });
  const say = (...batch: ClientFrame[]): void => session.message(encodeBatch(batch));
  say({ type: "hello", version: 1, client: "test" });
  return { frames, closedWith, say };
}

const subscribe: ClientFrame[] = [
  { type: "subscribe", id: 1, subscription: 1, group: "g", topics: [{ topic: "orders" }] },
  { type: "credit", subscription: 1, messages: 1, bytes: MIB },
];

it("a consumer that reads nothing is closed with TOO_SLOW, and another gets its message", async () => {
  const disk = new MemoryDisk();
  const openStore = () => openMemoryStore(disk);
  broker = await createBroker({ port: null, logLevel: "silent", openStore });
  let unreadBytes = 0;
  const slow = connect(broker, () => unreadBytes);
  const other = connect(broker, () => 0);
  other.say({ type: "topic.create", id: 9, topic: "orders" });
  await expect.poll(() => other.frames.some(({ type }) => type === "ok")).toBe(true);
  slow.say(...subscribe);
  await expect.poll(() => slow.frames.some(({ type }) => type === "ok")).toBe(true);
  unreadBytes = 33 * MIB;
  const message = encodeMessage({ id: "m1", topic: "orders", body: Uint8Array.of(1) });
  other.say({ type: "send", id: 2, sendId: "m1", messages: [message] });
  await expect.poll(() => slow.closedWith).toEqual(["TOO_SLOW"]);
  expect(slow.frames.at(-1)).toMatchObject({ type: "closing", code: "TOO_SLOW" });
  other.say(...subscribe);
  await expect.poll(() => other.frames.some(({ type }) => type === "deliver")).toBe(true);
});
