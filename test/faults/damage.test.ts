/**
 * Damage (reliability, layer L8): one file of a copy of a live store is flipped, cut, zeroed, removed, swapped
 * or replaced by an older one. Each damage is detected (the store is refused, the block is refused when it is
 * read, or `verify` names it) or harmless (everything is there as before). Nothing wrong is ever served.
 *
 *   MUTATIONS=2000 SEED=7 npx vitest run test/faults/damage.test.ts
 */
import { type ChildProcess, spawn } from "node:child_process";
import { cpSync, rmSync, statSync } from "node:fs";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";
import { describe, expect, it } from "vitest";
import { useBench } from "../support/e2e-broker.ts";
import { Random } from "../support/e2e-random.ts";
import { waitFor } from "../support/e2e-wait.ts";
import { useFolders } from "./support/machine.ts";
import { chooseMutation, filesIn, jobOf, type Mutation, mutate } from "./support/mutations.ts";

const MUTATIONS = Number(process.env.MUTATIONS ?? 150);
const SEED = Number(process.env.SEED ?? Date.now() % 1_000_000_007);
/** Counts by kind of file and of damage. */
const IS_TABLE = process.env.DAMAGE_TABLE !== undefined;
const LANES = 2;
/** The last few blocks of the log. */
const END_BYTES = 20_000;
/** The acked-mark lags by a second. */
const MARK_MS = 1_500;

const bench = useBench();
const newFolder = useFolders("damage", "/dev/shm");

interface Opened {
  readonly kind: "opened";
  readonly tail: number;
  readonly state: string;
  readonly blocks: readonly (string | null)[];
}
interface Refused {
  readonly kind: "refused";
  readonly code: string;
  readonly message: string;
}
interface Died {
  readonly kind: "died";
}
type Found = ((Opened | Refused) & { readonly problems: readonly string[] }) | Died;

/** Begun again when damage killed it. */
class Examiner {
  #child: ChildProcess | null = null;
  #answered: ((found: Found) => void) | null = null;

  examine(open: string, verify: string): Promise<Found> {
    const child = this.#child ?? this.#start();
    return new Promise((resolve) => {
      this.#answered = resolve;
      child.stdin?.write(`${JSON.stringify({ open, verify })}\n`);
    });
  }

  close(): void {
    this.#child?.kill("SIGKILL");
  }

  #start(): ChildProcess {
    const path = fileURLToPath(new URL("support/examine-process.mjs", import.meta.url));
    const child = spawn(process.execPath, [path], { stdio: ["pipe", "pipe", "inherit"] });
    this.#child = child;
    if (child.stdout !== null)
      createInterface({ input: child.stdout }).on("line", (line) =>
        this.#answered?.(JSON.parse(line)),
      );
    child.on("exit", () => {
      this.#child = null;
      this.#answered?.({ kind: "died" });
    });
    return child;
  }
}

/** Two copies of the live store, damaged alike and examined. */
class Bay {
  readonly #copies: readonly [string, string];
  readonly #live: string;
  readonly #stale: string;
  readonly #examiner = new Examiner();

  constructor(folder: string, live: string, stale: string) {
    this.#copies = [join(folder, "open"), join(folder, "verify")];
    this.#live = live;
    this.#stale = stale;
  }

  examine(mutation: Mutation | null): Promise<Found> {
    for (const copy of this.#copies) {
      rmSync(copy, { recursive: true, force: true });
      cpSync(this.#live, copy, { recursive: true });
      if (mutation !== null) mutate(copy, this.#stale, mutation);
    }
    return this.#examiner.examine(...this.#copies);
  }

  close(): void {
    this.#examiner.close();
  }
}

/** A store as a kill leaves it under traffic, with everything in it, and the same one a while before. */
async function liveStore(
  folder: string,
): Promise<{ readonly live: string; readonly stale: string }> {
  const dataDir = join(folder, "data");
  const broker = await bench.brokerProcess({
    dataDir,
    segmentBytesMax: 200_000,
    checkpointEveryBytes: 110_000,
    sendFreeBytesMin: 0,
  });
  await bench.admin(broker.url, "orders", "mail");
  const producer = await bench.producer({
    url: broker.url,
    group: "shop",
    onCheck: () => "unknown",
  });
  const consumer = await bench.consumer({
    url: broker.url,
    group: "billing",
    subscribe: [{ topic: "orders" }],
  });
  let acked = 0;
  void consumer.run(() => {
    acked++;
  });
  const traffic = async (rounds: number): Promise<void> => {
    for (let round = 0; round < rounds; round++) {
      await producer.send({ topic: "orders", body: Buffer.alloc(4_000, round + 1) });
      await producer.transaction((tx) =>
        tx.prepare([
          { topic: "orders", body: Buffer.alloc(1_000, round + 1) },
          { topic: "mail", body: Buffer.alloc(1_000, round + 1) },
        ]),
      );
    }
  };
  /** Enough to be remembered in a part that checkpoints have in common. */
  const small = () =>
    Promise.all(
      Array.from({ length: 1_050 }, () =>
        producer.send({ topic: "mail", body: Buffer.alloc(9, 1) }),
      ),
    );
  await small();
  await traffic(60);
  const stale = join(folder, "stale");
  const early = await broker.kill();
  expect(early.signal).toBe("SIGKILL");
  cpSync(dataDir, stale, { recursive: true });
  await broker.restart();
  await small();
  await traffic(43);
  await waitFor("the acks", () => acked >= 206);
  const quietAtMs = performance.now() + MARK_MS;
  await waitFor("the mark", () => performance.now() > quietAtMs);
  await broker.kill();
  return { live: dataDir, stale };
}

/** Where the newest blocks are. */
function endOf(directory: string): { readonly file: string; readonly size: number } {
  const file = filesIn(directory).findLast((name) => jobOf(name) === "log") ?? "";
  return { file, size: statSync(join(directory, file)).size };
}

type Verdict = "refused" | "unreadable" | "verify" | "harmless";

/** How the damage came out; a sentence for what must not be. */
function judgeDamage(sound: Opened, found: Found): Verdict | { readonly wrong: string } {
  if (found.kind === "died") return { wrong: "the process ended" };
  if (found.kind === "refused") {
    const isSaid = /^(STORE_|DISK_)/.test(found.code);
    return isSaid ? "refused" : { wrong: `refused without a code: ${found.message}` };
  }
  if (found.tail !== sound.tail)
    return { wrong: `silent loss: the store ends at block ${found.tail}, not ${sound.tail}` };
  let unreadable = 0;
  for (const [index, digest] of found.blocks.entries()) {
    if (digest === null) unreadable++;
    else if (digest !== sound.blocks[index]) return { wrong: `block ${index + 1} is another one` };
  }
  if (found.state !== sound.state) return { wrong: "the state is another one" };
  if (unreadable > 0)
    return found.problems.length > 0 ? "unreadable" : { wrong: "verify sees nothing" };
  return found.problems.length > 0 ? "verify" : "harmless";
}

describe("a damaged store", () => {
  it(
    `is detected or harmless, and never served wrong (${MUTATIONS} mutations, seed ${SEED})`,
    async () => {
      const folder = newFolder();
      const random = new Random(SEED);
      const { live, stale } = await liveStore(folder);
      const tally = new Map<string, number>();
      const count = (what: string): void => {
        tally.set(what, (tally.get(what) ?? 0) + 1);
      };
      const wrong: string[] = [];
      let left = MUTATIONS;
      const lanes = Array.from({ length: LANES }, async (_, lane) => {
        const bay = new Bay(join(folder, `lane-${lane}`), live, stale);
        bench.later(() => bay.close());
        const sound = await bay.examine(null);
        if (sound.kind !== "opened") throw new Error(`the sound store: ${JSON.stringify(sound)}`);
        expect(sound.problems).toEqual([]);
        expect(sound.blocks).not.toContain(null);
        while (left-- > 0) {
          const mutation = chooseMutation(live, stale, random);
          const verdict = judgeDamage(sound, await bay.examine(mutation));
          const what = `${mutation.kind} ${mutation.file} ${mutation.detail}`;
          if (typeof verdict === "object") wrong.push(`${what}: ${verdict.wrong}`);
          else count(IS_TABLE ? `${jobOf(mutation.file)} ${mutation.kind}: ${verdict}` : verdict);
        }
      });
      await Promise.all(lanes);
      const said = [...tally].sort().map(([what, times]) => `${what} ${times}`);
      console.info(`damage: seed ${SEED}, ${MUTATIONS} mutations: ${said.join(", ")}`);
      expect(wrong).toEqual([]);
    },
    60_000 + MUTATIONS * 500,
  );

  it("whose acked end is cut off is refused, wherever the cut falls", async () => {
    const random = new Random(SEED);
    const folder = newFolder();
    const { live, stale } = await liveStore(folder);
    const bay = new Bay(join(folder, "lane"), live, stale);
    bench.later(() => bay.close());
    const { file, size } = endOf(live);
    for (let cut = 0; cut < Math.max(10, MUTATIONS / 20); cut++) {
      // Behind the newest checkpoint, which would be a witness of its own.
      const detail = String(size - (cut === 0 ? 1 : random.between(1, END_BYTES)));
      const found = await bay.examine({ kind: "cut", file, detail });
      expect(found, `cut to ${detail}`).toMatchObject({
        kind: "refused",
        code: expect.stringMatching(/^STORE_(TAIL_MISSING|CORRUPT)$/),
      });
    }
  });

  it("with a page of zeros in a table loses the blocks in it, and no process", async () => {
    const folder = newFolder();
    const { live, stale } = await liveStore(folder);
    const bay = new Bay(join(folder, "lane"), live, stale);
    bench.later(() => bay.close());
    const sound = await bay.examine(null);
    if (sound.kind !== "opened") throw new Error(`the sound store: ${JSON.stringify(sound)}`);
    const tables = filesIn(live).filter((name) => jobOf(name) === "ldb");
    expect(tables.length).toBeGreaterThan(3);
    for (const file of tables)
      for (const page of pagesOf(statSync(join(live, file)).size)) {
        const found = await bay.examine({ kind: "zero", file, detail: String(page) });
        expect(["refused", "unreadable", "verify"], `${file} at ${page}`).toContain(
          judgeDamage(sound, found),
        );
        if (found.kind !== "died") expect(found.problems).not.toEqual([]);
      }
  }, 120_000);

  it("goes on serving what is whole, and doctor names the file that is not", async () => {
    const { live } = await liveStore(newFolder());
    const table = filesIn(live).find((name) => jobOf(name) === "ldb") ?? "";
    mutate(live, live, { kind: "zero", file: table, detail: "0" });
    const broker = await bench.brokerProcess({ dataDir: live, sendFreeBytesMin: 0 });
    const admin = await bench.admin(broker.url);
    const storeOf = async (): Promise<{ readonly level: string; readonly text: string }> => {
      const { findings } = await admin.request("doctor", {});
      return findings.find(({ area }) => area === "store") ?? { level: "none", text: "" };
    };
    const consumer = await bench.consumer({
      url: broker.url,
      group: "audit",
      subscribe: ["orders", "mail"].map((topic) => ({ topic, from: "earliest" as const })),
    });
    let acked = 0;
    void consumer.run(() => {
      acked++;
    });
    // A block with more than a thousand small messages may be the one that is damaged.
    await waitFor("what is whole", () => acked > 1_250);
    expect((await storeOf()).text).toContain(table.replace("segments/", "Table "));
  });
});

/** The first one, the last one, with the index, and some between. */
const pagesOf = (bytes: number): readonly number[] =>
  [...new Set([0, 4_096, bytes >> 1, Math.max(0, bytes - 4_100), bytes - 1])].filter(
    (at) => at < bytes,
  );
