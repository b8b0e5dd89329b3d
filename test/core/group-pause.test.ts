/** Pause and resume of a group (D16): nothing is delivered to it, and nothing else changes. */
import { describe, expect, test } from "vitest";
import { wholePart } from "../../broker/src/core/lasting-part.ts";
import { audit, billing, fill, MINUTE, offsetsOf, retry } from "../support/sim-billing.ts";
import { adminValue, Driver, deliveriesOf } from "../support/sim-driver.ts";

const pause = (driver: Driver, reason = "tax service is down") =>
  driver.ask({ type: "group.pause", group: "billing", operator: "ann", reason });
const resume = (driver: Driver) => driver.ask({ type: "group.resume", group: "billing", ...audit });

describe("a paused group", () => {
  test("gets neither new messages nor those that came back, whatever its credit", () => {
    const { driver, consumer } = billing(2);
    const [first] = driver.credit(consumer, 1);
    if (first === undefined) throw new Error("One was there.");
    pause(driver);
    retry(driver, consumer, first.token, 1_000);
    fill(driver, "orders", 3);
    expect(driver.credit(consumer, 100)).toEqual([]);
    expect(deliveriesOf(driver.advance(60 * MINUTE))).toEqual([]);
  });

  test("may settle what it has in hand, and extend it", () => {
    const { driver, consumer } = billing(2);
    const [first, second] = driver.credit(consumer, 2);
    if (first === undefined || second === undefined) throw new Error("Two were there.");
    pause(driver);
    expect(driver.request(consumer, { type: "extend", tokens: [first.token] }).reply).toEqual(
      expect.not.objectContaining({ stale: expect.anything() }),
    );
    expect(driver.ack(consumer, first.token).reply).not.toHaveProperty("stale");
    expect(
      driver.request(consumer, { type: "bury", token: second.token, reason: "x" }).reply.type,
    ).toBe("ok");
  });

  test("gets all that waited once it is resumed, with the credit it had", () => {
    const { driver, consumer } = billing(3);
    pause(driver);
    driver.credit(consumer, 2);
    expect(offsetsOf(deliveriesOf(resume(driver)))).toEqual([0, 1]);
    expect(offsetsOf(driver.credit(consumer, 9))).toEqual([2]);
  });

  test("takes in what its filter lets pass, and passes over the rest, but delivers nothing", () => {
    const driver = new Driver();
    driver.topic("orders");
    const consumer = driver.filtering("billing", "orders", "paid");
    pause(driver);
    driver.credit(consumer, 9);
    fill(driver, "orders", 3, "a#open");
    fill(driver, "orders", 1, "b#paid");
    expect(
      adminValue(driver.ask({ type: "group.describe", group: "billing" }).reply),
    ).toMatchObject({ topics: [{ nextOffset: 4, filtered: 3, ready: 1, takenIn: 1, leased: 0 }] });
    expect(offsetsOf(deliveriesOf(resume(driver)))).toEqual([3]);
  });

  test("takes in a window and no more, as a group without credit does", () => {
    const driver = new Driver({ windowMessagesMax: 3 });
    driver.topic("orders");
    const consumer = driver.filtering("billing", "orders", "paid");
    driver.credit(consumer, 9);
    pause(driver);
    fill(driver, "orders", 8, "b#paid");
    expect(
      adminValue(driver.ask({ type: "group.describe", group: "billing" }).reply),
    ).toMatchObject({ topics: [{ nextOffset: 3, takenIn: 3 }] });
    expect(driver.hasMore).toBe(false);
    expect(offsetsOf(deliveriesOf(resume(driver)))).toHaveLength(8);
  });

  test("keeps nobody else waiting", () => {
    const { driver, consumer } = billing(2);
    const ledger = driver.consumer("ledger", "orders");
    pause(driver);
    driver.credit(consumer, 9);
    expect(offsetsOf(driver.credit(ledger, 9))).toEqual([0, 1]);
    expect(driver.hasMore).toBe(false);
  });

  test("stays paused across a restart, by log and by checkpoint", () => {
    const { driver } = billing(1);
    pause(driver);
    const parts = driver.saved();
    driver.crash();
    expect(driver.credit(driver.consumer("billing", "orders"), 9)).toEqual([]);
    const other = new Driver();
    other.engine.load(parts);
    const group = other.engine.core.state.groupsByName.get("billing");
    expect(group?.paused).toMatchObject({ operator: "ann", reason: "tax service is down" });
    expect(Array.from(other.engine.save(), wholePart)).toEqual(parts);
  });

  test("that is paused again keeps who was first, and why; nothing is written", () => {
    const { driver } = billing(1);
    pause(driver);
    const again = pause(driver, "me, too");
    expect(again.records).toEqual([]);
    expect(adminValue(again.reply)).toMatchObject({ paused: { reason: "tax service is down" } });
    resume(driver);
    expect(resume(driver).records).toEqual([]);
  });

  test("is named by the doctor's figures, with what waits", () => {
    const { driver, consumer } = billing(3);
    driver.credit(consumer, 1);
    pause(driver);
    driver.advance(MINUTE);
    const { sends } = driver.ask({ type: "doctor" });
    const [inspect] = sends.filter((send) => send.kind === "inspect");
    expect(inspect?.inspection).toMatchObject({
      paused: [{ group: "billing", forMs: MINUTE, operator: "ann", lag: 3 }],
    });
  });
});

describe("a paused group that is broadcast to", () => {
  const subscribe = (driver: Driver, instance: string): number => {
    const connection = driver.connect();
    const topics = [{ topic: "orders", from: "earliest" as const }];
    const frame = { type: "subscribe", subscription: 1, group: "billing", topics } as const;
    driver.request(connection, { ...frame, instance });
    return connection;
  };

  test("keeps its instances waiting, those that came later, too", () => {
    const { driver } = billing(2);
    const before = subscribe(driver, "one");
    pause(driver);
    const later = subscribe(driver, "two");
    expect([...driver.credit(before, 9), ...driver.credit(later, 9)]).toEqual([]);
    const got = deliveriesOf(resume(driver));
    expect(offsetsOf(got).sort()).toEqual([0, 0, 1, 1]);
  });

  test("tells by its instances that it is paused, and how much waits for them", () => {
    const { driver, consumer } = billing(2);
    for (const { token } of driver.credit(consumer, 2)) driver.ack(consumer, token);
    subscribe(driver, "one");
    pause(driver);
    const describe = { type: "group.describe", group: "billing%one" } as const;
    expect(adminValue(driver.ask(describe).reply)).toMatchObject({
      paused: { operator: "ann", reason: "tax service is down", group: "billing" },
    });
    driver.ask({ type: "topic.update", topic: "orders", retentionMs: MINUTE });
    driver.advance(MINUTE - 1_000);
    const [inspect] = driver.ask({ type: "doctor" }).sends.filter(({ kind }) => kind === "inspect");
    expect(inspect).toMatchObject({
      inspection: {
        paused: [{ group: "billing", lag: 2 }],
        groups: [{ group: "billing%one", isPaused: true }],
      },
    });
    resume(driver);
    expect(adminValue(driver.ask(describe).reply)).not.toHaveProperty("paused");
  });
});

describe("the last changes of a group", () => {
  test("say what was done, where, by whom and why; the newest first, five of them", () => {
    const { driver } = billing(4);
    for (const reason of ["1", "2"]) {
      pause(driver, reason);
      resume(driver);
    }
    const at = { group: "billing", topic: "orders" };
    driver.ask({ type: "group.skip", ...at, offsets: [1, 2], ...audit });
    driver.ask({ type: "group.reset", ...at, from: "latest", ...audit });
    const { changes } = adminValue(
      driver.ask({ type: "group.describe", group: "billing" }).reply,
    ) as { changes: readonly { what: string }[] };
    expect(changes.map(({ what }) => what)).toEqual([
      "reset",
      "skipped",
      "resumed",
      "paused",
      "resumed",
    ]);
    expect(changes.slice(0, 2)).toMatchObject([
      { topic: "orders", offset: 4, count: 1, operator: "ann", reason: "test" },
      { topic: "orders", offset: 1, count: 2 },
    ]);
  });

  test("count a reset of all topics once", () => {
    const { driver } = billing(1);
    driver.topic("mail");
    driver.consumer("billing", "mail");
    driver.ask({ type: "group.reset", group: "billing", from: "earliest", ...audit });
    const group = driver.engine.core.state.groupsByName.get("billing");
    expect(group?.changes).toMatchObject([{ what: "reset", topic: "orders", count: 2 }]);
  });
});
