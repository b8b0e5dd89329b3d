/** `escrow group pause|resume|skip`: what holds a group up, and what gets it past a message. */
import type { SkipView } from "@escrowmq/protocol";
import { confirmYes } from "../confirm.ts";
import { safe, shellWord } from "../escape.ts";
import { EXIT } from "../failure.ts";
import { plural } from "../format.ts";
import { each, integer } from "../parse.ts";
import { type ReasonOptions, type Verb, withReason } from "../verb.ts";

export const groupPause: Verb<ReasonOptions> = {
  examples: ['escrow group pause billing --reason "tax service is down"'],
  options: withReason,
  run: async (session, options, group) => {
    const view = await session.request("group.pause", {
      group,
      ...session.audit(options.reason),
    });
    const by = safe`by ${view.paused?.operator ?? ""}: ${view.paused?.reason ?? ""}`;
    session.print.answer(
      view,
      `${safe`Group ${group} is paused, ${by}.`} What it has in hand it may still settle. Go on: escrow group resume ${shellWord(group)} --reason "…"`,
    );
    return undefined;
  },
};

export const groupResume: Verb<ReasonOptions> = {
  examples: ['escrow group resume billing --reason "tax service is back"'],
  options: withReason,
  run: async (session, options, group) => {
    const view = await session.request("group.resume", {
      group,
      ...session.audit(options.reason),
    });
    const ready = view.topics.reduce((sum, topic) => sum + topic.ready, 0);
    session.print.answer(
      view,
      safe`Group ${group} is delivered to again; ${plural(ready, "message")} waited.`,
    );
    return undefined;
  },
};

interface SkipOptions extends ReasonOptions {
  readonly topic: string;
  readonly offset: readonly number[];
  readonly yes?: true;
}

export const groupSkip: Verb<SkipOptions> = {
  examples: [
    'escrow group skip billing --topic orders --offset 17 --reason "no such customer" --yes',
  ],
  options: (command) =>
    withReason(command)
      .requiredOption("--topic <topic>", "the topic of the messages")
      .requiredOption("--offset <n...>", "these", each(integer(0, Number.MAX_SAFE_INTEGER)))
      .option("--yes", "do not ask"),
  run: async (session, options, group) => {
    const audit = session.audit(options.reason);
    const { topic, offset: offsets } = options;
    const says = safe`${plural(offsets.length, "message")} of ${topic} will count as settled for group ${group}, without being processed.`;
    await confirmYes(session, says, options.yes === true);
    const view = await session.request("group.skip", { group, topic, offsets, ...audit });
    session.print.answer(view, outcome(view));
    return view.missing.length + view.pending.length > 0 ? EXIT.refused : EXIT.ok;
  },
};

function outcome({ done, missing, pending }: SkipView): string {
  const parts = [`${plural(done, "message")} skipped.`];
  if (missing.length > 0)
    parts.push(`Nothing to settle (any more) at offset ${missing.join(", ")}.`);
  if (pending.length > 0)
    parts.push(
      `In undecided transactions, which decide over them: offset ${pending.join(", ")}. See: escrow tx list`,
    );
  return parts.join(" ");
}
