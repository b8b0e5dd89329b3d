/**
 * A transaction may reserve the keys of its messages: what comes later with such a key is visible after the verdict
 * only, in the order in which it came. Here the key of `hello@ann` is ann.
 */
import { describe, expect, test } from "vitest";
import type { NewMessage } from "../../broker/src/core/types.ts";
import { audit } from "../support/sim-billing.ts";
import {
  adminValue,
  codeOf,
  deliveriesOf,
  type Effects,
  message,
  timed,
} from "../support/sim-driver.ts";
import { bodyIn } from "../support/sim-looking.ts";
import { transactionIdOf as idOf, ReservingShop as Shop } from "../support/sim-reserving.ts";

const MINUTE = 60_000;

describe("while a transaction that reserves its keys is undecided", () => {
  test("what is sent later with its key is visible after the commit, behind its message", () => {
    const driver = new Shop();
    driver.reserves("a", "first@ann");
    expect(driver.sends("second@ann")).toBe("ok");
    expect(driver.sends("other@bob", "none")).toBe("ok");
    expect(driver.visible()).toEqual(["other@bob", "none"]);
    driver.isRecoverable();
    driver.commit("a");
    expect(driver.visible()).toEqual(["other@bob", "none", "first@ann", "second@ann"]);
    driver.isRecoverable();
  });

  test("a rollback lets what came later pass", () => {
    const driver = new Shop();
    driver.reserves("a", "first@ann");
    driver.sends("second@ann", "third@ann");
    driver.rollback("a");
    expect(driver.visible()).toEqual(["second@ann", "third@ann"]);
    driver.isRecoverable();
  });

  test("another one that does not ask is undecided without being in anybody's way", () => {
    const driver = new Shop();
    driver.prepares("a", ["first@ann"]);
    driver.sends("second@ann");
    expect(driver.visible()).toEqual(["second@ann"]);
  });

  test("what a transaction commits later with its key waits, what it commits besides does not", () => {
    const driver = new Shop();
    driver.reserves("a", "first@ann");
    driver.prepares("b", ["second@ann", "besides@bob"]);
    driver.commit("b");
    expect(driver.visible()).toEqual(["besides@bob"]);
    driver.commit("a");
    expect(driver.visible()).toEqual(["besides@bob", "first@ann", "second@ann"]);
    driver.isRecoverable();
  });

  test("what was prepared before it does not wait for it", () => {
    const driver = new Shop();
    driver.prepares("before", ["zeroth@ann"]);
    driver.reserves("a", "first@ann");
    driver.commit("before");
    expect(driver.visible()).toEqual(["zeroth@ann"]);
  });

  test("the same key of another topic is free", () => {
    const driver = new Shop();
    driver.topic("mail");
    driver.reserves("a", "first@ann");
    driver.sends(message("mail", "hello@ann"));
    expect(driver.visible("mail")).toEqual(["hello@ann"]);
  });

  test("the next one that reserves the key keeps its place, though it is decided first", () => {
    const driver = new Shop();
    driver.reserves("a", "first@ann");
    driver.sends("second@ann");
    driver.reserves("b", "third@ann", "alone@bob");
    driver.sends("fourth@ann");
    driver.commit("b");
    expect(driver.visible()).toEqual(["alone@bob"]);
    driver.isRecoverable();
    driver.sends("fifth@ann");
    driver.commit("a");
    expect(driver.visible().slice(1)).toEqual(
      ["first", "second", "third", "fourth", "fifth"].map((word) => `${word}@ann`),
    );
    driver.isRecoverable();
  });

  test("and one of them is rolled back, what stood behind it moves up and stays in order", () => {
    const driver = new Shop();
    driver.reserves("a", "1@ann");
    driver.sends("2@ann");
    driver.reserves("b", "3@ann");
    driver.sends("4@ann");
    driver.reserves("c", "5@ann");
    driver.sends("6@ann");
    driver.rollback("b");
    driver.again();
    driver.commit("a");
    expect(driver.visible()).toEqual(["1@ann", "2@ann", "4@ann"]);
    driver.commit("c");
    expect(driver.visible()).toEqual(["1@ann", "2@ann", "4@ann", "5@ann", "6@ann"]);
    driver.isRecoverable();
  });

  test("a message that is due takes its place when it is due", () => {
    const driver = new Shop();
    driver.sends(timed("orders", { id: "later@ann", delayMs: MINUTE }));
    driver.reserves("a", "first@ann");
    driver.sends("second@ann");
    driver.advance(MINUTE);
    driver.sends("fourth@ann");
    expect(driver.visible()).toEqual([]);
    expect(driver.view()).toMatchObject({ scheduled: 0, queued: 3 });
    driver.isRecoverable();
    driver.commit("a");
    expect(driver.visible()).toEqual(["first@ann", "second@ann", "later@ann", "fourth@ann"]);
  });

  test("its own message with a delay reserves nothing, and is no earlier than its time", () => {
    const driver = new Shop();
    driver.reserves("a", timed("orders", { id: "later@ann", delayMs: MINUTE }), "now@bob");
    driver.sends("first@ann", "second@bob");
    expect(driver.visible()).toEqual(["first@ann"]);
    driver.commit("a");
    expect(driver.visible()).toEqual(["first@ann", "now@bob", "second@bob"]);
    driver.advance(MINUTE);
    expect(driver.visible().at(-1)).toBe("later@ann");
    driver.isRecoverable();
  });

  test("a message that waits for it can be recalled", () => {
    const driver = new Shop();
    driver.reserves("a", "first@ann");
    driver.sends("second@ann", "third@ann");
    expect(driver.recall("second@ann")).toBe("ok");
    driver.isRecoverable();
    driver.commit("a");
    expect(driver.visible()).toEqual(["first@ann", "third@ann"]);
    expect(driver.recall("third@ann")).toBe("MESSAGE_NOT_SCHEDULED");
  });

  test("parked is undecided still: an operator's word opens the key", () => {
    const driver = new Shop({ checkAttemptsMax: 0, undecidedAgeMaxMs: MINUTE });
    driver.prepares("a", ["first@ann"], { reserveKeys: true, checkAfterMs: 0 });
    driver.sends("second@ann");
    driver.advance(2 * MINUTE);
    const show = { type: "tx.show", transactionId: idOf("a") } as const;
    expect(adminValue(driver.ask(show).reply)).toMatchObject({ state: "parked", queuedBehind: 1 });
    const decide = { type: "tx.decide", transactionId: idOf("a"), verdict: "rollback" } as const;
    driver.ask({ ...decide, ...audit });
    expect(driver.visible()).toEqual(["second@ann"]);
  });
});

test("more than a step may take come one step after the other, and nobody overtakes them", () => {
  const driver = new Shop();
  driver.reserves("a", "first@ann");
  const many = Array.from({ length: 4_000 }, (_, at) => `${at}@ann`);
  for (let at = 0; at < many.length; at += 1_000) driver.sends(...many.slice(at, at + 1_000));
  expect(driver.view()).toMatchObject({ queued: 4_000 });
  driver.commit("a");
  expect(driver.visible().length).toBeLessThan(4_000);
  const [saved, blocks] = [driver.saved(), driver.blocks.length];
  // The next thing after the checkpoint is not about the head of the queue.
  const recall = { type: "recall", topic: "orders", messageId: "3999@ann" } as const;
  expect(codeOf(driver.request(driver.shop, recall).reply)).toBe("ok");
  driver.isRecoverableFrom(saved, blocks);
  driver.load();
  driver.announce();
  driver.sends("last@ann");
  driver.advance(0);
  expect(driver.visible()).toEqual(["first@ann", ...many.slice(0, -1), "last@ann"]);
  driver.isRecoverable();
});

test.each([
  ["the log", (driver: Shop) => driver.crash(0)],
  ["a checkpoint", (driver: Shop) => driver.load()],
])(
  "a start from %s goes on in the middle of them, without those that were called back",
  (_, starts) => {
    const driver = new Shop();
    driver.reserves("a", "first@ann");
    const many = Array.from({ length: 5_000 }, (_, at) => `${at}@ann`);
    for (let at = 0; at < many.length; at += 1_000) driver.sends(...many.slice(at, at + 1_000));
    driver.reserves("b", "next@ann");
    driver.sends("last@ann");
    driver.commit("a");
    const [next = ""] = many.slice(driver.visible().length - 1);
    const recalled = [next, "4000@ann", "4999@ann"];
    for (const messageId of recalled) {
      // Over a connection that is there: each new one is a step in which more become visible.
      const recall = { type: "recall", topic: "orders", messageId } as const;
      expect(codeOf(driver.request(driver.shop, recall).reply)).toBe("ok");
    }
    const rest = many.filter((body) => !recalled.includes(body));
    expect(driver.visible().length).toBeLessThan(rest.length);
    driver.isRecoverable();
    starts(driver);
    driver.announce();
    driver.advance(1);
    expect(driver.visible()).toEqual(["first@ann", ...rest]);
    driver.rollback("b");
    expect(driver.visible()).toEqual(["first@ann", ...rest, "last@ann"]);
    expect(driver.view()).toMatchObject({ queued: 0 });
    driver.isRecoverable();
  },
);

describe("the commit shows what waited, in one order, to", () => {
  const committed = ["besides@bob", "1#paid@ann", "2@ann", "3#paid@ann"];

  /** What a consumer is given, as a body each. */
  function reads(driver: Shop, connection: number): string[] {
    const got = driver.credit(connection, 9);
    return got.map(({ place }) => bodyIn(driver.blocks, place) ?? "?");
  }

  const bodiesOf = (driver: Shop, effects: Effects): string[] =>
    deliveriesOf(effects).map(({ place }) => bodyIn(driver.blocks, place) ?? "?");

  function instance(driver: Shop, name: string): number {
    const connection = driver.connect(name);
    const topics = [{ topic: "orders", from: "earliest" }] as const;
    const subscribe = { type: "subscribe", subscription: 1, group: "cache", topics } as const;
    driver.request(connection, { ...subscribe, topics: [...topics], instance: name });
    return connection;
  }

  function shop(): Shop {
    const driver = new Shop();
    driver.reserves("a", "1#paid@ann");
    driver.sends("2@ann", "3#paid@ann", "besides@bob");
    return driver;
  }

  test("groups and instances that were there before it", () => {
    const driver = shop();
    const group = driver.consumer("billing", "orders");
    const [one, other] = [instance(driver, "node-1"), instance(driver, "node-2")];
    driver.commit("a");
    for (const connection of [group, one, other])
      expect(reads(driver, connection)).toEqual(committed);
  });

  test("whoever began to read before it, and got nothing of the key", () => {
    const driver = shop();
    const billing = driver.consumer("billing", "orders");
    const [one, other] = [instance(driver, "node-1"), instance(driver, "node-2")];
    for (const connection of [billing, one, other])
      expect(reads(driver, connection)).toEqual(["besides@bob"]);
    const bodies = bodiesOf(driver, driver.commit("a"));
    expect(bodies).toEqual([0, 1, 2].flatMap(() => committed.slice(1)));
  });

  test("a filter, that lets pass what it wants of it", () => {
    const driver = shop();
    const paid = driver.filtering("search", "orders", "paid");
    expect(reads(driver, paid)).toEqual([]);
    const effects = driver.commit("a");
    expect(bodiesOf(driver, effects)).toEqual(["1#paid@ann", "3#paid@ann"]);
  });

  test("whoever joins later, from the earliest on", () => {
    const driver = shop();
    driver.commit("a");
    expect(reads(driver, driver.consumer("late", "orders"))).toEqual(committed);
  });
});

test("nobody asks for keys while none is reserved", () => {
  const driver = new Shop();
  const secret = (body: string): NewMessage => ({
    ...message("orders", body),
    head: {
      get id(): string {
        throw new Error("Nobody needs to know its id.");
      },
      get key(): string {
        throw new Error("Nobody needs to know its key.");
      },
    },
  });
  const timing = { delayMs: 0, deliverAtMs: 0, ttlMs: 1_000 };
  expect(driver.sends(secret("sent@ann"), { ...secret("brief@ann"), timing })).toBe("ok");
  expect(driver.prepares("a", [secret("prepared@ann"), secret("with it@ann")])).toBe("ok");
  driver.commit("a");
  expect(driver.visible()).toEqual(["sent@ann", "brief@ann", "prepared@ann", "with it@ann"]);
  // From here on there is one, and after its verdict there is none.
  driver.reserves("b", "1@bob");
  expect(() => driver.sends(secret("sent@ann"))).toThrow("Nobody needs to know its key.");
  driver.rollback("b");
  expect(driver.sends(secret("again@ann"))).toBe("ok");
});

describe("refused is", () => {
  test("one key more than may be reserved; what has no key, or a delay, reserves none", () => {
    const driver = new Shop({ reservationsMax: 2 });
    expect(driver.reserves("a", "1@ann", "2@bob", "3")).toBe("ok");
    expect(driver.reserves("b", "1@cid")).toBe("RESERVATION_LIMIT");
    expect(driver.prepares("c", ["1@cid"])).toBe("ok");
    const later = timed("orders", { id: "later@cid", delayMs: MINUTE });
    expect(driver.reserves("d", "1", later)).toBe("ok");
    driver.rollback("a");
    expect(driver.reserves("b", "1@cid")).toBe("ok");
  });

  test("one message more than may wait, but no verdict", () => {
    const driver = new Shop({ scheduledMax: 1 });
    driver.reserves("a", "1@ann");
    driver.prepares("b", ["2@ann"]);
    expect(driver.sends("3@ann")).toBe("ok");
    expect(driver.sends("4@ann")).toBe("SCHEDULED_LIMIT");
    expect(driver.prepares("c", ["5@ann"])).toBe("SCHEDULED_LIMIT");
    expect(driver.sends("besides@bob")).toBe("ok");
    driver.commit("b");
    driver.commit("a");
    expect(driver.visible()).toEqual(["besides@bob", "1@ann", "3@ann", "2@ann"]);
  });
});

test("a topic whose keys are reserved cannot be deleted; with what is left to come it can", () => {
  const driver = new Shop();
  driver.reserves("a", "first@ann");
  driver.sends("second@ann");
  const remove = { type: "topic.delete", topic: "orders", ...audit } as const;
  expect(codeOf(driver.ask(remove).reply)).toBe("TOPIC_IN_USE");
  driver.rollback("a");
  expect(codeOf(driver.ask(remove).reply)).toBe("ok");
  driver.isRecoverable();
});

test("a topic that is deleted in the middle of what a verdict has opened takes all of it along", () => {
  const driver = new Shop({ duePerStepMax: 2 });
  driver.topic("mail");
  const keys = ["ann", "bob", "cid"];
  driver.reserves("a", ...keys.map((key) => `first@${key}`));
  driver.sends(...["1", "2", "3"].flatMap((body) => keys.map((key) => `${body}@${key}`)));
  driver.sends(timed("mail", { id: "later", delayMs: MINUTE }));
  driver.sends(timed("orders", { id: "later", delayMs: MINUTE }));
  driver.commit("a");
  // Bob's next one has its time already, and these stand behind it.
  driver.sends("4@bob", "5@bob");
  const remove = { type: "topic.delete", topic: "orders", ...audit } as const;
  const { reply } = driver.request(driver.shop, remove);
  expect(adminValue(reply)).toEqual({ topic: "orders", scheduled: 8 });
  driver.isRecoverable();
  driver.advance(MINUTE);
  expect(driver.visible("mail")).toEqual(["later"]);
  const figures = adminValue(driver.ask({ type: "stats" }).reply);
  expect(figures).toMatchObject({ queued: 0, scheduled: 0, scheduledBytes: 0 });
});

test("views and figures say how many keys are reserved and how many wait, and for whom", () => {
  const driver = new Shop();
  driver.reserves("a", "1@ann", "2@bob");
  driver.sends("3@ann", "4@ann", "5@bob");
  driver.sends(timed("orders", { id: "later", delayMs: MINUTE }));
  expect(driver.view()).toMatchObject({ queued: 3, scheduled: 1 });
  const figures = adminValue(driver.ask({ type: "stats" }).reply);
  expect(figures).toMatchObject({ queued: 3, scheduled: 1, reservedKeys: 2 });
  const shown = adminValue(driver.ask({ type: "tx.show", transactionId: idOf("a") }).reply);
  expect(shown).toMatchObject({ queuedBehind: 3 });
  driver.commit("a");
  expect(adminValue(driver.ask({ type: "stats" }).reply)).toMatchObject({
    queued: 0,
    reservedKeys: 0,
  });
});
