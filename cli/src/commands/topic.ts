/** `escrow topic …`: the logs of visible messages. */
import { LIMITS, type TopicView } from "@escrowmq/protocol";
import { type Command, Option } from "commander";
import { confirmName } from "../confirm.ts";
import { lastWord, safe, shellWord } from "../escape.ts";
import { UsageError } from "../failure.ts";
import { count, plural, size, span } from "../format.ts";
import { byteSize, retention, retentionSize } from "../parse.ts";
import type { CardLine, Column } from "../print.ts";
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
  readonly retention?: number;
  readonly retentionBytes?: number;
  readonly unsettled?: TopicView["unsettled"];
}

interface UpdateOptions extends CreateOptions {
  readonly resume?: true;
}

const withSettings = (command: Command): Command =>
  command
    .option("--body-max <size>", "the largest body it takes, such as 64KiB", byteSize)
    .option("--retention <duration>", "how long it keeps messages: 7d, 12h, or forever", retention)
    .option(
      "--retention-bytes <size>",
      "how much it keeps, the oldest go first: 10GiB, or none for no limit",
      retentionSize,
    )
    .addOption(
      new Option(
        "--unsettled <what>",
        "what retention does with messages that a group has not settled",
      ).choices(["keep", "drop"] as const),
    );

export const topicCreate: Verb<CreateOptions> = {
  examples: [
    "escrow topic create orders",
    "escrow topic create audit --body-max 64KiB --retention 30d",
    "escrow topic create metrics --retention 1h --retention-bytes 10GiB --unsettled drop",
  ],
  options: (command) => withSettings(command).option("--pause", "refuse senders for now"),
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
    "escrow topic update orders --retention 3d --retention-bytes none",
  ],
  options: (command) =>
    withSettings(command)
      .option("--pause", "refuse senders from now on; consumers go on")
      .option("--resume", "let senders in again"),
  run: async (session, options, topic) => {
    const changes = settings(options);
    if (Object.keys(changes).length === 0)
      throw new UsageError(
        "Nothing to change: give --body-max, --retention, --retention-bytes, --unsettled, --pause or --resume.",
      );
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
    await confirmName(session, { name: topic, says: [says] }, options.yes);
    const value = await session.request("topic.delete", { topic, ...audit });
    const { scheduled } = value;
    const gone = scheduled === 0 ? "" : ` ${plural(scheduled, "waiting message")} gone with it.`;
    session.print.answer(value, `${safe`Topic ${topic} deleted.`}${gone}`);
    return undefined;
  },
};

type Settings = Partial<
  Pick<TopicView, "bodyBytesMax" | "paused" | "retentionMs" | "retentionBytes" | "unsettled">
>;

function settings(options: UpdateOptions): Settings {
  if (options.pause && options.resume)
    throw new UsageError("Either --pause or --resume, not both.");
  return {
    ...(options.bodyMax === undefined ? {} : { bodyBytesMax: options.bodyMax }),
    ...(options.pause || options.resume ? { paused: options.pause === true } : {}),
    ...(options.retention === undefined ? {} : { retentionMs: options.retention }),
    ...(options.retentionBytes === undefined ? {} : { retentionBytes: options.retentionBytes }),
    ...(options.unsettled === undefined ? {} : { unsettled: options.unsettled }),
  };
}

const held = (topic: TopicView): number => topic.nextOffset - topic.firstOffset;

const COLUMNS: readonly Column<TopicView>[] = [
  { head: "TOPIC", of: (topic) => topic.topic },
  { head: "MESSAGES", of: (topic) => count(held(topic)), align: "right" },
  { head: "SCHEDULED", spare: 3, of: (topic) => count(topic.scheduled), align: "right" },
  { head: "FIRST OFFSET", spare: 1, of: (topic) => count(topic.firstOffset), align: "right" },
  { head: "NEXT OFFSET", spare: 2, of: (topic) => count(topic.nextOffset), align: "right" },
  { head: "SIZE", of: (topic) => size(topic.bytes), align: "right" },
  { head: "RETENTION", spare: 5, of: kept },
  { head: "GROUPS", spare: 4, of: (topic) => count(topic.groups.length), align: "right" },
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
    { label: "retention", text: retained(view) },
    ...(view.scheduled === 0 ? [] : [waiting(session, view)]),
    ...(view.queued === 0 ? [] : [queued(view)]),
    ...(view.heldBytes === 0 ? [] : [heldBack(view)]),
    ...(view.expired === 0 ? [] : [lost(view)]),
    { label: "groups", text: view.groups.length === 0 ? none : view.groups },
  ]);
}

/** "7 d", "7 d, 10 GiB", "for ever". */
function kept(view: TopicView): string {
  const time = view.retentionMs >= LIMITS.retentionMsMax ? "for ever" : span(view.retentionMs);
  return view.retentionBytes === 0 ? time : `${time}, ${size(view.retentionBytes)}`;
}

const retained = (view: TopicView): string =>
  view.unsettled === "keep"
    ? `${kept(view)}; what a group has not settled is kept`
    : `${kept(view)}; what a group has not settled is dropped`;

const heldBack = (view: TopicView): CardLine => ({
  label: "held back",
  text: `${size(view.heldBytes)} by ${view.heldBy.join(", ")}`,
  style: "yellow",
});

const waiting = (session: Session, view: TopicView): CardLine => ({
  label: "scheduled",
  text: `${plural(view.scheduled, "message")}, the first for ${session.print.zonedTime(view.nextDueAtMs ?? 0)}`,
});

const queued = (view: TopicView): CardLine => ({
  label: "queued",
  text: `${plural(view.queued, "message")} behind transactions that reserve their keys`,
});

const lost = (view: TopicView): CardLine => ({
  label: "expired",
  text: `${count(view.expired)} before a group had settled them`,
  style: "yellow",
});

const offsets = (view: TopicView): string =>
  held(view) === 0
    ? `none; the next is ${count(view.nextOffset)}`
    : `${count(view.firstOffset)} to ${count(view.nextOffset - 1)}`;
