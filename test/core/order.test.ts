/** Order by key: at most one delivery of a key is under way, the next only when it is settled (D9, Q1). */
import { describe, expect, test } from "vitest";
import type { Policy } from "../../broker/src/core/policy.ts";
import { audit, MINUTE, offsetsOf, release, retry, tokensOf } from "../support/sim-billing.ts";
import { adminValue, Driver, deliveriesOf, message, only } from "../support/sim-driver.ts";
import { bodyIn } from "../support/sim-looking.ts";

interface Stage {
  readonly driver: Driver;
  readonly consumer: number;
  readonly producer: number;
}

/** A topic "orders", an ordered group "billing", and messages with these keys ("" for none). */
function ordered(keys: string, policy: Partial<Policy> = {}): Stage {
  const driver = new Driver(policy);
  driver.topic("orders");
  driver.ask({ type: "group.update", group: "billing", ordered: true, jitterPercent: 0 });
  const consumer = driver.consumer("billing", "orders");
  const producer = driver.producer("shop");
  send(driver, producer, keys);
  return { driver, consumer, producer };
}

let sends = 0;
/** A letter is a message's key; "-" is none. */
function send(driver: Driver, producer: number, keys: string): void {
  for (const key of keys)
    driver.send(producer, `s${sends++}`, message("orders", key === "-" ? "x" : `x@${key}`));
}

const bodyOf = (driver: Driver, offset: number) =>
  bodyIn(driver.blocks, driver.engine.core.state.topic(1).placeOf(offset));

const countsOf = (driver: Driver) => driver.engine.core.state.cursors.get(1)?.counts;

/** Whatever was made of the state, its log and its checkpoint make the same of it (P8). */
function demandSame(driver: Driver): void {
  const before = driver.saved();
  const other = new Driver(driver.policy);
  other.engine.load(before);
  const shown = (one: Driver) =>
    [...(one.engine.core.state.cursors.get(1)?.entries() ?? [])].map(({ offset, kind, key }) => [
      offset,
      kind,
      key,
    ]);
  expect(shown(other)).toEqual(shown(driver));
}

test("of a key one message is under way at a time, of several keys one each", () => {
  const { driver, consumer } = ordered("aabab");
  expect(offsetsOf(driver.credit(consumer, 9))).toEqual([0, 2]);
  expect(countsOf(driver)).toMatchObject({ leased: 2, held: 3 });
});

test("the next of a key comes with the ack of the one before it", () => {
  const { driver, consumer } = ordered("aaa");
  let [token = ""] = tokensOf(driver.credit(consumer, 9));
  for (const offset of [1, 2]) {
    const next = only(deliveriesOf(driver.ack(consumer, token)));
    expect(next.offset).toBe(offset);
    token = next.token;
  }
  driver.ack(consumer, token);
  expect(countsOf(driver)).toMatchObject({ leased: 0, held: 0, ready: 0 });
});

test("messages without a key are unordered", () => {
  const { driver, consumer } = ordered("-a-a-");
  expect(offsetsOf(driver.credit(consumer, 9))).toEqual([0, 1, 2, 4]);
});

test("a key that is stuck holds up no other", () => {
  const { driver, consumer } = ordered("ab");
  const [a = "", b = ""] = tokensOf(driver.credit(consumer, 9));
  retry(driver, consumer, a, MINUTE);
  let token = b;
  for (let at = 0; at < 5; at++) {
    send(driver, driver.connect(), "ab");
    token = only(deliveriesOf(driver.ack(consumer, token))).token;
  }
  expect(countsOf(driver)).toMatchObject({ waiting: 1, leased: 1, held: 5 });
});

describe("a message keeps its place in its key", () => {
  test("while it waits for its retry", () => {
    const { driver, consumer } = ordered("aa");
    retry(driver, consumer, only(tokensOf(driver.credit(consumer, 9))), MINUTE);
    expect(deliveriesOf(driver.advance(MINUTE - 1))).toEqual([]);
    expect(offsetsOf(deliveriesOf(driver.advance(1)))).toEqual([0]);
  });

  test("when it is released, its lease ends, or its consumer dies", () => {
    const { driver, consumer } = ordered("aa");
    const first = only(driver.credit(consumer, 9));
    const again = only(deliveriesOf(release(driver, consumer, first.token)));
    expect(again.offset).toBe(0);
    driver.credit(consumer, 9);
    expect(offsetsOf(deliveriesOf(driver.advance(MINUTE)))).toEqual([0]);
    driver.disconnect(consumer);
    const other = driver.consumer("billing", "orders");
    expect(offsetsOf(driver.credit(other, 9))).toEqual([0]);
  });

  test("through a restart, under way or waiting", () => {
    const { driver, consumer } = ordered("aabb");
    const [token = ""] = tokensOf(driver.credit(consumer, 9));
    retry(driver, consumer, token, MINUTE / 2);
    driver.crash();
    const other = driver.consumer("billing", "orders");
    expect(offsetsOf(driver.credit(other, 9))).toEqual([2]);
    expect(offsetsOf(deliveriesOf(driver.advance(MINUTE / 2)))).toEqual([0]);
    demandSame(driver);
  });

  test("while its ack is part of an undecided transaction, until that is committed", () => {
    const { driver, consumer, producer } = ordered("aa");
    const token = only(tokensOf(driver.credit(consumer, 9)));
    driver.prepare(producer, "t1", { acks: [token] });
    driver.credit(consumer, 9);
    expect(countsOf(driver)).toMatchObject({ pending: 1, held: 1 });
    demandSame(driver);
    expect(offsetsOf(deliveriesOf(driver.verdict(producer, "t1", "commit")))).toEqual([1]);
  });

  test("when that transaction is rolled back", () => {
    const { driver, consumer, producer } = ordered("aa");
    const token = only(tokensOf(driver.credit(consumer, 9)));
    driver.prepare(producer, "t1", { acks: [token] });
    driver.credit(consumer, 9);
    expect(offsetsOf(deliveriesOf(driver.verdict(producer, "t1", "rollback")))).toEqual([0]);
  });
});

test("a dead letter frees its key, and when replayed it stands behind all others of it", () => {
  const { driver, consumer } = ordered("aaa");
  const token = only(tokensOf(driver.credit(consumer, 9)));
  const buried = driver.request(consumer, { type: "bury", token, reason: "test" });
  const second = only(deliveriesOf(buried));
  expect(second.offset).toBe(1);
  driver.ask({ type: "dlq.replay", group: "billing", offsets: [0], ...audit });
  expect(countsOf(driver)).toMatchObject({ leased: 1, held: 2 });
  demandSame(driver);
  const third = only(deliveriesOf(driver.ack(consumer, second.token)));
  const last = only(deliveriesOf(driver.ack(consumer, third.token)));
  expect([third.offset, last.offset]).toEqual([2, 0]);
});

test("an undecided transaction blocks no key: its messages get their places with the commit", () => {
  const { driver, consumer, producer } = ordered("");
  driver.prepare(producer, "t1", { messages: [message("orders", "first@a")] });
  send(driver, producer, "a");
  const token = only(tokensOf(driver.credit(consumer, 9)));
  driver.verdict(producer, "t1", "commit");
  expect(offsetsOf(deliveriesOf(driver.ack(consumer, token)))).toEqual([1]);
});

test("an undecided transaction that reserves its keys has the next place of each, and holds up no other key", () => {
  const { driver, consumer, producer } = ordered("a");
  const zeroth = only(tokensOf(driver.credit(consumer, 9)));
  const messages = [message("orders", "first@a")];
  driver.prepare(producer, "t1", { messages, reserveKeys: true });
  send(driver, producer, "aa");
  expect(deliveriesOf(driver.ack(consumer, zeroth))).toEqual([]);
  const sent = driver.send(producer, "besides", message("orders", "x@b"));
  const besides = only(deliveriesOf(sent));
  driver.ack(consumer, besides.token);
  expect(countsOf(driver)).toMatchObject({ leased: 0, held: 0, ready: 0 });
  let next = only(deliveriesOf(driver.verdict(producer, "t1", "commit")));
  demandSame(driver);
  const offsets = [next.offset];
  for (; offsets.length < 3; offsets.push(next.offset))
    next = only(deliveriesOf(driver.ack(consumer, next.token)));
  expect([besides.offset, ...offsets]).toEqual([1, 2, 3, 4]);
  expect(bodyOf(driver, 2)).toBe("first@a");
  expect(deliveriesOf(driver.ack(consumer, next.token))).toEqual([]);
});

test("what a transaction commits that reserves its keys stands behind what is under way of the key", () => {
  const { driver, consumer, producer } = ordered("a");
  const token = only(tokensOf(driver.credit(consumer, 9)));
  const messages = [message("orders", "first@a")];
  driver.prepare(producer, "t1", { messages, reserveKeys: true });
  send(driver, producer, "a");
  expect(deliveriesOf(driver.verdict(producer, "t1", "commit"))).toEqual([]);
  expect(countsOf(driver)).toMatchObject({ leased: 1, held: 2 });
  retry(driver, consumer, token, MINUTE);
  const again = only(deliveriesOf(driver.advance(MINUTE)));
  const first = only(deliveriesOf(driver.ack(consumer, again.token)));
  expect([again.offset, first.offset]).toEqual([0, 1]);
  expect(bodyOf(driver, first.offset)).toBe("first@a");
});

test("retention frees a key, too", () => {
  const { driver, consumer } = ordered("aab", { dropAfterStartMs: 0 });
  release(driver, consumer, only(tokensOf(driver.credit(consumer, 1))));
  driver.disconnect(consumer);
  driver.ask({ type: "topic.update", topic: "orders", retentionMs: 1_000, unsettled: "drop" });
  driver.advance(10_000);
  expect(countsOf(driver)).toMatchObject({ ready: 0, held: 0 });
  send(driver, driver.connect(), "a");
  const other = driver.consumer("billing", "orders");
  expect(offsetsOf(driver.credit(other, 9))).toEqual([3]);
});

test("what waited behind a message that retention takes comes at once, not with whatever happens next", () => {
  const { driver, consumer, producer } = ordered("a", {
    dropAfterStartMs: 0,
    retentionEveryMs: 1_000,
  });
  driver.ask({ type: "topic.update", topic: "orders", retentionMs: 10_000, unsettled: "drop" });
  const [token = ""] = tokensOf(driver.credit(consumer, 9));
  retry(driver, consumer, token, MINUTE);
  driver.advance(5_000);
  send(driver, producer, "a");
  const { records, sends } = driver.advance(5_500);
  expect(records.map(({ kind }) => kind)).toContain("retired");
  expect(offsetsOf(deliveriesOf({ records, sends }))).toEqual([1]);
});

test("a reset begins all keys anew", () => {
  const { driver, consumer } = ordered("aab");
  driver.credit(consumer, 9);
  const reset = {
    type: "group.reset",
    group: "billing",
    topic: "orders",
    from: "earliest",
  } as const;
  const effects = driver.ask({ ...reset, ...audit });
  expect(offsetsOf([...deliveriesOf(effects), ...driver.credit(consumer, 9)])).toEqual([0, 2]);
});

describe("a group becomes", () => {
  const update = (driver: Driver, ordered: boolean) =>
    driver.ask({ type: "group.update", group: "billing", ordered });

  test("ordered: what was unsettled stays as it was, what comes is ordered", () => {
    const driver = new Driver();
    driver.topic("orders");
    const consumer = driver.consumer("billing", "orders");
    send(driver, driver.connect(), "aa");
    expect(offsetsOf(driver.credit(consumer, 2))).toEqual([0, 1]);
    update(driver, true);
    send(driver, driver.connect(), "aa");
    expect(offsetsOf(driver.credit(consumer, 9))).toEqual([2]);
    demandSame(driver);
  });

  test("unordered: what was held is free, and nothing is looked at any more", () => {
    const { driver, consumer } = ordered("aaa");
    expect(offsetsOf(driver.credit(consumer, 9))).toEqual([0]);
    expect(offsetsOf(deliveriesOf(update(driver, false)))).toEqual([1, 2]);
    driver.isLooking = false;
    const sent = driver.send(driver.connect(), "last", message("orders", "x@a"));
    expect(offsetsOf(deliveriesOf(sent))).toEqual([3]);
    demandSame(driver);
  });

  test("what it is told, and shows it", () => {
    const { driver } = ordered("");
    const view = adminValue(driver.ask({ type: "group.describe", group: "billing" }).reply);
    expect(view.policy).toMatchObject({ ordered: true });
  });
});

test("with too much behind stuck keys the cursor stands still, says so, and goes on when there is room", () => {
  const { driver, consumer } = ordered("aaaaab", { takenInMax: 3 });
  const [token = ""] = tokensOf(driver.credit(consumer, 1));
  const standing = () => driver.engine.core.windows.standing().map(({ because }) => because);
  expect(standing()).toEqual(["full"]);
  driver.credit(consumer, 9);
  const next = only(deliveriesOf(driver.ack(consumer, token)));
  expect(countsOf(driver)).toMatchObject({ leased: 1, held: 3 });
  expect(next.offset).toBe(1);
  expect(offsetsOf(deliveriesOf(driver.ack(consumer, next.token)))).toEqual([2, 5]);
  expect(standing()).toEqual([]);
});

test("dead letters have no order: each was the end of one", () => {
  const { driver, consumer } = ordered("aa");
  driver.ask({ type: "group.update", group: "support", ordered: true });
  for (let left = 2; left > 0; left--) {
    const token = only(tokensOf(driver.credit(consumer, 1)));
    driver.request(consumer, { type: "bury", token, reason: "test" });
  }
  const support = driver.consumer("support", "%DLQ%billing");
  expect(offsetsOf(driver.credit(support, 9))).toEqual([0, 1]);
});
