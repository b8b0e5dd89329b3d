/** `escrow producer …`: producer groups, and where those are asked that hold no connection. */
import type { EndpointView, ProducerView } from "@escrowmq/protocol";
import { safe, shellWord } from "../escape.ts";
import { UsageError } from "../failure.ts";
import { count, size, span } from "../format.ts";
import type { Column } from "../print.ts";
import type { Session } from "../session.ts";
import {
  type PageOptions,
  pageFields,
  type ReasonOptions,
  type Verb,
  withPage,
  withReason,
} from "../verb.ts";

interface EndpointOptions extends ReasonOptions {
  readonly idsOnly?: true;
  readonly remove?: true;
}

export const producerList: Verb<PageOptions> = {
  examples: ["escrow producer list"],
  options: withPage,
  run: async (session, options) => {
    session.print.page(await session.request("producer.list", pageFields(options)), {
      columns: COLUMNS,
      empty:
        "No producer groups yet. A group appears when a producer announces it, or: escrow producer set-endpoint <group> <url>",
      command: "escrow producer list",
      isFirst: options.after === undefined,
    });
    return undefined;
  },
};

export const producerSetEndpoint: Verb<EndpointOptions> = {
  examples: [
    'escrow producer set-endpoint order-service https://orders.example.com/check --reason "goes serverless"',
    'escrow producer set-endpoint order-service --remove --reason "has connections again"',
  ],
  options: (command) =>
    withReason(command)
      .option("--ids-only", "ask with message ids, without their bodies")
      .option("--remove", "ask connections only; no endpoint any more"),
  run: async (session, options, group, url: string | undefined) => {
    if ((url === undefined) === (options.remove === undefined))
      throw new UsageError("Give either the endpoint's URL or --remove.");
    const view = await session.request("producer.endpoint", {
      group,
      ...(url === undefined ? {} : { url }),
      ...(options.idsOnly ? { idsOnly: true } : {}),
      ...session.audit(options.reason),
    });
    session.print.answer(view, endpoint(session, view));
    return undefined;
  },
};

const COLUMNS: readonly Column<ProducerView>[] = [
  { head: "PRODUCER GROUP", of: (group) => group.group },
  { head: "CONNECTIONS", spare: 2, of: (group) => count(group.connections), align: "right" },
  {
    head: "CHECKERS",
    of: (group) => count(group.checkers),
    align: "right",
    style: (group) => (canAnswer(group) ? undefined : "yellow"),
  },
  { head: "UNDECIDED", of: (group) => count(group.undecided), align: "right" },
  {
    head: "PARKED",
    of: (group) => count(group.parked),
    align: "right",
    style: (group) => (group.parked > 0 ? "yellow" : undefined),
  },
  { head: "UNDECIDED SIZE", spare: 1, of: (group) => size(group.undecidedBytes), align: "right" },
  {
    head: "OLDEST",
    spare: 3,
    of: (group) => (group.undecided + group.parked > 0 ? span(group.oldestAgeMs) : "-"),
    align: "right",
  },
  { head: "ENDPOINT", fit: "cut", of: (group) => group.endpoint ?? "-" },
];

/** With undecided work and nobody to ask, the work only ages. */
const canAnswer = (group: ProducerView): boolean =>
  group.undecided === 0 || group.checkers > 0 || group.endpoint !== undefined;

function endpoint(session: Session, view: EndpointView): string {
  if (view.url === undefined)
    return safe`Producer group ${view.group} has no check-back endpoint any more.`;
  const set = safe`Producer group ${view.group} is asked at ${view.url} when no connection can answer.`;
  if (view.secret === undefined) return set;
  const key = `  ${session.print.paint("bold", shellWord(view.secret))}`;
  return `${set}\nThe key that signs the questions, shown now and never again:\n${key}`;
}
