/** Copying messages forward: nothing changes but where their bytes are read. */
import { describe, expect, it } from "vitest";
import { type Copied, movableBefore } from "../../broker/src/core/copy-forward.ts";
import { Engine } from "../../broker/src/core/engine.ts";
import type { Place } from "../../broker/src/core/records.ts";
import { sameStates } from "../sim/same-states.ts";
import {
  checksOf,
  Driver,
  deliveriesOf,
  type Effects,
  message,
  only,
  timed,
} from "../support/sim-driver.ts";

const ID = "transaction-0123456789";
const who = { operator: "ann", reason: "" };
const text = new TextDecoder();

class Shop extends Driver {
  readonly shop: number;

  constructor() {
    super();
    this.topic("orders");
    this.shop = this.producer("shop");
  }

  body({ block, slot }: Place): string {
    const records = this.blocks.find(({ number }) => number === block)?.records ?? [];
    const data = records.flatMap((one) => ("messages" in one ? one.messages : []))[slot]?.data;
    return data == null ? "?" : text.decode(data);
  }

  /** What the shell would read of everything that stands before now. */
  read(): readonly Copied[] {
    const { state } = this.engine.core;
    return [...movableBefore(state, state.block + 1)].flatMap((of) => {
      if (of === null) return [];
      const { block, slot } = of.place;
      const count = of.kind === "transaction" ? of.count : 1;
      const bodies = Array.from({ length: count }, (_, at) =>
        this.body({ block, slot: slot + at }),
      );
      return { of, data: bodies.map((body) => new TextEncoder().encode(body)) };
    });
  }

  copies(messages = this.read()): Effects {
    return this.step({ kind: "copied", messages });
  }

  isRecoverable(): void {
    const again = new Engine(this.policy);
    for (const block of this.blocks) again.replay(block);
    sameStates([...this.engine.save()], [...again.save()], this.nowMs);
  }
}

describe("what is copied forward", () => {
  it("is delivered as it was sent, in its order, from its new place", () => {
    const shop = new Shop();
    for (const body of ["one", "two", "three"]) shop.send(shop.shop, body, message("orders", body));
    const topic = shop.engine.core.state.topic(1);
    const times = [0, 1, 2].map((offset) => topic.atMsOf(offset));
    shop.advance(5_000);
    shop.copies();
    const { block } = shop.engine.core.state;
    expect(shop.engine.core.state.neededBlock).toBe(block);
    const deliveries = shop.credit(shop.consumer("billing", "orders"), 9);
    expect(deliveries.map(({ offset, place, atMs }) => [offset, shop.body(place), atMs])).toEqual([
      [0, "one", times[0]],
      [1, "two", times[1]],
      [2, "three", times[2]],
    ]);
    expect(deliveries.every(({ place }) => place.block === block)).toBe(true);
    shop.isRecoverable();
  });

  it("lets go of the block of a transaction that nobody decides, which is checked and committed as ever", () => {
    const shop = new Shop();
    const messages = [message("orders", "half"), message("orders", "other half")];
    shop.prepare(shop.shop, ID, { messages });
    shop.send(shop.shop, "s", message("orders", "visible"));
    shop.copies();
    const { state } = shop.engine.core;
    expect(state.neededBlock).toBe(state.block);
    const check = only(checksOf(shop.advance(6_000)));
    expect(check.slots.map((slot) => shop.body({ block: check.block, slot }))).toEqual([
      "half",
      "other half",
    ]);
    shop.verdict(shop.shop, ID, "commit");
    const deliveries = shop.credit(shop.consumer("billing", "orders"), 9);
    expect(deliveries.map(({ place }) => shop.body(place))).toEqual([
      "visible",
      "half",
      "other half",
    ]);
    shop.isRecoverable();
  });

  it("is one copy for a dead letter and the message that it was", () => {
    const shop = new Shop();
    shop.send(shop.shop, "s", message("orders", "broken"));
    const billing = shop.consumer("billing", "orders");
    const { token } = only(shop.credit(billing, 1));
    shop.request(billing, { type: "bury", token, reason: "no luck" });
    const moved = only(shop.copies().records);
    expect(moved).toMatchObject({ kind: "moved", messages: { length: 1 }, entries: { length: 2 } });
    shop.credit(billing, 1);
    const replayed = shop.ask({ type: "dlq.replay", group: "billing", offsets: [0], ...who });
    expect(shop.body(only(deliveriesOf(replayed)).place)).toBe("broken");
    shop.isRecoverable();
  });

  it("goes on under its lease: an ack of a delivery from before is as good as ever", () => {
    const shop = new Shop();
    shop.send(shop.shop, "s", message("orders", "one"));
    const billing = shop.consumer("billing", "orders");
    const { token } = only(shop.credit(billing, 1));
    shop.copies();
    expect(shop.ack(billing, token).reply).toMatchObject({ type: "ok" });
    expect(shop.ack(billing, token).reply).toMatchObject({ stale: [token] });
  });

  it("of what waits for its time is found by its id as ever, and comes when it is due", () => {
    const shop = new Shop();
    for (const id of ["stays", "goes", "stays too"])
      shop.send(shop.shop, id, timed("orders", { id, delayMs: 60_000 }));
    shop.copies();
    shop.copies();
    const { state } = shop.engine.core;
    expect(state.neededBlock).toBe(state.block);
    shop.isRecoverable();
    expect(shop.ask({ type: "recall", topic: "orders", messageId: "goes" }).reply.type).toBe("ok");
    shop.advance(60_000);
    const deliveries = shop.credit(shop.consumer("billing", "orders"), 9);
    expect(deliveries.map(({ place }) => shop.body(place))).toEqual(["stays", "stays too"]);
    shop.isRecoverable();
  });

  it("of reserved keys and what waits for them stands where it stood in its queue", () => {
    const shop = new Shop();
    const [first, third] = ["first-0123456789abcdef", "third-0123456789abcdef"];
    const reserves = (id: string, body: string) =>
      shop.prepare(shop.shop, id, { messages: [message("orders", body)], reserveKeys: true });
    const sends = (body: string) => shop.send(shop.shop, body, message("orders", body));
    reserves(first, "1@ann");
    sends("2@ann");
    reserves(third, "3@ann");
    sends("4@ann");
    sends("5@ann");
    shop.copies();
    shop.copies();
    const { state } = shop.engine.core;
    expect(state.neededBlock).toBe(state.block);
    shop.isRecoverable();
    sends("6@ann");
    expect(shop.ask({ type: "recall", topic: "orders", messageId: "4@ann" }).reply.type).toBe("ok");
    shop.verdict(shop.shop, third, "commit");
    // What was half waits by itself from now on.
    shop.copies();
    shop.isRecoverable();
    const billing = shop.consumer("billing", "orders");
    expect(shop.credit(billing, 9)).toEqual([]);
    const deliveries = deliveriesOf(shop.verdict(shop.shop, first, "commit"));
    const bodies = deliveries.map(({ place }) => shop.body(place));
    expect(bodies).toEqual(["1@ann", "2@ann", "3@ann", "5@ann", "6@ann"]);
    shop.isRecoverable();
  });

  it("can be copied again", () => {
    const shop = new Shop();
    shop.send(shop.shop, "s", message("orders", "one"));
    shop.prepare(shop.shop, ID, { messages: [message("orders", "half")] });
    for (let time = 0; time < 3; time++) shop.copies();
    const { state } = shop.engine.core;
    expect(state.neededBlock).toBe(state.block);
    shop.isRecoverable();
  });
});

describe("what changed while it was read", () => {
  it.each<[string, (shop: Shop) => void]>([
    ["is retired", (shop) => void shop.advance(8 * 86_400_000)],
    [
      "is gone with its topic",
      (shop) => void shop.ask({ type: "topic.delete", topic: "orders", ...who }),
    ],
    ["was copied already", (shop) => void shop.copies()],
  ])("and %s is not copied", (_, change) => {
    const shop = new Shop();
    shop.send(shop.shop, "s", message("orders", "one"));
    const read = shop.read();
    expect(read).toHaveLength(1);
    change(shop);
    expect(shop.copies(read).records).toEqual([]);
  });

  it.each<[string, (shop: Shop) => void]>([
    ["became visible", (shop) => void shop.advance(1_000)],
    ["was recalled", (shop) => void shop.ask({ type: "recall", topic: "orders", messageId: "m" })],
  ])("and %s is not copied as waiting", (_, change) => {
    const shop = new Shop();
    shop.send(shop.shop, "s", timed("orders", { id: "m", delayMs: 1_000 }));
    const read = shop.read();
    expect(read).toHaveLength(1);
    change(shop);
    expect(shop.copies(read).records).toEqual([]);
  });

  it.each(["commit", "rollback"] as const)(
    "and stood behind a key that a %s has opened is not copied as waiting",
    (verdict) => {
      const shop = new Shop();
      shop.prepare(shop.shop, ID, { messages: [message("orders", "1@ann")], reserveKeys: true });
      shop.send(shop.shop, "s", message("orders", "2@ann"));
      const read = shop.read();
      expect(read).toHaveLength(2);
      shop.verdict(shop.shop, ID, verdict);
      expect(shop.copies(read).records).toEqual([]);
    },
  );

  it("and was decided is not copied as half", () => {
    const shop = new Shop();
    shop.prepare(shop.shop, ID, { messages: [message("orders", "half")] });
    const read = shop.read();
    shop.verdict(shop.shop, ID, "commit");
    expect(shop.copies(read).records).toEqual([]);
  });
});
