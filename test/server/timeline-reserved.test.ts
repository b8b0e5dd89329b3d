/** The inspectors of transactions and messages, about what stood behind reserved keys. */
import type { MessageTrace } from "@escrowmq/protocol";
import { describe, expect, test } from "vitest";
import { movableBefore } from "../../broker/src/core/copy-forward.ts";
import type { Trace } from "../../broker/src/core/message-queries.ts";
import type { LogReader } from "../../broker/src/server/log-reader.ts";
import { traceMessage } from "../../broker/src/server/message-trace.ts";
import { MINUTE } from "../support/sim-billing.ts";
import { adminValue, timed } from "../support/sim-driver.ts";
import { ReservingShop, transactionIdOf } from "../support/sim-reserving.ts";
import { eventsOf, sourceOf } from "../support/sim-timeline.ts";

class Shop extends ReservingShop {
  copiesForward(): void {
    const { state } = this.engine.core;
    const all = [...movableBefore(state, state.block + 1)].filter((of) => of !== null);
    this.step({
      kind: "copied",
      messages: all.map((of) => {
        const count = of.kind === "transaction" ? of.count : 1;
        return { of, data: Array.from({ length: count }, () => new TextEncoder().encode("x")) };
      }),
    });
  }

  delivers(): void {
    const consumer = this.consumer("billing", "orders");
    for (const { token } of this.credit(consumer, 99)) this.ack(consumer, token);
  }

  story(name: string): Promise<string[]> {
    return eventsOf(this, transactionIdOf(name));
  }

  /** In one answer, if it may take as long as it likes. */
  async traces(offset: number): Promise<string[]> {
    const { reply } = this.ask({ type: "message.trace", topic: "orders", offset });
    const trace = adminValue(reply) as unknown as Trace;
    const reader = { nowMs: () => 0, block: async (number: number) => this.blocks[number - 1] };
    const told: MessageTrace = await traceMessage(
      sourceOf(this),
      reader as unknown as LogReader,
      trace,
    );
    return told.timeline.map(({ event, text }) => `${event} ${text}`);
  }
}

const PREPARED = "prepared by shop: 2 messages for orders, its keys reserved";
const COMMITTED = "committed by producer, shop producer";
const BEHIND = "queued for orders, behind the transaction that has reserved its key";
const delivery = (offset: number): unknown[] => [
  expect.stringMatching(`^delivered orders@${offset} for billing`),
  `acked orders@${offset} for billing`,
];

describe("tx show tells", () => {
  test("that the keys of a transaction were reserved, and what became of its messages", async () => {
    const shop = new Shop();
    shop.reserves("a", "1@ann", "2@bob");
    shop.sends("3@ann");
    expect(await shop.story("a")).toEqual([PREPARED]);
    shop.commit("a");
    shop.delivers();
    const events = await shop.story("a");
    expect(events.slice(0, 2)).toEqual([PREPARED, COMMITTED]);
    for (const event of [...delivery(0), ...delivery(1)]) expect(events).toContainEqual(event);
    expect(events).toHaveLength(6);
  });

  test("when its messages became visible that stood behind another reservation", async () => {
    const shop = new Shop();
    shop.reserves("a", "1@ann");
    shop.reserves("b", "2@ann", "besides@bob");
    shop.sends("3@ann");
    shop.commit("b");
    expect(await shop.story("b")).toEqual([PREPARED, COMMITTED]);
    shop.commit("a");
    shop.delivers();
    const events = await shop.story("b");
    expect(shop.visible()).toEqual(["besides@bob", "1@ann", "2@ann", "3@ann"]);
    expect(events.slice(0, 3)).toEqual([PREPARED, COMMITTED, "due in orders"]);
    for (const event of [...delivery(0), ...delivery(2)]) expect(events).toContainEqual(event);
    expect(events).toHaveLength(7);
  });

  test("the same where the transaction reserves nothing itself, and after it was copied forward", async () => {
    const shop = new Shop();
    shop.reserves("a", "1@ann");
    shop.prepares("b", ["2@ann"]);
    shop.copiesForward();
    shop.commit("b");
    shop.copiesForward();
    shop.commit("a");
    shop.copiesForward();
    shop.delivers();
    expect(await shop.story("b")).toEqual([
      "prepared by shop: 1 message for orders",
      COMMITTED,
      "due in orders",
      ...delivery(1),
    ]);
  });

  test("that a message with a delay found its key reserved when it was due", async () => {
    const shop = new Shop();
    shop.prepares("b", [timed("orders", { id: "2@ann", delayMs: MINUTE })]);
    shop.commit("b");
    shop.reserves("a", "1@ann");
    shop.advance(MINUTE);
    shop.rollback("a");
    shop.delivers();
    expect((await shop.story("b")).slice(1)).toEqual([
      COMMITTED,
      BEHIND,
      "due in orders",
      ...delivery(0),
    ]);
  });

  test("that a message was recalled while it stood there", async () => {
    const shop = new Shop();
    shop.reserves("a", "1@ann");
    shop.prepares("b", ["2@ann"]);
    shop.commit("b");
    shop.recall("2@ann");
    shop.commit("a");
    expect((await shop.story("b")).slice(1)).toEqual([
      COMMITTED,
      "recalled out of orders by operator",
    ]);
  });

  test("nothing of other people's messages of the key", async () => {
    const shop = new Shop();
    shop.sends(timed("orders", { id: "3@ann", delayMs: MINUTE }));
    shop.reserves("a", "1@ann");
    shop.sends("2@ann");
    shop.advance(MINUTE);
    shop.rollback("a");
    shop.delivers();
    expect(shop.visible()).toEqual(["2@ann", "3@ann"]);
    expect((await shop.story("a")).map((event) => event.split(" ")[0])).toEqual([
      "prepared",
      "rolledBack",
    ]);
  });
});

describe("message trace tells", () => {
  const DELIVERED = [expect.stringMatching("^delivered billing"), "acked billing"];

  test("when a message was sent behind a reservation, and when it was visible", async () => {
    const shop = new Shop();
    shop.reserves("a", "1@ann");
    shop.sends("2@ann", "3@ann");
    shop.copiesForward();
    shop.advance(MINUTE);
    shop.commit("a");
    shop.delivers();
    for (const offset of [1, 2])
      expect(await shop.traces(offset)).toEqual([
        "sent as s1, with 1 other, behind the transaction that has reserved its key",
        "due in orders",
        ...DELIVERED,
      ]);
  });

  test("that it was due, and stood behind a reservation then", async () => {
    const shop = new Shop();
    shop.sends(timed("orders", { id: "2@ann", delayMs: MINUTE }));
    shop.reserves("a", "1@ann");
    shop.advance(MINUTE);
    shop.commit("a");
    shop.delivers();
    expect(await shop.traces(1)).toEqual(["sent as s1", BEHIND, "due in orders", ...DELIVERED]);
  });
});
