/** What operators list comes in pages: everything once, whatever the size of a page. */
import { expect, test } from "vitest";
import { adminValue, Driver, message, type Request } from "../support/sim-driver.ts";

type Listing = Extract<
  Request,
  { readonly type: "topic.list" | "group.list" | "producer.list" | "tx.list" | "dlq.list" }
>;

/** Twelve of everything. */
function world(): Driver {
  const driver = new Driver();
  const names = Array.from({ length: 12 }, (_, at) => `name-${at}`);
  driver.topic(...names);
  for (const name of names) {
    const producer = driver.producer(name);
    const consumer = driver.consumer(name, "name-0");
    driver.prepare(producer, `tx-${name}`, { group: name, messages: [message("name-1")] });
    driver.send(producer, `send-${name}`, message("name-0", name));
    driver.disconnect(consumer);
  }
  const consumer = driver.consumer("name-0", "name-0");
  for (const { token } of driver.credit(consumer, 12))
    driver.request(consumer, { type: "bury", token, reason: "bad" });
  return driver;
}

function readAll(driver: Driver, listing: Listing, limit: number): readonly unknown[] {
  const items: unknown[] = [];
  let after: string | undefined;
  do {
    const value = adminValue(
      driver.ask({ ...listing, limit, ...(after === undefined ? {} : { after }) }).reply,
    );
    items.push(...(value.items as unknown[]));
    after = value.next as string | undefined;
  } while (after !== undefined);
  return items;
}

test.each([
  { listing: { type: "topic.list" }, count: 13 },
  { listing: { type: "group.list" }, count: 12 },
  { listing: { type: "producer.list" }, count: 12 },
  { listing: { type: "tx.list" }, count: 12 },
  { listing: { type: "tx.list", group: "name-3" }, count: 1 },
  { listing: { type: "tx.list", state: "parked" }, count: 0 },
  { listing: { type: "dlq.list", group: "name-0" }, count: 12 },
] as const)("$listing shows all $count, once, in pages of any size", ({ listing, count }) => {
  const driver = world();
  const all = readAll(driver, listing, 1_000);
  expect(all.length).toBe(count);
  for (const limit of [1, 5, 12]) expect(readAll(driver, listing, limit)).toEqual(all);
});

test("transactions of one block are paged without loss", () => {
  const driver = new Driver();
  driver.topic("orders");
  const producer = driver.producer("shop");
  for (const id of ["c", "a", "d", "b"])
    driver.engine.step(
      {
        kind: "prepare",
        from: producer,
        frame: { type: "prepare", id: 1, transactionId: id, group: "shop", messages: [] },
        messages: [message("orders", id)],
        digest: 1,
      },
      driver.nowMs,
    );
  const all = readAll(driver, { type: "tx.list" }, 3);
  expect(all).toMatchObject(["a", "b", "c", "d"].map((transactionId) => ({ transactionId })));
});

test("the oldest undecided transaction gives its group's and the broker's age", () => {
  const driver = world();
  driver.advance(5_000);
  const [first] = readAll(driver, { type: "producer.list" }, 100);
  expect(first).toMatchObject({ group: "name-0", oldestAgeMs: 5_000, undecided: 1, checkers: 1 });
  const stats = adminValue(driver.ask({ type: "stats" }).reply);
  expect(stats).toMatchObject({ undecided: 12, oldestUndecidedAgeMs: 5_000, deadLetters: 12 });
});

test("long filters make pages shorter, and of very many they are shown in part", () => {
  const driver = new Driver();
  const names = Array.from({ length: 100 }, (_, at) => `name-${at}`);
  driver.topic(...names);
  const filter = "x".repeat(2_000);
  for (const name of names.slice(0, 64)) driver.filtering(name, name, filter);
  for (const name of names) driver.filtering("all", name, filter);
  expect(readAll(driver, { type: "group.list" }, 1_000)).toHaveLength(65);
  const first = adminValue(driver.ask({ type: "group.list", limit: 1_000 }).reply);
  expect((first.items as unknown[]).length).toBeLessThan(32);
  const shownOf = (group: string): readonly number[] => {
    const { topics } = adminValue(driver.ask({ type: "group.describe", group }).reply);
    return (topics as readonly { filter: string }[]).map((topic) => topic.filter.length);
  };
  expect(shownOf("name-1")).toEqual([2_000]);
  expect(Math.max(...shownOf("all"))).toBeLessThan(1_400);
});
