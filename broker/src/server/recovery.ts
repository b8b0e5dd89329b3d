/** Builds the state of a new engine, from the newest checkpoint and the blocks after it. After that memory is the authority. */
import { EscrowError } from "@escrowmq/protocol";
import type { Engine } from "../core/engine.ts";
import type { BlockStore } from "../store/store.ts";
import type { Log } from "./log.ts";

export interface Recovery {
  readonly engine: Engine;
  /** Of the blocks after the checkpoint: what the next start will read again without a newer one. */
  readonly replayedBytes: number;
  /** Of the checkpoint that was used; 0: there was none. */
  readonly checkpointBytes: number;
}

/** What retention removed, nothing refers to: else the log has lost the record that let it go. */
function gapOf({ core }: Engine, { first }: BlockStore): EscrowError | null {
  const { neededBlock } = core.state;
  if (neededBlock >= first) return null;
  return new EscrowError(
    "STORE_CORRUPT",
    `Messages in block ${neededBlock} are still needed, but the log begins with block ${first}.`,
  );
}

export async function recover(
  store: BlockStore,
  engine: Engine,
  log: Log,
  acceptLoss = false,
): Promise<Recovery> {
  const startMs = performance.now();
  let blocks = 0;
  let replayedBytes = 0;
  let checkpointBytes = 0;
  for await (const item of store.recover()) {
    if (item.kind === "checkpoint") {
      // The blocks before it are not given any more: going on without it would lose all that is in them.
      checkpointBytes = item.bytes;
      for await (const part of item.parts)
        if (!engine.load([part]))
          throw new EscrowError("STORE_VERSION", "The checkpoint was written by another version.");
    } else {
      engine.replay(item.block);
      blocks++;
      replayedBytes += item.bytes;
    }
  }
  const gap = gapOf(engine, store);
  if (gap !== null && !acceptLoss) throw gap;
  if (gap !== null) log.warn({ err: gap }, "a loss was accepted; these messages cannot be read");
  const ms = Math.round(performance.now() - startMs);
  log.info({ blocks, tail: store.tail, ms }, "recovered");
  return { engine, replayedBytes, checkpointBytes };
}
