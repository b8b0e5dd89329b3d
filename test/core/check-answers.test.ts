/** Check-back: what comes of an answer, and of none (C2, C3). */
import { describe, expect, test } from "vitest";
import { adminValue, checksOf, type Driver, only } from "../support/sim-driver.ts";
import { audit, MINUTE, messages, shop, stateOf } from "../support/sim-shop.ts";

describe("the answer", () => {
  test("commit and rollback decide, by check", () => {
    const { driver, producer } = shop();
    driver.prepare(producer, "t1", { messages });
    driver.prepare(producer, "t2", { messages });
    const [first, second] = checksOf(driver.advance(6_000));
    if (first === undefined || second === undefined) throw new Error("Two were due.");
    driver.answer(producer, first, "commit");
    driver.answer(producer, second, "rollback");
    expect(stateOf(driver, "t1")).toBe("committed");
    expect(stateOf(driver, "t2")).toBe("rolledBack");
    expect(driver.engine.core.state.decisions.get("t1")).toMatchObject({
      by: "check",
      who: "shop producer",
    });
  });

  test("a late commit decides, and says who gave it", () => {
    const { driver, producer } = shop();
    driver.prepare(producer, "t1", { messages });
    const check = only(checksOf(driver.advance(6_000)));
    driver.advance(20_000);
    driver.answer(producer, check, "commit");
    expect(driver.engine.core.state.decisions.get("t1")).toMatchObject({
      state: "committed",
      who: "shop producer",
    });
  });

  test("an answer after the verdict changes nothing", () => {
    const { driver, producer } = shop();
    driver.prepare(producer, "t1", { messages });
    const check = only(checksOf(driver.advance(6_000)));
    driver.verdict(producer, "t1", "rollback");
    const before = driver.saved();
    expect(driver.answer(producer, check, "commit")).toEqual({ records: [], sends: [] });
    expect(driver.saved()).toEqual(before);
  });

  test("a late unknown does not end the question that is open now", () => {
    const { driver, producer } = shop();
    const other = driver.producer("shop");
    driver.prepare(producer, "t1", { messages });
    const first = only(checksOf(driver.advance(6_000)));
    driver.advance(10_000);
    expect(only(checksOf(driver.advance(30_000))).attempt).toBe(2);
    expect(driver.answer(producer, first, "unknown").records).toEqual([]);
    expect(driver.answer(producer, { ...first, attempt: 2 }, "unknown").records).toEqual([]);
    expect(only(driver.answer(other, { ...first, attempt: 2 }, "unknown").records)).toMatchObject({
      kind: "checked",
      outcome: "unknown",
      isCounted: true,
    });
  });

  test("a connection that goes away while it is asked has used up the check", () => {
    const { driver, producer } = shop();
    driver.producer("shop");
    driver.prepare(producer, "t1", { messages });
    driver.advance(6_000);
    expect(driver.disconnect(producer).records).toMatchObject([
      { kind: "checked", outcome: "disconnected", isCounted: true },
    ]);
    expect(checksOf(driver.advance(29_999))).toEqual([]);
    expect(only(checksOf(driver.advance(1))).attempt).toBe(2);
  });
});

describe("at the end of the attempts", () => {
  const exhaust = (driver: Driver, producer: number): number => {
    let asked = 0;
    for (let at = 0; at < 40; at++) {
      for (const check of checksOf(driver.advance(30_000))) {
        asked++;
        driver.answer(producer, check, "unknown");
      }
    }
    return asked;
  };

  test("after 15 unknowns the transaction is parked: kept, listed, and asked about no more", () => {
    const { driver, producer } = shop();
    driver.prepare(producer, "t1", { messages });
    expect(exhaust(driver, producer)).toBe(15);
    expect(adminValue(driver.ask({ type: "tx.list", state: "parked" }).reply).items).toMatchObject([
      { transactionId: "t1", state: "parked", parkedBecause: "attempts", checks: 15 },
    ]);
  });

  test("a parked transaction still takes its producer's verdict", () => {
    const { driver, producer } = shop();
    driver.prepare(producer, "t1", { messages });
    exhaust(driver, producer);
    expect(driver.verdict(producer, "t1", "commit").reply).toMatchObject({ state: "committed" });
  });

  test("a resumed transaction is asked about at once, and counted from 0", () => {
    const { driver, producer } = shop();
    driver.prepare(producer, "t1", { messages });
    exhaust(driver, producer);
    const resumed = driver.ask({ type: "tx.resume", transactionId: "t1", ...audit });
    const check = only(checksOf(resumed));
    expect(check.attempt).toBe(1);
    driver.answer(producer, check, "unknown");
    expect(exhaust(driver, producer)).toBe(14);
    expect(stateOf(driver, "t1")).toBe("parked");
  });

  test("onUndecided rollback rolls back instead, by policy", () => {
    const { driver, producer } = shop();
    driver.prepare(producer, "t1", { messages, onUndecided: "rollback" });
    expect(exhaust(driver, producer)).toBe(15);
    expect(driver.engine.core.state.decisions.get("t1")).toMatchObject({
      state: "rolledBack",
      by: "policy",
    });
  });

  test("timeouts count like answers", () => {
    const { driver, producer } = shop({ checkAttemptsMax: 3 });
    driver.prepare(producer, "t1", { messages });
    expect(checksOf(driver.advance(60 * MINUTE)).length).toBe(3);
    expect(stateOf(driver, "t1")).toBe("parked");
  });

  test("the age limit parks what nobody ever answered, counting only time that the broker ran", () => {
    const { driver, producer } = shop({ undecidedAgeMaxMs: 60 * MINUTE });
    driver.prepare(producer, "t1", { messages });
    driver.prepare(producer, "t2", { messages, onUndecided: "rollback" });
    driver.disconnect(producer);
    driver.crash(600 * MINUTE);
    driver.advance(60 * MINUTE - 1);
    expect(stateOf(driver, "t1")).toBe("undecided");
    driver.advance(1);
    expect(adminValue(driver.ask({ type: "tx.show", transactionId: "t1" }).reply)).toMatchObject({
      state: "parked",
      parkedBecause: "age",
      checks: 0,
    });
    expect(stateOf(driver, "t2")).toBe("rolledBack");
  });

  test("the count of checks survives restarts", () => {
    const { driver, producer } = shop({ checkAttemptsMax: 2 });
    driver.prepare(producer, "t1", { messages });
    driver.answer(producer, only(checksOf(driver.advance(6_000))), "unknown");
    driver.crash();
    const again = driver.producer("shop");
    const second = only(checksOf(driver.advance(30_000)));
    expect(second).toMatchObject({ to: again, attempt: 2 });
    driver.answer(again, second, "unknown");
    expect(stateOf(driver, "t1")).toBe("parked");
  });
});
