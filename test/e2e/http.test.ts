/** The broker's HTTP side, what its metrics count, and what its log never holds (A5). */
import { request } from "node:http";
import { describe, expect, it } from "vitest";
import { AUDIT, gather, useBench } from "../support/e2e-broker.ts";
import { httpOf, metric } from "../support/e2e-metrics.ts";
import { errorOf, RawClient } from "../support/e2e-raw-client.ts";
import { waitFor } from "../support/e2e-wait.ts";

const bench = useBench();

describe("HTTP on the broker's port", () => {
  it("answers health, readiness and metrics, and nothing else", async () => {
    const { url } = await bench.broker();
    const get = async (path: string, method = "GET") => {
      const response = await fetch(httpOf(url) + path, { method });
      return [response.status, (await response.text()).split("\n")[0]];
    };
    expect(await get("/healthz")).toEqual([200, "alive"]);
    expect(await get("/readyz")).toEqual([200, "serving"]);
    expect((await get("/metrics"))[0]).toBe(200);
    expect((await get("/"))[0]).toBe(404);
    expect((await get("/metrics/../../etc/passwd"))[0]).toBe(404);
    expect((await get("/metrics", "POST"))[0]).toBe(405);
    expect((await get("/healthz", "HEAD"))[0]).toBe(200);
  });

  it("refuses a foreign Host: a page whose name resolves to loopback reads nothing", async () => {
    const { url } = await bench.broker();
    const status = await new Promise((resolve, reject) => {
      const asking = request(`${httpOf(url)}/metrics`, { headers: { host: "evil.example" } });
      asking.on("response", (response) => {
        response.resume();
        resolve(response.statusCode);
      });
      asking.on("error", reject);
      asking.end();
    });
    expect(status).toBe(403);
  });

  it("counts what happened", async () => {
    const { url } = await bench.broker();
    const admin = await bench.admin(url, "orders");
    const producer = await bench.producer({ url, group: "shop", onCheck: () => "unknown" });
    for (const body of [1, 2, 3]) await producer.send({ topic: "orders", body });
    await producer.transaction((tx) => tx.prepare([{ topic: "orders", body: 4 }]));
    const abandoned = producer.transaction(async (tx) => {
      await tx.prepare([{ topic: "orders", body: 5 }]);
      throw new Error("abandoned");
    });
    await expect(abandoned).rejects.toThrow("abandoned");
    const raw = await RawClient.open(url);
    expect(errorOf(await raw.ask({ type: "topic.describe", topic: "nowhere" }))).toBe(
      "TOPIC_NOT_FOUND",
    );
    const got = gather(await bench.consumer({ url, group: "g", subscribe: [{ topic: "orders" }] }));
    await waitFor("all", () => got.length === 4);
    await waitFor("their acks", async () => {
      const { topics } = await admin.request("group.describe", { group: "g" });
      return topics[0]?.lag === 0;
    });
    const counted = {
      escrowmq_messages_in_total: 5,
      'escrowmq_records_total{kind="sent"}': 3,
      'escrowmq_records_total{kind="prepared"}': 2,
      'escrowmq_verdicts_total{verdict="commit",by="producer"}': 1,
      'escrowmq_refusals_total{code="TOPIC_NOT_FOUND"}': 1,
      escrowmq_deliveries_total: 4,
      escrowmq_messages: 4,
      escrowmq_undecided_transactions: 1,
      escrowmq_parked_transactions: 0,
      escrowmq_leased_deliveries: 0,
      escrowmq_connections: 4,
      escrowmq_store_failures_total: 0,
    };
    for (const [name, value] of Object.entries(counted))
      expect([name, await metric(url, name)]).toEqual([name, value]);
    expect(await metric(url, "escrowmq_block_write_seconds_count")).toBeGreaterThan(5);
    expect(await metric(url, "escrowmq_store_bytes")).toBeGreaterThan(0);
  });
});

describe("a broker's log at its most talkative", () => {
  it("holds no body, no header, no key and no secret", async () => {
    const broker = await bench.brokerProcess({
      logLevel: "debug",
      endpointRanges: ["127.0.0.0/8"],
      policy: { checkIntervalMs: 50 },
    });
    const { url } = broker;
    const admin = await bench.admin(url, "orders");
    const token = "canary-token";
    const producer = await bench.producer({ url, group: "shop", token, onCheck: () => "unknown" });
    const message = {
      topic: "orders",
      body: "canary-body",
      key: "canary-key",
      headers: { note: "canary-header" },
    };
    await producer.send(message);
    const endpoint = "http://127.0.0.1:9/check?key=canary-query";
    const { secret = "" } = await admin.request("producer.endpoint", {
      group: "web",
      url: endpoint,
      ...AUDIT,
    });
    expect(secret).toMatch(/^[0-9a-f]{64}$/);
    const web = await bench.producer({ url, group: "web", token });
    const abandoned = web.transaction(
      async (tx) => {
        await tx.prepare([message]);
        throw new Error("abandoned");
      },
      { checkAfterMs: 0 },
    );
    await expect(abandoned).rejects.toThrow("abandoned");
    const raw = await RawClient.open(url);
    raw.sayBytes(Buffer.from("canary-frame"));
    await raw.closed;
    const consumer = await bench.consumer({ url, group: "g", subscribe: [{ topic: "orders" }] });
    let isDone = false;
    void consumer.run(({ attempt }) => {
      if (attempt === 1) throw new Error("canary-reason");
      isDone = true;
    });
    await admin.request("group.update", { group: "g", retryDelaysMs: [0] });
    await waitFor("a check of the endpoint", () => broker.program.stderr.includes("127.0.0.1"));
    await broker.kill("SIGKILL");
    await broker.restart();
    await waitFor("the second delivery", () => isDone);
    expect(await broker.kill("SIGTERM")).toEqual({ code: 0, signal: null });
    const log = broker.program.stderr;
    expect(log).toContain("recovered");
    for (const canary of ["canary", secret]) expect(log).not.toContain(canary);
  });
});
