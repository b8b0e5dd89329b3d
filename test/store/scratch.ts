/** Data directories for tests: made anew, crashed by copying, damaged by hand, removed afterwards. */
import {
  cpSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach } from "vitest";
import {
  type LevelStore,
  type LevelStoreOptions,
  openLevelStore,
} from "../../broker/src/store/level-store.ts";
import { recovered } from "./sample.ts";

export interface Scratch {
  /** A path that does not exist yet. */
  readonly newDirectory: () => string;
  /** Opened and recovered; closed after the test. */
  readonly open: (directory: string, options?: LevelStoreOptions) => Promise<LevelStore>;
  /** What a kill would leave: a copy of the files as they are while the store is open. */
  readonly crashed: (directory: string) => string;
}

export function useScratch(): Scratch {
  const root = mkdtempSync(join(tmpdir(), "escrowmq-store-"));
  const stores: LevelStore[] = [];
  let count = 0;
  const newDirectory = () => {
    mkdirSync(root, { recursive: true });
    return join(root, `data-${++count}`);
  };
  afterEach(async () => {
    for (const store of stores.splice(0)) await store.close();
    rmSync(root, { recursive: true, force: true });
  });
  return {
    newDirectory,
    open: async (directory, options = {}) => {
      // The mark after every block: what a second of real time does for a running broker.
      const store = await openLevelStore(directory, { markEveryMs: 0, ...options });
      stores.push(store);
      await recovered(store);
      return store;
    },
    crashed: (directory) => {
      // LevelDB's own thread may be flushing: a copy counts if nothing moved while it was made.
      for (let attempt = 0; attempt < 1_000; attempt++) {
        const copy = newDirectory();
        const before = filesOf(directory);
        if (before !== null && copied(directory, copy) && before === filesOf(directory))
          return copy;
      }
      throw new Error("the directory never stood still");
    },
  };
}

function filesOf(directory: string): string | null {
  return unlessMoved(() =>
    readdirSync(directory, { recursive: true })
      .map((name) => {
        const { size, mtimeMs } = statSync(join(directory, String(name)));
        return `${name} ${size} ${mtimeMs}`;
      })
      .join("\n"),
  );
}

const copied = (from: string, to: string): boolean =>
  unlessMoved(() => {
    cpSync(from, to, { recursive: true });
    return true;
  }) ?? false;

function unlessMoved<Value>(read: () => Value): Value | null {
  try {
    return read();
  } catch (error) {
    if ((error as { code?: string }).code === "ENOENT") return null;
    throw error;
  }
}

export const segmentPath = (directory: string, first = 1): string =>
  join(directory, "segments", String(first).padStart(16, "0"));

export const checkpointPath = (directory: string, block: number): string =>
  join(directory, "checkpoints", String(block).padStart(16, "0"));

/** The biggest file of a kind: the one with the blocks. */
export function fileOf(directory: string, pattern: RegExp): string {
  const [biggest] = readdirSync(directory)
    .filter((name) => pattern.test(name))
    .map((name) => join(directory, name))
    .sort((one, other) => statSync(other).size - statSync(one).size);
  if (biggest === undefined) throw new Error(`no file like ${pattern}`);
  return biggest;
}

export function damage(path: string, change: (bytes: Buffer) => Buffer): void {
  writeFileSync(path, change(readFileSync(path)));
}

export const flipBitAt =
  (part: number) =>
  (bytes: Buffer): Buffer => {
    const at = Math.floor(bytes.length * part);
    bytes[at] = (bytes[at] ?? 0) ^ 1;
    return bytes;
  };
