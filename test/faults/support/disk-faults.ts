/** The library that makes system calls fail or writes down what they change: compiled when it is needed. */
import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import type { Environment } from "../../support/e2e-broker.ts";
import { missing, type Obstacle, quietly } from "./machine.ts";

export const CALLS = ["write", "fdatasync", "fsync", "rename", "open", "unlink"] as const;
export type Call = (typeof CALLS)[number];
export const FAULTS = ["EIO", "ENOSPC", "short", "delay"] as const;
export type Fault = (typeof FAULTS)[number];

export interface Plan {
  readonly call: Call;
  readonly fault: Fault;
  /** The which such call of the process, from 1. */
  readonly at: number;
  /** And those after it, up to so many. */
  readonly times: number;
  /** Only calls on paths that end so are counted. */
  readonly suffix?: string;
}

export interface Fired {
  /** On the clock of `process.hrtime`. */
  readonly atNs: bigint;
  readonly call: string;
  readonly path: string;
}

export function noDiskFaults(): Obstacle {
  if (process.platform !== "linux") return "not Linux";
  return missing("gcc");
}

export class DiskFaults {
  readonly #library: string;
  readonly #folder: string;

  /** `folder` takes the library and what it writes. */
  constructor(folder: string) {
    this.#folder = folder;
    this.#library = join(folder, "disk-faults.so");
    if (existsSync(this.#library)) return;
    const source = fileURLToPath(new URL("disk-faults.c", import.meta.url));
    quietly("gcc", "-shared", "-fPIC", "-O1", "-o", this.#library, source, "-ldl", "-lpthread");
  }

  failing(dataDir: string, { call, fault, at, times, suffix = "" }: Plan): Environment {
    return this.#under(dataDir, {
      DISK_FAULTS_PLAN: `${call} ${fault} ${at} ${times}`,
      DISK_FAULTS_SUFFIX: suffix,
      DISK_FAULTS_FIRED: join(this.#folder, "fired"),
    });
  }

  tracing(dataDir: string): Environment {
    return this.#under(dataDir, { DISK_FAULTS_TRACE: this.tracePath });
  }

  get tracePath(): string {
    return join(this.#folder, "trace");
  }

  fired(): Fired[] {
    const path = join(this.#folder, "fired");
    if (!existsSync(path)) return [];
    return readFileSync(path, "utf8")
      .split("\n")
      .slice(0, -1)
      .map((line) => {
        const [atNs = "0", call = "", file = ""] = line.split(" ");
        return { atNs: BigInt(atNs), call, path: file };
      });
  }

  #under(dataDir: string, plan: Environment): Environment {
    // Calls that do not go through the C library cannot be reached: no io_uring.
    const environment = { LD_PRELOAD: this.#library, UV_USE_IO_URING: "0" };
    return { ...environment, DISK_FAULTS_FOLDER: dataDir, ...plan };
  }
}
