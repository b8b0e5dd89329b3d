/** `escrow group reset|delete`: what moves or ends a group's progress. */
import type { ResetView, TopicResetView } from "@escrowmq/protocol";
import { confirmName } from "../confirm.ts";
import type { Position } from "../connect.ts";
import { safe } from "../escape.ts";
import { UsageError } from "../failure.ts";
import { count, plural } from "../format.ts";
import { position } from "../parse.ts";
import type { Session } from "../session.ts";
import {
  type ReasonOptions,
  type Verb,
  withReason,
  withReasonUnlessDry,
  withYes,
  type YesOptions,
} from "../verb.ts";

interface ResetOptions extends ReasonOptions, YesOptions {
  readonly topic?: string;
  readonly to: Position;
  readonly dryRun?: true;
}

export const groupReset: Verb<ResetOptions> = {
  examples: [
    "escrow group reset billing --topic orders --to earliest --dry-run",
    'escrow group reset billing --topic orders --to time:2025-01-31T09:00 --reason "wrong tax rate" --yes billing',
    "escrow group reset billing --to time:2025-01-31T09:00 --dry-run",
    "escrow group reset cache%node-1 --to earliest --dry-run",
  ],
  options: (command) =>
    withYes(withReasonUnlessDry(command))
      .option("--topic <topic>", "the topic to move in; else all that the group reads")
      .requiredOption("--to <position>", "earliest, latest, offset:N or time:ISO", position),
  run: async (session, options, group) => {
    const audit = session.audit(options.dryRun ? (options.reason ?? "dry run") : options.reason);
    if (options.topic === undefined && options.to.from === "offset")
      throw new UsageError("An offset means something in one topic only: give --topic.");
    const where = options.topic === undefined ? {} : { topic: options.topic };
    const request = { group, ...where, ...options.to, ...audit };
    const plan = await session.request("group.reset", { ...request, dryRun: true });
    if (options.dryRun) {
      session.print.answer(plan, effects("Would move", group, plan));
      return undefined;
    }
    await confirmName(
      session,
      { name: group, says: effects("This moves", group, plan).split("\n") },
      options.yes,
    );
    const done = await session.request("group.reset", request);
    session.print.answer(done, effects("Moved", group, done));
    return undefined;
  },
};

export const groupDelete: Verb<ReasonOptions & YesOptions> = {
  examples: ['escrow group delete billing --reason "service retired" --yes billing'],
  options: (command) => withYes(withReason(command)),
  run: async (session, options, group) => {
    const audit = session.audit(options.reason);
    await confirmName(
      session,
      { name: group, says: [await whatIsLost(session, group)] },
      options.yes,
    );
    const value = await session.request("group.delete", { group, ...audit });
    session.print.answer(value, safe`Group ${group} deleted.`);
    return undefined;
  },
};

function effects(verb: string, group: string, { topics }: ResetView): string {
  if (topics.length === 0) return safe`Group ${group} reads no topic: there is nothing to move.`;
  return topics.map((view) => `${verb} ${effect(group, view)}`).join("\n");
}

function effect(group: string, view: TopicResetView): string {
  const path = safe`group ${group} in ${view.topic} from offset ${count(view.fromOffset)} to ${count(view.toOffset)}`;
  const again = `${bounded(view.redelivered, "settled message", view)} delivered again`;
  const skipped = `${bounded(view.skipped, "unsettled message", view)} skipped`;
  return `${path}: ${again}, ${skipped}.`;
}

const bounded = (times: number, noun: string, { atMost }: TopicResetView): string =>
  `${atMost && times > 0 ? "at most " : ""}${plural(times, noun)}`;

async function whatIsLost(session: Session, group: string): Promise<string> {
  const view = await session.request("group.describe", { group });
  const dead = plural(view.deadLetters, "dead letter");
  return `The progress of group ${group} in ${plural(view.topics.length, "topic")} and its ${dead} will be gone.`;
}
