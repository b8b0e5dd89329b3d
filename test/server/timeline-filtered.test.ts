/** The inspector of a transaction, about groups whose filters pass its messages over. */
import type { MessageTrace } from "@escrowmq/protocol";
import { expect, test } from "vitest";
import type { Trace } from "../../broker/src/core/message-queries.ts";
import { traceMessage } from "../../broker/src/server/message-trace.ts";
import { readTimeline } from "../../broker/src/server/timeline.ts";
import { audit, fill } from "../support/sim-billing.ts";
import { adminValue, Driver, message } from "../support/sim-driver.ts";
import { sourceOf } from "../support/sim-timeline.ts";

const TX = "transaction-0123456789";

async function filteredOf(driver: Driver): Promise<string[]> {
  const { block } = driver.engine.core.state;
  const { timeline } = await readTimeline(sourceOf(driver), TX, 1, block);
  return timeline.filter(({ event }) => event === "filtered").map(({ text }) => text);
}

/** "search" wants what is paid. Of the transaction the first and the third message are open. */
function committed(): Driver {
  const driver = new Driver();
  driver.topic("orders");
  driver.filtering("search", "orders", "paid");
  fill(driver, "orders", 3, "before#open");
  const bodies = ["a#open", "b#paid", "c#open"];
  const messages = bodies.map((body) => message("orders", body));
  driver.prepare(driver.producer("shop"), TX, { messages });
  driver.verdict(driver.connect(), TX, "commit");
  driver.advance(1);
  fill(driver, "orders", 30, "after#open");
  return driver;
}

const PASSED_OVER = [3, 5].map((at) => `orders@${at} for search, it does not match`);

test("tx show tells each message that a filter passed over, once", async () => {
  expect(await filteredOf(committed())).toEqual(PASSED_OVER);
});

test("tx show says it in the words of message trace", async () => {
  const driver = committed();
  const { reply } = driver.ask({ type: "message.trace", topic: "orders", offset: 3 });
  const trace = adminValue(reply) as unknown as Trace;
  const { timeline }: MessageTrace = await traceMessage(
    sourceOf(driver),
    { nowMs: () => 0 },
    trace,
  );
  const told = timeline.filter(({ event }) => event === "filtered").map(({ text }) => text);
  expect(told.map((text) => `orders@3 for ${text}`)).toEqual(PASSED_OVER.slice(0, 1));
});

test("tx show tells it again when the group looks again after a reset", async () => {
  const driver = committed();
  driver.ask({ type: "group.reset", group: "search", topic: "orders", ...audit });
  expect(await filteredOf(driver)).toEqual([...PASSED_OVER, ...PASSED_OVER]);
});

test("tx show tells nothing of groups that began behind the message, or had it before they had a filter", async () => {
  const driver = committed();
  const late = [{ topic: "orders", from: "latest" as const, filter: "paid" }];
  const subscribe = { type: "subscribe", subscription: 1 } as const;
  driver.request(driver.connect(), { ...subscribe, group: "late", topics: late });
  const ledger = driver.consumer("ledger", "orders");
  driver.ack(ledger, ...driver.credit(ledger, 6).map(({ token }) => token));
  driver.disconnect(ledger);
  driver.filtering("ledger", "orders", "paid");
  fill(driver, "orders", 30, "after#open");
  expect(await filteredOf(driver)).toEqual(PASSED_OVER);
});
