/**
 * Everything of the outside world that a command may touch, in one place, so that the whole program
 * runs in a test without a process, a terminal, a clock or a broker.
 */
import type { Services } from "./connect.ts";
import type { Progress } from "./progress.ts";

/** What stdout and stderr must be able to do; Node's writable streams are such. */
export interface Sink {
  write(text: string, done?: (error?: Error | null) => void): unknown;
}

export interface Clock {
  now(): number;
  /** Resolves early, without an error, when `signal` aborts. */
  sleep(ms: number, signal?: AbortSignal): Promise<void>;
  /** Minutes that local time is ahead of UTC at that instant. */
  utcOffsetMinutes(atMs: number): number;
}

export interface Io {
  readonly stdout: Sink;
  readonly stderr: Sink;
  readonly stdin: AsyncIterable<Uint8Array | string>;
  readonly env: Readonly<Record<string, string | undefined>>;
  readonly isTty: { readonly stdin: boolean; readonly stdout: boolean; readonly stderr: boolean };
  /** The terminal's width. */
  readonly columns: number;
  readonly clock: Clock;
  /** The name of the user of the operating system. */
  userName(): string;
  /** Asks on the terminal and reads one line; only called when stdin is one. Null: broken off by Ctrl-C or Ctrl-D. */
  ask(question: string): Promise<string | null>;
  /** Calls `listener` on SIGINT and SIGTERM until the returned function is called. */
  onSignal(listener: () => void): () => void;
  /** Ends the process without any cleaning up. */
  exitNow(code: number): void;
  /** A bar on stderr when that is a terminal, else nothing. */
  startProgress(label: string, total: number): Progress;
  readonly services: Services;
}
