/** The program `escrow` as people type it, against one broker process that the tests of a file share. */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { BrokerOptions } from "@escrowmq/broker";
import { afterAll, beforeAll } from "vitest";
import type { Bench } from "./e2e-broker.ts";
import { freePort, Program } from "./e2e-process.ts";

export interface Ran {
  readonly code: number | null;
  readonly out: string;
  readonly err: string;
}

export interface CommandLine {
  readonly url: string;
  /** For what runs beside others. */
  start(line: string): Program;
  run(line: string): Promise<Ran>;
  /** Fails unless it ended well; what it printed on stdout. */
  says(line: string): Promise<string>;
  /** The one document that `--json` prints. */
  json<T = unknown>(line: string): Promise<T>;
  /** The documents that `consume --json` prints, one a line. */
  lines<T = Consumed>(line: string): Promise<readonly T[]>;
}

/** What `consume --json` prints of a message. */
export interface Consumed {
  readonly topic: string;
  readonly offset: number;
  readonly attempt: number;
  readonly atMs: number;
  readonly id: string;
  readonly key?: string;
  readonly tag?: string;
  readonly headers: Readonly<Record<string, string>>;
  readonly body: { readonly text?: string };
}

export function useCommandLine(bench: Bench, options: BrokerOptions): CommandLine {
  const root = mkdtempSync(join(tmpdir(), "escrowmq-e2e-"));
  let broker: Program | undefined;
  let url = "";
  beforeAll(async () => {
    const dataDir = join(root, "data");
    const all = { logLevel: "silent", ...options, dataDir, port: await freePort() };
    broker = new Program("e2e-broker-process.mjs", [JSON.stringify(all)]);
    url = await broker.line("ready", 60_000);
  });
  afterAll(async () => {
    await broker?.kill();
    rmSync(root, { recursive: true, force: true });
  });
  const start = (line: string): Program =>
    bench.program("../../cli/bin/escrow.mjs", ["--url", url, ...wordsOf(line)]);
  const run = async (line: string): Promise<Ran> => {
    const program = start(line);
    const { code } = await program.exited;
    return { code, out: program.lines.join("\n"), err: program.stderr };
  };
  const says = async (line: string): Promise<string> => {
    const { code, out, err } = await run(line);
    if (code !== 0) throw new Error(`escrow ${line} ended with ${code}: ${err}`);
    return out;
  };
  return {
    get url() {
      return url;
    },
    start,
    run,
    says,
    json: async <T>(line: string) => JSON.parse(await says(`--json ${line}`)) as T,
    lines: async <T>(line: string) => {
      const out = await says(`--json ${line}`);
      return out === "" ? [] : out.split("\n").map((one) => JSON.parse(one) as T);
    },
  };
}

/** As a shell takes a line apart, as far as these tests need it: blanks, and quotes around parts of words. */
function wordsOf(line: string): readonly string[] {
  const words = line.match(/(?:'[^']*'|"[^"]*"|[^\s'"])+/g) ?? [];
  return words.map((word) => word.replace(/'([^']*)'|"([^"]*)"/g, "$1$2"));
}
