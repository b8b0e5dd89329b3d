/** A verb is one command: its options, its examples and what it does. Where it hangs is tree.ts's business. */

import { LIMITS } from "@escrowmq/protocol";
import type { Command } from "commander";
import { integer } from "./parse.ts";
import type { Session } from "./session.ts";

export interface Verb<Options = object> {
  readonly examples: readonly string[];
  readonly options?: (command: Command) => unknown;
  /** Resolves with the exit code; nothing means 0. The arguments are those that the tree names. */
  readonly run: (
    session: Session,
    options: Options,
    ...args: string[]
  ) => Promise<number | undefined>;
}

export interface ReasonOptions {
  readonly reason?: string;
}

export interface YesOptions {
  readonly yes?: string;
}

export interface PageOptions {
  readonly limit?: number;
  readonly after?: string;
}

export const withReason = (command: Command): Command =>
  command.requiredOption("--reason <text>", "why; recorded with the operator's name");

/** For verbs with a dry run, which records nothing and so needs no reason. */
export const withReasonUnlessDry = (command: Command): Command =>
  command
    .option("--reason <text>", "why; recorded with the operator's name")
    .option("--dry-run", "only tell what would happen");

export const withYes = (command: Command): Command =>
  command.option("--yes <name>", "confirm by name instead of typing it on the terminal");

export const withPage = (command: Command): Command =>
  command
    .option("--limit <n>", "items on a page", integer(1, LIMITS.pageItemsMax), 100)
    .option("--after <cursor>", "go on where the last page ended");

export const pageFields = (options: PageOptions): { limit?: number; after?: string } => ({
  ...(options.limit === undefined ? {} : { limit: options.limit }),
  ...(options.after === undefined ? {} : { after: options.after }),
});
