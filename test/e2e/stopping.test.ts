/** Stopping in order: a broker answers what it took, `escrow broker start` exits 0, the next start is clean. */
import { verifyStore } from "@escrowmq/broker";
import { describe, expect, it } from "vitest";
import { MemoryDisk } from "../../broker/src/store/memory-disk.ts";
import { openMemoryStore } from "../../broker/src/store/memory-store.ts";
import { gather, said, useBench } from "../support/e2e-broker.ts";
import { freePort, type Program } from "../support/e2e-process.ts";
import { RawClient } from "../support/e2e-raw-client.ts";
import { staysTrue, waitFor } from "../support/e2e-wait.ts";

const bench = useBench();

interface LogLine {
  readonly msg: string;
  readonly blocks?: number;
  readonly tail?: number;
}

const logged = ({ stderr }: Program): LogLine[] =>
  stderr
    .split("\n")
    .filter((line) => line.startsWith("{"))
    .map((line): LogLine => JSON.parse(line));

describe("a broker that is closed twice at once", () => {
  it("answers what it took before either close resolves, and then lets go of the store", async () => {
    const disk = new MemoryDisk();
    const broker = await bench.broker({ openStore: () => openMemoryStore(disk) });
    const raw = await RawClient.open(broker.url);
    disk.holdAppends();
    const answer = raw.ask({ type: "topic.create", topic: "orders" });
    // The block is under way once the broker has read the request.
    await fetch(broker.url.replace("ws:", "http:"));
    let closed = 0;
    const closing = [broker.close(), broker.close()].map(async (one) => {
      await one;
      closed++;
    });
    await staysTrue("the wait for the disk", 100, () => closed === 0);
    disk.releaseAppends();
    expect((await answer).type).toBe("ok");
    await Promise.all(closing);
    await (await openMemoryStore(disk)).close();
  });
});

describe("a broker that dies before each of its checkpoints is due", () => {
  it("writes one all the same, so that its starts do not take longer and longer", async () => {
    const broker = await bench.brokerProcess({ checkpointEveryBytes: 300_000, logLevel: "info" });
    const setup = await bench.admin(broker.url, "orders");
    await setup.close();
    const recovered = () => logged(broker.program).find(({ msg }) => msg === "recovered");
    for (let life = 0; life < 4; life++) {
      const producer = await bench.producer({ url: broker.url, group: "shop" });
      for (let sent = 0; sent < 20; sent++)
        await producer.send({ topic: "orders", body: new Uint8Array(10_000) });
      await producer.close();
      await broker.kill();
      await broker.restart();
    }
    const { blocks = 0, tail = 0 } = recovered() ?? {};
    expect(tail).toBeGreaterThan(80);
    expect(blocks).toBeLessThan(45);
  });
});

describe("a broker process that gets SIGTERM under load", () => {
  it("drains, exits 0, and has nothing to replay at the next start", async () => {
    const dataDir = bench.newDirectory();
    const port = String(await freePort());
    const start = async () => {
      const program = bench.program("../../cli/dist/main.js", [
        ...["--json", "broker", "start"],
        ...["--data", dataDir, "--port", port, "--log-level", "info"],
      ]);
      const ready: unknown = JSON.parse(`{${await program.line("{")}`);
      const { url } = ready as { readonly url: string };
      return { program, url };
    };
    const first = await start();
    const { url } = first;
    const admin = await bench.admin(url, "orders");
    const producer = await bench.producer({ url, group: "shop" });
    const acked: string[] = [];
    let isOver = false;
    const senders = Array.from({ length: 50 }, async () => {
      while (!isOver) {
        const { id } = await producer.send({ topic: "orders", body: acked.length });
        acked.push(id);
      }
    });
    await waitFor("load", () => acked.length > 1_000);
    await admin.close();
    expect(await first.program.kill("SIGTERM")).toEqual({ code: 0, signal: null });
    expect((await verifyStore(dataDir)).problems).toEqual([]);

    const second = await start();
    const recovered = logged(second.program).find(({ msg }) => msg === "recovered");
    expect(recovered?.blocks).toBe(0);
    expect(recovered?.tail).toBeGreaterThan(0);
    isOver = true;
    await Promise.all(senders);
    const got = gather(await bench.consumer({ url, group: "g", subscribe: [{ topic: "orders" }] }));
    await waitFor("everything acknowledged", () => got.length === acked.length);
    expect(new Set(got.map(({ id }) => id))).toEqual(new Set(acked));
    expect(said(got)).toHaveLength(acked.length);
    expect((await second.program.kill("SIGINT")).code).toBe(0);
  });

  it("refuses a directory in use with an exit code of its own, not with a stack trace", async () => {
    const broker = await bench.brokerProcess();
    const port = String(await freePort());
    const second = bench.program("../../cli/dist/main.js", [
      ...["broker", "start", "--data", broker.dataDir, "--port", port],
    ]);
    const { code } = await second.exited;
    expect(code).toBeGreaterThan(0);
    expect(second.stderr).toContain("STORE_LOCKED");
    expect(second.stderr).not.toContain("    at ");
  });
});
