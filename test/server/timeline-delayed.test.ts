/** The inspector of a transaction whose messages come later: due, recalled, delivered, wherever they were copied to. */
import { expect, test } from "vitest";
import { movableBefore } from "../../broker/src/core/copy-forward.ts";
import { Driver, message, only, timed } from "../support/sim-driver.ts";
import { eventsOf } from "../support/sim-timeline.ts";

const TX = "transaction-0123456789";

function committed(): Driver {
  const driver = new Driver();
  driver.topic("orders");
  const shop = driver.producer("shop");
  const messages = [
    message("orders", "now"),
    timed("orders", { id: "later", delayMs: 60_000 }),
    timed("orders", { id: "never", delayMs: 90_000 }),
  ];
  driver.prepare(shop, TX, { messages });
  driver.verdict(shop, TX, "commit");
  driver.ask({ type: "recall", topic: "orders", messageId: "never" });
  return driver;
}

function delivers(driver: Driver): void {
  const consumer = driver.consumer("billing", "orders");
  for (const { token } of driver.credit(consumer, 9)) driver.ack(consumer, token);
}

const EVENTS = [
  "prepared by shop: 3 messages for orders",
  "committed by producer, shop producer",
  "recalled out of orders by operator",
  "due in orders",
];

test("tells what became of each", async () => {
  const driver = committed();
  driver.advance(60_000);
  delivers(driver);
  expect(await eventsOf(driver, TX)).toEqual([
    ...EVENTS,
    expect.stringMatching(/^delivered orders@0/),
    expect.stringMatching(/^delivered orders@1/),
    expect.stringMatching(/^acked orders@0/),
    expect.stringMatching(/^acked orders@1/),
  ]);
});

test("finds what was copied forward while it waited, and again after it", async () => {
  const driver = committed();
  const copies = (): void => {
    const { state } = driver.engine.core;
    const all = [...movableBefore(state, state.block + 1)].filter((of) => of !== null);
    driver.step({
      kind: "copied",
      messages: all.map((of) => ({ of, data: [new TextEncoder().encode("x")] })),
    });
  };
  copies();
  copies();
  driver.advance(60_000);
  copies();
  delivers(driver);
  const events = await eventsOf(driver, TX);
  expect(events.slice(0, 4)).toEqual(EVENTS);
  expect(only(events.filter((event) => event.startsWith("delivered orders@1")))).toBeDefined();
});

test("tells what lapsed, what was reset, and which acks joined another transaction; a restart repeats none of it", async () => {
  const driver = new Driver();
  driver.topic("orders");
  const shop = driver.producer("shop");
  const brief = timed("orders", { id: "brief", ttlMs: 1_000 });
  driver.prepare(shop, TX, { messages: [brief, message("orders"), message("orders")] });
  driver.verdict(shop, TX, "commit");
  const consumer = driver.consumer("billing", "orders");
  const tokens = driver.credit(consumer, 3).map(({ token }) => token);
  driver.unsent("lapsed", tokens[0] ?? "");
  driver.prepare(shop, "another-0123456789abcd", { acks: tokens.slice(1, 2) });
  driver.verdict(shop, "another-0123456789abcd", "commit");
  const by = { operator: "ann", reason: "test" };
  driver.ask({ type: "group.reset", group: "billing", topic: "orders", from: "latest", ...by });
  driver.crash();
  expect((await eventsOf(driver, TX)).slice(5)).toEqual([
    "lapsed orders@0 for billing, its time to live was over",
    "joined orders@1 for billing, the ack joined transaction another-0123456789abcd",
    ...[0, 1, 2].map((at) => `reset orders@${at} for billing, to offset 3, by ann: test`),
  ]);
});
