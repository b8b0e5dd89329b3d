/**
 * Flow control under load, in figures (reliability, layers L10 and L11). Minutes of work, so only on demand:
 *
 *   LOAD=1 npx vitest run test/e2e/load.test.ts
 *   LOAD=1 CONNECTIONS=200 SECONDS=5 npx vitest run test/e2e/load.test.ts
 *
 * It prints: what an idle connection costs; the latencies of healthy connections without and with stalled
 * ones, and their ratio; how long a reconnect storm takes; useful work under three times the load, and the
 * latencies of verdicts and acks meanwhile; the broker's memory.
 */
import { readFileSync } from "node:fs";
import type { Consumer } from "@escrowmq/consumer";
import type { Producer } from "@escrowmq/producer";
import { encodeMessage } from "@escrowmq/protocol";
import { describe, expect, it } from "vitest";
import { type BrokerProcess, useBench } from "../support/e2e-broker.ts";
import { RawClient } from "../support/e2e-raw-client.ts";
import { waitFor } from "../support/e2e-wait.ts";

const IS_ASKED_FOR = process.env.LOAD === "1";
const CONNECTIONS = Number(process.env.CONNECTIONS ?? 1_000);
const STALLED = CONNECTIONS / 10;
const SECONDS = Number(process.env.SECONDS ?? 12);
const MIB = 1_048_576;
const bench = useBench();

const delay = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms));
const print = (text: string): void => void process.stdout.write(`${text}\n`);

function rssMb({ program }: Pick<BrokerProcess, "program">): number {
  const status = readFileSync(`/proc/${program.pid}/status`, "utf8");
  return Number(/VmRSS:\s+(\d+)/.exec(status)?.[1] ?? 0) / 1_024;
}

const share = (times: number[], part: number): number =>
  [...times].sort((one, other) => one - other)[Math.floor(times.length * part)] ?? 0;
const summary = (times: number[]): string =>
  `p50 ${share(times, 0.5).toFixed(1)} ms, p99 ${share(times, 0.99).toFixed(1)} ms of ${times.length}`;

/** So many at once: a hundred handshakes do not time out, a thousand might. */
async function many<T>(count: number, make: (at: number) => Promise<T>): Promise<T[]> {
  const made: T[] = [];
  for (let at = 0; at < count; at += 50)
    made.push(
      ...(await Promise.all(
        Array.from({ length: Math.min(50, count - at) }, (_, offset) => make(at + offset)),
      )),
    );
  return made;
}

/** Each connection sends once a second; returns the ms until each answer. */
async function healthyLatencies(senders: readonly RawClient[]): Promise<number[]> {
  const times: number[] = [];
  const untilMs = performance.now() + SECONDS * 1_000;
  let sends = 0;
  const one = async (sender: RawClient, firstMs: number): Promise<void> => {
    await delay(firstMs);
    while (performance.now() < untilMs) {
      const startMs = performance.now();
      const sendId = `healthy-${Math.round(startMs * 1_000)}-${sends++}`;
      const message = encodeMessage({ id: sendId, topic: "orders", body: new Uint8Array(256) });
      await sender.ask({ type: "send", sendId, messages: [message] });
      times.push(performance.now() - startMs);
      sender.frames.length = 0;
      await delay(Math.max(0, 1_000 - (performance.now() - startMs)));
    }
  };
  await Promise.all(senders.map((sender, at) => one(sender, (at * 1_000) / senders.length)));
  return times;
}

describe.runIf(IS_ASKED_FOR)(`${CONNECTIONS} connections`, () => {
  it(`of which ${STALLED} stall, and all of which come again at once`, async () => {
    const broker = await bench.brokerProcess();
    const { url } = broker;
    const admin = await bench.admin(url, "orders", "large");
    const producer = await bench.producer({ url, group: "shop" });
    const body = new Uint8Array(MIB / 4);
    for (let sent = 0; sent < 64; sent += 8)
      await producer.sendAll(Array.from({ length: 8 }, () => ({ topic: "large", body })));
    await delay(1_000);
    const emptyMb = rssMb(broker);
    const all = await many(CONNECTIONS, () => RawClient.open(url));
    await delay(1_000);
    const perIdle = ((rssMb(broker) - emptyMb) / CONNECTIONS) * 1_024;
    print(`an idle connection costs ${perIdle.toFixed(1)} KiB (${emptyMb.toFixed(0)} MB without)`);
    const stalled = all.slice(0, STALLED);
    const senders = all.slice(STALLED);
    await healthyLatencies(senders); // warms both sides up
    const before = await healthyLatencies(senders);
    print(`without stalls: ${summary(before)}`);
    for (const [at, one] of stalled.entries()) {
      if (at % 2 === 0) {
        const topics = [{ topic: "large" }];
        await one.ask({ type: "subscribe", subscription: 1, group: `stalled${at}`, topics });
      }
      one.stopReading();
      if (at % 2 === 0)
        one.say({ type: "credit", subscription: 1, messages: 100_000, bytes: 256 * MIB });
    }
    await delay(500);
    const stalledMb = rssMb(broker);
    const during = await healthyLatencies(senders);
    const ratio = share(during, 0.99) / share(before, 0.99);
    print(`with ${STALLED} stalled: ${summary(during)}; p99 ratio ${ratio.toFixed(2)}`);
    print(`memory with stalls ${stalledMb.toFixed(0)} MB, after ${rssMb(broker).toFixed(0)} MB`);
    await waitFor(
      "the end of the stalled",
      async () => {
        const { connections } = await admin.request("stats", {});
        return connections <= CONNECTIONS - STALLED + 2;
      },
      60_000,
    );
    for (const one of all) one.close();
    const startMs = performance.now();
    const again = await Promise.all(Array.from({ length: CONNECTIONS }, () => RawClient.open(url)));
    print(`${again.length} reconnects at once: ${Math.round(performance.now() - startMs)} ms`);
    for (const one of again) one.close();
    expect(during.length).toBeGreaterThan(before.length * 0.9);
  }, 600_000);
});

const PRODUCERS = 8;
const BODY = new Uint8Array(4_096);
/** A slow disk: three times what it takes is well within what this process can offer. */
const DISK_BYTES_PER_SECOND = 16 * MIB;

interface Settling {
  readonly verdicts: number[];
  readonly acks: number[];
}

/** Transactions and acks beside the load, 50 a second each: what they wait for their answers. */
function settleBeside(
  producer: Producer,
  consumer: Consumer<unknown>,
): { readonly times: Settling; stop(): void } {
  const times: Settling = { verdicts: [], acks: [] };
  let isOver = false;
  const transact = async (): Promise<void> => {
    let workedMs = 0;
    await producer.transaction(async (tx) => {
      await tx.prepare([{ topic: "paid", body: BODY }]);
      workedMs = performance.now();
    });
    times.verdicts.push(performance.now() - workedMs);
  };
  const loop = async (): Promise<void> => {
    while (!isOver) {
      void transact().catch(() => undefined);
      await delay(20);
    }
  };
  void loop();
  void (async () => {
    for await (const message of consumer) {
      const startMs = performance.now();
      await message.ack();
      times.acks.push(performance.now() - startMs);
      if (isOver) return;
    }
  })().catch(() => undefined);
  return {
    times,
    stop: () => {
      isOver = true;
    },
  };
}

describe.runIf(IS_ASKED_FOR)("overload", () => {
  it("of three times the capacity leaves most of the useful work, and verdicts and acks pass", async () => {
    const program = bench.program("e2e-slow-broker-process.mjs", [
      JSON.stringify({
        dataDir: bench.newDirectory(),
        port: 0,
        logLevel: "silent",
        diskBytesPerSecond: DISK_BYTES_PER_SECOND,
      }),
    ]);
    const url = await program.line("ready");
    await bench.admin(url, "orders", "paid");
    const producers = await many(PRODUCERS, () =>
      bench.producer({ url, group: "load", unansweredMax: 20_000, onCheck: () => "commit" }),
    );
    const send = (at: number): Promise<unknown> =>
      producers[at % PRODUCERS]?.send({ topic: "orders", body: BODY }) ?? Promise.resolve();
    const [first] = producers;
    if (first === undefined) throw new Error("there is a producer");
    const consumer = await bench.consumer({ url, group: "g", subscribe: [{ topic: "paid" }] });
    const closedLoop = async (): Promise<number> => {
      let done = 0;
      const untilMs = performance.now() + SECONDS * 1_000;
      const lane = async (at: number): Promise<void> => {
        for (; performance.now() < untilMs; done++) await send(at);
      };
      await Promise.all(Array.from({ length: 1_000 }, (_, at) => lane(at)));
      return done / SECONDS;
    };
    await closedLoop();
    const calm = settleBeside(first, consumer);
    const peak = await closedLoop();
    print(`peak ${Math.round(peak)} sends/s of 4 KiB, ${PRODUCERS} connections, 1,000 in flight`);
    print(`  verdicts ${summary(calm.times.verdicts)}; acks ${summary(calm.times.acks)}`);
    print(`  broker's memory ${rssMb({ program }).toFixed(0)} MB`);
    calm.times.verdicts.length = 0;
    calm.times.acks.length = 0;
    let [offered, done, refused, mostMb] = [0, 0, 0, 0];
    const times: number[] = [];
    const startMs = performance.now();
    while (performance.now() - startMs < SECONDS * 1_000) {
      const due = Math.floor(((performance.now() - startMs) / 1_000) * peak * 3);
      // No catching up beyond a moment: then it is this process that is overloaded.
      for (const until = Math.min(due, offered + 5_000); offered < until; offered++) {
        const sentMs = performance.now();
        send(offered).then(
          () => {
            done++;
            times.push(performance.now() - sentMs);
          },
          () => {
            refused++;
          },
        );
      }
      mostMb = Math.max(mostMb, rssMb({ program }));
      await delay(5);
    }
    const seconds = (performance.now() - startMs) / 1_000;
    const useful = done / seconds;
    print(
      `offered ${Math.round(offered / seconds)}/s (${(offered / seconds / peak).toFixed(1)} times), ` +
        `done ${Math.round(useful)}/s: ${Math.round((useful / peak) * 100)} % of the peak; refused by the SDK ${refused}`,
    );
    print(`  sends ${summary(times)}`);
    print(`  verdicts ${summary(calm.times.verdicts)}; acks ${summary(calm.times.acks)}`);
    print(`  broker's memory at most ${mostMb.toFixed(0)} MB`);
    calm.stop();
    expect(done).toBeGreaterThan(0);
    await Promise.all(producers.map((producer) => producer.close()));
  }, 600_000);
});
