/** Urgent messages in a topic of their own, with a larger weight: over real sockets, and across kills. */
import type { Producer } from "@escrowmq/producer";
import { describe, expect, it } from "vitest";
import { gather, useBench } from "../support/e2e-broker.ts";
import { waitFor } from "../support/e2e-wait.ts";

const bench = useBench();

const TOPICS = ["urgent", "bulk"] as const;
const subscribe = [{ topic: "urgent", weight: 4 }, { topic: "bulk" }];

interface Place {
  readonly topic: string;
  readonly offset: number;
}

const placeOf = ({ topic, offset }: Place): string => `${topic} ${offset}`;

/** Of both topics, the offsets from `from` up to `to`. */
const placesOf = (from: number, to: number): string[] =>
  TOPICS.flatMap((topic) =>
    Array.from({ length: to - from }, (_, at) => placeOf({ topic, offset: from + at })),
  );

const urgentOf = (places: readonly string[]): number =>
  places.filter((place) => place.startsWith("urgent")).length;

async function send(producer: Producer, count: number): Promise<void> {
  for (const topic of TOPICS)
    await producer.sendAll(Array.from({ length: count }, (_, body) => ({ topic, body })));
}

/** Both topics with `count` messages each, and a consumer in a process of its own that acks only the first ones. */
async function shop(count: number, concurrency: number, acks: number) {
  const { url } = await bench.broker();
  const admin = await bench.admin(url, ...TOPICS);
  const producer = await bench.producer({ url, group: "shop" });
  await send(producer, count);
  const args = [url, "billing", `${concurrency}`, JSON.stringify(subscribe), `${acks}`];
  const program = bench.program("e2e-consumer-process.mjs", args);
  const took = () => program.lines.map((line) => line.slice("took ".length));
  /** Of both topics together. */
  const lag = async () => {
    const { topics } = await admin.request("group.describe", { group: "billing" });
    return topics.reduce((sum, topic) => sum + topic.lag, 0);
  };
  return { url, producer, program, took, lag };
}

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

  it("go to another when their consumer is killed: all in its hands at once, and four to one again", async () => {
    // It has room for all of them, and for more: what is not acked is in its hands.
    const { url, producer, program, took, lag } = await shop(100, 200, 50);
    await waitFor("all in its hands", () => took().length === 200);
    await waitFor("its acks", async () => (await lag()) === 150);
    const next = await bench.consumer({ url, group: "billing", subscribe, concurrency: 1 });
    const got = gather(next);
    await program.kill();
    // The lease is a minute, longer than this test may take.
    await waitFor("all that it held", () => got.length >= 150);
    const again = got.map(placeOf);
    expect([...again].sort()).toEqual(took().slice(50).sort());
    expect(new Set(got.map(({ attempt }) => attempt))).toEqual(new Set([2]));
    // The killed one acked 40 and 10: there are 60 and 90, so both have some for 75 messages. A round may be cut off.
    expect(urgentOf(took().slice(0, 50))).toBe(40);
    for (const from of [0, 25, 50])
      expect(Math.abs(urgentOf(again.slice(from, from + 25)) - 20)).toBeLessThanOrEqual(1);
    // Nobody is there any more who had credit for so many.
    await send(producer, 50);
    await waitFor("all that is new", () => got.length >= 250);
    const fresh = got.slice(150);
    expect(fresh.map(placeOf).sort()).toEqual(placesOf(100, 150).sort());
    expect(new Set(fresh.map(({ attempt }) => attempt))).toEqual(new Set([1]));
    await waitFor("all acks", async () => (await lag()) === 0);
  });

  it("come four to one to a consumer that stays, while another one holds some and is killed", async () => {
    const { url, program, took, lag } = await shop(400, 10, 60);
    await program.line("took");
    const stays = await bench.consumer({ url, group: "billing", subscribe, concurrency: 1 });
    const attempts = new Map<string, number>();
    const got: string[] = [];
    void stays.run(async (message) => {
      got.push(placeOf(message));
      attempts.set(placeOf(message), message.attempt);
      // In the middle of its work, with more waiting.
      if (got.length === 50) await program.exited;
    });
    await waitFor("fifty", () => got.length === 50);
    await waitFor("ten in its hands", () => took().length === 70);
    // Its 60, and 49 of the one that stays.
    await waitFor("all acks", async () => (await lag()) === 800 - 109);
    await program.kill();
    await waitFor("all that was not acked", () => got.length >= 740, 20_000);
    const [acked, held] = [took().slice(0, 60), took().slice(60)];
    expect([...acked, ...got].sort()).toEqual(placesOf(0, 400).sort());
    // Any ten in a row are two rounds.
    expect(held.length).toBe(10);
    expect(Math.abs(urgentOf(held) - 8)).toBeLessThanOrEqual(1);
    for (const place of held) expect(attempts.get(place)).toBe(2);
    // At once: they take turns with what is new, and do not come after it.
    expect(Math.max(...held.map((place) => got.indexOf(place)))).toBeLessThan(400);
    // Both have some for 400 messages and more. One that waited too long for the kill went back and came later.
    for (let from = 0; from < 400; from += 50)
      expect(Math.abs(urgentOf(got.slice(from, from + 50)) - 40)).toBeLessThanOrEqual(2);
    await waitFor("the last acks", async () => (await lag()) === 0);
  });
});
