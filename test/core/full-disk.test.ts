/**
 * Operators' requests when nothing may be written any more. Who repeats one whose answer was lost would take
 * DISK_FULL for "it did not happen": what is so already is said, and only what is not is refused.
 */
import { describe, expect, test } from "vitest";
import { audit } from "../support/sim-billing.ts";
import { codeOf, Driver, type Request } from "../support/sim-driver.ts";
import { shopWithTransaction } from "../support/sim-refusals.ts";

/** With the topics "orders" and "mail", the paused group "ledger", and the parked transaction "t1". */
function scene(): Driver {
  const driver = new Driver({ undecidedAgeMaxMs: 60_000 });
  shopWithTransaction(driver);
  driver.topic("mail");
  for (const group of ["billing", "ledger"]) driver.disconnect(driver.consumer(group, "orders"));
  driver.ask({ type: "group.pause", group: "ledger", ...audit });
  driver.advance(3_600_000);
  return driver;
}

const full = (driver: Driver): Driver => {
  driver.step({ kind: "admission", admission: "none" });
  return driver;
};

const REQUESTS: readonly (readonly [Request, again: string])[] = [
  [{ type: "group.pause", group: "billing", ...audit }, "ok"],
  [{ type: "group.resume", group: "ledger", ...audit }, "ok"],
  [{ type: "group.delete", group: "billing", ...audit }, "GROUP_NOT_FOUND"],
  [{ type: "topic.create", topic: "new" }, "TOPIC_EXISTS"],
  [{ type: "topic.delete", topic: "mail", ...audit }, "TOPIC_NOT_FOUND"],
  [{ type: "tx.resume", transactionId: "t1", ...audit }, "TX_NOT_PARKED"],
];

describe.each(REQUESTS)("%o", (request, again) => {
  test("that took effect is answered as ever when it is repeated on a full disk", () => {
    const driver = scene();
    expect(codeOf(driver.ask(request).reply)).toBe("ok");
    expect(codeOf(driver.ask(request).reply)).toBe(again);
    expect(codeOf(full(driver).ask(request).reply)).toBe(again);
  });

  test("that is new is refused there, and writes nothing", () => {
    const { reply, records } = full(scene()).ask(request);
    expect(codeOf(reply)).toBe("DISK_FULL");
    expect(records).toEqual([]);
  });
});
