/**
 * Scheduled messages and wall clocks that jump (ADR 23; OPERATING, "Clocks"). What waits means broker time: the wall
 * clock as the broker found it at its start, and never back.
 *
 * While it runs a jump moves nothing. While it is down a jump forward makes due what the new clock has passed; after
 * a jump back it counts on from its last block, and its downtime is waited for as well.
 */
import { describe, expect } from "vitest";
import { type BrokerProcess, useBench } from "../support/e2e-broker.ts";
import { staysTrue, waitFor } from "../support/e2e-wait.ts";
import { FakeClock, noFakeClock } from "./support/fake-clock.ts";
import { itUnless, useFolders } from "./support/machine.ts";

const HOUR_S = 3_600;
const HOUR_MS = 3_600_000;
const DELAY_MS = 2_000;
/** In which what must not come would have come. */
const STAYS_MS = 1_000;
/** Of each kind. */
const MESSAGES = 50;
/** More than become visible in one step, and fit into one send. */
const BATCHES = 3;
const BATCH = 1_000;
/** What is left of a second by clocks of whole ms, in two processes. */
const CLOCKS_APART_MS = 50;
/** On a machine that has other things to do. */
const LATE_MS = 4_000;
const WITHIN_MS = 60_000;

const bench = useBench();
const newFolder = useFolders("clock-jumps");
const topic = "later";

/** A broker with a clock that jumps, and everything that was given out, by when and in which order. */
async function world() {
  const clock = new FakeClock(newFolder());
  const broker = await bench.brokerProcess({}, clock.environment);
  await bench.admin(broker.url, topic);
  const url = broker.url;
  const producer = await bench.producer({ url, group: "shop", onCheck: () => "unknown" });
  const seen = new Map<string, { readonly atMs: number; readonly offset: number }>();
  const again: string[] = [];
  const subscribe = [{ topic }];
  const consumer = await bench.consumer({ url, group: "g", subscribe });
  void consumer.run(async ({ id, offset }) => {
    if (seen.has(id)) again.push(id);
    else seen.set(id, { atMs: performance.now(), offset });
  });
  // Connected anew: an operator's connection ends with the broker.
  const scheduled = async (): Promise<number> => {
    const present = await bench.admin(broker.url);
    return (await present.request("topic.describe", { topic })).scheduled;
  };
  const restart = async (clockS: number): Promise<void> => {
    await broker.kill();
    clock.jumpTo(clockS);
    await broker.restart();
  };
  return { broker, clock, producer, seen, again, scheduled, restart };
}

type World = Awaited<ReturnType<typeof world>>;

/** By id: when it was to come, by the clock of this process, which does not jump. */
type Times = Map<string, number>;

/** By a delay, at a time of the broker's clock, and by a delay from a commit, each some. */
async function sendDelayed({ producer }: World): Promise<Times> {
  const times: Times = new Map();
  const said = (kind: string, at: number): string => {
    times.set(`${kind}-${at}`, performance.now() + DELAY_MS);
    return `${kind}-${at}`;
  };
  await Promise.all(
    Array.from({ length: MESSAGES }, async (_, at) => {
      const body = at;
      await producer.send({ topic, body, id: said("delay", at), delayMs: DELAY_MS });
      const deliverAt = new Date(Date.now() + DELAY_MS);
      await producer.send({ topic, body, id: said("time", at), deliverAt });
    }),
  );
  return times;
}

/** Prepared before the jump, committed after it. */
async function commitAcross({ producer }: World, times: Times, jump: () => void): Promise<void> {
  await producer.transaction(async (tx) => {
    await tx.prepare([{ topic, body: "tx", id: "committed", delayMs: DELAY_MS }]);
    jump();
    times.set("committed", performance.now() + DELAY_MS);
  });
}

/** Each once, none early, none much later than it was to come. */
async function allCome({ seen, again }: World, times: Times): Promise<void> {
  await waitFor("all of them", () => [...times.keys()].every((id) => seen.has(id)), 20_000);
  for (const [id, dueAtMs] of times) {
    const { atMs } = seen.get(id) ?? { atMs: Number.NaN };
    expect(atMs, `${id} is early`).toBeGreaterThan(dueAtMs - CLOCKS_APART_MS);
    expect(atMs, `${id} is late`).toBeLessThan(dueAtMs + LATE_MS);
  }
  expect(again).toEqual([]);
}

const inTheFuture = (ms: number): Date => new Date(Date.now() + ms);

async function clockFindings({ url }: BrokerProcess): Promise<readonly string[]> {
  const { findings } = await (await bench.admin(url)).request("doctor", {});
  return findings.map(({ text }) => text).filter((text) => text.includes("clock"));
}

describe("scheduled messages, when the wall clock jumps while the broker runs", () => {
  for (const [word, seconds] of [
    ["forward", HOUR_S],
    ["back", -HOUR_S],
  ] as const)
    itUnless(
      noFakeClock(),
      `come when they were to come, an hour ${word} or not`,
      async () => {
        const all = await world();
        const { clock, scheduled } = all;
        const times = await sendDelayed(all);
        await commitAcross(all, times, () => clock.jumpTo(seconds));
        await allCome(all, times);
        expect(await scheduled()).toBe(0);
      },
      WITHIN_MS,
    );

  itUnless(
    noFakeClock(),
    "for a time of the new clock, an hour ahead, wait until the broker is restarted, and doctor says so",
    async () => {
      const all = await world();
      const { broker, clock, producer, seen, scheduled, restart } = all;
      clock.jumpTo(HOUR_S);
      const deliverAt = inTheFuture(HOUR_MS + 500);
      await producer.send({ topic, body: 1, id: "new-clock", deliverAt });
      await staysTrue("it waits", STAYS_MS, () => seen.size === 0);
      expect(await scheduled()).toBe(1);
      expect(await clockFindings(broker)).toHaveLength(1);
      await restart(HOUR_S);
      await waitFor("it", () => seen.has("new-clock"));
      expect(await clockFindings(broker)).toEqual([]);
    },
    WITHIN_MS,
  );

  itUnless(
    noFakeClock(),
    "for a time of the new clock, an hour behind, come at once",
    async () => {
      const { clock, producer, seen } = await world();
      clock.jumpTo(-HOUR_S);
      const deliverAt = inTheFuture(HOUR_MS / 2 - HOUR_MS);
      await producer.send({ topic, body: 1, id: "new-clock", deliverAt });
      await waitFor("it", () => seen.has("new-clock"), LATE_MS);
    },
    WITHIN_MS,
  );
});

describe("scheduled messages, when the wall clock jumps while the broker is down", () => {
  itUnless(
    noFakeClock(),
    "come at the start if an hour forward has passed their time, in order, each once; the others stay",
    async () => {
      const all = await world();
      const { broker, producer, seen, again, scheduled, restart } = all;
      for (let batch = 0; batch < BATCHES; batch++)
        await producer.sendAll(
          Array.from({ length: BATCH }, (_, at) => {
            const rank = batch * BATCH + at;
            return { topic, body: rank, id: `due-${rank}`, delayMs: HOUR_MS / 2 + rank * 10 };
          }),
        );
      const deliverAt = inTheFuture(2 * HOUR_MS);
      await producer.send({ topic, body: 1, id: "stays-time", deliverAt });
      await producer.send({ topic, body: 1, id: "stays-delay", delayMs: 2 * HOUR_MS });
      await restart(HOUR_S);
      // Whoever has other business is served meanwhile.
      const startMs = performance.now();
      await (await bench.admin(broker.url)).request("stats", {});
      expect(performance.now() - startMs).toBeLessThan(LATE_MS);
      await waitFor("what is due", () => seen.size === BATCHES * BATCH, 20_000);
      for (let rank = 0; rank < BATCHES * BATCH; rank++)
        expect(seen.get(`due-${rank}`)?.offset).toBe(rank);
      await staysTrue("the others stay", STAYS_MS, () => seen.size === BATCHES * BATCH);
      expect(await scheduled()).toBe(2);
      expect(again).toEqual([]);
      expect(await clockFindings(broker)).toEqual([]);
      const sentMs = performance.now();
      const newTime = inTheFuture(HOUR_MS + STAYS_MS);
      await producer.send({ topic, body: 1, id: "new-clock", deliverAt: newTime });
      await allCome(all, new Map([["new-clock", sentMs + STAYS_MS]]));
    },
    WITHIN_MS,
  );

  itUnless(
    noFakeClock(),
    "wait for the rest of their time after an hour back, and not for the hour; downtime is waited for, too",
    async () => {
      const all = await world();
      const { broker, producer, seen, scheduled, restart } = all;
      const times = await sendDelayed(all);
      await commitAcross(all, times, () => undefined);
      await producer.send({ topic, body: 1, id: "stays", delayMs: 2 * HOUR_MS });
      await broker.kill();
      const killedMs = performance.now();
      await waitFor("their time", () => performance.now() > killedMs + DELAY_MS);
      const downMs = performance.now() - killedMs;
      await restart(-HOUR_S);
      await allCome(all, new Map([...times].map(([id, dueAtMs]) => [id, dueAtMs + downMs])));
      await staysTrue("the last one stays", STAYS_MS / 2, () => !seen.has("stays"));
      expect(await scheduled()).toBe(1);
      expect(await clockFindings(broker)).toHaveLength(1);
      const deliverAt = inTheFuture(HOUR_MS / 2 - HOUR_MS);
      await producer.send({ topic, body: 1, id: "new-clock", deliverAt });
      await waitFor("what it takes for past", () => seen.has("new-clock"), LATE_MS);
    },
    WITHIN_MS,
  );
});
