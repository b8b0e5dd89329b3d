/**
 * Parts of checkpoints that last (core/lasting-part.ts), kept once for all checkpoints that name them. A
 * pack is what one checkpoint added (pack-file.ts).
 *
 * Invariants
 * - K1 A pack stands twice, and so do the checkpoints that rest on it: one damaged file costs a warning.
 * - K2 A pack never changes, and has its name only once it is whole and synced, before the checkpoint that
 *   names it has its own.
 * - K3 Packs take at most about twice the bytes of the parts that are in use: what is left of the emptiest
 *   is written again (`worthLeaving`).
 */
import { readdir, rm, stat } from "node:fs/promises";
import { join } from "node:path";
import { blockOfName, makeDirectory, nameOfBlock } from "./durable-file.ts";
import { type PackedPart, PackReader, PackWriter, packNames } from "./pack-file.ts";

export class Packs {
  readonly #directory: string;
  readonly #onWarning: (text: string) => void;
  /** Some copy of theirs is damaged: what they hold is written again by the next checkpoint. */
  readonly #damaged = new Set<number>();

  constructor(directory: string, onWarning: (text: string) => void) {
    this.#directory = directory;
    this.#onWarning = onWarning;
  }

  /** Of these parts those that the next checkpoint may refer to; the others it writes again (K3). */
  async worthLeaving(parts: Iterable<PackedPart>): Promise<ReadonlyMap<string, PackedPart>> {
    const all = [...parts];
    const emptied = new Set(this.#damaged);
    const packs = await this.#usage(all);
    let live = 0;
    let bytes = 0;
    for (const pack of packs) {
      live += pack.live;
      bytes += pack.bytes;
    }
    for (const pack of packs.sort(
      (one, other) => one.live / one.bytes - other.live / other.bytes,
    )) {
      if (bytes <= live * 2) break;
      emptied.add(pack.no);
      bytes -= pack.bytes - pack.live;
    }
    const left = all.filter(({ pack }) => !emptied.has(pack));
    return new Map(left.map((part) => [part.name, part]));
  }

  /** A new pack; nothing is on disk before the first part is. */
  async begin(): Promise<PackWriter> {
    await makeDirectory(this.#directory);
    const last = Math.max(0, ...(await this.#numbers()));
    return new PackWriter(this.#directory, last + 1);
  }

  /** Files stay open until it is closed. */
  reader(): PackReader {
    return new PackReader(this.#directory, (pack, name) => {
      if (!this.#damaged.has(pack)) this.#onWarning(`The pack ${name} is damaged or missing.`);
      this.#damaged.add(pack);
    });
  }

  /** Removes all packs but these, and what a crash left half written. */
  async prune(used: ReadonlySet<number>): Promise<void> {
    const kept = new Set<string>();
    for (const pack of used) for (const name of packNames(pack)) kept.add(name);
    for (const name of await readdir(this.#directory))
      if (!kept.has(name)) await rm(join(this.#directory, name), { force: true });
    for (const pack of this.#damaged) if (!used.has(pack)) this.#damaged.delete(pack);
  }

  async #usage(
    parts: readonly PackedPart[],
  ): Promise<{ readonly no: number; readonly live: number; readonly bytes: number }[]> {
    const live = new Map<number, number>();
    for (const { pack, length } of parts) live.set(pack, (live.get(pack) ?? 0) + length);
    const usage = [];
    for (const [no, bytes] of live) {
      const found = await stat(join(this.#directory, nameOfBlock(no))).catch(() => null);
      usage.push({ no, live: bytes, bytes: Math.max(bytes, found?.size ?? 0) });
    }
    return usage;
  }

  async #numbers(): Promise<number[]> {
    const names = await readdir(this.#directory);
    return names.map((name) => blockOfName(name.split(".")[0] ?? "") ?? 0);
  }
}
