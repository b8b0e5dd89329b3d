/**
 * Transactions that reserve their keys, as applications use them: what comes later with such a key waits for the
 * verdict, whoever is killed meanwhile.
 */
import { type Producer, Rollback, type Verdict } from "@escrowmq/producer";
import type { AdminClient } from "@escrowmq/protocol/client";
import { describe, expect, it } from "vitest";
import { gather, said, useBench } from "../support/e2e-broker.ts";
import { staysTrue, waitFor } from "../support/e2e-wait.ts";

const bench = useBench();
const topic = "orders";
const subscribe = [{ topic }];
/** Often asked, and for as long as a test takes. */
const policy = { checkIntervalMs: 100, checkAttemptsMax: 10_000 };

/** `1@ann` has the key ann. */
const order = (body: string) => ({ topic, key: body.split("@")[1] ?? "", body });
const orders = (...bodies: string[]) => bodies.map(order);

async function send(producer: Producer, ...bodies: string[]): Promise<void> {
  for (const body of bodies) await producer.send(order(body));
}

/** Its local work has neither succeeded nor failed when it loses sight of it: the check-back decides. */
async function abandon(producer: Producer, ...bodies: string[]): Promise<string> {
  let id = "";
  const running = producer.transaction(
    async (tx) => {
      id = tx.id;
      await tx.prepare(orders(...bodies));
      throw new Error("abandoned");
    },
    { reserveKeys: true, checkAfterMs: 100 },
  );
  await expect(running).rejects.toThrow("abandoned");
  return id;
}

const waiting = async (admin: AdminClient) => {
  const { queued, reservedKeys } = await admin.request("stats", {});
  return { queued, reservedKeys };
};

/** Ordered by key: what is read from the disk first may come behind what is in memory otherwise. */
async function reader(url: string) {
  const admin = await bench.admin(url);
  await admin.request("group.update", { group: "billing", ordered: true, retryDelaysMs: [0] });
  await admin.close();
  return gather(await bench.consumer({ url, group: "billing", subscribe }));
}

const keyed = (got: Parameters<typeof said>[0], key: string): unknown[] =>
  said(got).filter((body) => String(body).endsWith(`@${key}`));

describe("while the local work of a transaction that reserves its keys goes on", () => {
  async function shop() {
    const { url } = await bench.broker();
    const admin = await bench.admin(url, topic);
    const onCheck = () => "unknown" as const;
    const producer = await bench.producer({ url, group: "shop", onCheck });
    const other = await bench.producer({ url, group: "refunds" });
    const got = await reader(url);
    return { admin, producer, other, got };
  }

  it("nothing of its keys comes to anybody, and everything else does; with the commit all come in order", async () => {
    const { admin, producer, other, got } = await shop();
    const { state } = await producer.transaction(
      async (tx) => {
        await tx.prepare(orders("1@ann", "1@bob"));
        await send(other, "2@ann", "1@cid", "2@bob", "3@ann", "2@cid");
        await waitFor("all of the other key", () => got.length === 2);
        await staysTrue("what is reserved", 150, () => got.length === 2);
        expect(await waiting(admin)).toEqual({ queued: 3, reservedKeys: 2 });
      },
      { reserveKeys: true },
    );
    expect(state).toBe("committed");
    await send(other, "4@ann");
    await waitFor("all", () => got.length === 8);
    expect(keyed(got, "ann")).toEqual(["1@ann", "2@ann", "3@ann", "4@ann"]);
    expect(keyed(got, "bob")).toEqual(["1@bob", "2@bob"]);
    expect(keyed(got, "cid")).toEqual(["1@cid", "2@cid"]);
    expect(await waiting(admin)).toEqual({ queued: 0, reservedKeys: 0 });
  });

  it("and fails, the rollback lets what came later pass", async () => {
    const { producer, other, got } = await shop();
    const { state } = await producer.transaction(
      async (tx) => {
        await tx.prepare(orders("1@ann"));
        await send(other, "2@ann", "3@ann");
        throw new Rollback("out of stock");
      },
      { reserveKeys: true },
    );
    expect(state).toBe("rolledBack");
    await waitFor("both", () => got.length === 2);
    expect(said(got)).toEqual(["2@ann", "3@ann"]);
  });

  it("another one with its key gets the place behind it, though it commits first", async () => {
    const { producer, other, got } = await shop();
    const options = { reserveKeys: true };
    await producer.transaction(async (tx) => {
      await tx.prepare(orders("1@ann"));
      const second = await producer.transaction(async (next) => {
        await next.prepare(orders("2@ann", "1@bob"));
      }, options);
      expect(second.state).toBe("committed");
      await send(other, "3@ann");
      await waitFor("what is in nobody's way", () => got.length === 1);
      await staysTrue("its place", 150, () => got.length === 1);
    }, options);
    await waitFor("all", () => got.length === 4);
    expect(said(got)).toEqual(["1@bob", "1@ann", "2@ann", "3@ann"]);
  });

  it("what waits for it can be called back", async () => {
    const { producer, other, got } = await shop();
    await producer.transaction(
      async (tx) => {
        await tx.prepare(orders("1@ann"));
        const { id } = await other.send(order("2@ann"));
        await send(other, "3@ann");
        expect(await other.recall({ topic, id })).toMatchObject({ duplicate: false });
      },
      { reserveKeys: true },
    );
    await waitFor("the others", () => got.length === 2);
    expect(said(got)).toEqual(["1@ann", "3@ann"]);
  });
});

describe("a reserved key and what waits for it", () => {
  it.each([
    ["a SIGKILL of the broker, by its log", "SIGKILL"],
    ["a clean stop of the broker, by its checkpoint", "SIGTERM"],
  ] as const)("survive %s: the check-back decides, and all come in order", async (_, signal) => {
    const broker = await bench.brokerProcess({ policy });
    const { url } = broker;
    const before = await bench.admin(url, topic);
    const words = new Map<string, Verdict>();
    const onCheck = ({ id }: { readonly id: string }) => words.get(id) ?? "unknown";
    const producer = await bench.producer({ url, group: "shop", onCheck });
    const got = await reader(url);
    const first = await abandon(producer, "1@ann");
    await send(producer, "2@ann", "1@bob");
    const second = await abandon(producer, "3@ann", "1@cid");
    await send(producer, "4@ann");
    // What was not acked would come again.
    await waitFor("the ack of the other key", async () => {
      const { topics } = await before.request("group.describe", { group: "billing" });
      return got.length === 1 && topics[0]?.lag === 0;
    });
    await before.close();
    await broker.kill(signal);
    await broker.restart();
    const admin = await bench.admin(url);
    expect(await waiting(admin)).toEqual({ queued: 2, reservedKeys: 3 });
    await send(producer, "5@ann", "2@cid");
    words.set(second, "commit");
    await waitFor("what the second one held up alone", () => got.length === 3);
    await staysTrue("the first one's place", 150, () => got.length === 3);
    expect(keyed(got, "cid")).toEqual(["1@cid", "2@cid"]);
    words.set(first, "commit");
    await waitFor("all", () => got.length === 8);
    expect(keyed(got, "ann")).toEqual(["1@ann", "2@ann", "3@ann", "4@ann", "5@ann"]);
    await waitFor("an empty queue", async () => (await waiting(admin)).queued === 0);
  });

  it("survive one of each, with a verdict in between", async () => {
    const broker = await bench.brokerProcess({ policy });
    const { url } = broker;
    const before = await bench.admin(url, topic);
    const words = new Map<string, Verdict>();
    const onCheck = ({ id }: { readonly id: string }) => words.get(id) ?? "unknown";
    const producer = await bench.producer({ url, group: "shop", onCheck });
    const first = await abandon(producer, "1@ann");
    await send(producer, "2@ann");
    const second = await abandon(producer, "3@ann");
    await producer.send({ ...order("5@ann"), delayMs: 800 });
    await send(producer, "4@ann");
    await before.close();
    await broker.kill("SIGTERM");
    await broker.restart();
    const between = await bench.admin(url);
    await waitFor("what is due", async () => (await waiting(between)).queued === 3);
    words.set(second, "rollback");
    await waitFor("its end", async () => (await waiting(between)).reservedKeys === 1);
    await send(producer, "6@ann");
    await between.close();
    await broker.kill();
    await broker.restart();
    const admin = await bench.admin(url);
    expect(await waiting(admin)).toEqual({ queued: 4, reservedKeys: 1 });
    const got = await reader(url);
    words.set(first, "commit");
    await waitFor("all", () => got.length === 5);
    expect(said(got)).toEqual(["1@ann", "2@ann", "4@ann", "5@ann", "6@ann"]);
  });

  it("survive a SIGKILL of the producer that reserved it: another instance answers for it", async () => {
    const { url } = await bench.broker({ policy });
    const admin = await bench.admin(url, topic);
    const program = bench.program("e2e-producer-process.mjs", [url, "shop", "200", "ann"]);
    const id = await program.line("prepared");
    const other = await bench.producer({ url, group: "refunds" });
    const got = await reader(url);
    await send(other, "2@ann", "1@bob", "3@ann");
    await waitFor("the other key", () => got.length === 1);
    await program.kill();
    await staysTrue("nobody to ask", 300, async () => (await waiting(admin)).queued === 2);
    const asked: string[] = [];
    const onCheck = (check: { readonly id: string }) => {
      asked.push(check.id);
      return "rollback" as const;
    };
    await bench.producer({ url, group: "shop", onCheck });
    await waitFor("what waited", () => got.length === 3);
    expect(asked).toEqual([id]);
    expect(said(got)).toEqual(["1@bob", "2@ann", "3@ann"]);
  });
});

it("a consumer that is killed with the reserved message in its hands gets it again, before what waited for it", async () => {
  const { url } = await bench.broker();
  const admin = await bench.admin(url, topic);
  await admin.request("group.update", { group: "billing", ordered: true, retryDelaysMs: [0] });
  const producer = await bench.producer({ url, group: "shop", onCheck: () => "unknown" });
  const args = [url, "billing", "8", JSON.stringify(subscribe)];
  const program = bench.program("e2e-consumer-process.mjs", args);
  await producer.transaction(
    async (tx) => {
      await tx.prepare(orders("1@ann"));
      await send(producer, "2@ann", "1@bob", "3@ann");
      await waitFor("the other key in its hands", () => program.lines.length === 1);
    },
    { reserveKeys: true },
  );
  await waitFor("the first of the key, too", () => program.lines.length === 2);
  await staysTrue("its order", 150, () => program.lines.length === 2);
  const got = await reader(url);
  await program.kill();
  await waitFor("all", () => got.length === 4);
  const told = got.map((message, at) => `${String(said(got)[at])}#${message.attempt}`);
  expect(told.filter((one) => one.includes("ann"))).toEqual(["1@ann#2", "2@ann#1", "3@ann#1"]);
  expect(told).toContain("1@bob#2");
});
