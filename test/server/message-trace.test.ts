/** What became of a message, read from the blocks of an engine that really did it. */
import type { MessageTrace } from "@escrowmq/protocol";
import { EscrowError } from "@escrowmq/protocol";
import { describe, expect, it } from "vitest";
import type { Trace } from "../../broker/src/core/message-queries.ts";
import type { LogReader } from "../../broker/src/server/log-reader.ts";
import { traceMessage } from "../../broker/src/server/message-trace.ts";
import { timelineSource } from "../../broker/src/server/timeline-source.ts";
import type { BlockStore } from "../../broker/src/store/store.ts";
import { audit, fill, MINUTE, retry } from "../support/sim-billing.ts";
import { adminValue, checksOf, Driver, message, only, timed } from "../support/sim-driver.ts";

/** A topic "orders" that "billing" reads, and an operator who asks. */
class Bench extends Driver {
  readonly shop: number;
  readonly billing: number;
  /** Blocks before it are gone. */
  first = 1;
  readonly read: number[] = [];
  #nowMs = 0;

  constructor() {
    super();
    this.topic("orders");
    this.billing = this.consumer("billing", "orders");
    this.shop = this.producer("shop");
  }

  token(): string {
    return only(this.credit(this.billing, 1)).token;
  }

  /** One answer. `blockMs`: how long the reading of a block takes. */
  async asks(offset: number, after?: string, blockMs = 0, topic = "orders"): Promise<MessageTrace> {
    const more = after === undefined ? {} : { after };
    const { reply } = this.ask({ type: "message.trace", topic, offset, ...more });
    const reader = {
      nowMs: () => this.#nowMs,
      block: async (number: number) => {
        this.read.push(number);
        this.#nowMs += blockMs;
        const block = this.blocks[number - 1];
        if (number < this.first || block === undefined) throw new EscrowError("MESSAGE_RETIRED");
        return block;
      },
    };
    const store = { first: this.first } as BlockStore;
    const source = timelineSource(this.engine, store, reader as unknown as LogReader);
    return traceMessage(source, reader, adminValue(reply) as unknown as Trace);
  }
}

const said = ({ timeline }: Pick<MessageTrace, "timeline">): string[] =>
  timeline.map(({ event, text }) => `${event} ${text}`);

describe("a trace", () => {
  it("is the story of a message that was sent, tried twice and acked", async () => {
    const bench = new Bench();
    bench.send(bench.shop, "send-1", message("orders"), message("orders"));
    retry(bench, bench.billing, bench.token(), 1_000);
    const offset = 0;
    bench.advance(1_000);
    const deliveries = bench.credit(bench.billing, 9);
    bench.ack(bench.billing, ...deliveries.map(({ token }) => token));
    expect(said(await bench.asks(offset))).toEqual([
      "sent as send-1, with 1 other",
      `delivered billing, on connection ${bench.billing}`,
      "returned billing, retry, again in 1000 ms: no database",
      `delivered billing, on connection ${bench.billing}`,
      "acked billing",
    ]);
  });

  it("begins with the prepare, and tells of checks and the commit", async () => {
    const bench = new Bench();
    bench.prepare(bench.shop, "t1", { messages: [message("orders")] });
    const check = only(checksOf(bench.advance(6_000)));
    bench.answer(bench.shop, check, "commit");
    expect(said(await bench.asks(0))).toEqual([
      "prepared by shop, transaction t1",
      "checked check 1: shop producer answered commit after 0 ms",
      expect.stringMatching(/^committed by check/),
    ]);
  });

  it("follows an ack into its transaction, and back out of it", async () => {
    const bench = new Bench();
    fill(bench, "orders", 1);
    bench.prepare(bench.shop, "t1", { acks: [bench.token()] });
    bench.verdict(bench.shop, "t1", "rollback");
    bench.prepare(bench.shop, "t2", { acks: [bench.token()] });
    bench.verdict(bench.shop, "t2", "commit");
    expect(said(await bench.asks(0)).slice(1)).toEqual([
      `delivered billing, on connection ${bench.billing}`,
      "joined the ack of billing joined transaction t1",
      "returned billing, transaction t1 was rolled back",
      `delivered billing, on connection ${bench.billing}`,
      "joined the ack of billing joined transaction t2",
      "acked billing, transaction t2 was committed",
    ]);
  });

  it("follows a message to the dead letters and back", async () => {
    const bench = new Bench();
    fill(bench, "orders", 2);
    for (const { token } of bench.credit(bench.billing, 2))
      bench.request(bench.billing, { type: "bury", token, reason: "no customer" });
    bench.ask({ type: "dlq.replay", group: "billing", offsets: [1], ...audit });
    bench.ack(bench.billing, bench.token());
    expect(said(await bench.asks(1)).slice(1)).toEqual([
      `delivered billing, on connection ${bench.billing}`,
      "buried billing, to the dead letters: no customer",
      "replayed billing, by ann: test",
      `delivered billing, on connection ${bench.billing}`,
      "acked billing",
    ]);
    expect(said(await bench.asks(0)).at(-1)).toBe(
      "buried billing, to the dead letters: no customer",
    );
  });

  it("of a dead letter begins with its burial, and tells who reads it there", async () => {
    const bench = new Bench();
    fill(bench, "orders", 1);
    bench.request(bench.billing, { type: "bury", token: bench.token(), reason: "no customer" });
    const reader = bench.consumer("support", "%DLQ%billing");
    bench.ack(reader, only(bench.credit(reader, 1)).token);
    expect(said(await bench.asks(0, undefined, 0, "%DLQ%billing"))).toEqual([
      "buried orders@0 of billing: no customer",
      `delivered support, on connection ${reader}`,
      "acked support",
    ]);
  });

  it("tells what operators did, and what a restart did", async () => {
    const bench = new Bench();
    fill(bench, "orders", 1);
    bench.token();
    bench.crash();
    const at = { group: "billing", topic: "orders", ...audit };
    bench.ask({ type: "group.skip", ...at, offsets: [0] });
    bench.ask({ type: "group.reset", ...at, from: "earliest" });
    bench.ask({ type: "group.reset", ...at, from: "latest" });
    expect(said(await bench.asks(0)).slice(2)).toEqual([
      "returned billing, restart of the broker",
      "skipped billing, by ann: test",
      "reset billing to offset 0, by ann: test",
      "reset billing to offset 1, by ann: test",
    ]);
  });

  it("of a delayed message tells when it was sent, and when it was due", async () => {
    const bench = new Bench();
    bench.send(bench.shop, "send-1", timed("orders", { id: "m1", delayMs: MINUTE, ttlMs: 1_000 }));
    fill(bench, "orders", 3);
    bench.advance(MINUTE);
    for (const { offset, token } of bench.credit(bench.billing, 4))
      if (offset === 3) bench.unsent("lapsed", token);
    const told = [
      "sent as send-1",
      "due in orders",
      `delivered billing, on connection ${bench.billing}`,
      "lapsed billing, its time to live was over",
    ];
    expect(said(await bench.asks(3))).toEqual(told);
    const pieces: string[] = [];
    for (let after: string | undefined; ; ) {
      const piece = await bench.asks(3, after, 3_000);
      pieces.push(...said(piece));
      if (piece.next === undefined) break;
      after = piece.next;
    }
    expect(pieces).toEqual(told);
  });

  it("tells that a filter passed it over, and of nothing that is taken in later", async () => {
    const bench = new Bench();
    bench.filtering("search", "orders", "paid");
    fill(bench, "orders", 1, "a#open");
    fill(bench, "orders", 1, "b#paid");
    bench.advance(1);
    fill(bench, "orders", 20, "c#open");
    expect(said(await bench.asks(0)).slice(1)).toEqual(["filtered search, it does not match"]);
    expect(said(await bench.asks(1)).slice(1)).toEqual([]);
    bench.ask({ type: "group.reset", group: "search", topic: "orders", ...audit });
    expect(said(await bench.asks(0)).filter((line) => line.startsWith("filtered"))).toHaveLength(2);
  });

  it("says nothing of other messages and of other groups' business elsewhere", async () => {
    const bench = new Bench();
    bench.topic("mail");
    const mail = bench.consumer("billing", "mail");
    fill(bench, "mail", 1);
    fill(bench, "orders", 1);
    bench.ack(mail, only(bench.credit(mail, 1)).token);
    expect((await bench.asks(0)).timeline).toHaveLength(1);
  });
});

describe("the reading of a trace", () => {
  it("ends where every group has settled the message, however long the log is", async () => {
    const bench = new Bench();
    fill(bench, "orders", 1);
    bench.ack(bench.billing, bench.token());
    const settled = bench.blocks.length;
    bench.advance(1);
    fill(bench, "orders", 50);
    const { blocksLeft, next } = await bench.asks(0);
    expect([blocksLeft, next]).toEqual([0, undefined]);
    expect(Math.max(...bench.read)).toBeLessThanOrEqual(settled + 1);
  });

  it("goes on as long as a group has it in hand", async () => {
    const bench = new Bench();
    const ledger = bench.consumer("ledger", "orders");
    fill(bench, "orders", 1);
    bench.credit(ledger, 1);
    bench.ack(bench.billing, bench.token());
    fill(bench, "orders", 20);
    await bench.asks(0);
    expect(Math.max(...bench.read)).toBe(bench.blocks.length);
  });

  it("waits for no group that was not given it", async () => {
    const bench = new Bench();
    bench.consumer("ledger", "orders");
    fill(bench, "orders", 1);
    bench.ack(bench.billing, bench.token());
    const settled = bench.blocks.length;
    bench.advance(1);
    fill(bench, "orders", 20);
    expect((await bench.asks(0)).blocksLeft).toBe(0);
    expect(Math.max(...bench.read)).toBeLessThanOrEqual(settled + 1);
  });

  it("waits for no group or instance that began behind the message, however late it came", async () => {
    const bench = new Bench();
    fill(bench, "orders", 1);
    bench.ack(bench.billing, bench.token());
    const settled = bench.blocks.length;
    bench.advance(1);
    fill(bench, "orders", 20);
    const topics = [{ topic: "orders", from: "latest" as const }];
    for (const more of [{ group: "late" }, { group: "cache", instance: "node-1" }])
      bench.request(bench.connect(), { type: "subscribe", subscription: 1, topics, ...more });
    bench.crash();
    expect(said(await bench.asks(0)).at(-1)).toBe("acked billing");
    expect(Math.max(...bench.read)).toBeLessThanOrEqual(settled + 1);
  });

  it("tells of a group that began behind the message and was reset to before it", async () => {
    const bench = new Bench();
    fill(bench, "orders", 1);
    const topics = [{ topic: "orders", from: "latest" as const }];
    const late = bench.connect();
    bench.request(late, { type: "subscribe", subscription: 1, group: "late", topics });
    bench.ask({ type: "group.reset", group: "late", topic: "orders", from: "earliest", ...audit });
    bench.ack(late, only(bench.credit(late, 1)).token);
    expect(said(await bench.asks(0)).slice(1)).toEqual([
      "reset late to offset 0, by ann: test",
      `delivered late, on connection ${late}`,
      "acked late",
    ]);
  });

  it("goes on to a reset after which the group was not given it again", async () => {
    const bench = new Bench();
    fill(bench, "orders", 1);
    bench.ack(bench.billing, bench.token());
    bench.advance(1);
    fill(bench, "orders", 5);
    bench.ask({ type: "group.reset", group: "billing", from: "earliest", ...audit });
    const reset = bench.blocks.length;
    fill(bench, "orders", 20);
    expect(said(await bench.asks(0)).at(-1)).toBe("reset billing to offset 0, by ann: test");
    expect(Math.max(...bench.read)).toBe(reset);
  });

  it("goes past an ack where a reset brought the message back later", async () => {
    const bench = new Bench();
    fill(bench, "orders", 1);
    bench.ack(bench.billing, bench.token());
    fill(bench, "orders", 5);
    const at = { group: "billing", topic: "orders", ...audit };
    bench.ask({ type: "group.reset", ...at, from: "earliest" });
    bench.ack(bench.billing, bench.token());
    expect(said(await bench.asks(0)).filter((line) => line === "acked billing")).toHaveLength(2);
  });

  it("in pieces tells the same as in one", async () => {
    const bench = new Bench();
    bench.prepare(bench.shop, "t0", { messages: [message("orders")] });
    bench.answer(bench.shop, only(checksOf(bench.advance(6_000))), "unknown");
    bench.verdict(bench.shop, "t0", "commit");
    bench.prepare(bench.shop, "t1", { acks: [bench.token()] });
    fill(bench, "orders", 3);
    bench.verdict(bench.shop, "t1", "rollback");
    bench.request(bench.billing, { type: "bury", token: bench.token(), reason: "bad" });
    bench.ask({ type: "dlq.replay", group: "billing", offsets: [0], ...audit });
    bench.token();
    bench.crash(MINUTE);
    const whole = await bench.asks(0);
    const pieces: string[] = [];
    let answers = 0;
    for (let after: string | undefined; ; answers++) {
      const piece = await bench.asks(0, after, 3_000);
      pieces.push(...said(piece));
      if (piece.next === undefined) break;
      after = piece.next;
    }
    expect(pieces).toEqual(said(whole));
    expect(answers).toBeGreaterThan(5);
  });

  it("goes on from anything that a client may say", async () => {
    const bench = new Bench();
    fill(bench, "orders", 1);
    for (const after of ["", "x", "1,", "0,t", "1,j:1:t,d:a:b,l:z,s", "999999", "-1", "1e9"])
      expect(Array.isArray((await bench.asks(0, after)).timeline)).toBe(true);
  });

  it("says that the beginning is gone when it is, and tells the rest", async () => {
    const bench = new Bench();
    fill(bench, "orders", 1);
    bench.first = bench.blocks.length + 1;
    const { token } = only(bench.credit(bench.billing, 1));
    bench.ack(bench.billing, token);
    const trace = await bench.asks(0);
    expect(trace.isHistoryRetired).toBe(true);
    expect(said(trace)).toEqual([
      `delivered billing, on connection ${bench.billing}`,
      "acked billing",
    ]);
  });

  it("finds the beginning of a message that was copied forward", async () => {
    const bench = new Bench();
    fill(bench, "orders", 1);
    const topic = bench.engine.core.state.topicsByName.get("orders");
    const place = topic?.placeOf(0);
    if (topic === undefined || place === undefined) throw new Error("It is there.");
    bench.advance(MINUTE);
    const of = { kind: "entry", topicNo: topic.no, offset: 0, place, bytes: 4 } as const;
    bench.step({ kind: "copied", messages: [{ of, data: [message("orders").data] }] });
    expect(topic.placeOf(0)).not.toEqual(place);
    expect(said(await bench.asks(0))[0]).toMatch(/^sent as /);
    bench.first = place.block + 1;
    expect((await bench.asks(0)).isHistoryRetired).toBe(true);
  });
});
