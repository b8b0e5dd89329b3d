/**
 * What this machine lets a test do. A fault that cannot be made here is skipped by name, with the
 * reason in the name: a silent skip would look like a pass.
 */
import { execFileSync } from "node:child_process";
import { existsSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, it } from "vitest";

/** Null, or why not. */
export type Obstacle = string | null;

export function quietly(command: string, ...args: readonly string[]): void {
  execFileSync(command, args, { stdio: ["ignore", "ignore", "pipe"] });
}

export const missing = (...commands: readonly string[]): Obstacle => {
  const folders = [...(process.env.PATH ?? "").split(":"), "/usr/sbin", "/sbin"];
  const absent = commands.filter((name) => !folders.some((one) => existsSync(join(one, name))));
  return absent.length === 0 ? null : `no ${absent.join(", no ")}`;
};

export function noMounts(): Obstacle {
  if (process.platform !== "linux") return "not Linux";
  if (process.getuid?.() !== 0) return "not root";
  return missing("mount", "umount");
}

/** `it`, or a skipped test that says why. */
export function itUnless(
  obstacle: Obstacle,
  name: string,
  test: () => Promise<void>,
  withinMs: number,
): void {
  const isSkipped = obstacle !== null;
  it.skipIf(isSkipped)(isSkipped ? `${name} [skipped: ${obstacle}]` : name, test, withinMs);
}

/** A long form leaves a thousand stores behind in one test. */
const CLEAN_UP_MS = 600_000;

/** A folder for each call, under `root` if that is there, and all of them gone after each test. */
export function useFolders(prefix: string, root: string = tmpdir()): () => string {
  const parent = existsSync(root) ? root : tmpdir();
  const folders: string[] = [];
  afterEach(() => {
    for (const folder of folders.splice(0)) rmSync(folder, { recursive: true, force: true });
  }, CLEAN_UP_MS);
  return () => {
    const folder = mkdtempSync(join(parent, `escrowmq-${prefix}-`));
    folders.push(folder);
    return folder;
  };
}
