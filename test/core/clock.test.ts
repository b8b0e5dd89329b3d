/** C5, D7: what a restart adds to a wait is the time that the broker was down, and no more. */
import { describe, expect, test } from "vitest";
import { Engine, type SealedBlock } from "../../broker/src/core/engine.ts";
import { message } from "../support/sim-driver.ts";

const MINUTE = 60_000;

/** Steps whenever the engine asks to be woken, as the shell does; returns the blocks. */
function idle(engine: Engine, fromMs: number, untilMs: number): SealedBlock[] {
  const blocks: SealedBlock[] = [];
  let nowMs = fromMs;
  while (nowMs < untilMs) {
    const { wakeAtMs } = engine.step({ kind: "tick" }, nowMs);
    const block = engine.sealBlock();
    if (block !== null) blocks.push(block);
    nowMs = Math.max(nowMs + 1, Math.min(wakeAtMs ?? untilMs, untilMs));
  }
  return blocks;
}

function prepared(checkAfterMs: number): { engine: Engine; blocks: SealedBlock[] } {
  const engine = new Engine();
  engine.step({ kind: "open" }, 0);
  engine.step({ kind: "connected", connection: 1, client: "p" }, 0);
  const announce = { type: "announce", id: 1, group: "g", checker: true } as const;
  const create = { type: "topic.create", id: 2, topic: "orders" } as const;
  for (const frame of [announce, create]) engine.step({ kind: "frame", from: 1, frame }, 0);
  const transactionId = "t".repeat(32);
  const frame = { type: "prepare", id: 3, transactionId, group: "g", messages: [], checkAfterMs };
  const messages = [message("orders")];
  engine.step(
    { kind: "prepare", from: 1, frame: { ...frame, type: "prepare" }, messages, digest: 1 },
    0,
  );
  const block = engine.sealBlock();
  return { engine, blocks: block === null ? [] : [block] };
}

describe("a broker that idles while something waits", () => {
  test("notes the time once a minute, and a restart does not take idle time for downtime", () => {
    const { engine, blocks } = prepared(60 * MINUTE);
    blocks.push(...idle(engine, 0, 50 * MINUTE));
    expect(blocks.length).toBeLessThanOrEqual(52);
    const again = new Engine();
    for (const block of blocks) again.replay(block);
    again.step({ kind: "open" }, 55 * MINUTE);
    const waiting = [...again.core.state.transactions.values()];
    expect(waiting[0]?.nextCheckAtMs).toBeGreaterThanOrEqual(65 * MINUTE);
    expect(waiting[0]?.nextCheckAtMs).toBeLessThanOrEqual(66 * MINUTE);
  });

  test("writes nothing when nothing waits", () => {
    const engine = new Engine();
    engine.step({ kind: "open" }, 0);
    engine.sealBlock();
    expect(idle(engine, 0, 600 * MINUTE)).toEqual([]);
  });
});
