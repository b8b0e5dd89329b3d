/** Brokers that refuse to start, and what a full disk still takes. */
import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { createBroker } from "@escrowmq/broker";
import { describe, expect, it } from "vitest";
import { packPart } from "../../broker/src/store/checkpoint-format.ts";
import { MemoryDisk } from "../../broker/src/store/memory-disk.ts";
import { openMemoryStore } from "../../broker/src/store/memory-store.ts";
import { gather, useBench } from "../support/e2e-broker.ts";
import { waitFor } from "../support/e2e-wait.ts";

const bench = useBench();

describe("a broker", () => {
  it("refuses a directory that another one has open, and leaves that one alone", async () => {
    const broker = await bench.broker({ dataDir: bench.newDirectory() });
    const dataDir = bench.newDirectory();
    const first = await bench.brokerProcess({ dataDir });
    await expect(bench.broker({ dataDir })).rejects.toMatchObject({ code: "STORE_LOCKED" });
    const admin = await bench.admin(first.url, "orders");
    expect((await admin.request("stats", {})).topics).toBe(1);
    expect(broker.url).not.toBe("");
  });

  it("refuses a directory of a newer format and touches nothing in it", async () => {
    const dataDir = bench.newDirectory();
    mkdirSync(dataDir, { recursive: true });
    const path = join(dataDir, "escrowmq.json");
    const identity = JSON.stringify({ format: 99, storeId: "0".repeat(32), createdAt: "later" });
    writeFileSync(path, identity);
    await expect(bench.broker({ dataDir })).rejects.toMatchObject({ code: "STORE_VERSION" });
    expect(readFileSync(path, "utf8")).toBe(identity);
  });

  it("refuses a checkpoint of another version: what it stands for is in no block after it", async () => {
    const disk = new MemoryDisk();
    const openStore = () => openMemoryStore(disk);
    const first = await bench.broker({ openStore });
    await bench.admin(first.url, "orders");
    await first.close();
    const { block = 0 } = disk.checkpoints.at(-1) ?? {};
    expect(block).toBeGreaterThan(0);
    const parts = [packPart({ part: "head", version: 99 })];
    disk.keepCheckpoint({ block, parts, lasting: new Map() });
    await expect(bench.broker({ openStore })).rejects.toMatchObject({ code: "STORE_VERSION" });
  });

  it("refuses an address beyond loopback unless that is allowed", async () => {
    const dataDir = bench.newDirectory();
    await expect(createBroker({ dataDir, host: "0.0.0.0", port: 0 })).rejects.toMatchObject({
      code: "INVALID_ARGUMENT",
      message: expect.stringContaining("not loopback"),
    });
    const broker = await bench.broker({ dataDir, host: "0.0.0.0", isInsecureBindAllowed: true });
    await bench.admin(broker.url.replace("0.0.0.0", "127.0.0.1"), "orders");
  });

  it("gives its directory back when its port is taken", async () => {
    const first = await bench.broker();
    const port = Number(new URL(first.url).port);
    const dataDir = bench.newDirectory();
    await expect(bench.broker({ dataDir, port })).rejects.toMatchObject({ code: "EADDRINUSE" });
    await bench.broker({ dataDir });
  });

  it("says all that is wrong with its options at once", async () => {
    const options = { port: -1, host: "nowhere", policy: { undecidedMax: Number.NaN } };
    const error = await createBroker(options).catch((reason: unknown) => reason);
    expect(error).toMatchObject({ code: "INVALID_ARGUMENT" });
    for (const part of ["port", "host", "policy.undecidedMax"])
      expect(String(error)).toContain(part);
  });
});

describe("a disk that is nearly full", () => {
  it("takes verdicts and acks, and refuses sends and prepares", async () => {
    const dataDir = bench.newDirectory();
    const ample = await bench.broker({ dataDir });
    await bench.admin(ample.url, "orders");
    const before = await bench.producer({ url: ample.url, group: "shop", onCheck: () => "commit" });
    await before.send({ topic: "orders", body: 1 });
    let id = "";
    const abandoned = before.transaction(async (tx) => {
      id = tx.id;
      await tx.prepare([{ topic: "orders", body: 2 }]);
      throw new Error("left undecided");
    });
    await expect(abandoned).rejects.toThrow("left undecided");
    await before.close();
    await ample.close();

    const broker = await bench.broker({ dataDir, sendFreeBytesMin: Number.MAX_SAFE_INTEGER });
    const { url } = broker;
    const producer = await bench.producer({ url, group: "shop", onCheck: () => "unknown" });
    const admin = await bench.admin(url);
    const message = { topic: "orders", body: 3 };
    await expect(producer.send(message)).rejects.toMatchObject({
      code: "DISK_FULL",
      retriable: true,
    });
    await expect(producer.transaction((tx) => tx.prepare([message]))).rejects.toMatchObject({
      code: "DISK_FULL",
    });
    await admin.request("tx.decide", {
      transactionId: id,
      verdict: "commit",
      operator: "ada",
      reason: "verdicts pass",
    });
    const got = gather(await bench.consumer({ url, group: "g", subscribe: [{ topic: "orders" }] }));
    await waitFor("both messages", () => got.length === 2);
    await waitFor("both acks", async () => {
      const { topics } = await admin.request("group.describe", { group: "g" });
      return topics[0]?.lag === 0;
    });
  });
});
