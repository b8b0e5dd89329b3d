/**
 * Where the log begins, once retention has removed its first segments: a small file beside them. Without
 * it the log begins with block 1.
 *
 * Invariants
 * - L1 It is durable before the first of the segments that it gives up goes. So a segment before it is
 *   rubbish, whole or in parts; one after it that is missing is a loss, and is found as ever.
 * - L2 It only moves forward, and names the first block of a segment.
 * - L3 It holds the hash that this block continues: the chain is as strong at its new beginning.
 */
import { EscrowError } from "@escrowmq/protocol";
import { NO_HASH, type SealedBlock } from "./block.ts";
import { readStatement, replaceStatement } from "./durable-file.ts";

export interface LogStart {
  /** The first block that is still there. */
  readonly block: number;
  /** Of the block before it, hex. */
  readonly previousHash: string;
  /** Of all blocks before it. */
  readonly bytesBefore: number;
}

export const WHOLE_LOG: LogStart = {
  block: 1,
  previousHash: Buffer.from(NO_HASH).toString("hex"),
  bytesBefore: 0,
};

/** A log that begins with this block. */
export const startWith = (first: SealedBlock): LogStart => ({
  block: first.number,
  previousHash: Buffer.from(first.previousHash()).toString("hex"),
  bytesBefore: first.bytesBefore,
});

/** Throws STORE_CORRUPT when it is damaged: then nobody can tell retired segments from lost ones. */
export async function readLogStart(path: string): Promise<LogStart> {
  const statement = await readStatement(path);
  if (statement === null) return WHOLE_LOG;
  if (statement === "damaged")
    throw new EscrowError("STORE_CORRUPT", "The file that says where the log begins is damaged.");
  return statement as unknown as LogStart;
}

export const writeLogStart = (path: string, start: LogStart): Promise<void> =>
  replaceStatement(path, start);

/** For who asks for a block that retention has removed. */
export const retiredBlock = (block: number): EscrowError =>
  new EscrowError("MESSAGE_RETIRED", `Block ${block} was removed by retention.`, {
    detail: { block },
  });
