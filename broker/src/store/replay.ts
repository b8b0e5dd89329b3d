/**
 * What a store says at open: the newest checkpoint that is whole and of this log's history, then
 * every block after it, each verified and each the successor of the one before (B5).
 */
import { EscrowError } from "@escrowmq/protocol";
import { isEqual, NO_HASH, openBlock } from "./block.ts";
import type { Checkpoint } from "./checkpoint-reader.ts";
import type { Checkpoints } from "./checkpoints.ts";
import type { Segments } from "./segments.ts";
import type { Recovered } from "./store.ts";

export interface Replay {
  readonly segments: Segments;
  readonly checkpoints: Checkpoints;
  readonly tail: number;
  /** Blocks before it were retired; what was in them stands in the checkpoints only. */
  readonly first: number;
  readonly storeId: Uint8Array;
  readonly acceptLoss: boolean;
}

/**
 * Its iterators are closed when it ends, however it ends. Throws STORE_CORRUPT or
 * STORE_TAIL_MISSING.
 */
export async function* replay(log: Replay): AsyncGenerator<Recovered> {
  const checkpoint = await newestCheckpoint(log);
  if (checkpoint === null && log.first > 1)
    throw new EscrowError(
      "STORE_CORRUPT",
      `No checkpoint is whole, and the blocks before ${log.first} were retired.`,
    );
  if (checkpoint !== null) {
    const { block, bytes, parts } = checkpoint;
    yield { kind: "checkpoint", block, bytes, parts };
  }
  let number = checkpoint?.block ?? 0;
  let hash = checkpoint?.blockHash ?? NO_HASH;
  for await (const [found, value] of log.segments.scan(number + 1)) {
    number++;
    if (found !== number)
      throw new EscrowError("STORE_CORRUPT", `Block ${number} is missing: ${found} is next.`);
    const sealed = openBlock(value, number, log.storeId);
    if (!isEqual(sealed.previousHash(), hash))
      throw new EscrowError(
        "STORE_CORRUPT",
        `Block ${number} does not follow block ${number - 1}.`,
      );
    hash = sealed.hash();
    yield { kind: "block", block: sealed.decode(), bytes: value.length };
  }
  if (number !== log.tail)
    throw new EscrowError("STORE_CORRUPT", `The log ends at block ${number}, not ${log.tail}.`);
}

async function newestCheckpoint(log: Replay): Promise<Checkpoint | null> {
  for (const block of await log.checkpoints.list()) {
    const checkpoint = await log.checkpoints.read(block);
    if (checkpoint === null) continue;
    if (block > log.tail) {
      // It was made when the block was on disk: as good a witness as the acked-mark.
      if (!log.acceptLoss)
        throw new EscrowError(
          "STORE_TAIL_MISSING",
          `The store ends at block ${log.tail}, but has a checkpoint of block ${block}.`,
        );
      log.checkpoints.reject(block, "the log ends before it");
      continue;
    }
    const sealed = await log.segments.read(block);
    if (isEqual(sealed.hash(), checkpoint.blockHash)) return checkpoint;
    log.checkpoints.reject(block, "it stands for another block of that number");
  }
  return null;
}
