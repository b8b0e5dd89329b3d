/** How a command ends when it does not end well: exit codes, the line on stderr, the next step. */
import { type ErrorCode, EscrowError } from "@escrowmq/protocol";
import { escapeText } from "./escape.ts";

export const EXIT = {
  ok: 0,
  /** Refused by the broker, or a problem was found. */
  refused: 1,
  badUsage: 2,
  unreachable: 69,
  /** The same command, later, may succeed. */
  temporary: 75,
  interrupted: 130,
} as const;

export const EXIT_CODES_HELP = `Exit codes:
  0    done
  1    refused by the broker, or a problem was found
  2    bad usage: nothing was changed
  69   the broker could not be reached
  75   temporary failure: the same command may succeed later
  130  interrupted before the work was complete`;

/** The command line cannot be carried out as it stands. */
export class UsageError extends Error {
  override readonly name = "UsageError";
}

/** The operator did not confirm; nothing was done. */
export class NotConfirmed extends Error {
  override readonly name = "NotConfirmed";
}

/** What an operator can do about a refusal. */
const NEXT_STEPS: Partial<Record<ErrorCode, string>> = {
  UNREACHABLE:
    "Is the broker running there? Start one: escrow broker start --data ./data. Another address: --url or ESCROW_URL.",
  TOPIC_NOT_FOUND: "See which there are: escrow topic list",
  TOPIC_EXISTS: "Change its settings: escrow topic update <topic>",
  TOPIC_PAUSED: "Let senders in again: escrow topic update <topic> --resume",
  TOPIC_IN_USE: "See what is undecided: escrow tx list",
  GROUP_NOT_FOUND: "See which there are: escrow group list, escrow producer list",
  GROUP_IN_USE: "See who is connected and what is undecided: escrow group describe, escrow tx list",
  FILTER_INVALID: 'The language of filters: protocol/PROTOCOL.md, "Filters".',
  FILTER_CONFLICT:
    "See the filter and who reads with it: escrow group describe <group>. Stop them, or use their filter.",
  GROUP_IS_BROADCAST:
    "See its instances: escrow group describe <group>. Then name one of them: <group>%<instance>",
  INSTANCE_LIMIT: "See who is there: escrow group describe <group>",
  INSTANCE_REPLACED: "Give each process an instance name of its own.",
  NO_REPLY: "Is somebody handling the topic? See: escrow topic describe <topic>",
  INBOX_LOST: "Look before you repeat it.",
  TX_NOT_FOUND:
    "Decided transactions are forgotten after a while. See what is open: escrow tx list",
  TX_ALREADY_COMMITTED: "See by whom and when: escrow tx show <id>",
  TX_ALREADY_ROLLED_BACK: "See by whom and when: escrow tx show <id>",
  TX_NOT_PARKED: "See where it stands: escrow tx show <id>",
  UNDECIDED_LIMIT: "Decide some of it: escrow tx list, then escrow tx commit or rollback",
  DEAD_LETTER_NOT_FOUND: "See which there are: escrow dlq list <group>",
  MESSAGE_NOT_FOUND: "See which there are: escrow message find <topic>",
  MESSAGE_RETIRED: "See what is still there: escrow topic describe <topic>",
  MESSAGE_NOT_SCHEDULED: "See what waits in a topic: escrow topic describe <topic>",
  RESERVATION_LIMIT: "Decide some of it: escrow tx list, then escrow tx commit or rollback",
  SCHEDULED_LIMIT:
    "Wait until some are visible, or recall some: escrow message recall <topic> <id>",
  DISK_FULL: "Free disk space on the broker's machine; it goes on by itself.",
  STORE_LOCKED: "Stop the other process, or name another directory with --data.",
  STORE_CORRUPT: "Do not delete anything. Look closer with the broker stopped: escrow verify <dir>",
  STORE_TAIL_MISSING:
    "Do not delete anything. Look closer with the broker stopped: escrow verify <dir>",
  STORE_VERSION: "Use the version of EscrowMQ that wrote the directory.",
  ENDPOINT_REFUSED:
    "Allow its address range when starting the broker: escrow broker start --allow-endpoint-range <cidr>",
  OVERLOADED: "Ask again in a moment.",
  OUTCOME_UNKNOWN: "Look before you repeat it.",
  BODY_TOO_LARGE: "Raise the topic's limit: escrow topic update <topic> --body-max <size>",
};

export interface Failure {
  readonly exitCode: number;
  readonly text: string;
}

/** The exit code of an error and what stderr says about it; `timeOf` writes a point in time. */
export function describeFailure(error: unknown, timeOf: (atMs: number) => string): Failure {
  if (error instanceof UsageError)
    return { exitCode: EXIT.badUsage, text: `escrow: BAD_USAGE: ${escapeText(error.message)}\n` };
  if (error instanceof NotConfirmed)
    return {
      exitCode: EXIT.refused,
      text: `escrow: NOT_CONFIRMED: ${escapeText(error.message)} Nothing was done.\n`,
    };
  if (EscrowError.is(error))
    return { exitCode: exitCodeOf(error), text: refusalText(error, timeOf) };
  const text = error instanceof Error ? error.message : String(error);
  return { exitCode: EXIT.refused, text: `escrow: FAILED: ${escapeText(text)}\n` };
}

export function exitCodeOf(error: EscrowError): number {
  if (error.code === "UNREACHABLE") return EXIT.unreachable;
  return error.retriable ? EXIT.temporary : EXIT.refused;
}

function refusalText(error: EscrowError, timeOf: (atMs: number) => string): string {
  const lines = [`escrow: ${error.code}: ${escapeText(error.message)}`];
  for (const [name, value] of Object.entries(error.detail)) {
    const shown = name.endsWith("AtMs") && typeof value === "number" ? timeOf(value) : value;
    lines.push(`  ${escapeText(name)}: ${escapeText(String(shown))}`);
  }
  const next = NEXT_STEPS[error.code];
  if (next !== undefined) lines.push(`  ${next}`);
  return `${lines.join("\n")}\n`;
}
