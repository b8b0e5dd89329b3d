/** Dead letters: up the ladder into `%DLQ%group`, and what operators do with them (D8). */
import { deadLetterTopic, decodeMessage } from "@escrowmq/protocol";
import { describe, expect, it } from "vitest";
import { AUDIT, gather, useBench } from "../support/e2e-broker.ts";
import { waitFor } from "../support/e2e-wait.ts";

const bench = useBench();

/** Messages that a failing handler has brought to the dead letters, in three attempts each. */
async function deadLetters(count: number) {
  const broker = await bench.broker();
  const admin = await bench.admin(broker.url, "orders");
  const producer = await bench.producer({ url: broker.url, group: "shop" });
  await admin.request("group.update", {
    group: "billing",
    attemptsMax: 3,
    retryDelaysMs: [20, 60],
    jitterPercent: 0,
  });
  for (let body = 0; body < count; body++)
    await producer.send({ topic: "orders", body, key: `k-${body}`, headers: { trace: "t-1" } });
  const consumer = await bench.consumer({
    url: broker.url,
    group: "billing",
    subscribe: [{ topic: "orders" }],
  });
  const attempts: { readonly attempt: number; readonly atMs: number }[] = [];
  const state = { isHealed: false, replayed: [] as number[] };
  void consumer.run(({ attempt, offset }) => {
    if (state.isHealed) return void state.replayed.push(offset);
    attempts.push({ attempt, atMs: performance.now() });
    throw new Error("no such customer");
  });
  const listed = async () => (await admin.request("dlq.list", { group: "billing" })).items;
  await waitFor("the dead letters", async () => (await listed()).length === count);
  return { url: broker.url, admin, attempts, listed, state };
}

describe("a message whose handler always throws", () => {
  it("climbs the group's ladder and ends in its dead-letter topic with its history", async () => {
    const { url, admin, attempts, listed } = await deadLetters(1);
    expect(attempts.map(({ attempt }) => attempt)).toEqual([1, 2, 3]);
    const [first, second, third] = attempts.map(({ atMs }) => atMs);
    expect((second ?? 0) - (first ?? 0)).toBeGreaterThanOrEqual(18);
    expect((third ?? 0) - (second ?? 0)).toBeGreaterThanOrEqual(58);
    expect(await listed()).toMatchObject([
      {
        offset: 0,
        topic: "orders",
        originOffset: 0,
        attempts: 3,
        reason: "Error: no such customer",
      },
    ]);
    const { message } = await admin.request("dlq.show", { group: "billing", offset: 0 });
    expect(decodeMessage(message ?? new Uint8Array())).toMatchObject({
      topic: "orders",
      key: "k-0",
      headers: { trace: "t-1" },
      body: Buffer.from("0"),
    });
    const dead = gather(
      await bench.consumer({
        url,
        group: "undertaker",
        subscribe: [{ topic: deadLetterTopic("billing") }],
      }),
    );
    await waitFor("it in the dead-letter topic", () => dead.length === 1);
    expect(dead[0]?.origin).toMatchObject({ topic: "orders", offset: 0, attempts: 3 });
  });
});

describe("dead letters", () => {
  it("that are replayed are delivered to their group again from attempt 1, and leave the list", async () => {
    const { admin, listed, state } = await deadLetters(3);
    state.isHealed = true;
    const answer = await admin.request("dlq.replay", {
      group: "billing",
      offsets: [0, 2, 99],
      ...AUDIT,
    });
    expect(answer).toEqual({ done: 2, missing: [99] });
    await waitFor("both", () => state.replayed.length === 2);
    expect((await listed()).map(({ offset }) => offset)).toEqual([1]);
    await waitFor("their acks", async () => {
      const { topics } = await admin.request("group.describe", { group: "billing" });
      return topics[0]?.lag === 0;
    });
    const again = await admin.request("dlq.replay", { group: "billing", offsets: [0], ...AUDIT });
    expect(again).toEqual({ done: 0, missing: [0] });
  });

  it("that are purged are gone for good", async () => {
    const { admin, listed, state } = await deadLetters(2);
    const answer = await admin.request("dlq.purge", { group: "billing", offsets: [0], ...AUDIT });
    expect(answer).toEqual({ done: 1, missing: [] });
    expect((await listed()).map(({ offset }) => offset)).toEqual([1]);
    await expect(admin.request("dlq.show", { group: "billing", offset: 0 })).rejects.toMatchObject({
      code: "DEAD_LETTER_NOT_FOUND",
    });
    expect(state.replayed).toEqual([]);
  });
});
