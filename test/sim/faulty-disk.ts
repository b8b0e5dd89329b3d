/**
 * The broker's disk: slow, forgetful when the power goes, and now and then it fails, fills up, shows other bits
 * than were written, or brings back a write that it had lost.
 */
import { EscrowError } from "@escrowmq/protocol";
import {
  type DiskWork,
  MemoryDisk,
  type UnsyncedFate,
} from "../../broker/src/store/memory-disk.ts";
import type { Process } from "./process.ts";
import type { Random } from "./random.ts";

const MIB = 1_048_576;
const PLENTY = 1_000_000 * MIB;

/** Damage that is there now: whose bytes were right once. */
interface Damage {
  readonly block: number;
  readonly bytes: Uint8Array;
}

export class FaultyDisk {
  readonly disk: MemoryDisk;
  readonly #random: Random;
  readonly #process: () => Process;
  /** A write can only be brought back where another one stands now. */
  #lost: { readonly block: number; readonly bytes: Uint8Array } | null = null;
  readonly #damages: Damage[] = [];
  #isCalm = false;
  #ambush: { readonly work: DiskWork; readonly strike: () => void } | null = null;
  readonly faults = {
    torn: 0,
    failed: 0,
    accepted: 0,
    flipped: 0,
    unread: 0,
    full: 0,
    stale: 0,
    checkpoints: 0,
  };

  /** `process`: the one that waits for the disk. */
  constructor(random: Random, process: () => Process) {
    this.#random = random;
    this.#process = process;
    this.disk = new MemoryDisk({
      segmentBlocks: random.pick([1, 8, 16]),
      cachedBlocks: random.pick([1, 8, Number.POSITIVE_INFINITY]),
      pace: (work) => this.#pace(work),
    });
  }

  get isDamaged(): boolean {
    return this.#damages.length > 0;
  }

  /** True once a write has failed, or a block was damaged: from then on the broker has reason to complain. */
  get hasFailed(): boolean {
    const { failed, accepted, flipped, unread, full, stale } = this.faults;
    return failed + accepted + flipped + unread + full + stale > 0;
  }

  /** The power goes, or only the process: what was under way is lost, torn, or kept. */
  crash(): UnsyncedFate {
    const { disk, faults } = this;
    const fate = this.#random.weighted({ lost: 2, torn: 1, kept: 2 });
    const { unsynced } = disk;
    if (unsynced !== null && fate === "torn") faults.torn++;
    if (unsynced !== null && fate === "lost")
      this.#lost = { block: disk.blocks.length + 1, bytes: unsynced };
    disk.crash(fate);
    return fate;
  }

  /** The next write fails; what was written may be there nevertheless. */
  failNextWrite(): void {
    const block = this.#random.pick(["kept", "lost"] as const);
    if (block === "kept") this.faults.accepted++;
    else this.faults.failed++;
    this.disk.failNextAppend({ block });
  }

  /** `bytes` are left: some of what a broker does needs more. */
  fill(): void {
    this.faults.full++;
    this.disk.freeBytes = this.#random.pick([300 * MIB, 20 * MIB, 100]);
  }

  free(): void {
    this.disk.freeBytes = PLENTY;
  }

  flipBit(): void {
    const { disk } = this;
    const block = this.#random.between(disk.first, disk.blocks.length);
    const bytes = disk.blocks[block - 1];
    if (bytes === undefined || bytes.length === 0 || block > disk.acked) return;
    this.faults.flipped++;
    this.#damages.push({ block, bytes });
    disk.flipBit(block, this.#random.below(bytes.length * 8));
  }

  loseCheckpoint(): void {
    const { disk } = this;
    // Without the beginning of the log there is no start without a checkpoint.
    if (disk.checkpoints.length < (disk.first > 1 ? 2 : 1)) return;
    this.faults.checkpoints++;
    disk.loseCheckpoint();
  }

  /** A backup was found. */
  mend(): void {
    for (const { block, bytes } of this.#damages.splice(0).reverse())
      if (block >= this.disk.first && block <= this.disk.blocks.length)
        this.disk.replaceBlock(block, bytes);
  }

  /**
   * A write that was lost with the power comes back over the one that took its place, where only the chain
   * of hashes can tell: after the newest checkpoint, before another block, while nobody has the store open.
   */
  bringBack(): void {
    const { disk } = this;
    const lost = this.#lost;
    const now = lost === null ? undefined : disk.blocks[lost.block - 1];
    if (lost === null || now === undefined || lost.block >= disk.acked) return;
    if (lost.block <= (disk.checkpoints.at(-1)?.block ?? 0) || Buffer.from(now).equals(lost.bytes))
      return;
    this.#lost = null;
    this.faults.stale++;
    this.#damages.push({ block: lost.block, bytes: now });
    disk.replaceBlock(lost.block, lost.bytes);
  }

  /** Strikes in the middle of the next piece of such work. */
  lieInWait(strike: () => void): void {
    const work = this.#random.pick(["write", "write", "recover", "checkpoint", "retire"] as const);
    this.#ambush = { work, strike };
  }

  /** From now on every write is done and every block can be read. */
  calm(): void {
    this.#isCalm = true;
    this.#ambush = null;
    this.free();
    this.mend();
  }

  #pace(work: DiskWork): Promise<void> | null {
    if (work === "read" && !this.#isCalm && this.#random.chance(0.01)) {
      this.faults.unread++;
      return Promise.reject(new EscrowError("STORE_FAILED", "The block could not be read."));
    }
    const ambush = this.#ambush?.work === work ? this.#ambush : null;
    const ms = this.#takesMs(work) + (ambush === null ? 0 : 1);
    if (ms === 0) return null;
    if (ambush !== null) {
      this.#ambush = null;
      this.#process().after(ms / 2, ambush.strike);
    }
    return new Promise((resolve) => this.#process().after(ms, resolve));
  }

  #takesMs(work: DiskWork): number {
    const random = this.#random;
    switch (work) {
      case "write":
        return random.chance(0.05) ? random.between(20, 400) : random.next() * 3;
      case "read":
        return random.chance(0.3) ? random.next() * 20 : 0;
      case "recover":
        return random.chance(0.05) ? random.next() * 3 : 0;
      case "checkpoint":
        return random.chance(0.1) ? random.between(50, 500) : random.next() * 20;
      case "retire":
        return random.next() * 10;
    }
  }
}
