/** What cannot be taken back is done only after the operator has written the name of what it hits. */
import { escapeText, shellWord } from "./escape.ts";
import { NotConfirmed, UsageError } from "./failure.ts";
import type { Session } from "./session.ts";

export interface Danger {
  /** What must be typed, or given to --yes. */
  readonly name: string;
  /** What is about to happen, as a whole sentence. */
  readonly says: string;
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
  const typed = await session.io.ask(`${escapeText(danger.says)} Type ${name} to go on: `);
  if (typed.trim() !== danger.name) throw new NotConfirmed(`That was not ${name}.`);
}

export async function confirmYes(session: Session, says: string, isYes: boolean): Promise<void> {
  if (isYes) return;
  if (!canAsk(session)) throw new UsageError("Without a terminal, confirm with --yes.");
  const typed = await session.io.ask(`${escapeText(says)} Type yes to go on: `);
  if (!/^y(es)?$/i.test(typed.trim())) throw new NotConfirmed("That was not yes.");
}

const canAsk = (session: Session): boolean => session.io.isTty.stdin && session.io.isTty.stderr;
