/** Transactions as their users see them: promises 2, 3 and 4, over real sockets and LevelDB. */
import { type Producer, Rollback } from "@escrowmq/producer";
import { type ClientFrames, encodeMessage } from "@escrowmq/protocol";
import { describe, expect, it } from "vitest";
import { AUDIT, gather, said, useBench } from "../support/e2e-broker.ts";
import { errorOf, RawClient } from "../support/e2e-raw-client.ts";
import { staysTrue, waitFor } from "../support/e2e-wait.ts";

const bench = useBench();
const ID = "0123456789abcdef0123456789abcdef";

/** A broker with two topics that one consumer gathers, and a producer that never answers otherwise than "unknown". */
async function shop() {
  const broker = await bench.broker();
  const admin = await bench.admin(broker.url, "orders", "mail");
  const producer = await bench.producer({
    url: broker.url,
    group: "shop",
    onCheck: () => "unknown",
  });
  const subscribe = [{ topic: "orders" }, { topic: "mail" }];
  const got = gather(await bench.consumer({ url: broker.url, group: "readers", subscribe }));
  return { broker, admin, producer, got };
}

/** What comes before the last message has come, if it was to come: the topic is read in order. */
async function all(producer: Producer, got: readonly { text(): string }[]): Promise<unknown[]> {
  await producer.sendAll([
    { topic: "orders", body: "the end" },
    { topic: "mail", body: "the end" },
  ]);
  await waitFor(
    "the last messages",
    () => said(got).filter((one) => one === "the end").length === 2,
  );
  return said(got).filter((one) => one !== "the end");
}

type Verdict = Pick<ClientFrames["verdict"], "verdict" | "group">;
const verdict = (verdict: Verdict["verdict"], group = "shop") =>
  ({ type: "verdict", transactionId: ID, group, verdict }) as const;

it("whatever is called again under its id, by another process even, is there once", async () => {
  const { broker, producer, got } = await shop();
  const again = await bench.producer({ url: broker.url, group: "shop", onCheck: () => "unknown" });
  for (const [at, one] of [producer, again].entries()) {
    const sent = await one.sendAll([{ topic: "orders", body: "sent" }], { id: "day-7" });
    expect(sent).toEqual({ id: "day-7", duplicate: at > 0 });
    const result = await one.transaction(
      async (tx) => {
        const { duplicate } = await tx.prepare([{ topic: "mail", body: "prepared" }]);
        expect(duplicate).toBe(at > 0);
      },
      { transactionId: ID },
    );
    expect(result).toEqual({ state: "committed", id: ID });
  }
  expect((await all(producer, got)).sort()).toEqual(["prepared", "sent"]);
});

describe("a transaction", () => {
  it("shows all its messages in all their topics on commit, and none before", async () => {
    const { admin, producer, got } = await shop();
    const result = await producer.transaction(async (tx) => {
      await tx.prepare([
        { topic: "orders", body: 1 },
        { topic: "mail", body: 2 },
        { topic: "orders", body: 3 },
      ]);
      await staysTrue("invisibility", 150, () => got.length === 0);
      const { nextOffset } = await admin.request("topic.describe", { topic: "orders" });
      expect(nextOffset).toBe(0);
    });
    expect(result.state).toBe("committed");
    expect((await all(producer, got)).sort()).toEqual([1, 2, 3]);
  });

  it("that is rolled back shows nothing, ever", async () => {
    const { producer, got } = await shop();
    const result = await producer.transaction(async (tx) => {
      await tx.prepare([
        { topic: "orders", body: 1 },
        { topic: "mail", body: 2 },
      ]);
      throw new Rollback("out of stock");
    });
    expect(result).toEqual({ state: "rolledBack", id: result.id, reason: "out of stock" });
    expect(await all(producer, got)).toEqual([]);
  });

  it("may be prepared before the local work or between the work and its COMMIT", async () => {
    const { producer, got } = await shop();
    const database = { nextId: 41, committed: [] as number[] };
    const early = await producer.transaction(async (tx) => {
      await tx.prepare([{ topic: "orders", body: "early" }]);
      database.committed.push(++database.nextId);
    });
    const late = await producer.transaction(async (tx) => {
      const id = ++database.nextId;
      await tx.prepare([{ topic: "orders", body: { id } }]);
      database.committed.push(id);
    });
    expect([early.state, late.state]).toEqual(["committed", "committed"]);
    expect(await all(producer, got)).toEqual(["early", { id: 43 }]);
  });

  it("that is committed again has one copy of each message", async () => {
    const { broker, producer, got } = await shop();
    const raw = await RawClient.open(broker.url);
    const once = () =>
      producer.transaction((tx) => tx.prepare([{ id: "m-1", topic: "orders", body: 1 }]), {
        transactionId: ID,
      });
    expect((await once()).state).toBe("committed");
    expect((await once()).state).toBe("committed");
    expect(await raw.ask(verdict("commit"))).toMatchObject({ type: "ok", duplicate: true });
    expect(await all(producer, got)).toEqual([1]);
  });

  it("that was rolled back refuses a commit, and says who decided and when", async () => {
    const { broker, producer, got } = await shop();
    const beforeMs = Date.now();
    await producer.transaction(
      async (tx) => {
        await tx.prepare([{ topic: "orders", body: 1 }]);
        throw new Rollback();
      },
      { transactionId: ID },
    );
    const raw = await RawClient.open(broker.url);
    const answer = await raw.ask(verdict("commit"));
    expect(answer).toMatchObject({
      type: "error",
      code: "TX_ALREADY_ROLLED_BACK",
      detail: { decidedBy: "producer", who: "shop", decidedAtMs: expect.any(Number) },
    });
    const { decidedAtMs = 0 } = (answer as { detail: { decidedAtMs?: number } }).detail;
    expect(decidedAtMs).toBeGreaterThanOrEqual(beforeMs - 5);
    expect(decidedAtMs).toBeLessThanOrEqual(Date.now() + 5);
    expect(await all(producer, got)).toEqual([]);
  });

  it("that an operator rolled back tells its producer so", async () => {
    const { admin, producer, got } = await shop();
    const running = producer.transaction(async (tx) => {
      await tx.prepare([{ topic: "orders", body: 1 }]);
      await admin.request("tx.decide", { transactionId: tx.id, verdict: "rollback", ...AUDIT });
    });
    await expect(running).rejects.toMatchObject({
      code: "TX_ALREADY_ROLLED_BACK",
      detail: { decidedBy: "operator", who: "ada" },
    });
    expect(await all(producer, got)).toEqual([]);
  });

  it("takes no verdict from another group, and none for an id that nobody prepared", async () => {
    const { broker, admin, producer } = await shop();
    const raw = await RawClient.open(broker.url);
    expect(errorOf(await raw.ask(verdict("commit")))).toBe("TX_NOT_FOUND");
    await producer.transaction(
      async (tx) => {
        await tx.prepare([{ topic: "orders", body: 1 }]);
        expect(errorOf(await raw.ask(verdict("rollback", "thieves")))).toBe("WRONG_GROUP");
        expect(await admin.request("tx.show", { transactionId: ID })).toMatchObject({
          state: "undecided",
        });
      },
      { transactionId: ID },
    );
  });

  it("is one however often it is prepared with the same content, and refuses other content", async () => {
    const { broker, admin } = await shop();
    const raw = await RawClient.open(broker.url);
    await raw.ask({ type: "announce", group: "shop", checker: true });
    const prepare = (body: string) =>
      raw.ask({
        type: "prepare",
        transactionId: ID,
        group: "shop",
        messages: [encodeMessage({ id: "m-1", topic: "orders", body: Buffer.from(body) })],
      });
    expect(errorOf(await prepare("1"))).toBe("ok undecided");
    expect(await prepare("1")).toMatchObject({ type: "ok", duplicate: true, state: "undecided" });
    expect(errorOf(await prepare("2"))).toBe("TX_CONFLICT");
    expect((await admin.request("tx.list", {})).items).toHaveLength(1);
    await raw.ask(verdict("commit"));
    expect(await prepare("1")).toMatchObject({ type: "ok", duplicate: true, state: "committed" });
    expect(await admin.request("topic.describe", { topic: "orders" })).toMatchObject({
      nextOffset: 1,
    });
  });

  it("without anybody who could answer a check is refused, unless silence means rollback", async () => {
    const broker = await bench.broker();
    await bench.admin(broker.url, "orders");
    const producer = await bench.producer({ url: broker.url, group: "mute" });
    const attempt = (onUndecided: "park" | "rollback") =>
      producer.transaction((tx) => tx.prepare([{ topic: "orders", body: 1 }]), { onUndecided });
    await expect(attempt("park")).rejects.toMatchObject({ code: "NO_CHECKER" });
    expect((await attempt("rollback")).state).toBe("committed");
  });
});

describe("an ack that joined a transaction", () => {
  async function joined(end: "commit" | "rollback") {
    const broker = await bench.broker();
    const admin = await bench.admin(broker.url, "orders", "mail");
    const producer = await bench.producer({
      url: broker.url,
      group: "relay",
      onCheck: () => "unknown",
    });
    await producer.send({ topic: "orders", body: "in" });
    const consumer = await bench.consumer({
      url: broker.url,
      group: "relay",
      subscribe: [{ topic: "orders" }],
      leaseMs: 1_000,
    });
    const attempts: number[] = [];
    const states: string[] = [];
    const ofGroup = async () => {
      const { topics } = await admin.request("group.describe", { group: "relay" });
      return topics[0];
    };
    void consumer.run(async (message) => {
      attempts.push(message.attempt);
      if (attempts.length > 1) return;
      const { state } = await producer.transaction(async (tx) => {
        await tx.prepare([{ topic: "mail", body: "out" }], { acks: [message] });
        // Longer than the lease, which has no say any more.
        await staysTrue("a pending ack", 1_400, async () => (await ofGroup())?.pending === 1);
        if (end === "rollback") throw new Rollback();
      });
      states.push(state);
    });
    await waitFor("the transaction's end", () => states.length === 1);
    const mail = await admin.request("topic.describe", { topic: "mail" });
    return { attempts, ofGroup, mail };
  }

  it("is final with the commit", async () => {
    const { attempts, ofGroup, mail } = await joined("commit");
    await staysTrue("no second delivery", 300, () => attempts.length === 1);
    expect(await ofGroup()).toMatchObject({ lag: 0, pending: 0 });
    expect(mail.nextOffset).toBe(1);
  });

  it("is given back with the rollback", async () => {
    const { attempts, ofGroup, mail } = await joined("rollback");
    await waitFor("the redelivery", () => attempts.length === 2);
    await waitFor("its ack", async () => (await ofGroup())?.lag === 0);
    expect(mail.nextOffset).toBe(0);
  });
});

describe("a transaction without a verdict", () => {
  it("is left to the check-back when its callback throws", async () => {
    const broker = await bench.broker();
    const admin = await bench.admin(broker.url, "orders");
    const producer = await bench.producer({
      url: broker.url,
      group: "shop",
      onCheck: ({ id, attempt, messages }) => {
        expect([id, attempt, messages[0]?.topic]).toEqual([ID, 1, "orders"]);
        return "commit";
      },
    });
    const got = gather(
      await bench.consumer({ url: broker.url, group: "g", subscribe: [{ topic: "orders" }] }),
    );
    const running = producer.transaction(
      async (tx) => {
        await tx.prepare([{ topic: "orders", body: 1 }]);
        throw new Error("lost the database in COMMIT");
      },
      { checkAfterMs: 300, transactionId: ID },
    );
    await expect(running).rejects.toThrow("lost the database in COMMIT");
    expect(got).toHaveLength(0);
    await waitFor("the check's verdict", () => got.length === 1);
    const { state, decidedBy } = await admin.request("tx.show", { transactionId: ID });
    expect({ state, decidedBy }).toEqual({ state: "committed", decidedBy: "check (shop)" });
  });

  it("is pending when the broker died before the verdict, and is settled when it is back", async () => {
    const broker = await bench.brokerProcess();
    const before = await bench.admin(broker.url, "orders");
    const producer = await bench.producer({
      url: broker.url,
      group: "shop",
      requestTimeoutMs: 400,
      onCheck: () => "unknown",
    });
    const result = await producer.transaction(async (tx) => {
      await tx.prepare([{ topic: "orders", body: 1 }]);
      await before.close();
      await broker.kill();
    });
    expect(result.state).toBe("pending");
    await broker.restart();
    const admin = await bench.admin(broker.url);
    await waitFor("the verdict that was still under way", async () => {
      const { state } = await admin.request("tx.show", { transactionId: result.id });
      return state === "committed";
    });
    const got = gather(
      await bench.consumer({ url: broker.url, group: "g", subscribe: [{ topic: "orders" }] }),
    );
    await waitFor("the message", () => got.length === 1);
  });
});
