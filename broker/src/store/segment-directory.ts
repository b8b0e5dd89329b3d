/**
 * What can be told of a segment's directory without opening its database.
 */
import { readdir, readFile, rename, rm, stat } from "node:fs/promises";
import { join } from "node:path";
import {
  blockOfName,
  errorCode,
  nameOfBlock,
  readIfThere,
  readStatement,
  replaceStatement,
  syncDirectory,
} from "./durable-file.ts";

/** How a segment ended. */
export interface Seal {
  /** Its last block. */
  readonly last: number;
}

const SEAL_FILE = "sealed.json";
/** A segment that is being removed: no name of a block, so that nothing ever opens it again. */
const RETIRED_SUFFIX = ".retired";
/** A refused start or a second broker moves LOG to LOG.old. */
const LOGS = ["LOG", "LOG.old"] as const;
const LOSS = /dropping|gnoring error|orruption/;

/** The first block numbers, ascending. */
export async function listSegments(directory: string): Promise<number[]> {
  const firsts: number[] = [];
  for (const name of await readdir(directory)) {
    const first = blockOfName(name);
    if (first !== null) firsts.push(first);
  }
  return firsts.sort((one, other) => one - other);
}

/** Takes segments out of the row; their bytes are still there. Durable when resolved. */
export async function setAside(directory: string, firsts: readonly number[]): Promise<void> {
  for (const first of firsts) {
    const path = join(directory, nameOfBlock(first));
    await rename(path, path + RETIRED_SUFFIX);
  }
  await syncDirectory(directory);
}

/**
 * Frees the bytes of what was set aside, file by file: one `rm` of a whole segment would keep the disk's
 * journal, and with it the next synced write, for as long as it takes. `pause` is waited for whenever
 * `atOnceBytes` were freed; false ends the work, and a later call or open goes on with it.
 */
export async function removeSetAside(
  directory: string,
  atOnceBytes: number,
  pause: () => Promise<boolean>,
): Promise<void> {
  let freedBytes = 0;
  for (const name of await readdir(directory)) {
    if (!name.endsWith(RETIRED_SUFFIX)) continue;
    const path = join(directory, name);
    for (const file of await readdir(path)) {
      freedBytes += (await stat(join(path, file))).size;
      await rm(join(path, file), { force: true, recursive: true });
      if (freedBytes < atOnceBytes) continue;
      freedBytes = 0;
      if (!(await pause())) return;
    }
    await rm(path, { force: true, recursive: true });
  }
}

/** Null when there is none to rely on: it was never written, or is damaged. */
export async function readSeal(directory: string): Promise<Seal | null> {
  const statement = await readStatement(join(directory, SEAL_FILE));
  return statement === null || statement === "damaged" ? null : (statement as unknown as Seal);
}

export async function writeSeal(directory: string, seal: Seal): Promise<void> {
  await replaceStatement(join(directory, SEAL_FILE), seal);
}

/** The newest segment goes on growing. It has a seal only if one that came after it was lost. */
export async function removeSeal(directory: string): Promise<void> {
  await rm(join(directory, SEAL_FILE), { force: true });
}

export async function isStarted(directory: string): Promise<boolean> {
  return (await readdir(directory)).includes("CURRENT");
}

/** False: there is nothing in it that was ever acked, so that it may be made anew. */
export async function holdsBlocks(directory: string): Promise<boolean> {
  for (const name of await readdir(directory)) {
    if (/\.(ldb|sst)$/.test(name)) return true;
    if (name.endsWith(".log") && (await stat(join(directory, name))).size > 0) return true;
  }
  return false;
}

/** The first line in which LevelDB says that it lost something, or null. */
export async function lossIn(directory: string): Promise<string | null> {
  for (const name of LOGS) {
    for (const line of ((await readIfThere(join(directory, name))) ?? "").split("\n"))
      if (LOSS.test(line)) return line;
  }
  return null;
}

/**
 * Keeps the evidence under a name that is not looked at. LevelDB goes on writing to the moved
 * file.
 */
export async function acceptLoss(directory: string): Promise<void> {
  for (const name of LOGS) {
    const path = join(directory, name);
    try {
      if (LOSS.test(await readFile(path, "utf8"))) await rename(path, `${path}.accepted`);
    } catch (error) {
      if (errorCode(error) !== "ENOENT") throw error;
    }
  }
}
