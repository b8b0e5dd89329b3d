/** Builds the state once, from the newest checkpoint and the blocks after it. After that memory is the authority. */
import { Engine } from "../core/engine.ts";
import type { Policy } from "../core/policy.ts";
import type { BlockStore } from "../store/store.ts";
import type { Log } from "./log.ts";

export interface Recovery {
  readonly engine: Engine;
  /** Of the blocks after the checkpoint: what the next start will read again without a newer one. */
  readonly replayedBytes: number;
}

export async function recover(store: BlockStore, policy: Policy, log: Log): Promise<Recovery> {
  const startMs = performance.now();
  const engine = new Engine(policy);
  let blocks = 0;
  let replayedBytes = 0;
  for await (const item of store.recover()) {
    if (item.kind === "checkpoint") engine.load(item.parts);
    else {
      engine.replay(item.block);
      blocks++;
      replayedBytes += item.bytes;
    }
  }
  const ms = Math.round(performance.now() - startMs);
  log.info({ blocks, tail: store.tail, ms }, "recovered");
  return { engine, replayedBytes };
}
