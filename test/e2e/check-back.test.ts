/** The check-back as producers and operators see it: C1, C3, C4 and C6, over real sockets and HTTP. */
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { createCheckEndpoint, type Producer, type Verdict } from "@escrowmq/producer";
import { describe, expect, it } from "vitest";
import { AUDIT, gather, said, useBench } from "../support/e2e-broker.ts";
import { staysTrue, waitFor } from "../support/e2e-wait.ts";

const bench = useBench();
const GROUP = "shop";

/** A transaction that its producer leaves undecided. */
async function abandon(producer: Producer, checkAfterMs: number): Promise<string> {
  let id = "";
  const running = producer.transaction(
    async (tx) => {
      id = tx.id;
      await tx.prepare([{ topic: "orders", body: tx.id }]);
      throw new Error("abandoned");
    },
    { checkAfterMs },
  );
  await expect(running).rejects.toThrow("abandoned");
  return id;
}

async function reader(url: string) {
  return gather(await bench.consumer({ url, group: "readers", subscribe: [{ topic: "orders" }] }));
}

/** An HTTP endpoint on loopback that answers checks once its keys are known. */
async function endpoint(onCheck: (id: string) => Verdict) {
  const secrets: string[] = [];
  const statuses: number[] = [];
  const server = createServer(async (incoming, outgoing) => {
    const chunks: Buffer[] = [];
    for await (const chunk of incoming) chunks.push(chunk as Buffer);
    const { host, ...rest } = incoming.headers;
    const headers = Object.entries(rest).map(([name, value]) => [name, String(value)] as const);
    const answer = createCheckEndpoint({ secrets, onCheck: ({ id }) => onCheck(id) });
    const response = await answer(
      new Request(`http://${host}${incoming.url}`, {
        method: incoming.method ?? "GET",
        headers: headers.map(([name, value]) => [name, value] as [string, string]),
        body: Buffer.concat(chunks),
      }),
    );
    statuses.push(response.status);
    outgoing.writeHead(response.status, { "content-type": "application/json" });
    outgoing.end(await response.text());
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  bench.later(() => {
    server.closeAllConnections();
    server.close();
  });
  const { port } = server.address() as AddressInfo;
  return { url: `http://127.0.0.1:${port}/escrow/check?shop=1`, secrets, statuses };
}

describe("a transaction that its producer cannot decide any more", () => {
  it("is decided by another instance of the group when its own was killed", async () => {
    const broker = await bench.broker();
    const admin = await bench.admin(broker.url, "orders");
    const program = bench.program("e2e-producer-process.mjs", [broker.url, GROUP, "200"]);
    const id = await program.line("prepared");
    await program.kill();
    const asked: string[] = [];
    await bench.producer({
      url: broker.url,
      group: GROUP,
      clientName: "shop-2",
      onCheck: (check) => {
        asked.push(check.id);
        expect(check.messages.map(({ topic }) => topic)).toEqual(["orders"]);
        return "commit";
      },
    });
    const got = await reader(broker.url);
    await waitFor("the message", () => got.length === 1);
    expect(asked).toEqual([id]);
    const { decidedBy } = await admin.request("tx.show", { transactionId: id });
    expect(decidedBy).toBe("check (shop-2)");
  });

  it("goes to another instance when the one that was asked dies with the question", async () => {
    const broker = await bench.broker({ policy: { checkIntervalMs: 200 } });
    const admin = await bench.admin(broker.url, "orders");
    const program = bench.program("e2e-producer-process.mjs", [broker.url, GROUP, "0"]);
    const id = await program.line("prepared");
    await bench.producer({ url: broker.url, group: GROUP, onCheck: () => "rollback" });
    await staysTrue("the wait for the first one", 300, async () => {
      const { checks } = await admin.request("tx.show", { transactionId: id });
      return checks === 0;
    });
    await program.kill();
    await waitFor("the verdict", async () => {
      const { state } = await admin.request("tx.show", { transactionId: id });
      return state === "rolledBack";
    });
  });

  it("is decided by the group's signed HTTP endpoint when nobody is connected", async () => {
    const broker = await bench.broker({
      endpointRanges: ["127.0.0.0/8"],
      policy: { checkIntervalMs: 100 },
    });
    const admin = await bench.admin(broker.url, "orders");
    const server = await endpoint(() => "commit");
    const { secret } = await admin.request("producer.endpoint", {
      group: GROUP,
      url: server.url,
      ...AUDIT,
    });
    // Without a checker of its own it may prepare all the same: the endpoint answers for it.
    const id = await abandon(await bench.producer({ url: broker.url, group: GROUP }), 0);
    await waitFor(
      "a question that the endpoint cannot verify yet",
      () => server.statuses.length > 0,
    );
    expect(server.statuses[0]).toBe(401);
    server.secrets.push(secret ?? "");
    const got = await reader(broker.url);
    await waitFor("the message", () => got.length === 1);
    expect(said(got)).toEqual([id]);
    const { timeline } = await admin.request("tx.show", { transactionId: id });
    expect(timeline.map(({ text }) => text)).toContainEqual(
      expect.stringMatching(/endpoint answered commit/),
    );
  });

  it("is not counted as asked while nobody is there, and is asked of whoever comes later", async () => {
    const broker = await bench.broker({ policy: { checkAttemptsMax: 1 } });
    const admin = await bench.admin(broker.url, "orders");
    const producer = await bench.producer({
      url: broker.url,
      group: GROUP,
      onCheck: () => "unknown",
    });
    const id = await abandon(producer, 150);
    await producer.close();
    await staysTrue("an uncounted wait", 500, async () => {
      const { state, checks } = await admin.request("tx.show", { transactionId: id });
      return state === "undecided" && checks === 0;
    });
    await bench.producer({ url: broker.url, group: GROUP, onCheck: () => "commit" });
    const got = await reader(broker.url);
    await waitFor("the message", () => got.length === 1);
  });

  it("is never asked of another group", async () => {
    const broker = await bench.broker({ policy: { checkIntervalMs: 50 } });
    const admin = await bench.admin(broker.url, "orders");
    let strangers = 0;
    await bench.producer({
      url: broker.url,
      group: "other",
      onCheck: () => {
        strangers++;
        return "rollback";
      },
    });
    const producer = await bench.producer({
      url: broker.url,
      group: GROUP,
      onCheck: () => "unknown",
    });
    const id = await abandon(producer, 0);
    await waitFor("three checks", async () => {
      const { checks } = await admin.request("tx.show", { transactionId: id });
      return checks >= 3;
    });
    expect(strangers).toBe(0);
  });
});

describe("a transaction that stays unknown", () => {
  it("is parked after fifteen checks, listed, resumable, and decided by an operator with a reason", async () => {
    const broker = await bench.broker({ policy: { checkIntervalMs: 15 } });
    const admin = await bench.admin(broker.url, "orders");
    const attempts: number[] = [];
    const producer = await bench.producer({
      url: broker.url,
      group: GROUP,
      onCheck: ({ attempt }) => {
        attempts.push(attempt);
        return "unknown";
      },
    });
    const id = await abandon(producer, 0);
    const parked = async () => (await admin.request("tx.list", { state: "parked" })).items;
    const [first] = await waitFor("parking", async () => {
      const items = await parked();
      return items.length === 1 && items;
    });
    expect(first).toMatchObject({ transactionId: id, checks: 15, parkedBecause: "attempts" });
    expect(attempts).toEqual(Array.from({ length: 15 }, (_, at) => at + 1));
    await staysTrue("silence while parked", 150, () => attempts.length === 15);

    await admin.request("tx.resume", { transactionId: id, ...AUDIT });
    await waitFor(
      "parking again",
      async () => (await parked()).length === 1 && attempts.length === 30,
    );
    await expect(admin.request("tx.check", { transactionId: id, ...AUDIT })).rejects.toMatchObject({
      code: "INVALID_ARGUMENT",
    });
    await admin.request("tx.decide", {
      transactionId: id,
      verdict: "commit",
      operator: "ada",
      reason: "the order is in the ledger",
    });
    const got = await reader(broker.url);
    await waitFor("the message", () => got.length === 1);
    const { timeline, state } = await waitFor("the ack in the timeline", async () => {
      const shown = await admin.request("tx.show", { transactionId: id });
      return shown.timeline.some(({ event }) => event === "acked") && shown;
    });
    expect(state).toBe("committed");
    const checked = Array<string>(15).fill("checked");
    expect(timeline.map(({ event }) => event)).toEqual([
      "prepared",
      ...checked,
      "parked",
      "resumed",
      ...checked,
      "parked",
      "committed",
      "delivered",
      "acked",
    ]);
    expect(timeline.find(({ event }) => event === "committed")?.text).toBe(
      "by operator, ada: the order is in the ledger",
    );
    await expect(
      admin.request("tx.decide", { transactionId: id, verdict: "rollback", ...AUDIT }),
    ).rejects.toMatchObject({ code: "TX_ALREADY_COMMITTED", detail: { who: "ada" } });
  });

  it("is rolled back after the last check if its producer chose that", async () => {
    const broker = await bench.broker({ policy: { checkIntervalMs: 10, checkAttemptsMax: 3 } });
    const admin = await bench.admin(broker.url, "orders");
    const producer = await bench.producer({
      url: broker.url,
      group: GROUP,
      onCheck: () => "unknown",
    });
    let id = "";
    const running = producer.transaction(
      async (tx) => {
        id = tx.id;
        await tx.prepare([{ topic: "orders", body: 1 }]);
        throw new Error("abandoned");
      },
      { checkAfterMs: 0, onUndecided: "rollback" },
    );
    await expect(running).rejects.toThrow("abandoned");
    await waitFor("the rollback", async () => {
      const shown = await admin.request("tx.show", { transactionId: id });
      return shown.state === "rolledBack" && shown.decidedBy === "policy (onUndecided)";
    });
  });
});

describe("a producer group whose checker throws or hangs", () => {
  it("delays no other group", async () => {
    const broker = await bench.broker({ policy: { checkIntervalMs: 30_000 } });
    await bench.admin(broker.url, "orders");
    const bad = await bench.producer({
      url: broker.url,
      group: "bad",
      onCheck: ({ id }) => {
        if (id < "8") throw new Error("no database");
        return new Promise<Verdict>(() => undefined);
      },
    });
    const good = await bench.producer({ url: broker.url, group: "good", onCheck: () => "commit" });
    await Promise.all(Array.from({ length: 100 }, () => abandon(bad, 0)));
    const startMs = performance.now();
    const ids = await Promise.all(Array.from({ length: 100 }, () => abandon(good, 0)));
    const got = await reader(broker.url);
    await waitFor("all of the good group", () => got.length === 100);
    expect(performance.now() - startMs).toBeLessThan(3_000);
    expect(said(got).sort()).toEqual(ids.sort());
  });
});
