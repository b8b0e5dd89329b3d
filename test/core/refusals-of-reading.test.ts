/** Every code that consumers and operators are refused with. A refusal changes nothing: promise 8. */
import { expect, test } from "vitest";
import { Driver, message, only } from "../support/sim-driver.ts";
import {
  audit,
  billingWithDelivery,
  orders,
  type Refusal,
  shopWithTransaction,
  testRefusals,
} from "../support/sim-refusals.ts";

testRefusals([
  {
    code: "TOPIC_NOT_FOUND",
    when: "a group subscribes to an unknown topic beside a known one",
    given: (driver) => {
      driver.topic("orders");
      const from = driver.connect();
      const topics = [{ topic: "orders" }, { topic: "mail" }];
      return () =>
        driver.request(from, { type: "subscribe", subscription: 1, group: "billing", topics });
    },
  },
  {
    code: "FILTER_CONFLICT",
    when: "a group subscribes with another filter than its other consumers, beside another topic",
    given: (driver) => {
      driver.topic("orders", "mail");
      driver.filtering("billing", "orders", "paid");
      const from = driver.connect();
      const topics = [{ topic: "mail" }, { topic: "orders", filter: "open" }];
      return () =>
        driver.request(from, { type: "subscribe", subscription: 1, group: "billing", topics });
    },
  },
  ...(["topic.update", "topic.describe"] as const).map(
    (type): Refusal => ({
      code: "TOPIC_NOT_FOUND",
      when: `an operator's ${type} names no topic`,
      given: (driver) => () => driver.ask({ type, topic: "orders" }),
    }),
  ),
  {
    code: "TOPIC_NOT_FOUND",
    when: "an operator deletes a topic that is not there",
    given: (driver) => () => driver.ask({ type: "topic.delete", topic: "orders", ...audit }),
  },
  {
    code: "TOPIC_NOT_FOUND",
    when: "a group is reset in a topic that it does not read",
    given: (driver) => {
      driver.topic("orders", "mail");
      driver.consumer("billing", "orders");
      return () => driver.ask({ type: "group.reset", group: "billing", topic: "mail", ...audit });
    },
  },
  {
    code: "TOPIC_NOT_FOUND",
    when: "messages are skipped in a topic that the group does not read",
    given: (driver) => {
      driver.topic("orders", "mail");
      driver.consumer("billing", "orders");
      const at = { group: "billing", topic: "mail", offsets: [0] };
      return () => driver.ask({ type: "group.skip", ...at, ...audit });
    },
  },
  ...(["message.show", "message.trace"] as const).map(
    (type): Refusal => ({
      code: "TOPIC_NOT_FOUND",
      when: `an operator's ${type} names no topic`,
      given: (driver) => () => driver.ask({ type, topic: "orders", offset: 0 }),
    }),
  ),
  {
    code: "TOPIC_NOT_FOUND",
    when: "messages are looked for in a topic that is not there",
    given: (driver) => () => driver.ask({ type: "message.find", topic: "orders" }),
  },
  ...(["message.show", "message.trace"] as const).map(
    (type): Refusal => ({
      code: "MESSAGE_NOT_FOUND",
      when: `an operator's ${type} names an offset that is not given yet`,
      given: (driver) => {
        driver.topic("orders");
        return () => driver.ask({ type, topic: "orders", offset: 0 });
      },
    }),
  ),
  {
    code: "MESSAGE_RETIRED",
    when: "a message is shown that retention took",
    given: (driver) => {
      driver.topic("orders");
      driver.send(driver.connect(), "s1", orders);
      driver.ask({ type: "topic.update", topic: "orders", retentionMs: 1_000 });
      driver.advance(10_000);
      return () => driver.ask({ type: "message.show", topic: "orders", offset: 0 });
    },
  },
  {
    code: "INVALID_ARGUMENT",
    when: "a search goes on from what no answer said",
    given: (driver) => {
      driver.topic("orders");
      return () => driver.ask({ type: "message.find", topic: "orders", after: "middle" });
    },
  },
  {
    code: "INVALID_ARGUMENT",
    when: "a group is reset to an offset of no topic",
    given: (driver) => {
      driver.topic("orders");
      driver.consumer("billing", "orders");
      const to = { from: "offset", at: 0 } as const;
      return () => driver.ask({ type: "group.reset", group: "billing", ...to, ...audit });
    },
  },
  {
    code: "TOPIC_EXISTS",
    when: "a topic is created twice",
    given: (driver) => {
      driver.topic("orders");
      return () => driver.ask({ type: "topic.create", topic: "orders" });
    },
  },
  {
    code: "TOPIC_IN_USE",
    when: "a topic with half messages is deleted",
    given: (driver) => {
      shopWithTransaction(driver);
      return () => driver.ask({ type: "topic.delete", topic: "orders", ...audit });
    },
  },
  {
    code: "TOPIC_IN_USE",
    when: "a topic with connected consumers is deleted",
    given: (driver) => {
      driver.topic("orders");
      driver.consumer("billing", "orders");
      return () => driver.ask({ type: "topic.delete", topic: "orders", ...audit });
    },
  },
  {
    code: "TOPIC_IN_USE",
    when: "a topic is deleted while an ack in it is pending",
    given: (driver) => {
      const { consumer, token } = billingWithDelivery(driver);
      driver.prepare(driver.producer("shop"), "t1", { acks: [token] });
      driver.disconnect(consumer);
      return () => driver.ask({ type: "topic.delete", topic: "orders", ...audit });
    },
  },
  ...(["group.describe", "dlq.list"] as const).map(
    (type): Refusal => ({
      code: "GROUP_NOT_FOUND",
      when: `an operator's ${type} names no group`,
      given: (driver) => () => driver.ask({ type, group: "billing" }),
    }),
  ),
  ...(["dlq.replay", "dlq.purge"] as const).map(
    (type): Refusal => ({
      code: "GROUP_NOT_FOUND",
      when: `an operator's ${type} names no group`,
      given: (driver) => () => driver.ask({ type, group: "billing", offsets: [0], ...audit }),
    }),
  ),
  {
    code: "GROUP_NOT_FOUND",
    when: "a group that never subscribed is reset",
    given: (driver) => {
      driver.topic("orders");
      return () => driver.ask({ type: "group.reset", group: "billing", topic: "orders", ...audit });
    },
  },
  ...(["group.pause", "group.resume"] as const).map(
    (type): Refusal => ({
      code: "GROUP_NOT_FOUND",
      when: `an operator's ${type} names no group`,
      given: (driver) => () => driver.ask({ type, group: "billing", ...audit }),
    }),
  ),
  {
    code: "DISK_FULL",
    when: "a group is paused when there is no room at all",
    given: (driver) => {
      billingWithDelivery(driver);
      driver.step({ kind: "admission", admission: "none" });
      return () => driver.ask({ type: "group.pause", group: "billing", ...audit });
    },
  },
  {
    code: "GROUP_NOT_FOUND",
    when: "messages are skipped for a group that never subscribed",
    given: (driver) => {
      driver.topic("orders");
      const at = { group: "billing", topic: "orders", offsets: [0] };
      return () => driver.ask({ type: "group.skip", ...at, ...audit });
    },
  },
  {
    code: "GROUP_NOT_FOUND",
    when: "a group that never subscribed is deleted",
    given: (driver) => () => driver.ask({ type: "group.delete", group: "billing", ...audit }),
  },
  {
    code: "GROUP_IN_USE",
    when: "a group with connected consumers is deleted",
    given: (driver) => {
      driver.topic("orders");
      driver.consumer("billing", "orders");
      return () => driver.ask({ type: "group.delete", group: "billing", ...audit });
    },
  },
  {
    code: "GROUP_IN_USE",
    when: "a group is reset while one of its acks is pending",
    given: (driver) => {
      const { token } = billingWithDelivery(driver);
      driver.prepare(driver.producer("shop"), "t1", { acks: [token] });
      return () => driver.ask({ type: "group.reset", group: "billing", topic: "orders", ...audit });
    },
  },
  {
    code: "SUBSCRIPTION_EXISTS",
    when: "a connection uses a subscription number twice",
    given: (driver) => {
      driver.topic("orders");
      const consumer = driver.consumer("billing", "orders");
      const topics = [{ topic: "orders" }];
      return () =>
        driver.request(consumer, { type: "subscribe", subscription: 1, group: "mail", topics });
    },
  },
  {
    code: "SUBSCRIPTION_NOT_FOUND",
    when: "a subscription is ended that is not there",
    given: (driver) => {
      const from = driver.connect();
      return () => driver.request(from, { type: "unsubscribe", subscription: 1 });
    },
  },
  {
    code: "STALE_DELIVERY",
    when: "an acked delivery is retried",
    given: (driver) => {
      const { consumer, token } = billingWithDelivery(driver);
      driver.ack(consumer, token);
      return () => driver.request(consumer, { type: "retry", token });
    },
  },
  {
    code: "STALE_DELIVERY",
    when: "an expired delivery is buried",
    given: (driver) => {
      const { consumer, token } = billingWithDelivery(driver);
      driver.advance(60_000);
      return () => driver.request(consumer, { type: "bury", token, reason: "late" });
    },
  },
  {
    code: "STALE_DELIVERY",
    when: "one of the acks that join a transaction is stale",
    given: (driver) => {
      const { consumer, token } = billingWithDelivery(driver);
      driver.send(driver.connect(), "s2", orders);
      const second = only(driver.credit(consumer, 1)).token;
      driver.ack(consumer, token);
      const producer = driver.producer("shop");
      return () => driver.prepare(producer, "t1", { messages: [orders], acks: [second, token] });
    },
  },
  {
    code: "STALE_DELIVERY",
    when: "an ack joins a transaction twice",
    given: (driver) => {
      const { token } = billingWithDelivery(driver);
      const producer = driver.producer("shop");
      return () => driver.prepare(producer, "t1", { acks: [token, token] });
    },
  },
  {
    code: "DEAD_LETTER_NOT_FOUND",
    when: "a dead letter is shown that does not exist",
    given: (driver) => {
      billingWithDelivery(driver);
      return () => driver.ask({ type: "dlq.show", group: "billing", offset: 0 });
    },
  },
  {
    code: "DISK_FULL",
    when: "an ack comes when there is no room at all",
    given: (driver) => {
      const { consumer, token } = billingWithDelivery(driver);
      driver.step({ kind: "admission", admission: "none" });
      return () => driver.ack(consumer, token);
    },
  },
  {
    code: "INVALID_ARGUMENT",
    when: "a user sends to a dead-letter topic",
    given: (driver) => {
      const { consumer, token } = billingWithDelivery(driver);
      driver.request(consumer, { type: "bury", token, reason: "bad" });
      return () => driver.send(consumer, "s2", message("%DLQ%billing"));
    },
  },
  {
    code: "INVALID_ARGUMENT",
    when: "a subscription names a topic twice",
    given: (driver) => {
      driver.topic("orders");
      const from = driver.connect();
      const topics = [{ topic: "orders" }, { topic: "orders" }];
      return () =>
        driver.request(from, { type: "subscribe", subscription: 1, group: "billing", topics });
    },
  },
]);

test("stale tokens in a batch are named, and the others are done", () => {
  const driver = new Driver();
  const { consumer, token } = billingWithDelivery(driver);
  expect(driver.ack(consumer, "1.7.7", token, token, "junk").reply).toEqual({
    type: "ok",
    re: expect.any(Number),
    stale: ["1.7.7", token, "junk"],
  });
  expect(driver.engine.core.state.cursors.get(1)?.unsettled).toBe(0);
});
