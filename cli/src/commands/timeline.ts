/**
 * The inspector: what one transaction is, and everything that happened to it, in order.
 * All times are the broker's; the second column counts from the prepare.
 */
import type { TimelineEvent, TransactionState, TransactionTimeline } from "@escrowmq/protocol";
import { lastWord, safe } from "../escape.ts";
import { eventLines, type Look } from "../event-lines.ts";
import { count, plural, size, span } from "../format.ts";
import type { CardLine, Printer } from "../print.ts";

const STATES: Readonly<Record<TransactionState, Look>> = {
  undecided: { mark: "○", says: "undecided", style: "cyan" },
  parked: { mark: "=", says: "parked", style: "yellow" },
  committed: { mark: "●", says: "committed", style: "green" },
  rolledBack: { mark: "×", says: "rolled back", style: "red" },
};

const TOPICS_SHOWN_MAX = 10;

export function inspect(print: Printer, view: TransactionTimeline): string {
  const parts = [print.card(title(print, view), header(print, view)), timeline(print, view)];
  const next = nextStep(view);
  if (next !== undefined) parts.push(next);
  return parts.join("\n\n");
}

function title(print: Printer, view: TransactionTimeline): string {
  const state = STATES[view.state];
  const id = print.paint("bold", safe`Transaction ${view.transactionId}`);
  return `${id}   ${print.paint(state.style, `${state.mark} ${state.says}`)}`;
}

function header(print: Printer, view: TransactionTimeline): readonly CardLine[] {
  const bytes = view.messages.reduce((sum, message) => sum + message.bytes, 0);
  const lines: CardLine[] = [
    { label: "producer group", text: view.group },
    { label: "prepared", text: `${print.zonedTime(view.preparedAtMs)}, ${span(view.ageMs)} ago` },
    { label: "messages", text: `${count(view.messages.length)}, ${size(bytes)}` },
    { label: "", text: perTopic(view) },
  ];
  if (view.acks > 0) lines.push({ label: "acks joined", text: count(view.acks) });
  if (view.queuedBehind !== undefined)
    lines.push({ label: "keys", text: reserved(view.queuedBehind) });
  lines.push({ label: "checks", text: checks(print, view) });
  if (view.parkedBecause !== undefined)
    lines.push({ label: "parked because", text: view.parkedBecause, style: "yellow" });
  if (view.decidedAtMs !== undefined)
    lines.push({ label: "decided", text: decided(print, view, view.decidedAtMs) });
  const outcome = deliveries(view);
  if (outcome !== undefined) lines.push({ label: "deliveries", text: outcome });
  return lines;
}

function perTopic(view: TransactionTimeline): readonly string[] {
  const topics = new Map<string, { messages: number; bytes: number }>();
  for (const { topic, bytes } of view.messages) {
    const sum = topics.get(topic) ?? { messages: 0, bytes: 0 };
    topics.set(topic, { messages: sum.messages + 1, bytes: sum.bytes + bytes });
  }
  const shown = [...topics]
    .slice(0, TOPICS_SHOWN_MAX)
    .map(([topic, sum]) => `→ ${topic}: ${plural(sum.messages, "message")}, ${size(sum.bytes)}`);
  const more = topics.size - shown.length;
  return more > 0 ? [...shown, `and ${plural(more, "more topic")}`] : shown;
}

/** Before the next transaction that reserves one of them: what stands behind that one is shown with it. */
const reserved = (queuedBehind: number): string =>
  `reserved; ${queuedBehind === 0 ? "nothing waits" : plural(queuedBehind, "message waits", "messages wait")} right behind it`;

function checks(print: Printer, view: TransactionTimeline): string {
  if (view.nextCheckAtMs === undefined) return count(view.checks);
  const inMs = view.nextCheckAtMs - (view.preparedAtMs + view.ageMs);
  const when = inMs <= 0 ? "due now" : `in ${span(inMs)}`;
  return `${count(view.checks)}; the next ${when}, at ${print.zonedTime(view.nextCheckAtMs)}`;
}

function decided(print: Printer, view: TransactionTimeline, atMs: number): string {
  const by = view.decidedBy === undefined ? "" : ` by ${view.decidedBy}`;
  return `${print.zonedTime(atMs)}${by}, ${span(atMs - view.preparedAtMs)} after the prepare`;
}

function deliveries(view: TransactionTimeline): string | undefined {
  const times = (event: TimelineEvent["event"]): number =>
    view.timeline.filter((line) => line.event === event).length;
  if (times("delivered") === 0) return undefined;
  const buried = times("buried");
  const parts = [`${count(times("delivered"))} begun`, `${count(times("acked"))} acked`];
  if (times("returned") > 0) parts.push(`${count(times("returned"))} returned`);
  if (buried > 0) parts.push(`${plural(buried, "dead letter")}`);
  return parts.join(", ");
}

function timeline(print: Printer, view: TransactionTimeline): string {
  const lines = eventLines(print, view.timeline, view.preparedAtMs);
  if (view.isHistoryRetired)
    lines.unshift(
      `  ${print.paint("yellow", "What happened before this was removed by retention.")}`,
    );
  if (view.isTruncated)
    lines.push(
      `  ${print.paint("yellow", "The log is longer than one inspection may read; more happened later.")}`,
    );
  return lines.join("\n");
}

function nextStep(view: TransactionTimeline): string | undefined {
  const id = lastWord(view.transactionId);
  const byHand = [
    `Decide by hand:       escrow tx commit --reason "…" ${id}`,
    `                      escrow tx rollback --reason "…" ${id}`,
  ];
  switch (view.state) {
    case "undecided":
      return [`Ask its producers:    escrow tx check ${id}`, ...byHand].join("\n");
    case "parked":
      return [`Let it be checked:    escrow tx resume --reason "…" ${id}`, ...byHand].join("\n");
    case "committed":
    case "rolledBack":
      return undefined;
    default:
      view.state satisfies never;
      return undefined;
  }
}
