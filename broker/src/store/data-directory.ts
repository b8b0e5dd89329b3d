/**
 * The data directory and its identity:
 *
 *   escrowmq.json                  { format, storeId, createdAt }
 *   acked-mark                     the last block that is known to have been acked (acked-mark.ts)
 *   log-start                      the first block that was not retired (log-start.ts)
 *   segments/<first block>/        one LevelDB each (segments.ts)
 *   checkpoints/<block>            state after a block (checkpoints.ts)
 *   packs/<number>[.copy]          what checkpoints have in common (packs.ts)
 *
 * Invariants
 * - D1 `escrowmq.json` comes last. Without it nothing was ever stored here, and creation starts
 *   again; segments without it are a damaged store and never an empty one.
 * - D2 It is made by `link`, which fails when the name is there: of two brokers that create the
 *   same store at once both go on with the one identity that won.
 * - D3 The format is looked at before anything is touched.
 */
import { randomBytes } from "node:crypto";
import { chmod, link, readdir, statfs, unlink } from "node:fs/promises";
import { dirname, join, resolve } from "node:path";
import { EscrowError } from "@escrowmq/protocol";
import {
  errorCode,
  makeDirectory,
  readIfThere,
  replaceStatement,
  syncDirectory,
  writeFileDurably,
} from "./durable-file.ts";
import { FORMAT_VERSION } from "./records.ts";

const IDENTITY_FILE = "escrowmq.json";

export interface DataDirectory {
  readonly path: string;
  readonly segments: string;
  readonly checkpoints: string;
  readonly packs: string;
  readonly ackedMark: string;
  readonly logStart: string;
  /** 32 hex digits. */
  readonly storeId: string;
  readonly storeIdBytes: Uint8Array;
}

/** Makes the store if there is none. Throws STORE_VERSION or STORE_CORRUPT. */
export async function openDataDirectory(directory: string): Promise<DataDirectory> {
  const path = resolve(directory);
  const text = (await readIfThere(join(path, IDENTITY_FILE))) ?? (await create(path));
  return placesOf(path, readIdentity(text));
}

/** For readers: never creates. Throws STORE_CORRUPT when there is no store. */
export async function findDataDirectory(directory: string): Promise<DataDirectory> {
  const path = resolve(directory);
  const text = await readIfThere(join(path, IDENTITY_FILE));
  if (text === null)
    throw new EscrowError("STORE_CORRUPT", `There is no ${IDENTITY_FILE} in the data directory.`);
  return placesOf(path, readIdentity(text));
}

export async function freeBytesOf(directory: string): Promise<number> {
  const { bavail, bsize } = await statfs(directory);
  return bavail * bsize;
}

const placesOf = (path: string, storeId: string): DataDirectory => ({
  path,
  segments: join(path, "segments"),
  checkpoints: join(path, "checkpoints"),
  packs: join(path, "packs"),
  ackedMark: join(path, "acked-mark"),
  logStart: join(path, "log-start"),
  storeId,
  storeIdBytes: Buffer.from(storeId, "hex"),
});

function readIdentity(text: string): string {
  const damaged = new EscrowError("STORE_CORRUPT", `${IDENTITY_FILE} cannot be read.`);
  let identity: { format?: unknown; storeId?: unknown } | null;
  try {
    identity = JSON.parse(text);
  } catch {
    // Whatever the parser says, the file is not what was written.
    throw damaged;
  }
  const format = identity?.format;
  if (typeof format !== "number") throw damaged;
  if (format !== FORMAT_VERSION)
    throw new EscrowError(
      "STORE_VERSION",
      `The data directory has format ${format}; this broker reads format ${FORMAT_VERSION}.`,
    );
  const storeId = identity?.storeId;
  if (typeof storeId !== "string" || !/^[0-9a-f]{32}$/.test(storeId)) throw damaged;
  return storeId;
}

/** May stop after any step, and starts again at the next open (D1). */
async function create(path: string): Promise<string> {
  const places = placesOf(path, randomBytes(16).toString("hex"));
  await makeDirectory(path);
  await chmod(path, 0o700);
  await makeDirectory(places.segments);
  await makeDirectory(places.checkpoints);
  await makeDirectory(places.packs);
  if ((await readdir(places.segments)).length > 0)
    throw new EscrowError(
      "STORE_CORRUPT",
      `There are segments but no ${IDENTITY_FILE} in the data directory: it was removed.`,
    );
  await replaceStatement(places.ackedMark, { block: 0, hash: "0".repeat(32), clean: true });
  await syncDirectory(dirname(path));

  const identity = join(path, IDENTITY_FILE);
  const temporary = `${identity}.${places.storeId}`;
  await writeFileDurably(
    temporary,
    `${JSON.stringify({
      format: FORMAT_VERSION,
      storeId: places.storeId,
      createdAt: new Date().toISOString(),
    })}\n`,
  );
  try {
    await link(temporary, identity);
  } catch (error) {
    if (errorCode(error) !== "EEXIST") throw error;
    // Another broker made the store in this moment; the segment's lock says which of the two runs (D2).
  }
  await unlink(temporary);
  await syncDirectory(path);
  return (await readIfThere(identity)) ?? "";
}
