/** Broadcast over real sockets: every instance gets everything, through kills of broker and instance. */
import type { Consumer, ConsumerOptions, Gap } from "@escrowmq/consumer";
import { describe, expect, it } from "vitest";
import { gather, said, useBench } from "../support/e2e-broker.ts";
import { staysTrue, waitFor } from "../support/e2e-wait.ts";

const bench = useBench();
const subscribe = [{ topic: "orders" }] as const;

const instanceOf = (
  url: string,
  instance: string,
  more: Partial<ConsumerOptions> = {},
): Promise<Consumer<unknown>> =>
  bench.consumer({ url, group: "cache", subscribe, broadcast: { instance }, ...more });

async function world(url: string) {
  const admin = await bench.admin(url, "orders");
  const producer = await bench.producer({ url, group: "shop" });
  const send = async (...bodies: readonly unknown[]): Promise<void> => {
    for (const body of bodies) await producer.send({ topic: "orders", body });
  };
  return { admin, send };
}

describe("instances", () => {
  it("each get every message, and what was committed in a transaction", async () => {
    const { url } = await bench.broker();
    const { send } = await world(url);
    const got = [gather(await instanceOf(url, "a")), gather(await instanceOf(url, "b"))];
    await send(1, 2);
    const producer = await bench.producer({ url, group: "shop", onCheck: () => "unknown" });
    await producer.transaction(async (tx) => {
      await tx.prepare([{ topic: "orders", body: 3 }]);
    });
    await waitFor("all three, twice", () => got.every((all) => all.length === 3));
    for (const all of got) expect(said(all)).toEqual([1, 2, 3]);
  });

  it("go on where they were after a SIGKILL of the broker, and lose nothing", async () => {
    const broker = await bench.brokerProcess();
    const { send } = await world(broker.url);
    const gaps: Gap[] = [];
    const onGap = (gap: Gap): void => void gaps.push(gap);
    const here = gather(await instanceOf(broker.url, "here", { onGap }));
    const away = await instanceOf(broker.url, "away");
    await send(1);
    await waitFor("the first", () => here.length === 1);
    await away.close();
    await send(2);
    await broker.kill();
    await broker.restart();
    await send(3);
    await waitFor("all three", () => new Set(said(here)).size === 3);
    const back = gather(await instanceOf(broker.url, "away"));
    await waitFor("what it missed", () => new Set(said(back)).size === 3);
    // What it had in hand comes again, before or after the third.
    expect(said(here).filter((one) => one === 3)).toHaveLength(1);
    // It was new, and that is all that was ever unknown to it.
    expect(gaps).toEqual([{ topic: "orders", lost: null }]);
    const admin = await bench.admin(broker.url);
    const view = await admin.request("group.describe", { group: "cache" });
    expect(view.instances).toMatchObject({ count: 2, connected: 2 });
  });

  it("take their own place after a SIGKILL: what was in hand comes again, as the next attempt", async () => {
    const { url } = await bench.broker();
    const { admin, send } = await world(url);
    await admin.request("group.update", { group: "cache", retryDelaysMs: [0] });
    const start = () => bench.program("e2e-instance-process.mjs", [url, "cache", "node-1"]);
    const first = start();
    await first.line("here");
    await send("one", "hang");
    await first.line('took "hang" 1');
    await first.kill();
    const second = start();
    await second.line('took "hang" 2');
    expect(second.lines).not.toContain('took "one" 1');
    expect(second.lines.filter((line) => line.startsWith("gap"))).toEqual([]);
  });

  it("of one name: the second takes the place of the first, whose run ends with INSTANCE_REPLACED", async () => {
    const { url } = await bench.broker();
    const { send } = await world(url);
    const first = await instanceOf(url, "node-1");
    const end = first.run(() => undefined).catch((error: { code: string }) => error.code);
    const second = gather(await instanceOf(url, "node-1"));
    expect(await end).toBe("INSTANCE_REPLACED");
    await send(1);
    await waitFor("the message", () => second.length === 1);
    await staysTrue("its place", 300, () => second.length === 1);
  });

  it("hold nothing back: what retention takes they are told, here or when they come back", async () => {
    const { url } = await bench.broker();
    const { admin, send } = await world(url);
    const update = { topic: "orders", retentionMs: 1_000 } as const;
    const idle: Gap[] = [];
    const later: Gap[] = [];
    await instanceOf(url, "idle", { onGap: (gap) => void idle.push(gap) });
    await (await instanceOf(url, "away")).close();
    await send(1, 2, 3);
    await admin.request("topic.update", update);
    await waitFor("the gap", () => idle.length === 2);
    expect(idle).toEqual([
      { topic: "orders", lost: null },
      { topic: "orders", lost: 3 },
    ]);
    const topic = await admin.request("topic.describe", { topic: "orders" });
    expect(topic).toMatchObject({ firstOffset: 3, groups: ["cache"], heldBy: [] });
    const back = await instanceOf(url, "away", { onGap: (gap) => void later.push(gap) });
    expect(later).toEqual([{ topic: "orders", lost: 3 }]);
    await back.close();
    const { findings } = await admin.request("doctor", {});
    const lost = findings.find(({ text }) => text.includes("cache%away"));
    expect(lost?.text).toContain("lost 3 messages");
  });
});
