/** A wall clock that jumps when a test says so: libfaketime between a process and its clock. */
import { existsSync, readdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import type { Environment } from "../../support/e2e-broker.ts";
import type { Obstacle } from "./machine.ts";

function library(): string | null {
  for (const folder of existsSync("/usr/lib") ? readdirSync("/usr/lib") : []) {
    const path = join("/usr/lib", folder, "faketime", "libfaketimeMT.so.1");
    if (existsSync(path)) return path;
  }
  return null;
}

export const noFakeClock = (): Obstacle => (library() === null ? "no libfaketime" : null);

export class FakeClock {
  /** For the processes that are to read it; the monotonic clock stays as it is. */
  readonly environment: Environment;
  readonly #file: string;

  constructor(folder: string) {
    this.#file = join(folder, "clock");
    this.environment = {
      LD_PRELOAD: library() ?? "",
      FAKETIME_TIMESTAMP_FILE: this.#file,
      FAKETIME_NO_CACHE: "1",
      FAKETIME_DONT_FAKE_MONOTONIC: "1",
    };
    this.jumpTo(0);
  }

  /** So many seconds off the real time. */
  jumpTo(seconds: number): void {
    writeFileSync(this.#file, `${seconds < 0 ? "" : "+"}${seconds}s\n`);
  }
}
