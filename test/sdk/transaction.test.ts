import { describe, expect, it } from "vitest";
import { createProducer, Rollback, type Transaction } from "../../producer-sdk/src/index.ts";
import { decodeMessage } from "../../protocol/src/index.ts";
import { codeOf, deferred, FakeBroker, type FakeConnection, url } from "./fake-broker.ts";

async function start() {
  const broker = new FakeBroker();
  const starting = createProducer(
    { url, group: "shop", onCheck: () => "unknown" },
    broker.environment,
  );
  await broker.settle();
  return { broker, producer: await starting };
}

const order = { topic: "orders", body: { n: 1 } };

const refuse =
  (code: string) =>
  ({ id }: { readonly id: number }, to: FakeConnection): void =>
    to.send({ type: "error", re: id, code, message: "no" });

describe("a transaction", () => {
  it("prepares, runs the callback to its end, and says commit", async () => {
    const { broker, producer } = await start();
    let id = "";
    const done = producer.transaction(
      async (tx) => {
        id = tx.id;
        await tx.prepare([order, { topic: "mail", body: "hello" }]);
        expect(broker.received("verdict")).toHaveLength(0);
      },
      { checkAfterMs: 9_000, onUndecided: "rollback" },
    );
    await broker.settle();
    expect(await done).toEqual({ state: "committed", id });
    expect(id).toMatch(/^[0-9a-f]{32}$/);
    expect(broker.received("prepare")[0]).toMatchObject({
      transactionId: id,
      group: "shop",
      checkAfterMs: 9_000,
      onUndecided: "rollback",
    });
    expect(broker.received("prepare")[0]?.messages).toHaveLength(2);
    expect(broker.received("verdict")).toMatchObject([
      { transactionId: id, group: "shop", verdict: "commit" },
    ]);
  });

  it("reserves the keys of its messages if it is told to, and says nothing of them otherwise", async () => {
    const { broker, producer } = await start();
    const place = (options?: { readonly reserveKeys?: boolean }) =>
      producer.transaction((tx) => tx.prepare([{ ...order, key: "ann" }]), options);
    const all = [place({ reserveKeys: true }), place({ reserveKeys: false }), place({}), place()];
    await broker.settle();
    for (const { state } of await Promise.all(all)) expect(state).toBe("committed");
    const asked = broker.received("prepare").map(({ reserveKeys }) => reserveKeys);
    expect(asked).toEqual([true, false, undefined, undefined]);
  });

  it("that may reserve no more keys is refused for now, and prepared nothing", async () => {
    const { broker, producer } = await start();
    broker.on("prepare", refuse("RESERVATION_LIMIT"));
    const done = producer
      .transaction((tx) => tx.prepare([order]), { reserveKeys: true })
      .catch((error: unknown) => error);
    await broker.settle();
    expect(await done).toMatchObject({ code: "RESERVATION_LIMIT", retriable: true });
    expect(broker.received("verdict")).toEqual([]);
  });

  it("that is repeated under its id prepares the same to the byte, and gives its id away to no consumer", async () => {
    const { broker, producer } = await start();
    const transactionId = "a-secret-0123456789-abcdef";
    const place = () => producer.transaction((tx) => tx.prepare([order, order]), { transactionId });
    const both = [place(), place()];
    await broker.settle();
    expect(await Promise.all(both)).toEqual(
      Array(2).fill({ state: "committed", id: transactionId }),
    );
    const [first, second] = broker.received("prepare").map(({ messages }) => messages);
    expect(second).toEqual(first);
    producer.sendAll([order], { id: transactionId });
    await broker.settle();
    const others = broker.received("send")[0]?.messages ?? [];
    const ids = [...(first ?? []), ...others].map((message) => decodeMessage(message).id);
    expect(new Set(ids).size).toBe(3);
    for (const id of ids) expect(id).not.toContain("secret");
  });

  it("says rollback, with the reason, for a thrown Rollback", async () => {
    const { broker, producer } = await start();
    const done = producer.transaction(async (tx) => {
      await tx.prepare([order]);
      throw new Rollback("out of stock");
    });
    await broker.settle();
    expect(await done).toMatchObject({ state: "rolledBack", reason: "out of stock" });
    expect(broker.received("verdict")).toMatchObject([
      { verdict: "rollback", reason: "out of stock" },
    ]);
  });

  it("says nothing for any other throw, and throws it again: the check-back decides", async () => {
    const { broker, producer } = await start();
    const fault = new Error("the database went away");
    const done = producer
      .transaction(async (tx) => {
        await tx.prepare([order]);
        throw fault;
      })
      .catch((error: unknown) => error);
    await broker.settle();
    expect(await done).toBe(fault);
    expect(broker.received("verdict")).toHaveLength(0);
  });

  it("that never prepared sends nothing, however it ends", async () => {
    const { broker, producer } = await start();
    const empty = await producer.transaction(async () => "done");
    const rolledBack = await producer.transaction(() => Promise.reject(new Rollback("no")));
    const failed = codeOf(producer.transaction(() => Promise.reject(new Error("fault"))));
    await broker.settle();
    expect(empty.state).toBe("empty");
    expect(rolledBack).toMatchObject({ state: "rolledBack", reason: "no" });
    expect(await failed).toBe("Error: fault");
    expect(broker.connection.batches.flat().map(({ type }) => type)).toEqual(["hello", "announce"]);
  });

  it("is prepared once, within its callback", async () => {
    const { broker, producer } = await start();
    let escaped: Transaction | null = null;
    const codes: string[] = [];
    const done = producer.transaction(async (tx) => {
      escaped = tx;
      const first = tx.prepare([order]);
      codes.push(await codeOf(tx.prepare([order])));
      await first;
      codes.push(await codeOf(tx.prepare([order])));
    });
    await broker.settle();
    expect((await done).state).toBe("committed");
    const late: Transaction | null = escaped;
    codes.push(await codeOf((late as unknown as Transaction).prepare([order])));
    expect(codes).toEqual(["NESTED_PREPARE", "NESTED_PREPARE", "NESTED_PREPARE"]);
    expect(broker.received("prepare")).toHaveLength(1);
  });

  it("cannot be prepared by what its callback left running", async () => {
    const { broker, producer } = await start();
    const left: Transaction[] = [];
    const { state } = await producer.transaction(async (tx) => void left.push(tx));
    const late = left.map((tx) => codeOf(tx.prepare([order])));
    await broker.settle();
    expect(state).toBe("empty");
    expect(await Promise.all(late)).toEqual(["NESTED_PREPARE"]);
    expect(broker.received("prepare")).toHaveLength(0);
  });

  it("waits for a prepare that its callback did not await", async () => {
    const { broker, producer } = await start();
    broker.ignore("prepare");
    const done = producer.transaction(async (tx) => void tx.prepare([order]));
    await broker.settle();
    const re = broker.received("prepare")[0]?.id ?? 0;
    broker.connection.send({ type: "ok", re, state: "undecided" });
    await broker.settle();
    expect((await done).state).toBe("committed");
  });

  it("shows a refused prepare to its callback, and then sends no verdict", async () => {
    const { broker, producer } = await start();
    broker.on("prepare", refuse("NO_CHECKER"));
    let seen = "";
    const swallowed = producer.transaction(async (tx) => {
      seen = await codeOf(tx.prepare([order]));
    });
    const passedOn = codeOf(producer.transaction((tx) => tx.prepare([order])));
    await broker.settle();
    expect(seen).toBe("NO_CHECKER");
    expect((await swallowed).state).toBe("empty");
    expect(await passedOn).toBe("NO_CHECKER");
    expect(broker.received("verdict")).toHaveLength(0);
  });

  it("whose prepare may have happened is pending when the callback goes on, and rolled back when it says so", async () => {
    const { broker, producer } = await start();
    broker.ignore("prepare");
    const wentOn = producer.transaction(async (tx) => void (await codeOf(tx.prepare([order]))));
    const gaveUp = producer.transaction(async (tx) => {
      await codeOf(tx.prepare([order]));
      throw new Rollback("no answer");
    });
    broker.on("verdict", refuse("TX_NOT_FOUND"));
    await broker.advance(30_100);
    expect((await wentOn).state).toBe("pending");
    expect((await gaveUp).state).toBe("rolledBack");
    expect(broker.received("verdict")).toMatchObject([{ verdict: "rollback" }]);
  });

  it("is pending, not failed, when its verdict cannot be delivered; and it is delivered later", async () => {
    const { broker, producer } = await start();
    const done = producer.transaction(async (tx) => {
      await tx.prepare([order]);
      broker.door = "closed";
      broker.connection.drop();
    });
    await broker.advance(31_000);
    expect((await done).state).toBe("pending");
    expect(broker.received("verdict")).toHaveLength(0);
    broker.door = "open";
    await broker.advance(30_000);
    expect(broker.received("verdict")).toMatchObject([{ verdict: "commit" }]);
  });

  it("keeps saying its verdict while the broker refuses it for load", async () => {
    const { broker, producer } = await start();
    let left = 3;
    broker.on("verdict", (frame, to) =>
      left-- > 0 ? refuse("DISK_FULL")(frame, to) : to.send({ type: "ok", re: frame.id }),
    );
    const done = producer.transaction((tx) => tx.prepare([order]));
    await broker.advance(5_000);
    expect((await done).state).toBe("committed");
  });

  it("is pending when the producer closes before the verdict is answered", async () => {
    const { broker, producer } = await start();
    broker.ignore("verdict");
    const done = producer.transaction((tx) => tx.prepare([order]));
    await broker.settle();
    await producer.close();
    expect((await done).state).toBe("pending");
  });

  it("stops waiting when its signal aborts, and still delivers the verdict", async () => {
    const { broker, producer } = await start();
    const abort = new AbortController();
    const done = producer.transaction(
      async (tx) => {
        await tx.prepare([order]);
        abort.abort();
      },
      { signal: abort.signal },
    );
    await broker.settle();
    expect((await done).state).toBe("pending");
    expect(broker.received("verdict")).toMatchObject([{ verdict: "commit" }]);
    // The answer that came too late for the caller ends nothing a second time.
    expect(await producer.drain({ timeoutMs: 1_000 })).toEqual({ drained: true, unanswered: 0 });
  });

  it.each([
    ["commit", "TX_ALREADY_ROLLED_BACK"],
    ["rollback", "TX_ALREADY_COMMITTED"],
    ["commit", "TX_NOT_FOUND"],
  ])("that says %s where the broker knows better throws %s", async (verdict, code) => {
    const { broker, producer } = await start();
    broker.on("verdict", refuse(code));
    const done = codeOf(
      producer.transaction(async (tx) => {
        await tx.prepare([order]);
        if (verdict === "rollback") throw new Rollback();
      }),
    );
    await broker.settle();
    expect(await done).toBe(code);
  });

  it("does not go on with work whose transaction id was rolled back before", async () => {
    const { broker, producer } = await start();
    broker.on("prepare", ({ id }, to) =>
      to.send({ type: "ok", re: id, duplicate: true, state: "rolledBack" }),
    );
    const done = codeOf(
      producer.transaction((tx) => tx.prepare([order]), { transactionId: "0".repeat(32) }),
    );
    await broker.settle();
    expect(await done).toBe("TX_ALREADY_ROLLED_BACK");
    expect(broker.received("verdict")).toHaveLength(0);
  });

  it("takes the acks of deliveries with it, and tells them only once the prepare is ok", async () => {
    const { broker, producer } = await start();
    const answer = deferred<void>();
    broker.on(
      "prepare",
      ({ id }, to) => void answer.promise.then(() => to.send({ type: "ok", re: id })),
    );
    let joined = 0;
    const message = { token: "t-1", joined: () => void joined++ };
    const done = producer.transaction((tx) =>
      tx.prepare([], { acks: [message, { token: "t-2" }] }),
    );
    await broker.settle();
    expect(joined).toBe(0);
    answer.resolve();
    await broker.settle();
    await done;
    expect(joined).toBe(1);
    expect(broker.received("prepare")[0]).toMatchObject({ messages: [], acks: ["t-1", "t-2"] });
  });

  it("refuses an id that could be guessed, and a prepare of nothing", async () => {
    const { producer } = await start();
    const short = producer.transaction(async () => undefined, { transactionId: "order-42" });
    expect(await codeOf(short)).toBe("INVALID_TRANSACTION_ID");
    expect(await codeOf(producer.transaction((tx) => tx.prepare([])))).toBe("INVALID_ARGUMENT");
  });
});
