/** `escrow message show|find`: messages by their place, or by what they say. Traces stand in message-trace.ts. */
import {
  type FindView,
  type FoundMessageView,
  LIMITS,
  type MessageView,
  type StandingView,
  type WireMessage,
} from "@escrowmq/protocol";
import { jsonText, safe, shellWord } from "../escape.ts";
import { EXIT } from "../failure.ts";
import { count, plural, size } from "../format.ts";
import { bodyPart, decoded, messageLines } from "../message-card.ts";
import { offsetOf, time } from "../parse.ts";
import type { Column, Printer } from "../print.ts";
import type { Session } from "../session.ts";
import { stopOnSignal } from "../stop.ts";
import { type PageOptions, type Verb, withPage } from "../verb.ts";

export const messageShow: Verb = {
  examples: ["escrow message show orders 17", "escrow message show orders 17 --json"],
  run: async (session, _options, topic, offset) => {
    const request = { topic, offset: offsetOf(offset, "escrow message find") };
    const view = await session.request("message.show", request);
    const message = view.message === undefined ? undefined : decoded(view.message);
    if (session.print.isJson) session.print.line(jsonText({ ...view, message }, 2));
    else session.print.line(shown(session.print, view, message));
    return undefined;
  },
};

interface FindOptions extends PageOptions {
  readonly id?: string;
  readonly key?: string;
  readonly tag?: string;
  readonly from?: number;
  readonly to?: number;
}

export const messageFind: Verb<FindOptions> = {
  examples: [
    "escrow message find orders --key 42",
    "escrow message find orders --tag paid --from 2025-01-31T09:00 --to 2025-01-31T10:00 --limit 20",
  ],
  options: (command) =>
    withPage(command)
      .option("--id <id>", "the message id")
      .option("--key <key>", "those of this key")
      .option("--tag <tag>", "those with this tag")
      .option("--from <time>", "visible at or after this time", time)
      .option("--to <time>", "visible before this time", time),
  run: async (session, options, topic) => {
    const found = await search(session, topic, options);
    session.print.page(found, {
      columns: columns(session.print),
      empty: safe`Nothing found in topic ${topic} from offset ${found.fromOffset} to ${found.toOffset}.`,
      command: command(topic, options),
      isFirst: options.after === undefined,
    });
    if (found.retired > 0)
      session.print.note(`${plural(found.retired, "message")} went by retention meanwhile.`);
    if (found.unreadable.length === 0) return undefined;
    session.print.note(unreadable(found.unreadable));
    return EXIT.refused;
  },
};

/** One request looks at some thousands of messages: it is asked again until there is enough, or no more. */
async function search(session: Session, topic: string, options: FindOptions): Promise<FindView> {
  const { limit = 100 } = options;
  const stop = stopOnSignal(session.io);
  const request = { topic, ...wanted(options) };
  const ask = (after: string | undefined, items: number): Promise<FindView> =>
    session.request("message.find", {
      ...request,
      limit: Math.min(limit - items, LIMITS.pageItemsMax),
      ...(after === undefined ? {} : { after }),
    });
  try {
    const first = await ask(options.after, 0);
    const length = first.endOffset - first.fromOffset;
    const progress = session.io.startProgress("messages", length);
    let found = first;
    try {
      while (found.next !== undefined && found.items.length < limit && !stop.signal.aborted) {
        progress.update(found.toOffset - first.fromOffset, length);
        found = joined(found, await ask(found.next, found.items.length));
      }
    } finally {
      progress.stop();
    }
    return found;
  } finally {
    stop.unlisten();
  }
}

function joined(before: FindView, after: FindView): FindView {
  const { next: _, ...known } = before;
  return {
    ...known,
    ...after,
    fromOffset: before.fromOffset,
    items: [...before.items, ...after.items],
    unreadable: [...before.unreadable, ...after.unreadable],
    retired: before.retired + after.retired,
  };
}

const wanted = ({ id, key, tag, from, to }: FindOptions) => ({
  ...(id === undefined ? {} : { messageId: id }),
  ...(key === undefined ? {} : { key }),
  ...(tag === undefined ? {} : { tag }),
  ...(from === undefined ? {} : { sinceMs: from }),
  ...(to === undefined ? {} : { beforeMs: to }),
});

/** The same search, to be gone on with: its times are in the cursor. */
function command(topic: string, { id, key, tag, limit = 100 }: FindOptions): string {
  const option = (name: string, value: string | undefined): string =>
    value === undefined ? "" : ` --${name} ${shellWord(value)}`;
  return `escrow message find ${shellWord(topic)}${option("id", id)}${option("key", key)}${option("tag", tag)} --limit ${limit}`;
}

const UNREADABLE_SHOWN_MAX = 10;

function unreadable(offsets: readonly number[]): string {
  const more = offsets.length > UNREADABLE_SHOWN_MAX ? " …" : "";
  const which = offsets.slice(0, UNREADABLE_SHOWN_MAX).join(", ");
  return `${plural(offsets.length, "message")} could not be read, at offset ${which}${more}. See: escrow doctor`;
}

const columns = (print: Printer): readonly Column<FoundMessageView>[] => [
  { head: "OFFSET", of: (message) => String(message.offset), align: "right" },
  { head: "VISIBLE SINCE", of: (message) => print.zonedTime(message.atMs) },
  { head: "MESSAGE ID", spare: 1, of: (message) => message.id },
  { head: "KEY", of: (message) => message.key ?? "" },
  { head: "TAG", spare: 3, of: (message) => message.tag ?? "" },
  { head: "SIZE", spare: 2, of: (message) => size(message.bytes), align: "right" },
];

function shown(
  print: Printer,
  view: MessageView,
  message: WireMessage | Uint8Array | undefined,
): string {
  const title = print.paint("bold", safe`Message ${view.topic}@${view.offset}`);
  const lines = [
    { label: "visible since", text: print.zonedTime(view.atMs) },
    { label: "size", text: size(view.bytes) },
    ...messageLines(message),
  ];
  const groups =
    view.groups.length === 0
      ? "No group reads this topic."
      : print.table(standingColumns(print), view.groups);
  const trace = `What happened to it: escrow message trace ${shellWord(view.topic)} ${view.offset}`;
  return `${print.card(title, lines)}\n${bodyPart(message)}\n${groups}\n\n${trace}`;
}

const standingColumns = (print: Printer): readonly Column<StandingView>[] => [
  { head: "GROUP", of: (one) => one.group },
  {
    head: "STATE",
    of: (one) => one.state,
    style: (one) => (one.state === "settled" ? "green" : undefined),
  },
  { head: "DELIVERIES", spare: 2, of: (one) => count(one.deliveries), align: "right" },
  { head: "FAILED", spare: 3, of: (one) => count(one.failures), align: "right" },
  {
    head: "NOT BEFORE",
    spare: 1,
    of: (one) => (one.readyAtMs === undefined ? "" : print.zonedTime(one.readyAtMs)),
  },
  { head: "LAST REASON", spare: 1, fit: "cut", of: (one) => one.reason ?? "" },
];
