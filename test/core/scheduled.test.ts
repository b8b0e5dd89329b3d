/** Delayed messages: nobody gets one before its time, everybody after it, nobody after its recall. */
import { describe, expect, test } from "vitest";
import { Engine } from "../../broker/src/core/engine.ts";
import { DEFAULT_POLICY } from "../../broker/src/core/policy.ts";
import { LIMITS } from "../../protocol/src/limits.ts";
import { sameStates } from "../sim/same-states.ts";
import { audit } from "../support/sim-billing.ts";
import {
  adminValue,
  codeOf,
  Driver,
  deliveriesOf,
  type Effects,
  message,
  timed,
} from "../support/sim-driver.ts";

const TX = "transaction-0123456789";
const MINUTE = 60_000;
const LONGEST = "x".repeat(64);

class Shop extends Driver {
  readonly shop: number;
  reader = 0;

  constructor(policy = {}) {
    // A lease that outlasts the waiting: what was delivered does not come again.
    super({ group: { ...DEFAULT_POLICY.group, leaseMs: 43_200_000 }, ...policy });
    this.topic("orders");
    this.shop = this.producer("shop");
    this.reads();
  }

  reads(): void {
    this.reader = this.consumer("billing", "orders");
    this.credit(this.reader, 1_000);
  }

  /** The ids of what is delivered. */
  got(effects: Effects): string[] {
    return deliveriesOf(effects).map(({ place: { block, slot } }) => {
      const records = this.blocks.find(({ number }) => number === block)?.records ?? [];
      const all = records.flatMap((one) => ("messages" in one ? one.messages : []));
      return new TextDecoder().decode(all[slot]?.data ?? undefined);
    });
  }

  /** What a consumer gets that comes after a crash. */
  gotAfterCrash(downMs: number): string[] {
    this.crash(downMs);
    this.reader = this.consumer("billing", "orders");
    const frame = { type: "credit", subscription: 1, messages: 1_000, bytes: 1_000_000 } as const;
    const effects = this.step({ kind: "frame", from: this.reader, frame });
    const more = this.settle();
    return this.got({ ...effects, sends: [...effects.sends, ...more.sends] });
  }

  recall(messageId: string, topic = "orders") {
    return this.ask({ type: "recall", topic, messageId }).reply;
  }

  view(): Record<string, unknown> {
    return adminValue(this.ask({ type: "topic.describe", topic: "orders" }).reply);
  }

  isRecoverable(): void {
    const again = new Engine(this.policy);
    for (const block of this.blocks) again.replay(block);
    sameStates([...this.engine.save()], [...again.save()], this.nowMs);
    const loaded = new Engine(this.policy);
    expect(loaded.load(this.saved())).toBe(true);
    sameStates([...this.engine.save()], [...loaded.save()], this.nowMs);
  }
}

describe("a delayed message", () => {
  test("is delivered when its time has come, and not a millisecond before", () => {
    const driver = new Shop();
    const sent = driver.send(driver.shop, "s1", timed("orders", { id: "m1", delayMs: MINUTE }));
    expect(codeOf(sent.reply)).toBe("ok");
    expect(driver.got(sent)).toEqual([]);
    expect(driver.got(driver.advance(MINUTE - 1))).toEqual([]);
    expect(driver.got(driver.advance(1))).toEqual(["m1"]);
    driver.isRecoverable();
  });

  test("with a time of day comes then, and at once if that is past", () => {
    const driver = new Shop();
    const deliverAtMs = driver.nowMs + 5_000;
    driver.send(driver.shop, "s1", timed("orders", { id: "later", deliverAtMs }));
    const past = timed("orders", { id: "past", deliverAtMs: driver.nowMs - 1 });
    expect(driver.got(driver.send(driver.shop, "s2", past))).toEqual(["past"]);
    expect(driver.got(driver.advance(4_999))).toEqual([]);
    expect(driver.got(driver.advance(1))).toEqual(["later"]);
  });

  test("lets others pass that come later and are due sooner", () => {
    const driver = new Shop();
    const send = (id: string, delayMs: number) =>
      driver.send(driver.shop, id, timed("orders", { id, delayMs }));
    send("third", 3_000);
    send("second", 2_000);
    send("also second", 2_000);
    send("first", 1_000);
    expect(driver.got(driver.send(driver.shop, "s", message("orders", "now")))).toEqual(["now"]);
    expect(driver.got(driver.advance(10_000))).toEqual(["first", "second", "also second", "third"]);
    driver.isRecoverable();
  });

  test("counts from the commit of its transaction, and not from its prepare", () => {
    const driver = new Shop();
    const messages = [timed("orders", { id: "m1", delayMs: MINUTE }), message("orders", "now")];
    driver.prepare(driver.shop, TX, { messages, checkAfterMs: 3_600_000 });
    expect(driver.got(driver.advance(2 * MINUTE))).toEqual([]);
    expect(driver.got(driver.verdict(driver.shop, TX, "commit"))).toEqual(["now"]);
    expect(driver.got(driver.advance(MINUTE - 1))).toEqual([]);
    expect(driver.got(driver.advance(1))).toEqual(["m1"]);
    driver.isRecoverable();
  });

  test("whose time passed before the commit comes with it", () => {
    const driver = new Shop();
    const messages = [timed("orders", { id: "m1", deliverAtMs: driver.nowMs + 1_000 })];
    driver.prepare(driver.shop, TX, { messages, checkAfterMs: 3_600_000 });
    driver.advance(MINUTE);
    expect(driver.got(driver.verdict(driver.shop, TX, "commit"))).toEqual(["m1"]);
  });

  test("of a transaction that is rolled back never comes", () => {
    const driver = new Shop();
    const messages = [timed("orders", { id: "m1", delayMs: 1_000 })];
    driver.prepare(driver.shop, TX, { messages, checkAfterMs: 3_600_000 });
    driver.verdict(driver.shop, TX, "rollback");
    expect(driver.got(driver.advance(MINUTE))).toEqual([]);
    expect(driver.view()).toMatchObject({ scheduled: 0, nextOffset: 0 });
  });

  test("counts its delay from when it was sent, though its block was opened before", () => {
    const driver = new Shop();
    // Two inputs of one block, 400 ms apart: the first one gave the block its time.
    const step = (sendId: string, delayMs: number) => {
      const messages = [timed("orders", { id: sendId, delayMs })];
      const frame = { type: "send", id: 1, sendId, messages: [] } as const;
      const input = { kind: "send", from: driver.shop, frame, messages, digest: 1 } as const;
      driver.engine.step(input, driver.nowMs, true);
    };
    step("s1", 1_000);
    driver.nowMs += 400;
    step("s2", 1_000);
    driver.settle();
    expect(driver.step({ kind: "tick" }).records).toEqual([]);
    expect(driver.got(driver.advance(999))).toEqual(["s1"]);
    expect(driver.got(driver.advance(1))).toEqual(["s2"]);
  });
});

describe("over a restart of the broker", () => {
  const filled = (): Shop => {
    const driver = new Shop();
    for (const [id, delayMs] of [
      ["late", 3_000] as const,
      ["soon", 1_000],
      ["far", 9_000],
    ] as const)
      driver.send(driver.shop, id, timed("orders", { id, delayMs }));
    return driver;
  };

  test("what is not due stays so", () => {
    const driver = filled();
    expect(driver.gotAfterCrash(500)).toEqual([]);
    expect(driver.got(driver.advance(499))).toEqual([]);
    expect(driver.got(driver.advance(1))).toEqual(["soon"]);
  });

  test("what came due meanwhile comes at once, in the order of its times: downtime is no pause for it", () => {
    const driver = filled();
    expect(driver.gotAfterCrash(5_000)).toEqual(["soon", "late"]);
    expect(driver.got(driver.advance(4_000))).toEqual(["far"]);
    driver.isRecoverable();
  });

  test("what is scheduled alone keeps no clock running", () => {
    const driver = filled();
    driver.send(driver.shop, "year", timed("orders", { id: "y", delayMs: LIMITS.delayMsMax }));
    driver.advance(10_000);
    driver.disconnect(driver.reader);
    expect(driver.advance(24 * 60 * MINUTE).records).toEqual([]);
  });
});

test("many that are due at once are worked off in steps", () => {
  const driver = new Shop();
  for (let at = 0; at < 10; at++) {
    const messages = Array.from({ length: 1_000 }, (_, no) =>
      timed("orders", { id: `m-${at}-${no}`, delayMs: 1_000 }),
    );
    driver.send(driver.shop, `s${at}`, ...messages);
  }
  driver.nowMs += 1_000;
  const first = driver.step({ kind: "tick" }).records.filter(({ kind }) => kind === "due");
  expect(first).toHaveLength(1_024);
  expect(driver.hasMore).toBe(true);
  driver.settle();
  expect(driver.view()).toMatchObject({ nextOffset: 10_000, scheduled: 0 });
});

describe("recall", () => {
  test("takes a message back before its time, and it never comes", () => {
    const driver = new Shop();
    driver.send(driver.shop, "s1", timed("orders", { id: "m1", delayMs: 1_000 }));
    expect(codeOf(driver.recall("m1"))).toBe("ok");
    expect(driver.got(driver.advance(MINUTE))).toEqual([]);
    expect(driver.gotAfterCrash(MINUTE)).toEqual([]);
    driver.isRecoverable();
  });

  test("that is repeated is ok again, over a restart, too", () => {
    const driver = new Shop();
    driver.send(driver.shop, "s1", timed("orders", { id: "m1", delayMs: 1_000 }));
    driver.recall("m1");
    expect(driver.recall("m1")).toMatchObject({ type: "ok", duplicate: true });
    driver.crash();
    expect(driver.recall("m1")).toMatchObject({ type: "ok", duplicate: true });
  });

  test("that is repeated is ok again in each topic that has had a message of this id", () => {
    const driver = new Shop();
    driver.topic("mail", "news");
    for (const topic of ["orders", "mail"])
      driver.send(driver.shop, topic, timed(topic, { id: LONGEST, delayMs: MINUTE }));
    const recalled = () => ["orders", "mail"].map((topic) => driver.recall(LONGEST, topic));
    expect(recalled().map(codeOf)).toEqual(["ok", "ok"]);
    for (let time = 0; time < 2; time++)
      for (const reply of recalled()) expect(reply).toMatchObject({ type: "ok", duplicate: true });
    driver.isRecoverable();
    driver.crash();
    for (const reply of recalled()) expect(reply).toMatchObject({ type: "ok", duplicate: true });
    expect(codeOf(driver.recall(LONGEST, "news"))).toBe("MESSAGE_NOT_SCHEDULED");
  });

  test("is remembered from the last time on that it took a message back", () => {
    const { sendsKeptMs } = DEFAULT_POLICY;
    const driver = new Shop();
    const sendAndRecall = (id: string) => {
      driver.send(
        driver.shop,
        `s${driver.nowMs}${id}`,
        timed("orders", { id, delayMs: 3_600_000 }),
      );
      return codeOf(driver.recall(id));
    };
    expect(sendAndRecall("m1")).toBe("ok");
    driver.advance(sendsKeptMs);
    expect(sendAndRecall("m2")).toBe("ok");
    driver.advance(sendsKeptMs - 1_000);
    expect(sendAndRecall("m1")).toBe("ok");
    driver.advance(1_000);
    expect(sendAndRecall("m3")).toBe("ok");
    driver.isRecoverable();
    driver.advance(sendsKeptMs - 2_000);
    expect(driver.recall("m1")).toMatchObject({ type: "ok", duplicate: true });
  });

  test("that is repeated after its topic was deleted is refused, and still nobody gets the message", () => {
    const driver = new Shop();
    driver.topic("mail");
    driver.send(driver.shop, "s1", timed("mail", { id: "m1", delayMs: MINUTE }));
    driver.recall("m1", "mail");
    driver.ask({ type: "topic.delete", topic: "mail", ...audit });
    expect(codeOf(driver.recall("m1", "mail"))).toBe("TOPIC_NOT_FOUND");
    driver.topic("mail");
    expect(codeOf(driver.recall("m1", "mail"))).toBe("MESSAGE_NOT_SCHEDULED");
    driver.credit(driver.consumer("post", "mail"), 10);
    expect(driver.got(driver.advance(2 * MINUTE))).toEqual([]);
  });

  test("of one id in very many topics costs what as many ids cost", () => {
    const driver = new Shop();
    const topics = Array.from({ length: 1_000 }, (_, at) => `topic-${at}`);
    driver.topic(...topics);
    for (const topic of topics) {
      driver.send(driver.shop, topic, timed(topic, { id: "m1", delayMs: MINUTE }));
      driver.recall("m1", topic);
    }
    for (const topic of topics)
      expect(driver.recall("m1", topic)).toMatchObject({ duplicate: true });
    driver.isRecoverable();
  });

  /** Who hears DISK_FULL takes it for "it did not happen" (D14). */
  test("that is repeated is ok again even when the disk has no room at all; a new one is not", () => {
    const driver = new Shop();
    driver.send(driver.shop, "s1", timed("orders", { id: "m1", delayMs: 1_000 }));
    driver.send(driver.shop, "s2", timed("orders", { id: "m2", delayMs: 1_000 }));
    driver.recall("m1");
    driver.step({ kind: "admission", admission: "none" });
    expect(driver.recall("m1")).toMatchObject({ type: "ok", duplicate: true });
    expect(codeOf(driver.recall("m2"))).toBe("DISK_FULL");
    expect(codeOf(driver.recall("m3"))).toBe("MESSAGE_NOT_SCHEDULED");
    driver.step({ kind: "admission", admission: "all" });
    expect(driver.got(driver.advance(MINUTE))).toEqual(["m2"]);
  });

  test("is refused for what is visible, undecided, unknown, or another topic's", () => {
    const driver = new Shop();
    driver.topic("mail");
    driver.send(driver.shop, "s1", timed("orders", { id: "seen", delayMs: 1_000 }));
    driver.send(driver.shop, "s2", timed("orders", { id: "waits", delayMs: MINUTE }));
    const messages = [timed("orders", { id: "half", delayMs: 1_000 })];
    driver.prepare(driver.shop, TX, { messages, checkAfterMs: 3_600_000 });
    driver.advance(1_000);
    expect(["seen", "half", "never"].map((id) => codeOf(driver.recall(id)))).toEqual(
      Array(3).fill("MESSAGE_NOT_SCHEDULED"),
    );
    expect(codeOf(driver.recall("waits", "mail"))).toBe("MESSAGE_NOT_SCHEDULED");
    expect(codeOf(driver.recall("waits", "none"))).toBe("TOPIC_NOT_FOUND");
    expect(driver.got(driver.advance(MINUTE))).toEqual(["waits"]);
  });

  test("finds a committed one, and all of one id, and none of another", () => {
    const driver = new Shop();
    const messages = [timed("orders", { id: LONGEST, delayMs: 1_000 })];
    driver.prepare(driver.shop, TX, { messages, checkAfterMs: 3_600_000 });
    driver.verdict(driver.shop, TX, "commit");
    driver.send(driver.shop, "s1", timed("orders", { id: LONGEST, delayMs: 2_000 }));
    driver.send(driver.shop, "s2", timed("orders", { id: LONGEST.slice(1), delayMs: 3_000 }));
    expect(codeOf(driver.recall(LONGEST))).toBe("ok");
    expect(driver.got(driver.advance(MINUTE))).toEqual([LONGEST.slice(1)]);
    driver.isRecoverable();
  });
});

test("any number may have one id, and are recalled, copied and due as if each had its own", () => {
  const driver = new Shop();
  driver.topic("mail");
  for (let at = 0; at < 20; at++) {
    const many = Array.from({ length: 100 }, () => timed("orders", { id: "same", delayMs: 1_000 }));
    driver.send(driver.shop, `s${at}`, ...many, timed("mail", { id: "same", delayMs: 500 }));
  }
  driver.isRecoverable();
  driver.advance(500);
  expect(driver.view()).toMatchObject({ scheduled: 2_000 });
  expect(codeOf(driver.recall("same", "mail"))).toBe("MESSAGE_NOT_SCHEDULED");
  expect(codeOf(driver.recall("same"))).toBe("ok");
  expect(driver.view()).toMatchObject({ scheduled: 0 });
  driver.isRecoverable();
});

describe("refused is", () => {
  test("a time that lies more than a year ahead", () => {
    const driver = new Shop();
    const at = (deliverAtMs: number) => timed("orders", { id: "m1", deliverAtMs });
    const far = driver.nowMs + LIMITS.delayMsMax;
    expect(codeOf(driver.send(driver.shop, "s1", at(far + 1)).reply)).toBe("INVALID_DELAY");
    expect(codeOf(driver.send(driver.shop, "s1", at(far)).reply)).toBe("ok");
  });

  test("one message more than may wait, and none that need not", () => {
    const driver = new Shop({ scheduledMax: 2 });
    const later = (id: string) => timed("orders", { id, delayMs: 1_000 });
    driver.send(driver.shop, "s1", later("m1"));
    const both = driver.send(driver.shop, "s2", later("m2"), later("m3"));
    expect(codeOf(both.reply)).toBe("SCHEDULED_LIMIT");
    const messages = [later("m2"), later("m3")];
    expect(codeOf(driver.prepare(driver.shop, TX, { messages }).reply)).toBe("SCHEDULED_LIMIT");
    expect(codeOf(driver.send(driver.shop, "s3", message("orders")).reply)).toBe("ok");
    expect(codeOf(driver.send(driver.shop, "s4", later("m4")).reply)).toBe("ok");
    driver.advance(1_000);
    expect(codeOf(driver.send(driver.shop, "s2", later("m2"), later("m3")).reply)).toBe("ok");
  });
});

test("a deleted topic takes what waits for it along, and says how much", () => {
  const driver = new Shop();
  driver.topic("mail");
  driver.send(driver.shop, "s1", timed("mail", { id: "m1", delayMs: 1_000 }));
  driver.send(driver.shop, "s2", timed("orders", { id: "m2", delayMs: 1_000 }));
  const deleted = driver.ask({ type: "topic.delete", topic: "mail", ...audit });
  expect(adminValue(deleted.reply)).toEqual({ topic: "mail", scheduled: 1 });
  expect(driver.got(driver.advance(MINUTE))).toEqual(["m2"]);
  driver.isRecoverable();
});

test("views say how many wait, and when the first is due", () => {
  const driver = new Shop();
  expect(driver.view()).toMatchObject({ scheduled: 0 });
  driver.send(driver.shop, "s1", timed("orders", { id: "m1", delayMs: 2_000 }));
  driver.send(driver.shop, "s2", timed("orders", { id: "m2", delayMs: 1_000 }));
  const nextDueAtMs = driver.nowMs + 1_000;
  expect(driver.view()).toMatchObject({ scheduled: 2, nextDueAtMs, nextOffset: 0, bytes: 0 });
  const list = adminValue(driver.ask({ type: "topic.list" }).reply);
  expect(list).toMatchObject({ items: [{ topic: "orders", scheduled: 2, nextDueAtMs }] });
  const figures = adminValue(driver.ask({ type: "stats" }).reply);
  expect(figures).toMatchObject({ scheduled: 2, scheduledBytes: 4, overdueMs: 0 });
});

test("while nothing may be written nothing becomes visible, and nobody spins", () => {
  const driver = new Shop();
  driver.send(driver.shop, "s1", timed("orders", { id: "m1", delayMs: 1_000 }));
  driver.step({ kind: "admission", admission: "none" });
  expect(driver.advance(5_000).records).toEqual([]);
  expect(driver.hasMore).toBe(false);
  expect(adminValue(driver.ask({ type: "stats" }).reply)).toMatchObject({ overdueMs: 4_000 });
  const again = driver.step({ kind: "admission", admission: "all" });
  expect(driver.got(again)).toEqual(["m1"]);
});
