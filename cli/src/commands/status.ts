/** `escrow stats` and `escrow doctor`: how the broker is doing, and what an operator should do about it. */
import type { Finding, StatsView } from "@escrowmq/protocol";
import { safe } from "../escape.ts";
import { EXIT } from "../failure.ts";
import { count, plural, size, span } from "../format.ts";
import type { CardLine, Style } from "../print.ts";
import type { Verb } from "../verb.ts";

export const stats: Verb = {
  examples: ["escrow stats", "escrow stats --json"],
  run: async (session) => {
    const view = await session.request("stats", {});
    const { url } = await session.endpoint();
    const title = session.print.paint("bold", safe`EscrowMQ ${view.version} on ${url}`);
    session.print.answer(view, session.print.card(title, statsLines(view)));
    return undefined;
  },
};

export const doctor: Verb = {
  examples: ["escrow doctor", "escrow doctor --json && echo healthy"],
  run: async (session) => {
    const view = await session.request("doctor", {});
    const { print } = session;
    const errors = view.findings.filter((finding) => finding.level === "error").length;
    const warnings = view.findings.filter((finding) => finding.level === "warning").length;
    const verdict =
      errors + warnings === 0
        ? print.paint("green", "All is well.")
        : `${plural(errors, "error")}, ${plural(warnings, "warning")}.`;
    const columns = [
      { head: "LEVEL", of: (finding: Finding) => finding.level, style: levelStyle },
      { head: "AREA", of: (finding: Finding) => finding.area },
      { head: "FINDING", of: (finding: Finding) => finding.text, fit: "wrap" as const },
    ];
    const table = view.findings.length === 0 ? "" : `${print.table(columns, view.findings)}\n\n`;
    print.answer(view, table + verdict);
    return errors > 0 ? EXIT.refused : EXIT.ok;
  },
};

const LEVEL_STYLES: Readonly<Record<Finding["level"], Style>> = {
  ok: "green",
  warning: "yellow",
  error: "red",
};
const levelStyle = (finding: Finding): Style => LEVEL_STYLES[finding.level];

function deliveriesText({ leased, waiting, held }: StatsView): string {
  const text = `${count(leased)} leased, ${count(waiting)} waiting for a retry`;
  return held === 0 ? text : `${text}, ${count(held)} behind others of their keys`;
}

function statsLines(view: StatsView): readonly CardLine[] {
  const undecided = `${count(view.undecided)} undecided, ${count(view.parked)} parked, ${size(view.undecidedBytes)}`;
  const oldest =
    view.undecided + view.parked > 0 ? `, the oldest for ${span(view.oldestUndecidedAgeMs)}` : "";
  return [
    { label: "up for", text: span(view.uptimeMs) },
    { label: "connections", text: count(view.connections) },
    { label: "topics", text: count(view.topics) },
    { label: "groups", text: count(view.groups) },
    { label: "messages", text: count(view.messages) },
    {
      label: "transactions",
      text: `${undecided}${oldest}`,
      style: view.parked > 0 ? "yellow" : undefined,
    },
    { label: "decisions kept", text: count(view.decisionsKept) },
    {
      label: "deliveries",
      text: deliveriesText(view),
    },
    {
      label: "paused groups",
      text: count(view.pausedGroups),
      style: view.pausedGroups > 0 ? "yellow" : undefined,
    },
    {
      label: "dead letters",
      text: count(view.deadLetters),
      style: view.deadLetters > 0 ? "yellow" : undefined,
    },
    { label: "scheduled", text: scheduled(view) },
    ...(view.reservedKeys + view.queued === 0 ? [] : [reservedKeys(view)]),
    {
      label: "retention",
      text: `${count(view.retired)} messages retired, ${count(view.expired)} of them lost to a group`,
      style: view.expired > 0 ? "yellow" : undefined,
    },
    { label: "store", text: `${plural(view.blocks, "block")}, ${size(view.storeBytes)}` },
    { label: "memory", text: size(view.rssBytes) },
  ];
}

function scheduled(view: StatsView): string {
  const late = view.overdueMs === 0 ? "" : `, the first due since ${span(view.overdueMs)}`;
  const lapsed =
    view.lapsed === 0 ? "" : `; ${count(view.lapsed)} lapsed before a group was sent them`;
  const bytes = view.queued === 0 ? `, ${size(view.scheduledBytes)}` : "";
  return `${plural(view.scheduled, "message")}${bytes}${late}${lapsed}`;
}

/** The size is of both kinds: they wait in one table. */
function reservedKeys(view: StatsView): CardLine {
  const which = view.scheduled === 0 ? "," : "; with those scheduled";
  const queued = `${plural(view.queued, "message")} queued${which} ${size(view.scheduledBytes)}`;
  return { label: "reserved keys", text: `${count(view.reservedKeys)}, ${queued}` };
}
