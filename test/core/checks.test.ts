/** Check-back: who is asked, when, and how much at a time (C1, C2, C4 to C7). */
import { describe, expect, test } from "vitest";
import {
  adminValue,
  checksOf,
  codeOf,
  endpointChecksOf,
  message,
  only,
} from "../support/sim-driver.ts";
import { audit, MINUTE, messages, shop, stateOf } from "../support/sim-shop.ts";

describe("when", () => {
  test("the first check comes 6 s after the prepare, the next ones every 30 s", () => {
    const { driver, producer } = shop();
    driver.prepare(producer, "t1", { messages });
    expect(checksOf(driver.advance(5_999))).toEqual([]);
    const first = only(checksOf(driver.advance(1)));
    expect(first).toMatchObject({ to: producer, group: "shop", attempt: 1, ageMs: 6_000 });
    driver.answer(producer, first, "unknown");
    expect(checksOf(driver.advance(29_999))).toEqual([]);
    expect(only(checksOf(driver.advance(1))).attempt).toBe(2);
  });

  test("a producer may ask for an earlier or later first check", () => {
    const { driver, producer } = shop();
    driver.prepare(producer, "t1", { messages, checkAfterMs: 60_000 });
    expect(checksOf(driver.prepare(producer, "t2", { messages, checkAfterMs: 0 })).length).toBe(1);
    expect(checksOf(driver.advance(5_999))).toEqual([]);
  });

  test("the question names the messages where they stand in the log", () => {
    const { driver, producer } = shop();
    const two = [message("orders", "a"), message("orders", "b")];
    driver.prepare(producer, "t1", { messages: two });
    const block = driver.blocks.at(-1)?.number;
    expect(only(checksOf(driver.advance(6_000)))).toMatchObject({ block, slots: [0, 1] });
  });

  test("nothing is asked about a transaction that is decided", () => {
    const { driver, producer } = shop();
    driver.prepare(producer, "t1", { messages });
    driver.prepare(producer, "t2", { messages });
    driver.verdict(producer, "t1", "commit");
    driver.ask({ type: "tx.decide", transactionId: "t2", verdict: "rollback", ...audit });
    expect(checksOf(driver.advance(60 * MINUTE))).toEqual([]);
  });

  test("an operator's check is asked at once", () => {
    const { driver, producer } = shop();
    driver.prepare(producer, "t1", { messages });
    const effects = driver.ask({ type: "tx.check", transactionId: "t1", ...audit });
    expect(only(checksOf(effects)).to).toBe(producer);
  });

  test("an operator's check says whether there is somebody to be asked, and waits for one", () => {
    const { driver, producer } = shop();
    driver.prepare(producer, "t1", { messages });
    const reachable = (): unknown =>
      adminValue(driver.ask({ type: "tx.check", transactionId: "t1", ...audit }).reply).reachable;
    expect(reachable()).toBe(true);
    driver.disconnect(producer);
    expect(reachable()).toBe(false);
    driver.producer("shop", false);
    expect(reachable()).toBe(false);
    const effects = driver.request(driver.connect(), {
      type: "announce",
      group: "shop",
      checker: true,
    });
    expect(checksOf(effects)).toHaveLength(1);
  });

  test("an operator's check of what is being asked about asks nobody a second time", () => {
    const { driver, producer } = shop({ checksPerConnectionMax: 1 });
    driver.prepare(producer, "t1", { messages });
    driver.prepare(producer, "t2", { messages });
    expect(checksOf(driver.advance(6_000)).length).toBe(1);
    const effects = driver.ask({ type: "tx.check", transactionId: "t1", ...audit });
    expect(checksOf(effects)).toEqual([]);
  });

  test("nobody is asked while no answer could be written, and at once when one can", () => {
    const { driver, producer } = shop();
    driver.prepare(producer, "t1", { messages });
    driver.step({ kind: "admission", admission: "none" });
    expect(driver.advance(60 * MINUTE)).toEqual({ records: [], sends: [] });
    const relieved = driver.step({ kind: "admission", admission: "all" });
    expect(only(checksOf(relieved)).attempt).toBe(1);
  });

  test("a pause of the broker shifts what is left of each wait: nothing early, no burst", () => {
    const { driver, producer } = shop();
    driver.prepare(producer, "t1", { messages });
    driver.advance(4_000);
    driver.prepare(producer, "t2", { messages });
    const opened = driver.crash(60 * MINUTE);
    expect(opened.records).toMatchObject([{ kind: "opened", pausedMs: 60 * MINUTE }]);
    driver.producer("shop");
    expect(checksOf(driver.advance(1_999))).toEqual([]);
    expect(only(checksOf(driver.advance(1))).transactionId).toBe("t1");
    expect(checksOf(driver.advance(3_999))).toEqual([]);
    expect(only(checksOf(driver.advance(1))).transactionId).toBe("t2");
  });
});

describe("who", () => {
  test("the connection that prepared is asked, again and again", () => {
    const { driver, producer } = shop();
    driver.producer("shop");
    const preparer = driver.producer("shop");
    driver.prepare(preparer, "t1", { messages });
    for (const waitMs of [6_000, 30_000, 30_000]) {
      const check = only(checksOf(driver.advance(waitMs)));
      expect(check.to).toBe(preparer);
      driver.answer(preparer, check, "unknown");
    }
    expect(producer).not.toBe(preparer);
  });

  test("when it is gone the others of the group are asked in turn", () => {
    const { driver, producer } = shop();
    const others = [driver.producer("shop"), driver.producer("shop")];
    for (let at = 0; at < 6; at++) driver.prepare(producer, `t${at}`, { messages });
    driver.disconnect(producer);
    const asked = checksOf(driver.advance(6_000)).map(({ to }) => to);
    expect(asked.filter((to) => to === others[0]).length).toBe(3);
    expect(asked.filter((to) => to === others[1]).length).toBe(3);
  });

  test("another producer group is never asked, nor a connection that does not check", () => {
    const { driver, producer } = shop();
    driver.producer("other");
    driver.producer("shop", false);
    driver.prepare(producer, "t1", { messages });
    driver.disconnect(producer);
    expect(checksOf(driver.advance(60 * MINUTE))).toEqual([]);
  });

  test("with nobody connected nothing is counted, and whoever connects is asked at once", () => {
    const { driver, producer } = shop();
    driver.prepare(producer, "t1", { messages });
    driver.disconnect(producer);
    driver.advance(60 * MINUTE);
    const later = driver.connect("later");
    const announced = driver.request(later, { type: "announce", group: "shop", checker: true });
    expect(only(checksOf(announced))).toMatchObject({ to: later, attempt: 1 });
  });

  test("the endpoint is asked only while no connection answers checks", () => {
    const { driver, producer } = shop();
    driver.setEndpoint("shop");
    driver.prepare(producer, "t1", { messages });
    const connected = driver.advance(6_000);
    expect([checksOf(connected).length, endpointChecksOf(connected).length]).toEqual([1, 0]);
    driver.disconnect(producer);
    const alone = driver.advance(30_000);
    const question = only(endpointChecksOf(alone));
    expect(question).toMatchObject({ url: "https://checks.example/", attempt: 2 });
    driver.endpointAnswers(question, "commit");
    expect(stateOf(driver, "t1")).toBe("committed");
  });

  test("when the last connection stops answering checks, the endpoint is asked at once", () => {
    const { driver, producer } = shop({ checksPerConnectionMax: 1 });
    driver.setEndpoint("shop");
    driver.prepare(producer, "t1", { messages });
    driver.prepare(producer, "t2", { messages });
    expect(only(checksOf(driver.advance(6_000))).transactionId).toBe("t1");
    const retracted = driver.request(producer, { type: "announce", group: "shop", checker: false });
    expect(only(endpointChecksOf(retracted)).transactionId).toBe("t2");
  });

  test("an endpoint makes a prepare without checker possible, and an unreachable one costs no attempt", () => {
    const { driver } = shop();
    driver.setEndpoint("cron");
    const job = driver.producer("cron", false);
    const prepared = driver.prepare(job, "t1", { messages, group: "cron" });
    expect(codeOf(prepared.reply)).toBe("ok");
    for (let at = 0; at < 20; at++) {
      const question = only(endpointChecksOf(driver.advance(at === 0 ? 6_000 : 30_000)));
      expect(question.attempt).toBe(1);
      driver.endpointAnswers(question, "unreachable");
    }
    expect(stateOf(driver, "t1")).toBe("undecided");
  });

  test("an answer counts only from a connection of the transaction's group", () => {
    const { driver, producer } = shop();
    const stranger = driver.producer("other");
    driver.prepare(producer, "t1", { messages });
    const check = only(checksOf(driver.advance(6_000)));
    driver.answer(stranger, check, "commit");
    expect(stateOf(driver, "t1")).toBe("undecided");
  });
});

describe("how many", () => {
  test("a connection is asked about no more than its share at a time", () => {
    const { driver, producer } = shop({ checksPerConnectionMax: 2 });
    for (let at = 0; at < 5; at++) driver.prepare(producer, `t${at}`, { messages });
    const [first, ...others] = checksOf(driver.advance(6_000));
    expect(others.length).toBe(1);
    if (first === undefined) throw new Error("Nothing was asked.");
    expect(checksOf(driver.answer(producer, first, "commit")).length).toBe(1);
  });

  test("all groups together are asked no more than the total, and each gets its turn", () => {
    const { driver } = shop({ checksTotalMax: 3 });
    for (const group of ["a", "b"]) {
      const producer = driver.producer(group);
      for (let at = 0; at < 4; at++) driver.prepare(producer, `${group}${at}`, { messages, group });
    }
    const asked = [...checksOf(driver.advance(6_000))];
    expect(asked.length).toBe(3);
    for (let check = asked.shift(); check !== undefined; check = asked.shift()) {
      const more = checksOf(driver.answer(check.to, check, "commit"));
      expect(more.length).toBeLessThanOrEqual(1);
      asked.push(...more);
    }
    expect(driver.engine.core.state.totals.count).toBe(0);
  });

  test("an endpoint is asked about no more than its share at a time", () => {
    const { driver } = shop({ checksPerEndpointMax: 2 });
    driver.setEndpoint("cron");
    const job = driver.producer("cron", false);
    for (let at = 0; at < 5; at++) driver.prepare(job, `t${at}`, { messages, group: "cron" });
    const [first, ...others] = endpointChecksOf(driver.advance(6_000));
    expect(others.length).toBe(1);
    if (first === undefined) throw new Error("Nothing was asked.");
    expect(endpointChecksOf(driver.endpointAnswers(first, "unknown")).length).toBe(1);
  });

  test("a connection that answers for two groups is asked about the other one as soon as it is free", () => {
    const { driver, producer } = shop({ checksPerConnectionMax: 1 });
    driver.request(producer, { type: "announce", group: "other", checker: true });
    driver.prepare(producer, "t1", { messages });
    driver.prepare(producer, "t2", { messages, group: "other" });
    const first = only(checksOf(driver.advance(6_000)));
    expect(first.transactionId).toBe("t1");
    const effects = driver.answer(producer, first, "commit");
    expect(only(checksOf(effects)).transactionId).toBe("t2");
  });

  test("an absent and a silent group delay no other", () => {
    const { driver, producer } = shop({ checksPerConnectionMax: 1 });
    const silent = driver.producer("silent");
    const absent = driver.producer("absent");
    for (let at = 0; at < 3; at++) {
      driver.prepare(silent, `silent ${at}`, { messages, group: "silent" });
      driver.prepare(absent, `absent ${at}`, { messages, group: "absent" });
    }
    driver.disconnect(absent);
    driver.prepare(producer, "t1", { messages });
    const asked = checksOf(driver.advance(6_000)).map(({ transactionId }) => transactionId);
    expect(asked).toEqual(["silent 0", "t1"]);
  });

  test("a silent producer is asked about the next one after 10 s", () => {
    const { driver, producer } = shop({ checksPerConnectionMax: 1 });
    driver.prepare(producer, "t1", { messages });
    driver.prepare(producer, "t2", { messages });
    expect(only(checksOf(driver.advance(6_000))).transactionId).toBe("t1");
    expect(checksOf(driver.advance(9_999))).toEqual([]);
    expect(only(checksOf(driver.advance(1))).transactionId).toBe("t2");
  });
});
