/**
 * From a data directory to a locked log whose end is known and believed.
 *
 * Invariants
 * - O1 The end is what is on disk. The acked-mark can refuse it and never move it.
 * - O2 Nothing in the directory changes before the newest segment's lock is held.
 */
import { EscrowError } from "@escrowmq/protocol";
import { type Mark, readMark } from "./acked-mark.ts";
import { type LogEnd, NO_HASH } from "./block.ts";
import type { DataDirectory } from "./data-directory.ts";
import { storageError } from "./durable-file.ts";
import { type OpenDatabase, Segments } from "./segments.ts";

export interface OpenLogOptions {
  readonly openDatabase: OpenDatabase;
  readonly openSegmentsMax?: number;
  readonly acceptLoss?: boolean;
  readonly onWarning?: (text: string) => void;
}

export interface OpenedLog {
  readonly directory: DataDirectory;
  readonly segments: Segments;
  /** The last block; 0 when there is none. */
  readonly tail: number;
  readonly end: LogEnd;
  /** Bytes of the blocks in the newest segment. */
  readonly segmentBytes: number;
  readonly wasClean: boolean;
}

const OPEN_SEGMENTS_MAX = 8;
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
  const segments = await openSegments(directory, mark, options);
  try {
    const tail = await segments.last();
    const end = await endOf(segments, tail, directory.storeIdBytes);
    await compareWithMark(segments, tail, mark).catch(accept);
    const active = segments.activeFirst;
    const before = active > tail ? end.bytes : (await segments.read(active)).bytesBefore;
    return {
      directory,
      segments,
      tail,
      end,
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
  options: OpenLogOptions,
): Promise<Segments> =>
  Segments.open({
    directory: directory.segments,
    storeId: directory.storeIdBytes,
    openDatabase: options.openDatabase,
    openMax: options.openSegmentsMax ?? OPEN_SEGMENTS_MAX,
    ackedBlock: mark.block,
    acceptLoss: options.acceptLoss ?? false,
    onWarning: options.onWarning ?? (() => undefined),
  });

async function endOf(segments: Segments, tail: number, storeId: Uint8Array): Promise<LogEnd> {
  if (tail === 0) return { storeId, hash: NO_HASH, bytes: 0 };
  const last = await segments.read(tail);
  return { storeId, hash: last.hash(), bytes: last.bytesBefore + last.bytes.length };
}

async function compareWithMark(segments: Segments, tail: number, mark: Mark): Promise<void> {
  if (tail < mark.block)
    throw new EscrowError(
      "STORE_TAIL_MISSING",
      `The store ends at block ${tail}, but block ${mark.block} was acknowledged.`,
    );
  if (mark.block === 0) return;
  const marked = await segments.read(mark.block);
  if (Buffer.from(marked.hash()).toString("hex") !== mark.hash)
    throw new EscrowError(
      "STORE_CORRUPT",
      `Block ${mark.block} is not the one that was acknowledged.`,
    );
}
