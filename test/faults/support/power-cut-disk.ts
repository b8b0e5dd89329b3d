/**
 * A disk whose power can be cut while the broker goes on: an ext4 image, mounted through a loop
 * device, lying on an XFS file system. A reflink copy of the image is, at once, what had reached the
 * disk. It tests our order of writes and syncs, not whether a real disk honours a flush.
 */
import { execFileSync } from "node:child_process";
import { closeSync, mkdirSync, openSync, rmSync, truncateSync } from "node:fs";
import { join } from "node:path";
import { missing, noMounts, type Obstacle, quietly } from "./machine.ts";

const MIB = 1_048_576;

/** Tried and not only looked for: a container may have the commands and no loop device. */
export function noPowerCutDisk(folder: string): Obstacle {
  const obstacle = noMounts() ?? missing("mkfs.xfs", "mkfs.ext4");
  if (obstacle !== null) return obstacle;
  try {
    new PowerCutDisk(folder, { diskMiB: 64, cutsMax: 4 }).close();
    return null;
  } catch (error) {
    const { stderr } = error as { stderr?: Buffer };
    return `no loop mounts: ${String(stderr ?? error).trim()}`;
  }
}

export class PowerCutDisk {
  /** Where the program under test keeps its files. */
  readonly path: string;
  readonly #checkPath: string;
  readonly #outer: string;
  #mounted: string[] = [];

  constructor(folder: string, { diskMiB, cutsMax }: { diskMiB: number; cutsMax: number }) {
    this.#outer = join(folder, "outer");
    this.path = join(folder, "disk");
    this.#checkPath = join(folder, "check");
    for (const each of [this.#outer, this.path, this.#checkPath])
      mkdirSync(each, { recursive: true });
    try {
      const outerImage = sparseFile(
        join(folder, "outer.img"),
        Math.max(400, diskMiB * (cutsMax + 2)),
      );
      quietly("mkfs.xfs", "-q", "-f", "-m", "reflink=1", outerImage);
      this.#mount(outerImage, this.#outer);
      const image = sparseFile(join(this.#outer, "disk.img"), diskMiB);
      quietly("mkfs.ext4", "-q", "-F", image);
      this.#mount(image, this.path);
    } catch (error) {
      this.close();
      throw error;
    }
  }

  /** Keeps what the disk holds at this instant. Holds the event loop, so that no answer is noted meanwhile. */
  cut(name: string): void {
    quietly("cp", "--reflink=always", join(this.#outer, "disk.img"), this.#imageOf(name));
  }

  /** Lets `check` work on that moment's disk, and throws it away. */
  async inspect<Value>(name: string, check: (path: string) => Promise<Value>): Promise<Value> {
    this.#mount(this.#imageOf(name), this.#checkPath);
    try {
      return await check(this.#checkPath);
    } finally {
      this.#unmount(this.#checkPath);
      rmSync(this.#imageOf(name));
    }
  }

  close(): void {
    for (const path of [...this.#mounted].reverse()) this.#unmount(path);
  }

  #imageOf(name: string): string {
    return join(this.#outer, `${name}.img`);
  }

  #mount(image: string, path: string): void {
    quietly("mount", "-o", "loop", image, path);
    this.#mounted.push(path);
  }

  #unmount(path: string): void {
    unmount(path);
    this.#mounted = this.#mounted.filter((each) => each !== path);
  }
}

/** A process that was killed this moment may hold the mount a little longer. */
export function unmount(path: string): void {
  for (let attempt = 0; ; attempt++) {
    try {
      quietly("umount", path);
      return;
    } catch (error) {
      if (attempt === 20) throw error;
      execFileSync("sleep", ["0.1"]);
    }
  }
}

function sparseFile(path: string, sizeMiB: number): string {
  closeSync(openSync(path, "w"));
  truncateSync(path, sizeMiB * MIB);
  return path;
}
