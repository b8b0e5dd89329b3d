/** Programs of a test: started, read line by line, killed; none outlives its test. */
import { type ChildProcess, spawn } from "node:child_process";
import { createServer } from "node:net";
import { fileURLToPath } from "node:url";
import { waitFor } from "./e2e-wait.ts";

export interface Exit {
  readonly code: number | null;
  readonly signal: NodeJS.Signals | null;
}

export class Program {
  readonly #child: ChildProcess;
  readonly exited: Promise<Exit>;
  readonly lines: string[] = [];
  stderr = "";
  #hasExited = false;

  /** `file` is relative to this folder. */
  constructor(file: string, args: readonly string[], env: Readonly<Record<string, string>> = {}) {
    const path = fileURLToPath(new URL(file, import.meta.url));
    this.#child = spawn(process.execPath, [path, ...args], {
      stdio: ["ignore", "pipe", "pipe"],
      env: { ...process.env, ...env },
    });
    let rest = "";
    this.#child.stdout?.setEncoding("utf8").on("data", (text: string) => {
      const parts = (rest + text).split("\n");
      rest = parts.pop() ?? "";
      this.lines.push(...parts);
    });
    this.#child.stderr?.setEncoding("utf8").on("data", (text: string) => {
      this.stderr += text;
    });
    this.exited = new Promise((resolve) => {
      this.#child.on("close", (code, signal) => {
        this.#hasExited = true;
        resolve({ code, signal });
      });
    });
  }

  get isRunning(): boolean {
    return !this.#hasExited;
  }

  get pid(): number {
    return this.#child.pid ?? 0;
  }

  /** The first line that begins with `word`, without it. */
  async line(word: string, withinMs = 15_000): Promise<string> {
    const found = await waitFor(
      `a line that begins with ${word}`,
      () => {
        const line = this.lines.find((one) => one.startsWith(word));
        if (line === undefined && this.#hasExited)
          throw new Error(`it ended without a line that begins with ${word}: ${this.stderr}`);
        return line === undefined ? null : { line };
      },
      withinMs,
    );
    return found.line.slice(word.length).trim();
  }

  /** Nothing, if it has ended. */
  tell(signal: NodeJS.Signals): void {
    this.#child.kill(signal);
  }

  async kill(signal: NodeJS.Signals = "SIGKILL"): Promise<Exit> {
    this.#child.kill(signal);
    return this.exited;
  }
}

/**
 * A port that nobody has, below those that the system gives to clients: a broker that is to come back on
 * its port must not find it taken by a client of its own that was dialing meanwhile.
 */
export async function freePort(): Promise<number> {
  for (;;) {
    const port = 10_000 + Math.floor(Math.random() * 20_000);
    const isFree = await new Promise<boolean>((resolve) => {
      const server = createServer();
      server.once("error", () => resolve(false));
      server.listen(port, "127.0.0.1", () => server.close(() => resolve(true)));
    });
    if (isFree) return port;
  }
}
