/** Events of the log as lines: the broker's time, how long after the first, what happened, and to whom. */
import type { TimelineEvent } from "@escrowmq/protocol";
import { escapeText } from "./escape.ts";
import { exactSpan } from "./format.ts";
import type { Printer, Style } from "./print.ts";

export interface Look {
  readonly mark: string;
  readonly says: string;
  readonly style: Style;
}

const EVENTS: Readonly<Record<TimelineEvent["event"], Look>> = {
  sent: { mark: "●", says: "sent", style: "green" },
  prepared: { mark: "○", says: "prepared", style: "cyan" },
  checked: { mark: "?", says: "checked", style: "magenta" },
  parked: { mark: "=", says: "parked", style: "yellow" },
  resumed: { mark: "○", says: "resumed", style: "cyan" },
  committed: { mark: "●", says: "committed", style: "green" },
  due: { mark: "●", says: "due", style: "green" },
  queued: { mark: "=", says: "queued", style: "yellow" },
  recalled: { mark: "×", says: "recalled", style: "yellow" },
  rolledBack: { mark: "×", says: "rolled back", style: "red" },
  delivered: { mark: "→", says: "delivered", style: "cyan" },
  acked: { mark: "✓", says: "acked", style: "green" },
  joined: { mark: "○", says: "joined", style: "cyan" },
  returned: { mark: "←", says: "returned", style: "yellow" },
  buried: { mark: "†", says: "buried", style: "red" },
  abandoned: { mark: "†", says: "abandoned", style: "red" },
  replayed: { mark: "→", says: "replayed", style: "cyan" },
  purged: { mark: "×", says: "purged", style: "red" },
  skipped: { mark: "×", says: "skipped", style: "yellow" },
  filtered: { mark: "-", says: "filtered", style: "dim" },
  lapsed: { mark: "†", says: "lapsed", style: "yellow" },
  reset: { mark: "↺", says: "reset", style: "yellow" },
};

export function eventLines(
  print: Printer,
  events: readonly TimelineEvent[],
  firstAtMs: number,
): string[] {
  const rows = events.map((line) => ({
    line,
    look: EVENTS[line.event] ?? { mark: "·", says: escapeText(line.event), style: "dim" },
    offset: `+${exactSpan(line.atMs - firstAtMs)}`,
  }));
  const offsetWidth = Math.max(0, ...rows.map((row) => row.offset.length));
  const saysWidth = Math.max(0, ...rows.map((row) => row.look.says.length));
  return rows.map(({ line, look, offset }) => {
    const time = print.paint("dim", print.localTime(line.atMs));
    const event = print.paint(look.style, `${look.mark} ${look.says.padEnd(saysWidth)}`);
    return `  ${time}  ${offset.padStart(offsetWidth)}  ${event}  ${escapeText(line.text)}`.trimEnd();
  });
}
