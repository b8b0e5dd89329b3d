/**
 * From a data directory to a locked log whose end is known and believed.
 *
 * Invariants
 * - O1 The end is what is on disk. The acked-mark can refuse it and never move it.
 * - O2 Nothing in the directory changes before the newest segment's lock is held.
 * - O3 The log begins where it was said to begin; only what is before that may be missing.
 */
import { EscrowError } from "@escrowmq/protocol";
import { type Mark, readMark } from "./acked-mark.ts";
import { type LogEnd, NO_HASH } from "./block.ts";
import type { DataDirectory } from "./data-directory.ts";
import { storageError } from "./durable-file.ts";
import { type LogStart, readLogStart, startWith, writeLogStart } from "./log-start.ts";
import { listSegments } from "./segment-directory.ts";
import { type OpenDatabase, Segments } from "./segments.ts";

export interface OpenLogOptions {
  readonly openDatabase: OpenDatabase;
  readonly openSegmentsMax?: number;
  readonly removeEveryMs?: number;
  readonly removeAtOnceBytes?: number;
  readonly acceptLoss?: boolean;
  readonly onWarning?: (text: string) => void;
}

export interface OpenedLog {
  readonly directory: DataDirectory;
  readonly segments: Segments;
  /** The last block; 0 when there is none. */
  readonly tail: number;
  readonly end: LogEnd;
  readonly start: LogStart;
  /** Bytes of the blocks in the newest segment. */
  readonly segmentBytes: number;
  readonly wasClean: boolean;
}

const OPEN_SEGMENTS_MAX = 8;
const REMOVE_EVERY_MS = 50;
const REMOVE_AT_ONCE_BYTES = 8 * 1_048_576;
const NOTHING: Mark = { block: 0, hash: Buffer.from(NO_HASH).toString("hex"), clean: false };

export async function openLog(
  directory: DataDirectory,
  options: OpenLogOptions,
): Promise<OpenedLog> {
  const accept = (error: unknown): void => {
    if (options.acceptLoss !== true) throw error;
    options.onWarning?.(`Accepted: ${String(error)}`);
  };
  const mark = await readMark(directory.ackedMark).catch((error: unknown) => {
    accept(error);
    return NOTHING;
  });
  const known = await readLogStart(directory.logStart).catch((error: unknown) => {
    accept(error);
    return null;
  });
  const first = known?.block ?? (await listSegments(directory.segments))[0] ?? 1;
  const segments = await openSegments(directory, mark, first, options);
  try {
    const tail = await segments.last();
    if (tail < first && first > 1)
      throw new EscrowError(
        "STORE_TAIL_MISSING",
        `Nothing is left of the log from block ${first} on.`,
      );
    const start = known ?? (await startAgain(segments, directory));
    const end = await endOf(segments, tail, directory.storeIdBytes);
    await compareWithMark(segments, tail, mark).catch(accept);
    const before = await bytesBeforeActive(segments, end, tail);
    return {
      directory,
      segments,
      tail,
      end,
      start,
      segmentBytes: end.bytes - before,
      wasClean: mark.clean && mark.block === tail,
    };
  } catch (error) {
    await segments.close();
    throw storageError(error, "The store cannot be opened");
  }
}

const openSegments = (
  directory: DataDirectory,
  mark: Mark,
  start: number,
  options: OpenLogOptions,
): Promise<Segments> =>
  Segments.open({
    directory: directory.segments,
    start,
    storeId: directory.storeIdBytes,
    openDatabase: options.openDatabase,
    openMax: options.openSegmentsMax ?? OPEN_SEGMENTS_MAX,
    removeEveryMs: options.removeEveryMs ?? REMOVE_EVERY_MS,
    removeAtOnceBytes: options.removeAtOnceBytes ?? REMOVE_AT_ONCE_BYTES,
    ackedBlock: mark.block,
    acceptLoss: options.acceptLoss ?? false,
    onWarning: options.onWarning ?? (() => undefined),
  });

/** An operator accepted that nobody knows where the log began: it begins with what is there. */
async function startAgain(segments: Segments, { logStart }: DataDirectory): Promise<LogStart> {
  const start = startWith(await segments.read(segments.first));
  await writeLogStart(logStart, start);
  return start;
}

async function endOf(segments: Segments, tail: number, storeId: Uint8Array): Promise<LogEnd> {
  if (tail === 0) return { storeId, hash: NO_HASH, bytes: 0 };
  const last = await segments.read(tail);
  return { storeId, hash: last.hash(), bytes: last.bytesBefore + last.bytes.length };
}

/** Where it cannot be told, the segment passes for a long one, and ends early. */
async function bytesBeforeActive(segments: Segments, end: LogEnd, tail: number): Promise<number> {
  if (segments.activeFirst > tail) return end.bytes;
  try {
    return (await segments.read(segments.activeFirst)).bytesBefore;
  } catch (error) {
    if (!EscrowError.is(error, "STORE_CORRUPT")) throw error;
    return 0;
  }
}

async function compareWithMark(segments: Segments, tail: number, mark: Mark): Promise<void> {
  if (tail < mark.block)
    throw new EscrowError(
      "STORE_TAIL_MISSING",
      `The store ends at block ${tail}, but block ${mark.block} was acknowledged.`,
    );
  // A mark that could not be written for long may lie before the log's start, which is a later witness.
  if (mark.block < segments.first) return;
  const marked = await segments.read(mark.block);
  if (Buffer.from(marked.hash()).toString("hex") !== mark.hash)
    throw new EscrowError(
      "STORE_CORRUPT",
      `Block ${mark.block} is not the one that was acknowledged.`,
    );
}
