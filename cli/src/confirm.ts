/** What cannot be taken back is done only after the operator has written the name of what it hits. */
import { escapeText, shellWord } from "./escape.ts";
import { NotConfirmed, UsageError } from "./failure.ts";
import type { Session } from "./session.ts";

export interface Danger {
  /** What must be typed, or given to --yes. */
  readonly name: string;
  /** What is about to happen, in whole sentences, each on a line of its own. */
  readonly says: readonly string[];
}

export async function confirmName(
  session: Session,
  danger: Danger,
  yes: string | undefined,
): Promise<void> {
  if (yes === danger.name) return;
  if (yes !== undefined)
    throw new UsageError(`--yes says ${yes}, but this is about ${danger.name}.`);
  if (!canAsk(session))
    throw new UsageError(`Without a terminal, confirm with --yes ${shellWord(danger.name)}.`);
  const name = escapeText(danger.name);
  const typed = await ask(session, danger.says, name);
  if (typed !== danger.name) throw new NotConfirmed(`That was not ${name}.`);
}

export async function confirmYes(session: Session, says: string, isYes: boolean): Promise<void> {
  if (isYes) return;
  if (!canAsk(session)) throw new UsageError("Without a terminal, confirm with --yes.");
  const typed = await ask(session, [says], "yes");
  if (!/^y(es)?$/i.test(typed)) throw new NotConfirmed("That was not yes.");
}

/** The question stands on the line of the last sentence. */
async function ask(session: Session, says: readonly string[], what: string): Promise<string> {
  for (const line of says.slice(0, -1)) session.print.note(escapeText(line));
  const last = escapeText(says.at(-1) ?? "");
  const typed = await session.io.ask(`${last} Type ${what} to go on: `);
  if (typed !== null) return typed.trim();
  session.print.note("");
  throw new NotConfirmed(`${what} was not typed.`);
}

const canAsk = (session: Session): boolean => session.io.isTty.stdin && session.io.isTty.stderr;
