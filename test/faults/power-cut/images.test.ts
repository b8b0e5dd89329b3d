/**
 * Power cuts (reliability, layer L6): a broker under mixed load on an image whose power is cut again and
 * again. Each cut is opened by another broker, and the oracle outside compares what had been answered before
 * the cut with what is there.
 *
 *   POWER_CUTS=200 SEED=7 npx vitest run test/faults/power-cut/images.test.ts
 */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { verifyStore } from "@escrowmq/broker";
import { createAdmin } from "@escrowmq/protocol/client";
import { describe, expect } from "vitest";
import { History } from "../../history/history.ts";
import { judge } from "../../history/judge.ts";
import { useBench } from "../../support/e2e-broker.ts";
import { finalOf } from "../../support/e2e-final.ts";
import { Load, settled } from "../../support/e2e-load.ts";
import { setUpLoad } from "../../support/e2e-load-world.ts";
import { Random } from "../../support/e2e-random.ts";
import { waitFor } from "../../support/e2e-wait.ts";
import { itUnless, useFolders } from "../support/machine.ts";
import { noPowerCutDisk, PowerCutDisk } from "../support/power-cut-disk.ts";

const CUTS = Number(process.env.POWER_CUTS ?? 3);
const SEED = Number(process.env.SEED ?? Date.now() % 1_000_000_007);
/** History grows, and each cut is judged with all of it: a new disk and history after so many. */
const CUTS_PER_DISK = 5;
const MIB = 1_048_576;
const OPS_PER_SECOND_MIN = 2_000;
const POLICY = { checkIntervalMs: 200, checkAttemptsMax: 1_000_000 };
const SMALL = {
  policy: POLICY,
  checkpointEveryBytes: 2 * MIB,
  segmentBytesMax: 4 * MIB,
  sendFreeBytesMin: 32 * MIB,
  settleFreeBytesMin: 8 * MIB,
};

const bench = useBench();
const newFolder = useFolders("power-cut");

function obstacle(): string | null {
  const folder = mkdtempSync(join(tmpdir(), "escrowmq-power-cut-"));
  try {
    return noPowerCutDisk(folder);
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

interface Cut {
  readonly name: string;
  /** What had been answered by then. */
  readonly history: History;
}

interface Session {
  readonly made: readonly Cut[];
  readonly acked: number;
  readonly ms: number;
}

async function cutAgainAndAgain(
  disk: PowerCutDisk,
  random: Random,
  cuts: number,
): Promise<Session> {
  const broker = await bench.brokerProcess({ ...SMALL, dataDir: join(disk.path, "data") });
  const setup = await bench.admin(broker.url);
  await setUpLoad(setup);
  await setup.close();
  const history = new History();
  const load = new Load({ url: broker.url, history, random, parallel: 96 });
  bench.later(() => load.close());
  await load.connect();
  const startMs = performance.now();
  load.start();
  const made: Cut[] = [];
  for (let cut = 0; cut < cuts; cut++) {
    const atMs = performance.now() + random.between(150, 700);
    await waitFor("the moment", () => performance.now() > atMs);
    const name = `cut-${cut}`;
    disk.cut(name);
    made.push({ name, history: history.cut() });
  }
  const session = { made, acked: history.counts.ok, ms: performance.now() - startMs };
  const dying = broker.kill();
  await load.disconnect();
  await dying;
  await load.close();
  return session;
}

/** Another broker on what the disk held, until everything is settled. */
async function problemsAfter(path: string, history: History, random: Random): Promise<string[]> {
  const dataDir = join(path, "data");
  const before = (await verifyStore(dataDir)).problems;
  if (before.length > 0) return [...before];
  const broker = await bench.brokerProcess({ ...SMALL, dataDir });
  const load = new Load({ url: broker.url, history, random, parallel: 0, isAfterwards: true });
  try {
    await load.connect();
    await load.end();
    const admin = await createAdmin({ url: broker.url });
    bench.later(() => admin.close());
    await settled(admin, 20_000);
    const final = await finalOf(broker.url, admin, history);
    await admin.close();
    await load.close();
    await broker.kill();
    const after = (await verifyStore(dataDir)).problems;
    return [...judge(history, final), ...after];
  } finally {
    // Before the disk is unmounted, however it went.
    await broker.kill();
    await load.close();
  }
}

describe("a disk whose power is cut under load", () => {
  itUnless(
    obstacle(),
    `holds everything that was answered (${CUTS} cuts, seed ${SEED})`,
    async () => {
      const random = new Random(SEED);
      let acked = 0;
      let loadMs = 0;
      for (let done = 0; done < CUTS; done += CUTS_PER_DISK) {
        const cuts = Math.min(CUTS_PER_DISK, CUTS - done);
        const folder = newFolder();
        const disk = new PowerCutDisk(folder, { diskMiB: 400, cutsMax: cuts });
        try {
          const { made, ...session } = await cutAgainAndAgain(disk, random, cuts);
          acked += session.acked;
          loadMs += session.ms;
          for (const { name, history } of made) {
            const problems = await disk.inspect(name, (path) =>
              problemsAfter(path, history, random),
            );
            const what = `${name} of disk ${done / CUTS_PER_DISK}: ${problems.length} problems`;
            expect(problems.slice(0, 20), what).toEqual([]);
          }
        } finally {
          await bench.killAll();
          disk.close();
        }
      }
      const rate = Math.round((acked / loadMs) * 1_000);
      // A busy machine is no fault in a short run; in a long one it would be no power-cut test.
      if (CUTS >= 50) expect(rate).toBeGreaterThan(OPS_PER_SECOND_MIN);
      console.info(
        `power cuts: seed ${SEED}, ${CUTS} cuts, ${acked} ops acked, ${rate} acked/s under load`,
      );
    },
    60_000 + CUTS * 20_000,
  );
});
