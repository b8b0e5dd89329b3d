/** The program `escrow`: gives `runCli` the real process, and ends with its exit code. */
import { userInfo } from "node:os";
import { createInterface } from "node:readline";
import { setTimeout as delay } from "node:timers/promises";
import type { Clock, Io } from "./io.ts";
import { progressBar, SILENT } from "./progress.ts";
import { runCli } from "./run.ts";
import { SERVICES } from "./services.ts";

const clock: Clock = {
  now: () => Date.now(),
  sleep: async (ms, signal) => {
    // Rejects only when the signal aborts, which by contract ends the sleep without an error.
    await delay(ms, undefined, signal === undefined ? {} : { signal }).catch(() => undefined);
  },
  utcOffsetMinutes: (atMs) => -new Date(atMs).getTimezoneOffset(),
};

const io: Io = {
  stdout: process.stdout,
  stderr: process.stderr,
  stdin: process.stdin,
  env: process.env,
  isTty: {
    stdin: process.stdin.isTTY === true,
    stdout: process.stdout.isTTY === true,
    stderr: process.stderr.isTTY === true,
  },
  // 0: a terminal that does not know its size.
  columns: process.stdout.columns || 100,
  clock,
  userName,
  ask,
  onSignal: (listener) => {
    const signals = ["SIGINT", "SIGTERM"] as const;
    for (const signal of signals) process.on(signal, listener);
    return () => {
      for (const signal of signals) process.off(signal, listener);
    };
  },
  exitNow: (code) => process.exit(code),
  startProgress: (label, total) =>
    process.stderr.isTTY ? progressBar(label, total, process.stderr) : SILENT,
  services: SERVICES,
};

function ask(question: string): Promise<string | null> {
  const terminal = createInterface({ input: process.stdin, output: process.stderr });
  return new Promise((resolve) => {
    // Ctrl-C and Ctrl-D close it. Whatever comes first counts: a promise is settled once.
    terminal.on("close", () => {
      resolve(null);
    });
    terminal.question(question, (typed) => {
      resolve(typed);
      terminal.close();
    });
  });
}

function userName(): string {
  try {
    return userInfo().username;
  } catch {
    // Expected in containers: the user id has no entry in the user database.
    return `uid-${process.getuid?.() ?? "unknown"}`;
  }
}

// A reader that has seen enough, such as `head`, is no failure.
process.stdout.on("error", (error: NodeJS.ErrnoException) => {
  process.exit(error.code === "EPIPE" ? 0 : 1);
});

const exitCode = await runCli(process.argv.slice(2), io);
// What is still open here (a broken link's timer, a pipe on stdin) must not keep the shell waiting;
// what was written must be out first.
process.stdout.write("", () => process.stderr.write("", () => process.exit(exitCode)));
