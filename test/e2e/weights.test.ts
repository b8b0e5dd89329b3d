/** Urgent messages in a topic of their own, with a larger weight: over real sockets, and across a kill. */
import { describe, expect, it } from "vitest";
import { useBench } from "../support/e2e-broker.ts";
import { waitFor } from "../support/e2e-wait.ts";

const bench = useBench();

const subscribe = [{ topic: "urgent", weight: 4 }, { topic: "bulk" }];

describe("topics by weight", () => {
  it("come four to one while both have some, and so again after the broker was killed", async () => {
    const broker = await bench.brokerProcess();
    await bench.admin(broker.url, "urgent", "bulk");
    const producer = await bench.producer({ url: broker.url, group: "shop" });
    for (const topic of ["urgent", "bulk"])
      await producer.sendAll(Array.from({ length: 200 }, (_, body) => ({ topic, body })));
    const consumer = await bench.consumer({
      url: broker.url,
      group: "billing",
      subscribe,
      concurrency: 1,
    });
    const got: string[] = [];
    void consumer.run(async ({ topic }) => {
      got.push(topic);
      if (got.length === 50) await broker.kill("SIGKILL");
    });
    await waitFor("the kill", () => got.length >= 50);
    const before = got.slice(0, 50).filter((topic) => topic === "urgent").length;
    await broker.restart();
    const restarted = got.length;
    await waitFor("as many again", () => got.length >= restarted + 50, 20_000);
    const again = got.slice(restarted, restarted + 50);
    const after = again.filter((topic) => topic === "urgent").length;
    // Prefetched messages, and a round that the kill cut off.
    for (const urgent of [before, after]) expect(Math.abs(urgent - 40)).toBeLessThanOrEqual(4);
    await waitFor("all of both", () => new Set(got).size === 2 && got.length >= 400, 20_000);
  });
});
