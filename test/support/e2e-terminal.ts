/** The command line on a real terminal: util-linux' `script` gives it one, which nothing of Node can. */
import { type ChildProcessWithoutNullStreams, spawn, spawnSync } from "node:child_process";
import { fileURLToPath } from "node:url";
import { waitFor } from "./e2e-wait.ts";

const PROGRAM = fileURLToPath(new URL("../../cli/bin/escrow.mjs", import.meta.url));

/** On other systems there is a program of that name with other options. */
export const HAS_TERMINALS = spawnSync("script", ["--version"]).stdout?.includes("util-linux");

export class Terminal {
  readonly #child: ChildProcessWithoutNullStreams;
  readonly exited: Promise<number | null>;
  /** All that was shown, with what drives the terminal. */
  shown = "";

  /** `line`: words for the shell, behind `escrow`. */
  constructor(url: string, line: string, columns: number) {
    const command = `stty cols ${columns} rows 24; exec '${process.execPath}' '${PROGRAM}' ${line}`;
    this.#child = spawn("script", ["-qec", command, "/dev/null"], {
      env: { ...process.env, ESCROW_URL: url, NO_COLOR: "1", TERM: "xterm", SHELL: "/bin/sh" },
    });
    this.#child.stdout.setEncoding("utf8").on("data", (text: string) => {
      this.shown += text;
    });
    this.exited = new Promise((resolve) => {
      this.#child.on("close", (code) => resolve(code));
    });
  }

  async shows(text: string): Promise<void> {
    await waitFor(`"${text}" on the terminal`, () => this.shown.includes(text), 15_000);
  }

  type(keys: string): void {
    this.#child.stdin.write(keys);
  }

  kill(): void {
    this.#child.kill("SIGKILL");
  }
}
