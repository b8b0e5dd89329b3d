/**
 * What a program changed on its disk, in order, and what a power cut at any moment of it may leave.
 *
 * The disk is modelled after journaling file systems (ext4, XFS): changes of names reach it in their order,
 * and any sync takes all before it along; what was written to a file is there for sure once that file was
 * synced. What lies between the last sync and the cut may be there, or not, or in parts.
 */
import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { dirname, join, relative } from "node:path";
import type { Random } from "../../support/e2e-random.ts";

export interface Change {
  readonly startNs: bigint;
  readonly endNs: bigint;
  /** o open (number 1: emptied), w write at number, s sync, t truncate, r rename, l link, u unlink, d mkdir. */
  readonly kind: string;
  readonly number: number;
  readonly path: string;
  /** The other path, or what was written. */
  readonly data: Buffer;
}

/** What becomes of unsynced work. */
export const REMAINS = ["all", "synced", "names", "torn", "holes"] as const;
export type Remains = (typeof REMAINS)[number];

const HEAD_BYTES = 33;
const PAGE_BYTES = 4_096;

export function readTrace(path: string): Change[] {
  const bytes = readFileSync(path);
  const changes: Change[] = [];
  for (let at = 0; at < bytes.length; ) {
    const aLength = bytes.readUInt32LE(at + 25);
    const bLength = bytes.readUInt32LE(at + 29);
    const a = at + HEAD_BYTES;
    const b = a + aLength;
    changes.push({
      startNs: bytes.readBigUInt64LE(at),
      endNs: bytes.readBigUInt64LE(at + 8),
      kind: String.fromCharCode(bytes[at + 16] ?? 0),
      number: Number(bytes.readBigUInt64LE(at + 17)),
      path: bytes.toString("utf8", a, b),
      data: bytes.subarray(b, b + bLength),
    });
    at = b + bLength;
  }
  return changes;
}

interface Node {
  live: Buffer;
  synced: Buffer;
}

/** Files and folders after some changes; `null` is a folder. */
export class TracedDisk {
  #names = new Map<string, Node | null>();
  #journaled = new Map<string, Node | null>();

  apply({ kind, number, path, data }: Change): void {
    const node = this.#names.get(path);
    const other = data.toString("utf8");
    if (kind === "d") this.#names.set(path, null);
    else if (kind === "o") {
      if (node === undefined || node === null) this.#names.set(path, newNode());
      else if (number === 1) node.live = Buffer.alloc(0);
    } else if (kind === "u") this.#names.delete(path);
    else if (kind === "r") {
      this.#names.set(other, node ?? newNode());
      this.#names.delete(path);
    } else if (kind === "l") this.#names.set(other, node ?? newNode());
    else if (kind === "s") {
      if (node) node.synced = node.live;
      this.#journaled = new Map(this.#names);
    } else if (node) node.live = changed(node.live, kind, number, data);
  }

  /** Makes what may be left of it, under `to` instead of `from`. */
  write(from: string, to: string, remains: Remains, random: Random): void {
    const names = remains === "synced" ? this.#journaled : this.#names;
    for (const [path, node] of names) {
      const target = join(to, relative(from, path));
      if (node === null) mkdirSync(target, { recursive: true });
      else {
        mkdirSync(dirname(target), { recursive: true });
        writeFileSync(target, contentOf(node, remains, random));
      }
    }
  }
}

const newNode = (): Node => ({ live: Buffer.alloc(0), synced: Buffer.alloc(0) });

function changed(before: Buffer, kind: string, number: number, data: Buffer): Buffer {
  if (kind === "t") return Buffer.concat([before, Buffer.alloc(number)]).subarray(0, number);
  const after = Buffer.alloc(Math.max(before.length, number + data.length));
  after.set(before);
  after.set(data, number);
  return after;
}

function contentOf({ live, synced }: Node, remains: Remains, random: Random): Buffer {
  if (remains === "all") return live;
  if (remains === "synced" || remains === "names") return synced;
  // A file that was emptied and written anew: the old content is gone, the new may not be there.
  const kept = live.subarray(0, synced.length).equals(synced) ? synced.length : 0;
  if (live.length === kept) return live;
  const pages = Math.ceil((live.length - kept) / PAGE_BYTES);
  if (remains === "torn" || pages < 2) {
    const end = random.between(0, 1) === 0 ? random.between(kept, live.length) : live.length;
    const page = kept + random.between(0, pages) * PAGE_BYTES;
    return live.subarray(0, Math.min(end, Math.max(kept, page)));
  }
  const content = Buffer.from(live);
  // A page of zeros before pages that arrived.
  const hole = kept - (kept % PAGE_BYTES) + random.between(0, pages - 2) * PAGE_BYTES;
  content.fill(0, Math.max(kept, hole), hole + PAGE_BYTES);
  return content;
}
