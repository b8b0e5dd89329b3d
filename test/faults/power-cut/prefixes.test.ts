/**
 * Every moment of a small workload as a power cut: what the broker changed on its disk is written down, each
 * prefix of it is rebuilt with the unsynced part kept, dropped, torn or holed, and each such disk is opened.
 *
 *   POWER_CUT_PREFIXES=all SEED=7 npx vitest run test/faults/power-cut/prefixes.test.ts
 */
import { rmSync } from "node:fs";
import { join } from "node:path";
import { encodeMessage } from "@escrowmq/protocol";
import { describe, expect } from "vitest";
import { Engine } from "../../../broker/src/core/engine.ts";
import { createLog } from "../../../broker/src/server/log.ts";
import { recover } from "../../../broker/src/server/recovery.ts";
import { openLevelStore, verifyStore } from "../../../broker/src/store/level-store.ts";
import { useBench } from "../../support/e2e-broker.ts";
import { Random } from "../../support/e2e-random.ts";
import { errorOf, RawClient } from "../../support/e2e-raw-client.ts";
import { DiskFaults, noDiskFaults } from "../support/disk-faults.ts";
import { itUnless, useFolders } from "../support/machine.ts";
import {
  type Change,
  REMAINS,
  type Remains,
  readTrace,
  TracedDisk,
} from "../support/write-trace.ts";

const IS_LONG = process.env.POWER_CUT_PREFIXES === "all";
const SEED = Number(process.env.SEED ?? Date.now() % 1_000_000_007);
/** Of a short run. */
const IMAGES_MAX = 160;
const BODY_BYTES = 9_000;
const bench = useBench();
const newFolder = useFolders("prefixes");

interface Acked {
  /** What a record of it says. */
  readonly fact: string;
  readonly atNs: bigint;
}

/** Sends, prepares, verdicts, a restart; small segments and checkpoints, so that all kinds of files change. */
async function workload(faults: DiskFaults, dataDir: string): Promise<Acked[]> {
  const acked: Acked[] = [];
  const broker = await bench.brokerProcess(
    { dataDir, segmentBytesMax: 120_000, checkpointEveryBytes: 90_000, sendFreeBytesMin: 0 },
    faults.tracing(dataDir),
  );
  const connect = async (): Promise<RawClient> => {
    const client = await RawClient.open(broker.url);
    await client.ask({ type: "announce", group: "g", checker: true });
    return client;
  };
  let raw = await connect();
  const ask = async (request: Parameters<RawClient["ask"]>[0], fact: string): Promise<void> => {
    expect(errorOf(await raw.ask(request))).toMatch(/^ok/);
    acked.push({ fact, atNs: process.hrtime.bigint() });
  };
  const messagesOf = (name: string) => [
    encodeMessage({ id: `${name}-0`, topic: "t", body: Buffer.alloc(BODY_BYTES, name) }),
  ];
  await ask({ type: "topic.create", topic: "t" }, "topic t");
  for (let round = 0; round < 24; round++) {
    const send = { type: "send", sendId: `s${round}`, messages: messagesOf(`s${round}`) } as const;
    // Ids of transactions hold 128 bits at least.
    const transactionId = `x${round}`.padEnd(32, "x");
    const group = "g";
    await ask(send, `sent s${round}`);
    await ask(
      {
        type: "prepare",
        transactionId,
        group,
        messages: messagesOf(`x${round}`),
        checkAfterMs: 60_000,
      },
      `prepared ${transactionId}`,
    );
    if (round % 3 > 0)
      await ask(
        { type: "verdict", transactionId, group, verdict: round % 3 === 1 ? "commit" : "rollback" },
        `decided ${transactionId}`,
      );
    if (round === 12) {
      await broker.kill();
      await broker.restart();
      raw = await connect();
    }
  }
  raw.close();
  await broker.kill("SIGTERM");
  return acked;
}

const SILENT = createLog("silent");

/** What a directory says after a cut; throws what opening it throws. */
async function factsIn(directory: string, acceptLoss: boolean): Promise<Set<string>> {
  const store = await openLevelStore(directory, { acceptLoss });
  try {
    await recover(store, new Engine(), SILENT);
    const facts = new Set<string>();
    for (let block = 1; block <= store.tail; block++)
      for (const record of (await store.readBlock(block)).records) {
        if (record.kind === "sent") facts.add(`sent ${record.sendId}`);
        else if (record.kind === "topicCreated") facts.add(`topic ${record.topic}`);
        else if (record.kind === "prepared" || record.kind === "decided")
          facts.add(`${record.kind} ${record.transactionId}`);
      }
    return facts;
  } finally {
    await store.close();
  }
}

interface Tally {
  opened: number;
  /** Refused for a hole in what was never acked; opened on the operator's word. */
  refused: number;
}

async function judgeCut(
  directory: string,
  must: readonly Acked[],
  remains: Remains,
  tally: Tally,
): Promise<string[]> {
  let facts: Set<string>;
  try {
    facts = await factsIn(directory, false);
    tally.opened++;
  } catch (error) {
    // A hole in the last write is not to be told from damage. Refusing is right; losing would not be.
    if (remains !== "holes") return [`refused: ${error}`];
    tally.refused++;
    facts = await factsIn(directory, true);
  }
  const lost = must.filter(({ fact }) => !facts.has(fact)).map(({ fact }) => `lost: ${fact}`);
  return [...lost, ...(await verifyStore(directory)).problems];
}

describe("a power cut at any moment of a small workload", () => {
  itUnless(
    noDiskFaults(),
    `loses nothing that was answered (${IS_LONG ? "every prefix" : "a sample"}, seed ${SEED})`,
    async () => {
      const folder = newFolder();
      const dataDir = join(folder, "data");
      const faults = new DiskFaults(folder);
      const acked = await workload(faults, dataDir);
      const changes = readTrace(faults.tracePath);
      const random = new Random(SEED);
      const disk = new TracedDisk();
      const tally: Tally = { opened: 0, refused: 0 };
      let images = 0;
      for (const [at, change] of changes.entries()) {
        disk.apply(change);
        const next: Change | undefined = changes[at + 1];
        const must = acked.filter(({ atNs }) => next === undefined || atNs < next.startNs);
        for (const remains of REMAINS) {
          const share = IMAGES_MAX / (changes.length * REMAINS.length);
          if (!IS_LONG && random.next() > share) continue;
          images++;
          const image = join(folder, "image");
          disk.write(dataDir, join(image, "data"), remains, random);
          const problems = await judgeCut(join(image, "data"), must, remains, tally);
          const what = `change ${at} (${change.kind} ${change.path}), ${remains}, ${must.length} acked`;
          expect(problems, what).toEqual([]);
          rmSync(image, { recursive: true });
        }
      }
      console.info(
        `prefixes: seed ${SEED}, ${changes.length} changes, ${images} images, ${acked.length} acked, ` +
          `${tally.opened} opened, ${tally.refused} refused for a hole in what was not acked`,
      );
      expect(tally.opened).toBeGreaterThan(0);
    },
    IS_LONG ? 1_800_000 : 90_000,
  );
});
