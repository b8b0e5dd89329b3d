/** Every code that producers are refused with. A refusal changes nothing: promise 8. */
import { EscrowError } from "@escrowmq/protocol";
import { expect, test } from "vitest";
import { Driver, message } from "../support/sim-driver.ts";
import {
  audit,
  orders,
  type Refusal,
  shopWithTransaction,
  testRefusals,
} from "../support/sim-refusals.ts";

testRefusals([
  {
    code: "TOPIC_NOT_FOUND",
    when: "a message is sent to a topic that nobody created",
    given: (driver) => {
      const producer = driver.connect();
      return () => driver.send(producer, "s1", orders);
    },
  },
  {
    code: "TOPIC_NOT_FOUND",
    when: "one of two topics of a transaction does not exist",
    given: (driver) => {
      driver.topic("orders");
      const producer = driver.producer("shop");
      return () => driver.prepare(producer, "t1", { messages: [orders, message("mail")] });
    },
  },
  {
    code: "TOPIC_PAUSED",
    when: "a message is sent to a paused topic",
    given: (driver) => {
      driver.topic("orders");
      driver.ask({ type: "topic.update", topic: "orders", paused: true });
      const producer = driver.connect();
      return () => driver.send(producer, "s1", orders);
    },
  },
  {
    code: "NO_CHECKER",
    when: "nobody could ever say how the transaction ended",
    given: (driver) => {
      driver.topic("orders");
      const producer = driver.producer("shop", false);
      return () => driver.prepare(producer, "t1", { messages: [orders] });
    },
  },
  {
    code: "NOT_ANNOUNCED",
    when: "a connection prepares for a group that it has not announced",
    given: (driver) => {
      driver.topic("orders");
      driver.producer("shop");
      const stranger = driver.producer("other");
      return () => driver.prepare(stranger, "t1", { messages: [orders] });
    },
  },
  {
    code: "TX_CONFLICT",
    when: "a transaction id comes again with other content",
    given: (driver) => {
      const producer = shopWithTransaction(driver);
      return () => driver.prepare(producer, "t1", { messages: [message("orders", "other")] });
    },
  },
  {
    code: "TX_CONFLICT",
    when: "a decided transaction's id comes again with other content",
    given: (driver) => {
      const producer = shopWithTransaction(driver);
      driver.verdict(producer, "t1", "commit");
      return () => driver.prepare(producer, "t1", { messages: [message("orders", "other")] });
    },
  },
  {
    code: "TX_CONFLICT",
    when: "a transaction id comes again from another producer group",
    given: (driver) => {
      shopWithTransaction(driver);
      const stranger = driver.producer("other");
      return () => driver.prepare(stranger, "t1", { group: "other", messages: [orders] });
    },
  },
  {
    code: "TX_CONFLICT",
    when: "a send id comes again with other content",
    given: (driver) => {
      driver.topic("orders");
      const producer = driver.connect();
      driver.send(producer, "s1", orders);
      return () => driver.send(producer, "s1", message("orders", "other"));
    },
  },
  {
    code: "TX_NOT_FOUND",
    when: "a verdict names a transaction that was never prepared",
    given: (driver) => {
      const producer = driver.producer("shop");
      return () => driver.verdict(producer, "t1", "commit");
    },
  },
  ...(["tx.check", "tx.resume"] as const).map(
    (type): Refusal => ({
      code: "TX_NOT_FOUND",
      when: `an operator's ${type} names no transaction`,
      given: (driver) => () => driver.ask({ type, transactionId: "t1", ...audit }),
    }),
  ),
  {
    code: "TX_NOT_FOUND",
    when: "an operator decides a transaction that was never prepared",
    given: (driver) => () =>
      driver.ask({ type: "tx.decide", transactionId: "t1", verdict: "commit", ...audit }),
  },
  {
    code: "TX_NOT_FOUND",
    when: "the inspector is asked for a transaction that was never prepared",
    given: (driver) => () => driver.ask({ type: "tx.show", transactionId: "t1" }),
  },
  {
    code: "TX_ALREADY_COMMITTED",
    when: "a rollback comes after the commit",
    given: (driver) => {
      const producer = shopWithTransaction(driver);
      driver.verdict(producer, "t1", "commit");
      return () => driver.verdict(producer, "t1", "rollback");
    },
  },
  {
    code: "TX_ALREADY_ROLLED_BACK",
    when: "a commit comes after the rollback",
    given: (driver) => {
      const producer = shopWithTransaction(driver);
      driver.verdict(producer, "t1", "rollback");
      return () => driver.verdict(producer, "t1", "commit");
    },
  },
  {
    code: "TX_ALREADY_ROLLED_BACK",
    when: "an operator commits what the producer rolled back",
    given: (driver) => {
      const producer = shopWithTransaction(driver);
      driver.verdict(producer, "t1", "rollback");
      return () =>
        driver.ask({ type: "tx.decide", transactionId: "t1", verdict: "commit", ...audit });
    },
  },
  {
    code: "TX_ALREADY_COMMITTED",
    when: "an operator resumes a transaction that is decided",
    given: (driver) => {
      const producer = shopWithTransaction(driver);
      driver.verdict(producer, "t1", "commit");
      return () => driver.ask({ type: "tx.resume", transactionId: "t1", ...audit });
    },
  },
  {
    code: "TX_NOT_PARKED",
    when: "a transaction that is still being checked is resumed",
    given: (driver) => {
      shopWithTransaction(driver);
      return () => driver.ask({ type: "tx.resume", transactionId: "t1", ...audit });
    },
  },
  {
    code: "WRONG_GROUP",
    when: "a verdict comes from another producer group",
    given: (driver) => {
      shopWithTransaction(driver);
      const stranger = driver.producer("other");
      return () => driver.verdict(stranger, "t1", "commit", "other");
    },
  },
  {
    code: "WRONG_GROUP",
    when: "another producer group repeats the verdict of a decided transaction",
    given: (driver) => {
      const producer = shopWithTransaction(driver);
      driver.verdict(producer, "t1", "commit");
      const stranger = driver.producer("other");
      return () => driver.verdict(stranger, "t1", "commit", "other");
    },
  },
  ...(
    [
      { what: "transactions of its group", policy: { undecidedPerGroupMax: 1 } },
      { what: "transactions in total", policy: { undecidedMax: 1 } },
      { what: "bytes of its group", policy: { undecidedBytesPerGroupMax: 7 } },
      { what: "bytes in total", policy: { undecidedBytesMax: 7 } },
    ] as const
  ).map(
    ({ what, policy }): Refusal => ({
      code: "UNDECIDED_LIMIT",
      when: `too many ${what} are undecided`,
      policy,
      given: (driver) => {
        const producer = shopWithTransaction(driver);
        return () => driver.prepare(producer, "t2", { messages: [orders] });
      },
    }),
  ),
  {
    code: "RESERVATION_LIMIT",
    when: "a transaction would reserve one key more than may be",
    policy: { reservationsMax: 2 },
    given: (driver) => {
      driver.topic("orders");
      const producer = driver.producer("shop");
      const reserve = (id: string, ...bodies: string[]) => {
        const messages = bodies.map((body) => message("orders", body));
        return driver.prepare(producer, id, { messages, reserveKeys: true });
      };
      reserve("t1", "x@ann");
      return () => reserve("t2", "x@bob", "x@cid");
    },
  },
  {
    code: "SCHEDULED_LIMIT",
    when: "one message more than may wait is sent behind a reserved key",
    policy: { scheduledMax: 1 },
    given: (driver) => {
      driver.topic("orders");
      const producer = driver.producer("shop");
      const messages = [message("orders", "x@ann")];
      driver.prepare(producer, "t1", { messages, reserveKeys: true });
      driver.send(producer, "s1", message("orders", "y@ann"));
      return () => driver.send(producer, "s2", message("orders", "z@ann"));
    },
  },
  {
    code: "DISK_FULL",
    when: "something is sent while the disk only has room to settle",
    given: (driver) => {
      driver.topic("orders");
      const producer = driver.connect();
      driver.step({ kind: "admission", admission: "settle" });
      return () => driver.send(producer, "s1", orders);
    },
  },
  {
    code: "DISK_FULL",
    when: "something is prepared while the disk only has room to settle",
    given: (driver) => {
      driver.topic("orders");
      const producer = driver.producer("shop");
      driver.step({ kind: "admission", admission: "settle" });
      return () => driver.prepare(producer, "t1", { messages: [orders] });
    },
  },
  {
    code: "DISK_FULL",
    when: "a verdict comes when there is no room at all",
    given: (driver) => {
      const producer = shopWithTransaction(driver);
      driver.step({ kind: "admission", admission: "none" });
      return () => driver.verdict(producer, "t1", "commit");
    },
  },
  {
    code: "BODY_TOO_LARGE",
    when: "a body is larger than its topic allows",
    given: (driver) => {
      driver.ask({ type: "topic.create", topic: "orders", bodyBytesMax: 3 });
      const producer = driver.connect();
      return () => driver.send(producer, "s1", orders);
    },
  },
  {
    code: "TRANSACTION_TOO_LARGE",
    when: "the messages of a transaction are too large together",
    given: (driver) => {
      driver.topic("orders");
      const producer = driver.producer("shop");
      const data = new Uint8Array(1_000_000);
      const large = { ...message("orders"), bodyBytes: data.length, data };
      const messages = Array.from({ length: 5 }, () => large);
      return () => driver.prepare(producer, "t1", { messages });
    },
  },
  {
    code: "INVALID_ARGUMENT",
    when: "a transaction holds neither messages nor acks",
    given: (driver) => {
      const producer = driver.producer("shop");
      return () => driver.prepare(producer, "t1");
    },
  },
  {
    code: "INVALID_ARGUMENT",
    when: "a parked transaction is checked without being resumed",
    policy: { checkAttemptsMax: 1, checkAfterMs: 0 },
    given: (driver) => {
      shopWithTransaction(driver);
      driver.advance(10_000);
      return () => driver.ask({ type: "tx.check", transactionId: "t1", ...audit });
    },
  },
]);

test("a request that the shell refused is answered with the shell's code, in its turn", () => {
  const driver = new Driver();
  const from = driver.connect();
  const before = driver.saved();
  const error = new EscrowError("INVALID_MESSAGE", "bad");
  const { sends } = driver.step({ kind: "refused", from, re: 7, error });
  expect(sends).toMatchObject([{ to: from, frame: { type: "error", re: 7, code: error.code } }]);
  expect(driver.saved()).toEqual(before);
});

test("the other verdict is refused with who decided, and when", () => {
  const driver = new Driver();
  const producer = shopWithTransaction(driver);
  driver.advance(1_000);
  const decidedAtMs = driver.nowMs;
  driver.verdict(producer, "t1", "commit");
  driver.advance(1_000);
  expect(driver.verdict(producer, "t1", "rollback").reply).toMatchObject({
    code: "TX_ALREADY_COMMITTED",
    detail: { decidedBy: "producer", who: "shop producer", decidedAtMs },
  });
});

/** Who hears DISK_FULL takes it for "it did not happen": a repetition must not hear it (T2, P3). */
test("what is decided is said even when the disk has no room at all", () => {
  const driver = new Driver();
  const producer = shopWithTransaction(driver);
  driver.verdict(producer, "t1", "commit");
  driver.step({ kind: "admission", admission: "none" });
  expect(driver.verdict(producer, "t1", "commit").reply).toMatchObject({
    type: "ok",
    duplicate: true,
    state: "committed",
  });
  expect(driver.verdict(producer, "t1", "unknown").reply).toMatchObject({ state: "committed" });
  expect(driver.verdict(producer, "t1", "rollback").reply).toMatchObject({
    code: "TX_ALREADY_COMMITTED",
  });
  expect(driver.verdict(producer, "t2", "commit").reply).toMatchObject({ code: "TX_NOT_FOUND" });
  const decide = { type: "tx.decide", transactionId: "t1", verdict: "commit", ...audit } as const;
  expect(driver.ask(decide).reply.type).toBe("ok");
});
