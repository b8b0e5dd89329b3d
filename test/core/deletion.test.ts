/** Topics and groups that are deleted: gone with all that belongs to them, and nothing else. */
import { expect, test } from "vitest";
import { audit, billing, fill, offsetsOf } from "../support/sim-billing.ts";
import { adminValue, codeOf, only } from "../support/sim-driver.ts";

test("a deleted group leaves nothing, and one of the same name starts from the beginning", () => {
  const { driver, consumer } = billing(2);
  const [first, second] = driver.credit(consumer, 2);
  if (first === undefined || second === undefined) throw new Error("Two were there.");
  driver.ack(consumer, first.token);
  driver.request(consumer, { type: "bury", token: second.token, reason: "bad" });
  // It reads its own dead letters, too.
  const reader = driver.consumer("billing", "%DLQ%billing");
  driver.credit(reader, 1);
  for (const one of [consumer, reader]) driver.disconnect(one);
  const deleted = driver.ask({ type: "group.delete", group: "billing", ...audit });
  expect(codeOf(deleted.reply)).toBe("ok");
  expect(codeOf(driver.ask({ type: "group.describe", group: "billing" }).reply)).toBe(
    "GROUP_NOT_FOUND",
  );
  driver.crash();
  const again = driver.consumer("billing", "orders");
  expect(offsetsOf(driver.credit(again, 9))).toEqual([0, 1]);
});

test("old tokens of a deleted group are worth nothing to the next one of that name", () => {
  const { driver, consumer } = billing(1);
  const { token } = only(driver.credit(consumer, 1));
  driver.disconnect(consumer);
  driver.ask({ type: "group.delete", group: "billing", ...audit });
  const again = driver.consumer("billing", "orders");
  driver.credit(again, 1);
  expect(driver.ack(again, token).reply).toMatchObject({ stale: [token] });
});

test("a deleted topic takes its readers' progress with it, and waits that were set go by", () => {
  const { driver, consumer } = billing(2);
  const { token } = only(driver.credit(consumer, 1));
  driver.request(consumer, { type: "retry", token, delayMs: 5_000 });
  driver.disconnect(consumer);
  driver.ask({ type: "topic.delete", topic: "orders", ...audit });
  expect(driver.advance(60_000).records).toEqual([]);
  driver.topic("orders");
  fill(driver, "orders", 1);
  const again = driver.consumer("billing", "orders");
  expect(offsetsOf(driver.credit(again, 9))).toEqual([0]);
  const described = adminValue(driver.ask({ type: "topic.describe", topic: "orders" }).reply);
  expect(described).toMatchObject({ nextOffset: 1, groups: ["billing"] });
});

test("a deleted group takes nothing from the others that read the same topic", () => {
  const { driver, consumer } = billing(3);
  const mailer = driver.consumer("mailer", "orders");
  const [first] = driver.credit(mailer, 2);
  if (first === undefined) throw new Error("Two were there.");
  driver.ack(mailer, first.token);
  driver.disconnect(consumer);
  driver.ask({ type: "group.delete", group: "billing", ...audit });
  expect(offsetsOf(driver.credit(mailer, 9))).toEqual([2]);
});
