/** Damage to one file of a store, chosen by chance: what bad disks, careless copies and people do. */
import {
  copyFileSync,
  existsSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  truncateSync,
  writeFileSync,
} from "node:fs";
import { basename, join } from "node:path";
import type { Random } from "../../support/e2e-random.ts";

export const KINDS = ["flip", "cut", "zero", "missing", "swapped", "stale"] as const;
export type Kind = (typeof KINDS)[number];

export interface Mutation {
  readonly kind: Kind;
  /** Relative to the data directory. */
  readonly file: string;
  /** Where, how much, or with what. */
  readonly detail: string;
}

const ZERO_BYTES = 4_096;

export const filesIn = (directory: string): string[] =>
  readdirSync(directory, { recursive: true })
    .map(String)
    .filter((name) => statSync(join(directory, name)).isFile())
    .sort();

/** Files of one kind do one job: what is swapped is swapped with its like. */
export function jobOf(file: string): string {
  const name = basename(file);
  if (file.startsWith("checkpoints")) return "checkpoint";
  if (file.startsWith("packs")) return "pack";
  const [, ending] = /\.(\w+)$/.exec(name) ?? [];
  if (/^\d/.test(name)) return ending ?? name;
  return name.startsWith("MANIFEST") ? "MANIFEST" : name;
}

/** The kind of file comes first, so that few and small files are met as often as many and large ones. */
export function chooseMutation(directory: string, stale: string, random: Random): Mutation {
  const byJob = new Map<string, string[]>();
  for (const file of filesIn(directory)) {
    const job = jobOf(file);
    byJob.set(job, [...(byJob.get(job) ?? []), file]);
  }
  const one = <Value>(all: readonly Value[]): Value => {
    const chosen = all[random.between(0, all.length - 1)];
    if (chosen === undefined) throw new Error("there is nothing to choose from");
    return chosen;
  };
  const [, files = []] = one([...byJob]);
  const file = one(files);
  const { size } = statSync(join(directory, file));
  const others = files.filter((other) => other !== file);
  const isStale = existsSync(join(stale, file));
  const kinds = KINDS.filter((kind) => {
    if (kind === "swapped") return others.length > 0;
    if (kind === "stale") return isStale;
    return kind === "missing" || size > 0;
  });
  const kind = one(kinds);
  if (kind === "swapped") return { kind, file, detail: one(others) };
  if (kind === "flip") return { kind, file, detail: String(random.between(0, size * 8 - 1)) };
  return { kind, file, detail: String(random.between(0, Math.max(0, size - 1))) };
}

export function mutate(directory: string, stale: string, { kind, file, detail }: Mutation): void {
  const path = join(directory, file);
  if (kind === "missing") rmSync(path);
  else if (kind === "cut") truncateSync(path, Number(detail));
  else if (kind === "stale") copyFileSync(join(stale, file), path);
  else if (kind === "swapped") {
    const other = join(directory, detail);
    renameSync(path, `${path}.swapping`);
    renameSync(other, path);
    renameSync(`${path}.swapping`, other);
  } else {
    const bytes = readFileSync(path);
    const at = Number(detail);
    const page = at - (at % ZERO_BYTES);
    if (kind === "zero") bytes.fill(0, page, Math.min(bytes.length, page + ZERO_BYTES));
    else bytes[at >> 3] = (bytes[at >> 3] ?? 0) ^ (1 << (at & 7));
    writeFileSync(path, bytes);
  }
}
