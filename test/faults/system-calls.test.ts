/**
 * System calls that fail (reliability, layer L7): each of the first calls of a kind that a broker makes on
 * its data directory fails once, from the making of the store on. Whatever happens then, nothing acked is lost,
 * clients are told within a second where the log is concerned, and the broker comes back by itself.
 *
 *   SYSTEM_CALL_FAULTS=200 npx vitest run test/faults/system-calls.test.ts      the first 200 of each
 *   SYSTEM_CALL_FAULTS=200 SYSTEM_CALLS=fsync,rename npx vitest run …           of some kinds
 */
import { join } from "node:path";
import { verifyStore } from "@escrowmq/broker";
import { encodeMessage, PROTOCOL_VERSION } from "@escrowmq/protocol";
import { describe, expect } from "vitest";
import { type BrokerProcess, gather, useBench } from "../support/e2e-broker.ts";
import { RawClient } from "../support/e2e-raw-client.ts";
import { waitFor } from "../support/e2e-wait.ts";
import {
  CALLS,
  type Call,
  DiskFaults,
  FAULTS,
  type Fired,
  noDiskFaults,
  type Plan,
} from "./support/disk-faults.ts";
import { itUnless, useFolders } from "./support/machine.ts";

const FIRST = Number(process.env.SYSTEM_CALL_FAULTS ?? 0);
const FROM = Number(process.env.SYSTEM_CALLS_FROM ?? 1);
const CALLS_ASKED = (process.env.SYSTEM_CALLS ?? CALLS.join()).split(",");
/** Of a short run: in the making of the store, and while it serves. */
const SHORT: readonly Plan[] = [
  { call: "write", fault: "EIO", at: 20, times: 1, suffix: ".log" },
  { call: "write", fault: "ENOSPC", at: 3, times: 1 },
  { call: "write", fault: "short", at: 12, times: 1, suffix: ".log" },
  { call: "fdatasync", fault: "ENOSPC", at: 25, times: 1, suffix: ".log" },
  { call: "fdatasync", fault: "delay", at: 10, times: 1 },
  { call: "fsync", fault: "EIO", at: 14, times: 1 },
  { call: "rename", fault: "ENOSPC", at: 9, times: 1 },
  { call: "open", fault: "EIO", at: 30, times: 1 },
  { call: "unlink", fault: "EIO", at: 4, times: 1 },
];
const SENDS = 60;
const BODY_BYTES = 3_000;
const FAIL_STOP_MS = 1_000;
/** The first two tries to reopen are over by then, and the client's third one. */
const RECOVERY_MS = 10_000;
const OPTIONS = { segmentBytesMax: 50_000, checkpointEveryBytes: 40_000, sendFreeBytesMin: 0 };

const bench = useBench();
const newFolder = useFolders("system-calls");

function plansOf(call: Call): readonly Plan[] {
  if (FIRST === 0) return SHORT.filter((plan) => plan.call === call);
  // A call that has no length cannot be short.
  const faults = FAULTS.filter((fault) => fault !== "short" || call === "write");
  const at = Array.from({ length: FIRST }, (_, index) => FROM + index);
  return at.flatMap((each) => faults.map((fault) => ({ call, fault, at: each, times: 1 })));
}

interface Heard {
  readonly atNs: bigint;
  readonly why: string;
}

/** What one client asks and hears; a new connection after each end, as an SDK would make it. */
class Client {
  readonly acked: string[] = [];
  readonly ends: Heard[] = [];
  /** Who was not there yet cannot be told. */
  sinceNs = 0n;
  readonly #url: string;

  constructor(url: string) {
    this.#url = url;
  }

  async send(count: number): Promise<void> {
    let raw = await this.#connected();
    this.sinceNs = process.hrtime.bigint();
    for (let no = 0; no < count; no++) {
      const id = `m${no}`;
      const messages = [encodeMessage({ id, topic: "t", body: Buffer.alloc(BODY_BYTES, id) })];
      for (let isAnswered = false; !isAnswered; ) {
        const answer = await raw.ask({ type: "send", sendId: id, messages }).catch(() => null);
        if (answer?.type === "ok") {
          isAnswered = true;
          this.acked.push(id);
        } else if (answer === null) {
          this.ends.push({ atNs: process.hrtime.bigint(), why: (await raw.ended()).why });
          raw = await this.#connected();
        } else if (answer.code === "TOPIC_NOT_FOUND")
          await raw.ask({ type: "topic.create", topic: "t" }).catch(() => null);
        else throw new Error(`${id} was refused: ${answer.code}`);
      }
    }
    raw.close();
  }

  #connected(): Promise<RawClient> {
    return retried(async () => {
      const raw = await RawClient.open(this.#url, { isGreeting: false });
      raw.say({ type: "hello", version: PROTOCOL_VERSION, client: "raw" });
      // A broker that reopens its store says so and hangs up.
      const isWelcome = await Promise.race([
        raw.heard("welcome").then(() => true),
        raw.closed.then(() => false),
      ]);
      return isWelcome ? raw : null;
    });
  }
}

const retried = <Value>(work: () => Promise<Value | null>): Promise<Value> =>
  waitFor<Value>("the broker", () => work().catch(() => null), RECOVERY_MS);

/** True for files whose failed write or sync leaves the log in doubt. */
const isOfLog = ({ call, path }: Fired): boolean =>
  path.endsWith(".log") && (call === "write" || call === "fdatasync");

interface Outcome {
  readonly fired: Fired | null;
  /** The broker refused to start, and said why. */
  readonly isRefused: boolean;
  readonly failStopMs: number | null;
}

async function run(plan: Plan): Promise<Outcome> {
  const folder = newFolder();
  const dataDir = join(folder, "data");
  const faults = new DiskFaults(folder);
  let broker: BrokerProcess;
  let isRefused = false;
  try {
    broker = await bench.brokerProcess({ ...OPTIONS, dataDir }, faults.failing(dataDir, plan));
  } catch (error) {
    expect(String(error)).toMatch(/DISK_FULL|STORE_FAILED|STORE_CORRUPT|EIO|ENOSPC/);
    isRefused = true;
    broker = await bench.brokerProcess({ ...OPTIONS, dataDir });
  }
  const client = new Client(broker.url);
  await client.send(SENDS);
  const [fired = null] = faults.fired();
  await broker.kill();
  expect((await verifyStore(dataDir)).problems).toEqual([]);
  expect(await messagesIn(dataDir)).toEqual(client.acked);
  return { fired, isRefused, failStopMs: failStopMs(client, fired, plan, isRefused) };
}

/** From the fault to the word that clients get; null where none is due. */
function failStopMs(
  { ends, sinceNs }: Client,
  fired: Fired | null,
  { fault }: Plan,
  isRefused: boolean,
): number | null {
  if (fired === null || isRefused) return null;
  const first = ends.find(({ atNs }) => atNs > fired.atNs);
  const isError = fault === "EIO" || fault === "ENOSPC";
  const isDue = isError && isOfLog(fired) && fired.atNs > sinceNs;
  if (first === undefined) {
    expect(isDue, `no fail-stop after ${fired.path}`).toBe(false);
    return null;
  }
  expect(["STORE_FAILED", "DISK_FULL"]).toContain(first.why);
  const ms = Number((first.atNs - fired.atNs) / 1_000_000n);
  if (isDue) expect(ms).toBeLessThan(FAIL_STOP_MS);
  return ms;
}

/** In order of their offsets. */
async function messagesIn(dataDir: string): Promise<readonly string[]> {
  const broker = await bench.broker({ dataDir });
  const admin = await bench.admin(broker.url);
  const { nextOffset } = await admin.request("topic.describe", { topic: "t" });
  const consumer = await bench.consumer({
    url: broker.url,
    group: "auditor",
    subscribe: [{ topic: "t" }],
  });
  const got = gather(consumer);
  await waitFor("all messages", () => got.length >= nextOffset);
  await consumer.close();
  await admin.close();
  await broker.close();
  return [...got].sort((one, other) => one.offset - other.offset).map(({ id }) => id);
}

describe("a broker whose system call fails", () => {
  for (const call of CALLS.filter((one) => CALLS_ASKED.includes(one)))
    itUnless(
      noDiskFaults(),
      `loses nothing, tells its clients and comes back (${call}, ${FIRST || "a sample"})`,
      async () => {
        let fired = 0;
        let refused = 0;
        const stops: number[] = [];
        const plans = plansOf(call);
        for (const plan of plans) {
          const what = `${plan.call} ${plan.fault} at ${plan.at}`;
          const outcome = await run(plan).catch((error: unknown) => {
            throw new Error(`${what}: ${error instanceof Error ? error.message : error}`, {
              cause: error,
            });
          });
          if (outcome.fired !== null) fired++;
          if (outcome.isRefused) refused++;
          if (outcome.failStopMs !== null) stops.push(outcome.failStopMs);
        }
        console.info(
          `system calls: ${call}, ${plans.length} runs, ${fired} faults met, ${refused} starts refused, ` +
            `${stops.length} fail-stops, the slowest told after ${Math.max(0, ...stops)} ms`,
        );
        expect(fired).toBeGreaterThan(0);
      },
      60_000 + FIRST * 40_000,
    );
});
