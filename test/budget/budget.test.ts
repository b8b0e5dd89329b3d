/**
 * What a thousand messages may cost, counted and not timed: blocks, LevelDB operations, bytes, frames and
 * garbage. A noisy machine changes none of it; a change that brings work for each message back to the hot
 * path does, and has to say so here.
 */
import { execFile } from "node:child_process";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { beforeAll, describe, expect, test } from "vitest";
import type { Cost } from "./cost.ts";

const PROCESS = fileURLToPath(new URL("./cost-process.mjs", import.meta.url));

/** In a process of its own, because the garbage collector must stand still while garbage is counted. */
async function costOf(workload: string): Promise<Cost> {
  // One thread: when the compiler replaces a function does not depend on what else the machine does.
  const heap = ["--expose-gc", "--max-semi-space-size=512", "--min-semi-space-size=512"];
  const flags = [...heap, "--single-threaded"];
  const { stdout } = await promisify(execFile)(process.execPath, [...flags, PROCESS, workload]);
  return JSON.parse(stdout) as Cost;
}

/** Newer compilers take away less: a send leaves 3.7 kB on Node 24 where it leaves 2.7 kB on 20 and 22. */
const isNode24 = Number(process.versions.node.split(".")[0]) >= 24;

/** For 1,000 operations, 100 in flight; bytes for each operation. */
const BUDGETS = [
  {
    workload: "send",
    what: "durable sends",
    puts: 10,
    framesOut: 1_000,
    websocketMessagesOut: 10,
    overheadBytesMax: 115,
    garbageBytesMax: isNode24 ? 4_000 : 3_000,
  },
  {
    workload: "transact",
    what: "full transactions (prepare, commit, deliver, ack)",
    puts: 30,
    // Two answers each; two deliver frames and an answer to the acks for each hundred.
    framesOut: 2_040,
    websocketMessagesOut: 50,
    overheadBytesMax: 185,
    garbageBytesMax: isNode24 ? 9_800 : 7_600,
  },
];

describe.each(BUDGETS)("1,000 $what", ({ workload, ...budget }) => {
  let cost: Cost;
  beforeAll(async () => {
    cost = await costOf(workload);
  }, 60_000);

  test("are one put into LevelDB for each group commit, and nothing else", () => {
    expect(cost.levelOperations).toEqual({ put: budget.puts });
  });

  test("are answered and delivered in few frames and few WebSocket messages", () => {
    expect(cost.framesOut).toBeLessThanOrEqual(budget.framesOut);
    expect(cost.websocketMessagesOut).toBeLessThanOrEqual(budget.websocketMessagesOut);
  });

  test("are written with little more than their bodies", () => {
    expect(cost.overheadBytes).toBeLessThanOrEqual(budget.overheadBytesMax);
  });

  test("leave little garbage in the broker", () => {
    expect(cost.garbageBytes).toBeLessThanOrEqual(budget.garbageBytesMax);
  });
});
