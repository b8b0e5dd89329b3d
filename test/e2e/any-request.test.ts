/**
 * Any legal request in any state, from several connections that come and go: each gets its one answer (R1), none
 * breaks the broker, and after a restart it stands where it stood.
 *
 *   REQUESTS=200000 SEED=7 npx vitest run test/e2e/any-request.test.ts
 */
import { verifyStore } from "@escrowmq/broker";
import { describe, expect, it } from "vitest";
import { AnyRequest, type Known } from "../support/e2e-any-request.ts";
import { useBench } from "../support/e2e-broker.ts";
import { Random } from "../support/e2e-random.ts";
import { RawClient } from "../support/e2e-raw-client.ts";
import { waitFor } from "../support/e2e-wait.ts";

const REQUESTS = Number(process.env.REQUESTS ?? 20_000);
const SEED = Number(process.env.SEED ?? Date.now() % 1_000_000_007);
const CONNECTIONS = 4;
const A_ROUND = 50;
const bench = useBench();

/** Says a round of frames and waits for all answers; keeps the tokens that came. */
async function round(raw: RawClient, any: AnyRequest, known: Known, firstId: number) {
  const frames = Array.from({ length: A_ROUND }, (_, at) => any.next(firstId + at));
  raw.frames.length = 0;
  raw.say(...frames);
  const expected = frames.filter((frame) => "id" in frame).length;
  const answers = () =>
    raw.frames.filter(({ type }) => type === "ok" || type === "error" || type === "closing");
  await waitFor(`${expected} answers`, () => answers().length >= expected || raw.hasEnded);
  const closing = raw.frames.find(({ type }) => type === "closing");
  expect(closing, JSON.stringify(frames.map(({ type }) => type))).toBeUndefined();
  for (const frame of raw.frames)
    if (frame.type === "deliver") known.tokens.push(...frame.deliveries.map(({ token }) => token));
}

describe("any legal requests in any order", () => {
  it(`are answered one by one and leave a sound broker (${REQUESTS} requests, seed ${SEED})`, async () => {
    const dataDir = bench.newDirectory();
    const policy = { checkIntervalMs: 20, checkAttemptsMax: 3, undecidedPerGroupMax: 200 };
    const options = { dataDir, policy, checkpointEveryBytes: 300_000 };
    const broker = await bench.broker(options);
    const random = new Random(SEED);
    const known: Known = { tokens: [], transactions: [] };
    const any = new AnyRequest(random, known);
    const raws: RawClient[] = [];
    for (let sent = 0; sent < REQUESTS; sent += A_ROUND) {
      const at = random.between(0, CONNECTIONS - 1);
      if (random.next() < 0.05) raws[at]?.close();
      let raw = raws[at];
      if (raw === undefined || raw.hasEnded) raw = await RawClient.open(broker.url);
      raws[at] = raw;
      await round(raw, any, known, sent);
    }
    const metrics = await (await fetch(`${broker.url.replace("ws:", "http:")}/metrics`)).text();
    expect(metrics).toMatch(/^escrowmq_store_failures_total 0$/m);
    for (const raw of raws) raw.close();

    const admin = await bench.admin(broker.url);
    // What is leased goes back, and what is scheduled becomes visible.
    await waitFor("rest", async () => {
      const { leased, scheduled } = await admin.request("stats", {});
      return leased + scheduled === 0;
    });
    const look = async (client: typeof admin) => {
      const view = await client.request("stats", {});
      const { topics, groups, undecided, messages, deadLetters, queued, reservedKeys } = view;
      return { topics, groups, undecided, messages, deadLetters, queued, reservedKeys };
    };
    const before = await look(admin);
    await broker.close();
    expect((await verifyStore(dataDir)).problems).toEqual([]);
    const again = await bench.broker(options);
    expect(await look(await bench.admin(again.url))).toEqual(before);
  }, 600_000);
});
