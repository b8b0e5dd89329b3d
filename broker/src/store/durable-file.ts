/**
 * Small files that must survive a power cut, and the words for what the disk answers. Nothing here
 * knows blocks.
 *
 * Invariants
 * - F1 A file is replaced whole: temporary name, fsync, rename. A reader sees the old one or the
 *   new one.
 * - F2 A new name is durable once its directory was synced: who rests on the name calls
 *   `syncDirectory`.
 */
import { type FileHandle, mkdir, open, readFile, rename } from "node:fs/promises";
import { crc32 } from "node:zlib";
import { type ErrorCode, EscrowError } from "@escrowmq/protocol";

export const TEMPORARY_SUFFIX = ".new";

export async function replaceFile(path: string, content: string): Promise<void> {
  await writeFileDurably(path + TEMPORARY_SUFFIX, content);
  await rename(path + TEMPORARY_SUFFIX, path);
}

export async function writeFileDurably(path: string, content: string): Promise<void> {
  await withFile(path, "w", async (file) => {
    await file.writeFile(content);
    await file.sync();
  });
}

export async function withFile<Value>(
  path: string,
  flags: "r" | "w",
  use: (file: FileHandle) => Promise<Value>,
): Promise<Value> {
  const file = await open(path, flags, 0o600);
  try {
    return await use(file);
  } finally {
    await file.close();
  }
}

/** Makes the names in a directory durable. Windows has no such call and writes them through. */
export async function syncDirectory(path: string): Promise<void> {
  if (process.platform === "win32") return;
  await withFile(path, "r", (directory) => directory.sync());
}

export async function makeDirectory(path: string): Promise<void> {
  await mkdir(path, { recursive: true, mode: 0o700 });
}

export async function readIfThere(path: string): Promise<string | null> {
  try {
    return await readFile(path, "utf8");
  } catch (error) {
    if (errorCode(error) === "ENOENT") return null;
    throw error;
  }
}

/**
 * A statement is one line of JSON and its CRC on the next: no JSON library notices a flipped
 * digit.
 */
export async function replaceStatement(path: string, statement: object): Promise<void> {
  const line = JSON.stringify(statement);
  await replaceFile(path, `${line}\n${crc32(line).toString(16)}\n`);
}

/** Null when there is no such file; "damaged" when it does not match its checksum. */
export async function readStatement(
  path: string,
): Promise<Readonly<Record<string, unknown>> | "damaged" | null> {
  const text = await readIfThere(path);
  if (text === null) return null;
  const [line = "", checksum] = text.split("\n");
  if (checksum !== crc32(line).toString(16)) return "damaged";
  return JSON.parse(line) as Record<string, unknown>;
}

/** 16 digits, so that names sort as numbers do; 2^53 has 16. */
export const nameOfBlock = (block: number): string => String(block).padStart(16, "0");
export const blockOfName = (name: string): number | null =>
  /^\d{16}$/.test(name) ? Number(name) : null;

export const errorCode = (error: unknown): string | undefined =>
  typeof error === "object" && error !== null && "code" in error ? String(error.code) : undefined;

/**
 * What a failed read or write means for who asked. LevelDB reports errno only as text, inside
 * `cause`. The sentence may reach clients, so it names files and no directories; the cause has
 * everything.
 */
export function storageError(error: unknown, what: string): EscrowError {
  if (EscrowError.is(error)) return error;
  const codes: string[] = [];
  let said = String(error);
  for (let at: unknown = error; at instanceof Error && codes.length < 8; at = at.cause) {
    codes.push(errorCode(at) ?? "");
    said = at.message;
  }
  const sentence = `${what}: ${said.replace(/(^|\s)(?:[A-Za-z]:)?[\\/]\S*[\\/]/g, "$1")}.`;
  return new EscrowError(codeOf(`${codes.join(" ")} ${said}`), sentence, { cause: error });
}

function codeOf(text: string): ErrorCode {
  if (/ENOSPC|EDQUOT|No space left|quota exceeded/i.test(text)) return "DISK_FULL";
  if (text.includes("LEVEL_LOCKED")) return "STORE_LOCKED";
  if (/LEVEL_CORRUPTION|create_if_missing/.test(text)) return "STORE_CORRUPT";
  return "STORE_FAILED";
}
