/** `escrow topic …`: the logs of visible messages. */
import type { TopicView } from "@escrowmq/protocol";
import type { Command } from "commander";
import { confirmName } from "../confirm.ts";
import { lastWord, safe, shellWord } from "../escape.ts";
import { UsageError } from "../failure.ts";
import { count, size } from "../format.ts";
import { byteSize } from "../parse.ts";
import type { Column } from "../print.ts";
import type { Session } from "../session.ts";
import {
  type PageOptions,
  pageFields,
  type ReasonOptions,
  type Verb,
  withPage,
  withReason,
  withYes,
  type YesOptions,
} from "../verb.ts";

interface CreateOptions {
  readonly bodyMax?: number;
  readonly pause?: true;
}

interface UpdateOptions extends CreateOptions {
  readonly resume?: true;
}

const withBodyMax = (command: Command): Command =>
  command.option("--body-max <size>", "the largest body it takes, such as 64KiB", byteSize);

export const topicCreate: Verb<CreateOptions> = {
  examples: ["escrow topic create orders", "escrow topic create audit --body-max 64KiB"],
  options: (command) => withBodyMax(command).option("--pause", "refuse senders for now"),
  run: async (session, options, topic) => {
    const view = await session.request("topic.create", { topic, ...settings(options) });
    const next = `Send to it: escrow send --topic ${shellWord(topic)} --body hello`;
    session.print.answer(view, `${safe`Topic ${topic} created.`} ${next}`);
    return undefined;
  },
};

export const topicList: Verb<PageOptions> = {
  examples: ["escrow topic list", "escrow topic list --limit 20 --json"],
  options: withPage,
  run: async (session, options) => {
    session.print.page(await session.request("topic.list", pageFields(options)), {
      columns: COLUMNS,
      empty: "No topics yet. Create one: escrow topic create orders",
      command: "escrow topic list",
      isFirst: options.after === undefined,
    });
    return undefined;
  },
};

export const topicDescribe: Verb = {
  examples: ["escrow topic describe orders"],
  run: async (session, _options, topic) => {
    const view = await session.request("topic.describe", { topic });
    session.print.answer(view, card(session, view));
    return undefined;
  },
};

export const topicUpdate: Verb<UpdateOptions> = {
  examples: [
    "escrow topic update orders --pause",
    "escrow topic update orders --resume --body-max 1MiB",
  ],
  options: (command) =>
    withBodyMax(command)
      .option("--pause", "refuse senders from now on; consumers go on")
      .option("--resume", "let senders in again"),
  run: async (session, options, topic) => {
    const changes = settings(options);
    if (Object.keys(changes).length === 0)
      throw new UsageError("Nothing to change: give --body-max, --pause or --resume.");
    const view = await session.request("topic.update", { topic, ...changes });
    session.print.answer(view, card(session, view));
    return undefined;
  },
};

export const topicDelete: Verb<ReasonOptions & YesOptions> = {
  examples: ['escrow topic delete orders --reason "replaced by orders-v2" --yes orders'],
  options: (command) => withYes(withReason(command)),
  run: async (session, options, topic) => {
    const audit = session.audit(options.reason);
    const says = `All messages of topic ${topic} will be gone.`;
    await confirmName(session, { name: topic, says }, options.yes);
    const value = await session.request("topic.delete", { topic, ...audit });
    session.print.answer(value, safe`Topic ${topic} deleted.`);
    return undefined;
  },
};

function settings(options: UpdateOptions): { bodyBytesMax?: number; paused?: boolean } {
  if (options.pause && options.resume)
    throw new UsageError("Either --pause or --resume, not both.");
  return {
    ...(options.bodyMax === undefined ? {} : { bodyBytesMax: options.bodyMax }),
    ...(options.pause || options.resume ? { paused: options.pause === true } : {}),
  };
}

const held = (topic: TopicView): number => topic.nextOffset - topic.firstOffset;

const COLUMNS: readonly Column<TopicView>[] = [
  { head: "TOPIC", of: (topic) => topic.topic },
  { head: "MESSAGES", of: (topic) => count(held(topic)), align: "right" },
  { head: "NEXT OFFSET", of: (topic) => count(topic.nextOffset), align: "right" },
  { head: "SIZE", of: (topic) => size(topic.bytes), align: "right" },
  { head: "GROUPS", of: (topic) => count(topic.groups.length), align: "right" },
  {
    head: "STATE",
    of: (topic) => (topic.paused ? "paused" : "open"),
    style: (topic) => (topic.paused ? "yellow" : undefined),
  },
];

function card(session: Session, view: TopicView): string {
  const title = session.print.paint("bold", safe`Topic ${view.topic}`);
  const none = `none yet. Read it: escrow consume --group <group> --topic ${lastWord(view.topic)}`;
  return session.print.card(title, [
    {
      label: "state",
      text: view.paused ? "paused: senders are refused" : "open",
      style: view.paused ? "yellow" : undefined,
    },
    { label: "messages", text: count(held(view)) },
    { label: "offsets", text: offsets(view) },
    { label: "size", text: size(view.bytes) },
    { label: "largest body", text: size(view.bodyBytesMax) },
    { label: "groups", text: view.groups.length === 0 ? none : view.groups },
  ]);
}

const offsets = (view: TopicView): string =>
  held(view) === 0
    ? `none; the next is ${count(view.nextOffset)}`
    : `${count(view.firstOffset)} to ${count(view.nextOffset - 1)}`;
