/**
 * Flow control, seen from connections of a broker without sockets, on a memory disk whose writes the test
 * holds: what is slowed, what passes, what is closed.
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
import type { Flow, MemoryFigures } from "../../broker/src/server/flow.ts";
import type { Session } from "../../broker/src/server/session.ts";
import { MemoryDisk } from "../../broker/src/store/memory-disk.ts";
import { openMemoryStore } from "../../broker/src/store/memory-store.ts";

const MIB = 1_048_576;
const MEMORY_BYTES_MAX = 128 * MIB;

const brokers: Broker[] = [];
afterEach(async () => {
  await Promise.all(brokers.splice(0).map((broker) => broker.close()));
});

const turns = async (count = 30): Promise<void> => {
  for (let turn = 0; turn < count; turn++) await new Promise((resolve) => setImmediate(resolve));
};

/** `[who, request id]` of each answer, over all connections, in the order in which they were given. */
type AnswerLog = [who: string, re: number][];

class Peer {
  readonly frames: BrokerFrame[] = [];
  readonly session: Session;
  closedWith = "";
  isPaused = false;
  isReading = true;
  unreadBytes = 0;
  #isGone = false;

  constructor(broker: Broker, name: string, answers: AnswerLog) {
    const unread = (): number => this.unreadBytes;
    this.session = broker.accept({
      send: (data) => {
        if (!this.isReading) this.unreadBytes += data.length;
        for (const frame of decodeBrokerBatch(data)) {
          this.frames.push(frame);
          if (frame.type === "ok" || frame.type === "error") answers.push([name, frame.re]);
        }
      },
      close: (_code, reason) => {
        this.closedWith ||= reason;
      },
      terminate: () => this.leaves(),
      pause: (isPaused) => {
        this.isPaused = isPaused;
      },
      get bufferedBytes() {
        return unread();
      },
    });
    this.says({ type: "hello", version: 1, client: name });
  }

  says(...frames: ClientFrame[]): void {
    this.session.message(encodeBatch(frames));
  }

  reads(): void {
    this.isReading = true;
    this.unreadBytes = 0;
    this.session.drained();
  }

  leaves(): void {
    if (this.#isGone) return;
    this.#isGone = true;
    this.unreadBytes = 0;
    this.session.closed();
  }

  async hears(fits: (frame: BrokerFrame) => boolean): Promise<BrokerFrame> {
    for (;;) {
      const found = this.frames.find(fits);
      if (found !== undefined) return found;
      await turns(1);
    }
  }

  deliveries(): number {
    return this.frames.reduce(
      (sum, frame) => sum + (frame.type === "deliver" ? frame.deliveries.length : 0),
      0,
    );
  }
}

const answerTo =
  (re: number) =>
  (frame: BrokerFrame): boolean =>
    (frame.type === "ok" || frame.type === "error") && frame.re === re;

let nextSend = 1;
const order = (id: number, bytes: number): ClientFrame => {
  const sendId = `m${nextSend++}`;
  const message = encodeMessage({ id: sendId, topic: "orders", body: new Uint8Array(bytes) });
  return { type: "send", id, sendId, messages: [message] };
};

async function aBroker() {
  const disk = new MemoryDisk();
  const broker = await createBroker({
    port: null,
    logLevel: "silent",
    memoryBytesMax: MEMORY_BYTES_MAX,
    openStore: () => openMemoryStore(disk),
  });
  brokers.push(broker);
  const answers: AnswerLog = [];
  const { flow } = broker as unknown as { readonly flow: Flow };
  const peer = (name: string): Peer => new Peer(broker, name, answers);
  const operator = peer("operator");
  operator.says({ type: "topic.create", id: 1, topic: "orders" });
  await operator.hears(answerTo(1));
  const consumer = async (name: string, messages = 100_000): Promise<Peer> => {
    const one = peer(name);
    one.says({
      type: "subscribe",
      id: 1,
      subscription: 1,
      group: "g",
      topics: [{ topic: "orders" }],
    });
    await one.hears(answerTo(1));
    one.says({ type: "credit", subscription: 1, messages, bytes: 256 * MIB });
    return one;
  };
  return { disk, flow, peer, operator, consumer, answers };
}

const totalOf = (figures: MemoryFigures): number =>
  Object.values(figures).reduce((sum, bytes) => sum + bytes, 0);

describe("a producer faster than the disk", () => {
  it("is slowed, not buffered: it is not read from while the disk does not take its sends", async () => {
    const { disk, flow, peer } = await aBroker();
    const fast = peer("fast");
    disk.holdAppends();
    let sent = 0;
    for (; !fast.isPaused && sent < 10_000; sent++) {
      fast.says(order(sent, 64_000));
      await turns(1);
    }
    expect(fast.isPaused).toBe(true);
    expect(sent * 64_000).toBeLessThan(24 * MIB);
    expect(flow.inbox.bytes("sending")).toBeLessThanOrEqual(flow.shares.sendingBytesMax);
    expect(fast.frames.filter(answerTo(5))).toEqual([]);
    // Told to keep what follows to itself.
    expect(fast.frames.some(({ type }) => type === "window")).toBe(true);
    disk.releaseAppends();
    await fast.hears(answerTo(sent - 1));
    expect(fast.isPaused).toBe(false);
    expect(totalOf(flow.figures(0))).toBe(0);
  });

  it("costs another producer a turn, not its backlog", async () => {
    const { disk, flow, peer, answers } = await aBroker();
    const fast = peer("fast");
    const modest = peer("modest");
    modest.says(order(1, 10));
    await modest.hears(answerTo(1));
    disk.holdAppends();
    let sent = 0;
    for (; !fast.isPaused; sent++) {
      fast.says(order(sent, 64_000));
      await turns(1);
    }
    const waiting = Math.floor(flow.inbox.bytes("sending") / 65_000);
    expect(waiting).toBeGreaterThan(10);
    modest.says(order(2, 10));
    expect(modest.isPaused).toBe(false);
    disk.releaseAppends();
    await fast.hears(answerTo(sent - 1));
    const place = answers.findIndex(([who, re]) => who === "modest" && re === 2);
    const behind = answers.slice(place).filter(([who]) => who === "fast");
    expect(behind.length).toBeGreaterThanOrEqual(waiting - 2);
  });
});

describe("under overload", () => {
  it("verdicts and acks pass before sends", async () => {
    const { disk, flow, peer, consumer, answers } = await aBroker();
    const shop = peer("shop");
    const transactionId = "t".repeat(32);
    const [half] = [encodeMessage({ id: "half", topic: "orders", body: new Uint8Array(1) })];
    shop.says({ type: "announce", id: 1, group: "shop", checker: true });
    shop.says({ type: "prepare", id: 2, transactionId, group: "shop", messages: [half] });
    shop.says(order(3, 10));
    await shop.hears(answerTo(3));
    const billing = await consumer("billing", 1);
    const delivered = await billing.hears(({ type }) => type === "deliver");
    const token = delivered.type === "deliver" ? (delivered.deliveries[0]?.token ?? "") : "";
    // The producer's connection broke before its verdict: it comes over a new one.
    shop.leaves();
    const shopAgain = peer("shop again");
    shopAgain.says({ type: "announce", id: 1, group: "shop", checker: true });
    await shopAgain.hears(answerTo(1));
    disk.holdAppends();
    const senders = ["a", "b", "c", "d"].map(peer);
    const last = senders.map(() => 0);
    while (senders.some(({ isPaused }) => !isPaused)) {
      for (const [at, sender] of senders.entries()) {
        if (sender.isPaused) continue;
        last[at] = (last[at] ?? 0) + 1;
        sender.says(order(last[at], 64_000));
      }
      await turns(1);
    }
    answers.length = 0;
    const waiting = Math.floor(flow.inbox.bytes("sending") / 65_000);
    expect(waiting).toBeGreaterThan(40);
    billing.says({ type: "ack", id: 5, tokens: [token] });
    shopAgain.says({ type: "verdict", id: 6, transactionId, group: "shop", verdict: "commit" });
    await turns();
    disk.releaseAppends();
    await Promise.all([
      billing.hears(answerTo(5)),
      shopAgain.hears(answerTo(6)),
      ...senders.map((sender, at) => sender.hears(answerTo(last[at] ?? 0))),
    ]);
    const settled = Math.max(
      answers.findIndex(([who]) => who === "billing"),
      answers.findIndex(([who]) => who === "shop again"),
    );
    // They stand in the block that was open, and every send that waited in a later one.
    expect(answers.length - 1 - settled).toBeGreaterThanOrEqual(waiting);
    expect(shopAgain.frames.find(answerTo(6))).toMatchObject({ type: "ok", state: "committed" });
  });

  it("a connection's own frames keep their order: a verdict after its prepare", async () => {
    const { disk, peer } = await aBroker();
    const shop = peer("shop");
    const transactionId = "t".repeat(32);
    shop.says({ type: "announce", id: 0, group: "shop", checker: true });
    disk.holdAppends();
    let sent = 1;
    for (; !shop.isPaused; sent++) {
      shop.says(order(sent, 64_000));
      await turns(1);
    }
    const half = encodeMessage({ id: "half", topic: "orders", body: new Uint8Array(1) });
    shop.says({
      type: "prepare",
      id: 9_001,
      transactionId,
      group: "shop",
      messages: [half],
    });
    shop.says({ type: "verdict", id: 9_002, transactionId, group: "shop", verdict: "commit" });
    disk.releaseAppends();
    expect(await shop.hears(answerTo(9_002))).toMatchObject({ type: "ok", state: "committed" });
  });

  it("listings are refused with OVERLOADED while as many as fit are being made", async () => {
    const { disk, operator } = await aBroker();
    disk.holdAppends();
    operator.says({ type: "topic.create", id: 2, topic: "other" });
    const asked = Array.from({ length: 100 }, (_, at) => at + 10);
    operator.says(...asked.map((id): ClientFrame => ({ type: "topic.list", id })));
    await turns();
    disk.releaseAppends();
    await operator.hears(answerTo(109));
    const refused = operator.frames.filter(
      (frame) => frame.type === "error" && frame.code === "OVERLOADED",
    );
    // 64 answers with a value fit, that of the topic is one of them.
    expect(refused.length).toBe(37);
    operator.says({ type: "topic.list", id: 200 });
    expect(await operator.hears(answerTo(200))).toMatchObject({ type: "ok" });
  });
});

describe("a consumer that stops reading", () => {
  it("costs the others nothing: it holds its allowance, and they get the rest", async () => {
    const { peer, consumer, flow } = await aBroker();
    const stalled = await consumer("stalled");
    stalled.isReading = false;
    const shop = peer("shop");
    for (let at = 0; at < 400; at++) {
      shop.says(order(at, 64_000));
      await turns(1);
    }
    await shop.hears(answerTo(399));
    const healthy = await consumer("healthy");
    await turns(200);
    // Its allowance, and what one step delivers before anybody sees that it does not read.
    expect(stalled.deliveries() * 64_000).toBeLessThan(6 * MIB);
    expect(healthy.deliveries()).toBe(400 - stalled.deliveries());
    expect(stalled.closedWith).toBe("");
    expect(flow.unread.bytes).toBeGreaterThan(MIB);
    stalled.leaves();
    await turns();
    expect(flow.unread.bytes).toBe(0);
    expect(healthy.deliveries()).toBe(400);
  });

  it("counts from the decision on: deliveries that wait for the disk are held against its allowance", async () => {
    const { disk, peer, consumer } = await aBroker();
    const shop = peer("shop");
    for (let at = 0; at < 400; at++) {
      shop.says(order(at, 64_000));
      await turns(1);
    }
    await shop.hears(answerTo(399));
    const stalled = await consumer("stalled", 0);
    stalled.isReading = false;
    disk.holdAppends();
    stalled.says({ type: "credit", subscription: 1, messages: 100_000, bytes: 256 * MIB });
    // Each step could deliver another 4 MiB of the backlog, and none of them reaches the socket.
    const other = peer("other");
    for (let at = 0; at < 40; at++) {
      other.says({ type: "ack", id: at, tokens: ["0.0.0"] });
      await turns(2);
    }
    disk.releaseAppends();
    await other.hears(answerTo(39));
    await turns(50);
    expect(stalled.deliveries()).toBeGreaterThan(0);
    expect(stalled.deliveries() * 64_000).toBeLessThan(6 * MIB);
  });

  it("gets more when it has read", async () => {
    const { peer, consumer } = await aBroker();
    const slow = await consumer("slow");
    slow.isReading = false;
    const shop = peer("shop");
    for (let at = 0; at < 200; at++) {
      shop.says(order(at, 64_000));
      await turns(1);
    }
    await shop.hears(answerTo(199));
    const before = slow.deliveries();
    expect(before).toBeLessThan(120);
    slow.reads();
    await turns(100);
    expect(slow.deliveries()).toBe(200);
  });

  it("is closed TOO_SLOW, the worst first, when all of them together hold the share", async () => {
    const { peer, consumer, flow, operator } = await aBroker();
    for (let at = 0; at < 200; at++)
      operator.says({ type: "topic.create", id: 100 + at, topic: `${"t".repeat(100)}${at}` });
    await operator.hears(answerTo(299));
    const healthy = await consumer("healthy");
    // Replies cannot be held back: these ask and do not read, some of them twice as much.
    const stalled = Array.from({ length: 12 }, (_, at) => peer(`stalled${at}`));
    for (const one of stalled) one.isReading = false;
    for (let round = 0; stalled.every(({ closedWith }) => closedWith === ""); round++) {
      for (const [at, one] of stalled.entries())
        for (let times = 0; times < (at < 3 ? 2 : 1); times++)
          one.says(...[1, 2, 3, 4].map((id): ClientFrame => ({ type: "topic.list", id })));
      await turns(12);
      expect(flow.unread.bytes).toBeLessThanOrEqual(flow.shares.unreadBytesMax);
      expect(round).toBeLessThan(2_000);
    }
    const closed = stalled.flatMap(({ closedWith }, at) => (closedWith === "" ? [] : [at]));
    expect(closed.every((at) => at < 3)).toBe(true);
    expect(stalled.find(({ closedWith }) => closedWith !== "")?.closedWith).toBe("TOO_SLOW");
    expect(healthy.closedWith).toBe("");
  });
});

describe("memory", () => {
  it("stays under the bound with any mix of peers, and is all free when they are gone", async () => {
    const { disk, flow, peer, consumer } = await aBroker();
    const seen = { blocks: 0, most: 0 };
    const check = (): void => {
      const figures = flow.figures(seen.blocks);
      seen.most = Math.max(seen.most, totalOf(figures));
      expect(figures.sending).toBeLessThanOrEqual(flow.shares.sendingBytesMax + 70_000);
      expect(figures.assembling).toBeLessThanOrEqual(
        flow.shares.assemblingBytesMax + 40 * 64 * 1_024,
      );
      expect(figures.unread).toBeLessThanOrEqual(flow.shares.unreadBytesMax);
    };
    const consumers = await Promise.all(Array.from({ length: 20 }, (_, at) => consumer(`c${at}`)));
    for (const [at, one] of consumers.entries()) one.isReading = at % 2 === 0;
    const senders = Array.from({ length: 20 }, (_, at) => peer(`s${at}`));
    const beginners = Array.from({ length: 40 }, (_, at) => peer(`b${at}`));
    const begun = beginners.map(() => 0);
    for (let round = 0; round < 60; round++) {
      if (round % 10 === 3) disk.holdAppends();
      if (round % 10 === 9) disk.releaseAppends();
      for (const sender of senders)
        if (!sender.isPaused) sender.says(order(round, 8_000 * (1 + (round % 7))));
      for (const [at, one] of beginners.entries()) {
        if (one.isPaused) continue;
        begun[at] = Math.min(4 * MIB, (begun[at] ?? 0) + 65_536);
        one.session.assembling(begun[at]);
      }
      await turns(2);
      check();
    }
    disk.releaseAppends();
    await turns(300);
    check();
    expect(seen.most).toBeGreaterThan(16 * MIB);
    for (const one of [...consumers, ...senders, ...beginners]) one.leaves();
    await turns(300);
    expect(totalOf(flow.figures(0))).toBe(0);
    expect(flow.inbox.paused).toBe(0);
  });
});
