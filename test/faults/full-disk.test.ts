/**
 * A small file system that is filled and freed again and again under load: refusals with DISK_FULL while there
 * is head-room left, a fail-stop when there is none, and after that everything goes on by itself.
 *
 *   FULL_DISKS=100 npx vitest run test/faults/full-disk.test.ts
 */
import { mkdirSync, rmSync, statfsSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { crc32 } from "node:zlib";
import { verifyStore } from "@escrowmq/broker";
import { EscrowError } from "@escrowmq/protocol";
import { describe, expect } from "vitest";
import { History } from "../history/history.ts";
import { judge } from "../history/judge.ts";
import { type BrokerProcess, gather, useBench } from "../support/e2e-broker.ts";
import { finalOfSends } from "../support/e2e-final.ts";
import { waitFor } from "../support/e2e-wait.ts";
import { itUnless, noMounts, quietly, useFolders } from "./support/machine.ts";
import { unmount } from "./support/power-cut-disk.ts";

const ROUNDS = Number(process.env.FULL_DISKS ?? 3);
/** What is acked stays: a new file system after so many. */
const ROUNDS_PER_DISK = 4;
const MIB = 1_048_576;
const DISK_MIB = 64;
const SEND_FREE_BYTES_MIN = 24 * MIB;
const SETTLE_FREE_BYTES_MIN = 4 * MIB;
const BODY = Buffer.alloc(2_000, 7);
const TOPIC = "t";
/** Free space is looked at every 2 s. */
const NOTICED_MS = 6_000;
/** Of the longest wait between two tries to reopen, and a start. */
const RECOVERY_MS = 15_000;

const bench = useBench();
const newFolder = useFolders("full-disk");

const freeBytes = (path: string): number => {
  const { bavail, bsize } = statfsSync(path);
  return bavail * bsize;
};

class Ballast {
  readonly #disk: string;
  readonly #path: string;

  constructor(disk: string) {
    this.#disk = disk;
    this.#path = join(disk, "ballast");
  }

  /** Leaves so much free; nothing at all for 0. */
  leave(bytes: number): void {
    const chunk = Buffer.alloc(65_536, 1);
    try {
      while (freeBytes(this.#disk) > bytes) writeFileSync(this.#path, chunk, { flag: "a" });
    } catch (error) {
      if ((error as { code?: string }).code !== "ENOSPC") throw error;
    }
  }

  drop(): void {
    rmSync(this.#path, { force: true });
  }
}

/** Sends one after the other, and notes what was answered. */
class Sender {
  readonly history = new History();
  acked = 0;
  refused = 0;
  #isEnding = false;
  readonly #work: Promise<void>;

  constructor(send: (id: string) => Promise<unknown>) {
    this.#work = this.#run(send);
  }

  async end(): Promise<void> {
    this.#isEnding = true;
    await this.#work;
  }

  async #run(send: (id: string) => Promise<unknown>): Promise<void> {
    for (let no = 0; !this.#isEnding; no++) {
      const id = `m${no}-${process.hrtime.bigint()}`;
      this.history.says({ id, topic: TOPIC, digest: crc32(BODY) });
      const operation = this.history.send(id, [id]);
      try {
        await send(id);
        this.history.ended(operation, "ok");
        this.acked++;
      } catch (error) {
        if (EscrowError.is(error, "DISK_FULL")) {
          expect(error.retriable).toBe(true);
          this.history.ended(operation, "fail");
          this.refused++;
        } else if (EscrowError.is(error, "OUTCOME_UNKNOWN")) this.history.ended(operation, "info");
        else throw error;
      }
      // A few hundred a second: the disk is filled by the ballast, not by them.
      const pauseMs = performance.now() + 3;
      await waitFor("the next", () => performance.now() > pauseMs);
    }
  }
}

/** By offset. */
async function idsIn(broker: BrokerProcess, history: History): Promise<readonly string[]> {
  const admin = await bench.admin(broker.url);
  const { nextOffset } = await admin.request("topic.describe", { topic: TOPIC });
  const consumer = await bench.consumer({
    url: broker.url,
    group: "auditor",
    subscribe: [{ topic: TOPIC }],
  });
  const got = gather(consumer);
  await waitFor("all messages", () => got.length >= nextOffset);
  const reader = history.reader("auditor");
  for (const { raw, ...message } of got)
    history.delivered(reader, { ...message, digest: crc32(raw), leaseMs: 0 }, 0);
  return [...got].sort((one, other) => one.offset - other.offset).map(({ id }) => id);
}

async function fillAndFree(
  disk: string,
  rounds: number,
  tally: { refused: number; stops: number },
) {
  const dataDir = join(disk, "data");
  const ballast = new Ballast(disk);
  const broker = await bench.brokerProcess({
    dataDir,
    logLevel: "error",
    segmentBytesMax: MIB,
    sendFreeBytesMin: SEND_FREE_BYTES_MIN,
    settleFreeBytesMin: SETTLE_FREE_BYTES_MIN,
  });
  await bench.admin(broker.url, TOPIC);
  const producer = await bench.producer({ url: broker.url, group: "g" });
  const sender = new Sender((id) => producer.send({ id, topic: TOPIC, body: BODY }));
  const goesOn = async (): Promise<void> => {
    const { acked } = sender;
    await waitFor("a send", () => sender.acked > acked + 5, RECOVERY_MS);
  };
  try {
    for (let round = 0; round < rounds; round++) {
      await goesOn();
      if (round % 2 === 0) {
        ballast.leave(SEND_FREE_BYTES_MIN / 2);
        const { refused } = sender;
        await waitFor("a refusal", () => sender.refused > refused, NOTICED_MS);
        tally.refused++;
      } else {
        // All at once, before the broker has looked: the log itself meets the end of the disk.
        const errors = broker.program.stderr.length;
        ballast.leave(0);
        await waitFor("the fail-stop", () => broker.program.stderr.length > errors, NOTICED_MS);
        tally.stops++;
      }
      ballast.drop();
      await goesOn();
    }
  } finally {
    ballast.drop();
    await sender.end();
  }
  const { history } = sender;
  const final = finalOfSends(TOPIC, await idsIn(broker, history));
  expect(judge(history, final).slice(0, 20)).toEqual([]);
  await broker.kill();
  expect((await verifyStore(dataDir)).problems).toEqual([]);
}

describe("a disk that is filled and freed again and again", () => {
  itUnless(
    noMounts(),
    `refuses, stops if it must, loses nothing and goes on (${ROUNDS} times)`,
    async () => {
      const tally = { refused: 0, stops: 0 };
      for (let done = 0; done < ROUNDS; done += ROUNDS_PER_DISK) {
        const disk = join(newFolder(), "disk");
        mkdirSync(disk);
        quietly("mount", "-t", "tmpfs", "-o", `size=${DISK_MIB}m`, "tmpfs", disk);
        try {
          await fillAndFree(disk, Math.min(ROUNDS_PER_DISK, ROUNDS - done), tally);
        } finally {
          await bench.killAll();
          unmount(disk);
        }
      }
      console.info(
        `full disks: ${ROUNDS} times, ${tally.refused} refused in time, ${tally.stops} fail-stops`,
      );
    },
    60_000 + ROUNDS * 30_000,
  );
});
