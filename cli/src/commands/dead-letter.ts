/** `escrow dlq list|show`: what a group could not process. Replay and purge stand in replay.ts. */
import type { DeadLetterView, WireMessage } from "@escrowmq/protocol";
import { jsonText, safe, shellWord } from "../escape.ts";
import { count, size } from "../format.ts";
import { bodyPart, decoded, messageLines } from "../message-card.ts";
import { offsetOf } from "../parse.ts";
import type { Column, Printer } from "../print.ts";
import { type PageOptions, pageFields, type Verb, withPage } from "../verb.ts";

export const dlqList: Verb<PageOptions> = {
  examples: ["escrow dlq list billing", "escrow dlq list billing --limit 20 --json"],
  options: withPage,
  run: async (session, options, group) => {
    session.print.page(await session.request("dlq.list", { group, ...pageFields(options) }), {
      columns: deadLetterColumns(session.print),
      empty: safe`No dead letters in group ${group}. Everything was processed or is still being tried.`,
      command: `escrow dlq list ${shellWord(group)}`,
      isFirst: options.after === undefined,
    });
    return undefined;
  },
};

export const dlqShow: Verb = {
  examples: ["escrow dlq show billing 17", "escrow dlq show billing 17 --json"],
  run: async (session, _options, group, offset) => {
    const view = await session.request("dlq.show", {
      group,
      offset: offsetOf(offset, "escrow dlq list"),
    });
    const message = view.message === undefined ? undefined : decoded(view.message);
    if (session.print.isJson) session.print.line(jsonText({ ...view, message }, 2));
    else session.print.line(letter(session.print, group, view, message));
    return undefined;
  },
};

export const deadLetterColumns = (print: Printer): readonly Column<DeadLetterView>[] => [
  { head: "OFFSET", of: (letter) => String(letter.offset), align: "right" },
  { head: "CAME FROM", of: (letter) => `${letter.topic}@${letter.originOffset}` },
  { head: "ATTEMPTS", spare: 2, of: (letter) => count(letter.attempts), align: "right" },
  { head: "BURIED", spare: 3, of: (letter) => print.zonedTime(letter.buriedAtMs) },
  { head: "SIZE", spare: 1, of: (letter) => size(letter.bytes), align: "right" },
  { head: "REASON", fit: "cut", of: (letter) => shortened(letter.reason) },
];

const REASON_SHOWN_MAX = 80;

const shortened = (reason: string): string =>
  reason.length > REASON_SHOWN_MAX ? `${reason.slice(0, REASON_SHOWN_MAX - 1)}…` : reason;

function letter(
  print: Printer,
  group: string,
  view: DeadLetterView,
  message: WireMessage | Uint8Array | undefined,
): string {
  const lines = [
    { label: "came from", text: `${view.topic}@${view.originOffset}` },
    { label: "attempts", text: count(view.attempts) },
    { label: "buried", text: print.zonedTime(view.buriedAtMs) },
    { label: "reason", text: view.reason, style: "red" as const },
    { label: "size", text: size(view.bytes) },
    ...messageLines(message),
  ];
  const title = print.paint("bold", safe`Dead letter ${view.offset} of group ${group}`);
  const again = `Deliver it again: escrow dlq replay ${shellWord(group)} --offset ${view.offset} --reason "…"`;
  return `${print.card(title, lines)}\n${bodyPart(message)}\n${again}`;
}
