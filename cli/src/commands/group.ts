/** `escrow group …`: consumer groups, their progress and their policy. */
import type {
  ConsumerView,
  GroupChangeView,
  GroupPolicyView,
  GroupTopicView,
  GroupView,
  InstanceView,
} from "@escrowmq/protocol";
import { lastWord, safe, shellWord } from "../escape.ts";
import { UsageError } from "../failure.ts";
import { count, size, span } from "../format.ts";
import { duration, durations, integer } from "../parse.ts";
import type { CardLine, Column, Printer } from "../print.ts";
import type { Session } from "../session.ts";
import { type PageOptions, pageFields, type Verb, withPage } from "../verb.ts";

interface PolicyOptions {
  readonly lease?: number;
  readonly attempts?: number;
  readonly retryDelays?: readonly number[];
  readonly jitter?: number;
  readonly ordered?: boolean;
}

export const groupList: Verb<PageOptions> = {
  examples: ["escrow group list"],
  options: withPage,
  run: async (session, options) => {
    session.print.page(await session.request("group.list", pageFields(options)), {
      columns: COLUMNS,
      empty:
        "No consumer groups yet. The first consumer makes its group: escrow consume --topic orders --group billing",
      command: "escrow group list",
      isFirst: options.after === undefined,
    });
    return undefined;
  },
};

export const groupDescribe: Verb = {
  examples: ["escrow group describe billing", "escrow group describe billing --json"],
  run: async (session, _options, group) => {
    const view = await session.request("group.describe", { group });
    session.print.answer(view, describe(session, view));
    return undefined;
  },
};

export const groupUpdate: Verb<PolicyOptions> = {
  examples: [
    "escrow group update billing --lease 2m --attempts 5",
    "escrow group update billing --retry-delays 1s,10s,1m --jitter 20",
    "escrow group update billing --ordered",
  ],
  options: (command) =>
    command
      .option("--lease <duration>", "how long a consumer may hold a message", duration)
      .option("--attempts <n>", "deliveries before the dead-letter topic", integer(1, 1_000))
      .option("--retry-delays <durations>", "the ladder, such as 10s,30s,1m", durations)
      .option("--jitter <percent>", "how far a delay may stray", integer(0, 100))
      .option("--ordered", "messages of one key one after the other")
      .option("--no-ordered", "messages of one key side by side"),
  run: async (session, options, group) => {
    const policy = policyFields(options);
    if (Object.keys(policy).length === 0)
      throw new UsageError(
        "Nothing to change: give --lease, --attempts, --retry-delays, --jitter or --[no-]ordered.",
      );
    const view = await session.request("group.update", { group, ...policy });
    session.print.answer(view, describe(session, view));
    return undefined;
  },
};

const policyFields = (options: PolicyOptions): Partial<GroupPolicyView> => ({
  ...(options.lease === undefined ? {} : { leaseMs: options.lease }),
  ...(options.attempts === undefined ? {} : { attemptsMax: options.attempts }),
  ...(options.retryDelays === undefined ? {} : { retryDelaysMs: options.retryDelays }),
  ...(options.jitter === undefined ? {} : { jitterPercent: options.jitter }),
  ...(options.ordered === undefined ? {} : { ordered: options.ordered }),
});

const total = (group: GroupView, of: (topic: GroupTopicView) => number): string =>
  count(group.topics.reduce((sum, topic) => sum + of(topic), 0));

const COLUMNS: readonly Column<GroupView>[] = [
  { head: "GROUP", of: (group) => group.group },
  { head: "TOPICS", spare: 1, of: (group) => count(group.topics.length), align: "right" },
  { head: "LAG", of: (group) => total(group, (topic) => topic.lag), align: "right" },
  {
    head: "LEASED",
    spare: 3,
    of: (group) => total(group, (topic) => topic.leased),
    align: "right",
  },
  {
    head: "WAITING",
    spare: 2,
    of: (group) => total(group, (topic) => topic.waiting),
    align: "right",
  },
  {
    head: "CONSUMERS",
    spare: 4,
    of: (group) => count(group.consumers.length + (group.instances?.connected ?? 0)),
    align: "right",
  },
  {
    head: "STATE",
    of: (group) => (group.paused === undefined ? "open" : "paused"),
    style: (group) => (group.paused === undefined ? undefined : "yellow"),
  },
  {
    head: "DEAD LETTERS",
    of: (group) => count(group.deadLetters),
    align: "right",
    style: (group) => (group.deadLetters > 0 ? "yellow" : undefined),
  },
];

const TOPIC_COLUMNS: readonly Column<GroupTopicView>[] = [
  { head: "TOPIC", of: (topic) => topic.topic },
  { head: "NEXT OFFSET", spare: 5, of: (topic) => count(topic.nextOffset), align: "right" },
  { head: "LAG", of: (topic) => count(topic.lag), align: "right" },
  { head: "READY", spare: 2, of: (topic) => count(topic.ready), align: "right" },
  { head: "LEASED", spare: 4, of: (topic) => count(topic.leased), align: "right" },
  { head: "WAITING", spare: 3, of: (topic) => count(topic.waiting), align: "right" },
  { head: "PENDING", spare: 1, of: (topic) => count(topic.pending), align: "right" },
  { head: "OLDEST", of: (topic) => (topic.lag === 0 ? "" : span(topic.oldestAgeMs)) },
];

/** Of groups that retention has met. */
const HOLDS_BACK_COLUMN: Column<GroupTopicView> = {
  head: "HOLDS BACK",
  of: (topic) => (topic.heldBytes === 0 ? "" : size(topic.heldBytes)),
  style: (topic) => (topic.heldBytes > 0 ? "yellow" : undefined),
};

const EXPIRED_COLUMN: Column<GroupTopicView> = {
  head: "EXPIRED",
  of: (topic) => count(topic.expired),
  align: "right",
  style: (topic) => (topic.expired > 0 ? "yellow" : undefined),
};

/** Of groups to which a time to live ever mattered. */
const LAPSED_COLUMN: Column<GroupTopicView> = {
  head: "LAPSED",
  of: (topic) => count(topic.lapsed),
  align: "right",
};

/** Of ordered groups only. */
const HELD_COLUMN: Column<GroupTopicView> = {
  head: "HELD",
  of: (topic) => count(topic.held),
  align: "right",
};

/** What is nought for all is left out, so that the usual table fits into 80 columns. */
const topicColumns = ({ policy, topics }: GroupView): readonly Column<GroupTopicView>[] => [
  ...TOPIC_COLUMNS,
  ...(topics.some(({ heldBytes }) => heldBytes > 0) ? [HOLDS_BACK_COLUMN] : []),
  ...(topics.some(({ expired }) => expired > 0) ? [EXPIRED_COLUMN] : []),
  ...(topics.some(({ lapsed }) => lapsed > 0) ? [LAPSED_COLUMN] : []),
  ...(policy.ordered ? [HELD_COLUMN] : []),
];

const CONSUMER_COLUMNS: readonly Column<ConsumerView>[] = [
  { head: "CONNECTION", of: (consumer) => String(consumer.connection), align: "right" },
  { head: "CLIENT", fit: "cut", of: (consumer) => consumer.client },
  { head: "LEASED", of: (consumer) => count(consumer.leased), align: "right" },
  { head: "CREDIT", spare: 2, of: (consumer) => count(consumer.creditMessages), align: "right" },
  { head: "CREDIT BYTES", spare: 1, of: (consumer) => size(consumer.creditBytes), align: "right" },
];

const INSTANCE_COLUMNS: readonly Column<InstanceView>[] = [
  { head: "INSTANCE", of: (one) => one.instance },
  {
    head: "SEEN",
    of: (one) => (one.awayMs === undefined ? "connected" : `${span(one.awayMs)} ago`),
    style: (one) => (one.connected ? undefined : "yellow"),
  },
  { head: "LAG", of: (one) => count(one.lag), align: "right" },
  { head: "LEASED", spare: 1, of: (one) => count(one.leased), align: "right" },
  {
    head: "LOST",
    of: (one) => count(one.expired + one.abandoned),
    align: "right",
    style: (one) => (one.expired + one.abandoned > 0 ? "yellow" : undefined),
  },
];

function instances(session: Session, { group, instances: of }: GroupView): readonly string[] {
  if (of === undefined) return [];
  const more = of.count - of.items.length;
  const rest = more === 0 ? "" : `\n… and ${count(more)} more.`;
  const hint = `More of one: escrow group describe ${shellWord(`${group}%NAME`)}`;
  return [`${session.print.table(INSTANCE_COLUMNS, of.items)}${rest}\n${hint}`];
}

function describe(session: Session, view: GroupView): string {
  const { print } = session;
  const card = print.card(print.paint("bold", safe`Group ${view.group}`), [
    state(print, view),
    { label: "lease", text: span(view.policy.leaseMs) },
    { label: "attempts", text: count(view.policy.attemptsMax) },
    { label: "retry after", text: ladder(view.policy.retryDelaysMs) },
    { label: "jitter", text: `${view.policy.jitterPercent} %` },
    ...(view.policy.ordered ? [{ label: "order", text: "by key" }] : []),
    ...view.topics.filter(({ filter }) => filter !== "").map(filterLine),
    ...view.topics.flatMap(standsStill),
    ...standing(view),
    ...changes(print, view),
  ]);
  const topics =
    view.topics.length === 0
      ? view.instances !== undefined
        ? "It is broadcast to: each instance reads by itself."
        : `Reads no topic yet. Subscribe: escrow consume --topic orders --group ${shellWord(view.group)}`
      : print.table(topicColumns(view), view.topics);
  return [card, topics, ...instances(session, view), ...consumers(print, view)].join("\n\n");
}

/** Connected instances stand in a table of their own. */
function consumers(print: Printer, view: GroupView): readonly string[] {
  if (view.consumers.length > 0) return [print.table(CONSUMER_COLUMNS, view.consumers)];
  return (view.instances?.connected ?? 0) > 0 ? [] : ["No consumer is connected."];
}

const RUNGS_OF_LINE = 8;

function ladder(delaysMs: readonly number[]): string | readonly string[] {
  if (delaysMs.length === 0) return "at once";
  const rungs = delaysMs.map((ms, at) => (at === delaysMs.length - 1 ? span(ms) : `${span(ms)},`));
  const lines = Math.ceil(rungs.length / RUNGS_OF_LINE);
  return Array.from({ length: lines }, (_, line) =>
    rungs.slice(line * RUNGS_OF_LINE, (line + 1) * RUNGS_OF_LINE).join(" "),
  );
}

/** What an instance fails for good it goes on without: it has no dead letters. */
function standing(view: GroupView): readonly CardLine[] {
  const away =
    view.awayMs === undefined
      ? []
      : [{ label: "away for", text: span(view.awayMs), style: "yellow" as const }];
  const abandoned = view.topics.reduce((sum, topic) => sum + (topic.abandoned ?? 0), 0);
  const isInstance = view.group.includes("%");
  if (isInstance) return [...away, { label: "abandoned", text: count(abandoned) }];
  const known =
    view.instances === undefined
      ? []
      : [
          {
            label: "instances",
            text: `${count(view.instances.count)}, ${count(view.instances.connected)} connected`,
          },
        ];
  return [...known, deadLetters(view)];
}

const state = (print: Printer, { group, paused }: GroupView): CardLine =>
  paused === undefined
    ? { label: "state", text: "open" }
    : {
        label: "state",
        text: [
          `paused since ${print.zonedTime(paused.atMs)} by ${paused.operator}: ${paused.reason}`,
          `Deliver to it again: escrow group resume ${shellWord(paused.group ?? group)} --reason "…"`,
        ],
        style: "yellow",
      };

const changes = (print: Printer, view: GroupView): readonly CardLine[] =>
  view.changes.length === 0
    ? []
    : [
        {
          label: "last changes",
          text: view.changes.map(
            (change) =>
              `${print.zonedTime(change.atMs)} ${changed(change)} by ${change.operator}: ${change.reason}`,
          ),
        },
      ];

function changed({ what, topic, offset, count: times }: GroupChangeView): string {
  switch (what) {
    case "reset":
      return times === 1 ? `reset in ${topic} to offset ${offset}` : `reset in ${times} topics`;
    case "skipped":
      return times === 1 ? `skipped ${topic}@${offset}` : `skipped ${times} messages of ${topic}`;
    default:
      return what;
  }
}

const filterLine = ({ topic, filter, filtered }: GroupTopicView) => ({
  label: "filter",
  text: safe`${topic}: ${filter} (passed over: ${count(filtered)})`,
});

const STANDS_BECAUSE = {
  full: "too many messages wait behind others of their keys",
  unreadable: "the next message cannot be read",
} as const;

const standsStill = ({ topic, standsBecause }: GroupTopicView) =>
  standsBecause === undefined
    ? []
    : [
        {
          label: "stands still",
          text: safe`${topic}: ${STANDS_BECAUSE[standsBecause]}`,
          style: "yellow" as const,
        },
      ];

const deadLetters = (view: GroupView) =>
  view.deadLetters === 0
    ? { label: "dead letters", text: "none" }
    : {
        label: "dead letters",
        text: `${count(view.deadLetters)}. See them: escrow dlq list ${lastWord(view.group)}`,
        style: "yellow" as const,
      };
