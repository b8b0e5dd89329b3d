/** What retention takes, what it leaves, and how it is counted. */
import type { GroupView, TopicView } from "@escrowmq/protocol";
import { describe, expect, it } from "vitest";
import { Engine } from "../../broker/src/core/engine.ts";
import { DEFAULT_POLICY } from "../../broker/src/core/policy.ts";
import { sameStates } from "../sim/same-states.ts";
import { Driver, deliveriesOf, message, only, type Request } from "../support/sim-driver.ts";

const DAY = 86_400_000;
const HOUR = 3_600_000;
type Settings = Omit<Extract<Request, { type: "topic.update" }>, "type" | "topic">;

/** A broker with the topic "orders", messages of 4 bytes, and a shop that sends and is checked. */
class Shop extends Driver {
  readonly shop: number;
  #sent = 0;

  constructor(settings: Settings = {}, policy = {}) {
    super({ retentionEveryMs: 1_000, ...policy });
    this.ask({ type: "topic.create", topic: "orders", ...settings });
    this.shop = this.producer("shop");
  }

  sends(count: number): void {
    for (let at = 0; at < count; at++)
      this.send(this.shop, `s${this.#sent++}`, message("orders", "body"));
  }

  get view(): TopicView {
    return this.says({ type: "topic.describe", topic: "orders" }) as TopicView;
  }

  group(name: string): GroupView {
    return this.says({ type: "group.describe", group: name }) as GroupView;
  }

  topicOf(name: string): GroupView["topics"][number] | undefined {
    return this.group(name).topics.find(({ topic }) => topic === "orders");
  }

  says(request: Request): unknown {
    const { reply } = this.ask(request);
    if (reply.type !== "ok") throw new Error(reply.code);
    return reply.value;
  }

  /** What one credit brings, by its tokens. */
  takes(consumer: number, messages: number): string[] {
    return this.credit(consumer, messages).map(({ token }) => token);
  }

  acks(consumer: number, tokens: readonly string[]): void {
    this.request(consumer, { type: "ack", tokens: [...tokens] });
  }

  /** What its blocks say is what it has (P8). */
  isRecoverable(): void {
    const again = new Engine(this.policy);
    for (const block of this.blocks) again.replay(block);
    sameStates([...this.engine.save()], [...again.save()], this.nowMs);
  }
}

describe("retention by age", () => {
  it("takes what nobody reads when it is older than the topic keeps it", () => {
    const shop = new Shop({ retentionMs: DAY });
    shop.sends(3);
    shop.advance(HOUR);
    shop.sends(2);
    shop.advance(DAY - HOUR);
    expect(shop.view).toMatchObject({ firstOffset: 0, nextOffset: 5, bytes: 20 });
    const { records } = shop.advance(1_001);
    expect(records).toEqual([{ kind: "retired", topicNo: 1, beforeOffset: 3 }]);
    expect(shop.view).toMatchObject({ firstOffset: 3, nextOffset: 5, bytes: 8 });
    shop.advance(HOUR);
    expect(shop.view).toMatchObject({ firstOffset: 5, nextOffset: 5, bytes: 0 });
  });

  it("keeps everything for seven days unless it is told otherwise", () => {
    const shop = new Shop();
    shop.sends(1);
    shop.advance(7 * DAY);
    expect(shop.view.firstOffset).toBe(0);
    shop.advance(1_001);
    expect(shop.view.firstOffset).toBe(1);
  });

  it("wakes an idle broker when the next message is due, and not every second", () => {
    const shop = new Shop({ retentionMs: DAY });
    shop.sends(1);
    shop.disconnect(shop.shop);
    const blocks = shop.blocks.length;
    shop.advance(DAY);
    expect(shop.blocks.length).toBe(blocks);
    shop.advance(1_001);
    expect(shop.blocks.length).toBe(blocks + 1);
  });

  it("counts the time that the broker was down, as everybody's calendar does", () => {
    const shop = new Shop({ retentionMs: DAY });
    shop.sends(2);
    const { records } = shop.crash(2 * DAY);
    expect(records).toContainEqual({ kind: "retired", topicNo: 1, beforeOffset: 2 });
  });
});

describe("retention by bytes", () => {
  it("takes the oldest while the topic holds more than it may", () => {
    const shop = new Shop({ retentionBytes: 10 });
    shop.sends(2);
    shop.advance(2_000);
    expect(shop.view).toMatchObject({ firstOffset: 0, bytes: 8 });
    shop.sends(4);
    shop.advance(2_000);
    expect(shop.view).toMatchObject({ firstOffset: 4, nextOffset: 6, bytes: 8 });
  });

  it("works across the chunks of the index, and gives their memory back", () => {
    const shop = new Shop({ retentionBytes: 400 });
    shop.sends(2_000);
    shop.advance(2_000);
    expect(shop.view).toMatchObject({ firstOffset: 1_900, nextOffset: 2_000, bytes: 400 });
    const parts = shop.saved() as { part: string; index?: { bytes: Uint8Array } }[];
    const index = parts.filter(({ part }) => part === "index");
    expect(index.map(({ index: one }) => one?.bytes.length)).toEqual([512 * 24]);
    shop.isRecoverable();
  });

  it("is switched off and on by an operator", () => {
    const shop = new Shop({ retentionBytes: 4 });
    shop.ask({ type: "topic.update", topic: "orders", retentionBytes: 0 });
    shop.sends(5);
    shop.advance(5_000);
    expect(shop.view.firstOffset).toBe(0);
    shop.ask({ type: "topic.update", topic: "orders", retentionBytes: 8 });
    shop.advance(1_001);
    expect(shop.view.firstOffset).toBe(3);
  });
});

describe("what a group has not settled", () => {
  const behind = (settings: Settings = {}) => {
    const shop = new Shop({ retentionMs: DAY, ...settings });
    const billing = shop.consumer("billing", "orders");
    shop.sends(6);
    const tokens = shop.takes(billing, 4);
    return { shop, billing, tokens };
  };

  it("is kept however old it is, and the group is named as the reason", () => {
    const { shop, billing, tokens } = behind();
    shop.acks(billing, [tokens[0] ?? "", tokens[2] ?? ""]);
    shop.disconnect(billing);
    shop.advance(3 * DAY);
    expect(shop.view).toMatchObject({
      firstOffset: 1,
      heldBytes: 20,
      heldBy: ["billing"],
      expired: 0,
    });
    expect(shop.topicOf("billing")).toMatchObject({ expired: 0, heldBytes: 20, lag: 4 });
    const again = shop.consumer("billing", "orders");
    shop.acks(again, shop.takes(again, 10));
    shop.advance(1_001);
    expect(shop.view).toMatchObject({ firstOffset: 6, heldBytes: 0, heldBy: [] });
    expect(shop.topicOf("billing")).toMatchObject({ oldestAgeMs: 0, heldBytes: 0 });
  });

  it("is kept for the slowest group, also beyond the topic's bytes", () => {
    const { shop, billing, tokens } = behind({ retentionBytes: 4 });
    shop.consumer("search", "orders");
    shop.acks(billing, tokens);
    shop.advance(5_000);
    expect(shop.view).toMatchObject({ firstOffset: 0, heldBy: ["billing", "search"] });
    shop.ask({ type: "group.delete", group: "search", operator: "ann", reason: "" });
    expect(shop.view.firstOffset).toBe(0);
  });

  it("is let go with its group", () => {
    const { shop, billing } = behind();
    shop.disconnect(billing);
    shop.advance(2 * DAY);
    expect(shop.view.firstOffset).toBe(0);
    shop.ask({ type: "group.delete", group: "billing", operator: "ann", reason: "" });
    shop.advance(1_001);
    expect(shop.view.firstOffset).toBe(6);
  });

  it("is dropped where the topic says so, and each group's loss is counted", () => {
    const { shop, billing, tokens } = behind({ unsettled: "drop" });
    shop.consumer("search", "orders");
    shop.acks(billing, [tokens[0] ?? ""]);
    shop.disconnect(billing);
    shop.advance(DAY + 1_001);
    expect(shop.view).toMatchObject({ firstOffset: 6, expired: 11, heldBytes: 0 });
    expect(shop.topicOf("billing")).toMatchObject({ expired: 5, lag: 0, nextOffset: 6 });
    expect(shop.topicOf("search")).toMatchObject({ expired: 6, lag: 0, nextOffset: 6 });
    shop.isRecoverable();
  });

  it("is not dropped while it is leased, and nothing behind it", () => {
    const { shop, billing, tokens } = behind({ unsettled: "drop" });
    shop.request(billing, { type: "extend", tokens: [tokens[1] ?? ""], leaseMs: 12 * HOUR });
    shop.advance(11 * HOUR);
    shop.ask({ type: "topic.update", topic: "orders", retentionMs: HOUR });
    shop.advance(2_000);
    expect(shop.view).toMatchObject({ firstOffset: 1, heldBytes: 20, heldBy: ["billing"] });
    shop.acks(billing, [tokens[1] ?? ""]);
    shop.advance(2_000);
    expect(shop.view).toMatchObject({ firstOffset: 6, heldBytes: 0 });
    expect(shop.topicOf("billing")).toMatchObject({ expired: 5 });
  });

  it("is not dropped while its ack is part of an undecided transaction", () => {
    const { shop, billing, tokens } = behind({ unsettled: "drop" });
    shop.request(billing, { type: "announce", group: "jobs", checker: true });
    shop.prepare(billing, "transaction-0123456789", { group: "jobs", acks: [tokens[1] ?? ""] });
    shop.advance(3 * DAY);
    expect(shop.view).toMatchObject({ firstOffset: 1, heldBy: ["billing"] });
    shop.ask({
      type: "tx.decide",
      transactionId: "transaction-0123456789",
      verdict: "rollback",
      operator: "ann",
      reason: "",
    });
    // Nobody has credit for it, and its time is over: it goes with the others.
    expect(shop.view).toMatchObject({ firstOffset: 6, expired: 6 });
  });

  it("is not dropped in the first hour after a start, however long the broker was down", () => {
    const { shop, billing } = behind({ unsettled: "drop" });
    shop.disconnect(billing);
    shop.crash(9 * DAY);
    shop.advance(DEFAULT_POLICY.dropAfterStartMs - 1);
    expect(shop.view).toMatchObject({ firstOffset: 0, expired: 0 });
    shop.advance(2_000);
    expect(shop.view).toMatchObject({ firstOffset: 6, expired: 6 });
  });
});

it("lets what stands behind a message too large for a consumer's credit come, once that one is gone", () => {
  const shop = new Shop({ retentionMs: DAY, unsettled: "drop" });
  const billing = shop.consumer("billing", "orders");
  shop.send(shop.shop, "large", message("orders", "a body of 23 characters"));
  shop.advance(HOUR);
  shop.sends(1);
  expect(shop.credit(billing, 5, 10)).toEqual([]);
  expect(deliveriesOf(shop.advance(DAY - HOUR + 1_001)).map(({ offset }) => offset)).toEqual([1]);
});

describe("after retention a group", () => {
  const retired = () => {
    const shop = new Shop({ retentionBytes: 8 });
    shop.sends(6);
    shop.advance(2_000);
    return shop;
  };

  it.each([
    ["earliest", {}, 4],
    ["an offset that is gone", { from: "offset", at: 1 }, 4],
    ["an offset that is there", { from: "offset", at: 5 }, 5],
    ["a time before everything", { from: "time", at: 0 }, 4],
  ] as const)("that starts at %s gets what is there", (_, start, nextOffset) => {
    const shop = retired();
    const consumer = shop.connect();
    const topics = [{ topic: "orders", ...start }];
    shop.request(consumer, { type: "subscribe", subscription: 1, group: "late", topics });
    expect(shop.topicOf("late")).toMatchObject({ nextOffset, expired: 0, lag: 6 - nextOffset });
    expect(shop.takes(consumer, 9)).toHaveLength(6 - nextOffset);
  });

  it("cannot be reset to before what is there", () => {
    const shop = retired();
    shop.consumer("billing", "orders");
    const at = { group: "billing", topic: "orders", from: "offset", at: 0 } as const;
    const who = { operator: "ann", reason: "" };
    expect(shop.says({ type: "group.reset", ...at, ...who })).toMatchObject({
      topics: [{ toOffset: 4 }],
    });
  });
});

describe("a dead letter", () => {
  const buried = () => {
    const shop = new Shop({ retentionMs: DAY });
    const billing = shop.consumer("billing", "orders");
    shop.sends(3);
    const [first = "", ...others] = shop.takes(billing, 3);
    shop.request(billing, { type: "bury", token: first, reason: "no luck" });
    shop.acks(billing, others);
    return { shop, billing };
  };
  const dead = (shop: Shop): TopicView =>
    shop.says({ type: "topic.describe", topic: "%DLQ%billing" }) as TopicView;
  const who = { operator: "ann", reason: "" };

  it("outlives its topic's retention, and keeps its bytes", () => {
    const { shop } = buried();
    const { block } = shop.engine.core.state.topic(1).placeOf(0);
    shop.advance(30 * DAY);
    expect(shop.view).toMatchObject({ firstOffset: 3, bytes: 0 });
    expect(dead(shop)).toMatchObject({ firstOffset: 0, nextOffset: 1, bytes: 4 });
    expect(shop.engine.core.state.neededBlock).toBe(block);
  });

  it("comes back to its group by a replay although its topic has retired it", () => {
    const { shop, billing } = buried();
    const topic = shop.engine.core.state.topic(1);
    const place = topic.placeOf(0);
    const atMs = topic.atMsOf(0);
    shop.advance(30 * DAY);
    shop.credit(billing, 1);
    const effects = shop.ask({ type: "dlq.replay", group: "billing", offsets: [0], ...who });
    expect(only(deliveriesOf(effects))).toMatchObject({ offset: 0, attempt: 1, place, atMs });
    expect(shop.topicOf("billing")).toMatchObject({ lag: 1, leased: 1 });
    shop.isRecoverable();
  });

  it("that was replayed is held until it is settled, and its bytes no longer", () => {
    const { shop, billing } = buried();
    shop.advance(30 * DAY);
    shop.ask({ type: "dlq.replay", group: "billing", offsets: [0], ...who });
    const { state } = shop.engine.core;
    expect(state.topic(1).hasRevived).toBe(true);
    shop.acks(billing, shop.takes(billing, 1));
    expect(state.topic(1).hasRevived).toBe(false);
    expect(state.neededBlock).toBe(state.block + 1);
    shop.advance(2_000);
    expect(dead(shop)).toMatchObject({ firstOffset: 1, bytes: 0 });
  });

  it("that was purged no longer keeps its bytes", () => {
    const { shop } = buried();
    shop.advance(30 * DAY);
    shop.ask({ type: "dlq.purge", group: "billing", offsets: [0], ...who });
    const { state } = shop.engine.core;
    expect(state.neededBlock).toBe(state.block + 1);
  });

  it("goes by age where its topic says that dead letters are dropped, and is counted", () => {
    const { shop } = buried();
    shop.ask({ type: "topic.update", topic: "%DLQ%billing", unsettled: "drop", retentionMs: DAY });
    shop.advance(2 * DAY);
    expect(dead(shop)).toMatchObject({ firstOffset: 1, nextOffset: 1, bytes: 0, expired: 1 });
    expect(shop.group("billing").deadLetters).toBe(0);
    expect(shop.says({ type: "stats" })).toMatchObject({ deadLetters: 0, expired: 1 });
    shop.isRecoverable();
  });
});

describe("a half message", () => {
  it("is never retired, however old it is, and its block stays needed", () => {
    const shop = new Shop({ retentionMs: 1_000 });
    const messages = [message("orders", "half")];
    shop.prepare(shop.shop, "transaction-0123456789", { group: "shop", messages });
    const { block } = shop.engine.core.state;
    shop.sends(3);
    shop.advance(30 * DAY);
    expect(shop.view).toMatchObject({ firstOffset: 3, nextOffset: 3 });
    expect(shop.engine.core.state.neededBlock).toBe(block);
    const decide = { type: "tx.decide", verdict: "commit", operator: "ann", reason: "" } as const;
    shop.ask({ ...decide, transactionId: "transaction-0123456789" });
    expect(shop.view).toMatchObject({ firstOffset: 3, nextOffset: 4 });
    expect(shop.engine.core.state.neededBlock).toBe(block);
  });
});
