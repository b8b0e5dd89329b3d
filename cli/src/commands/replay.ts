/**
 * `escrow dlq replay|purge`: dead letters are chosen first, then replayed or purged in slices. A slice
 * is small enough for one block of the broker, and for the rate that the operator allows.
 */
import { type DeadLetterView, EscrowError, LIMITS } from "@escrowmq/protocol";
import { type Command, Option } from "commander";
import { confirmName, confirmYes } from "../confirm.ts";
import { safe, shellWord } from "../escape.ts";
import { EXIT, UsageError } from "../failure.ts";
import { count, plural } from "../format.ts";
import { each, integer, type Pair, pair } from "../parse.ts";
import type { Session } from "../session.ts";
import { stopOnSignal } from "../stop.ts";
import {
  type ReasonOptions,
  type Verb,
  withReasonUnlessDry,
  withYes,
  type YesOptions,
} from "../verb.ts";
import { deadLetterColumns } from "./dead-letter.ts";
import { type Choice, type Chosen, choose } from "./selection.ts";

interface SelectOptions extends ReasonOptions {
  readonly match?: readonly Pair[];
  readonly offset?: readonly number[];
  readonly all?: true;
  readonly dryRun?: true;
}

interface ReplayOptions extends SelectOptions {
  readonly perSecond?: number;
  readonly yes?: true;
}

const withSelection = (command: Command): Command =>
  withReasonUnlessDry(command)
    .option(
      "--match <name=value...>",
      "those whose reason contains, or whose topic is, the value; all must match",
      each(pair),
    )
    .option("--offset <n...>", "these", each(integer(0, Number.MAX_SAFE_INTEGER)))
    .addOption(new Option("--all", "all of them").conflicts(["match", "offset"]));

export const dlqReplay: Verb<ReplayOptions> = {
  examples: [
    "escrow dlq replay billing --match reason=timeout --dry-run",
    'escrow dlq replay billing --all --per-second 50 --reason "tax service is back" --yes',
  ],
  options: (command) =>
    withSelection(command)
      .option("--per-second <n>", "no more than so many a second", integer(1, 1_000_000))
      .option("--yes", "do not ask"),
  run: async (session, options, group) => {
    const chosen = await choose(session, group, choiceOf(options));
    if (options.dryRun) return dryRun(session, chosen, "replayed");
    const audit = session.audit(options.reason);
    const says = safe`${plural(chosen.letters.length, "dead letter")} of group ${group} will be delivered again.`;
    if (chosen.letters.length > 0) await confirmYes(session, says, options.yes === true);
    const work = { type: "dlq.replay", verb: "replayed", group, audit } as const;
    return carryOut(session, { ...work, chosen, perSecond: options.perSecond });
  },
};

export const dlqPurge: Verb<SelectOptions & YesOptions> = {
  examples: [
    "escrow dlq purge billing --all --dry-run",
    'escrow dlq purge billing --match topic=orders --reason "refunded by hand" --yes billing',
  ],
  options: (command) => withYes(withSelection(command)),
  run: async (session, options, group) => {
    const chosen = await choose(session, group, choiceOf(options));
    if (options.dryRun) return dryRun(session, chosen, "purged");
    const audit = session.audit(options.reason);
    const says = `${plural(chosen.letters.length, "dead letter")} of group ${group} will be gone for ever.`;
    if (chosen.letters.length > 0)
      await confirmName(session, { name: group, says: [says] }, options.yes);
    const work = { type: "dlq.purge", verb: "purged", group, audit } as const;
    return carryOut(session, { ...work, chosen, perSecond: undefined });
  },
};

function choiceOf(options: SelectOptions): Choice {
  const { match = [], offset = [] } = options;
  if (!options.all && match.length === 0 && offset.length === 0)
    throw new UsageError("Say which: --match, --offset or --all.");
  const wrong = match.find(({ name }) => name !== "reason" && name !== "topic");
  if (wrong !== undefined)
    throw new UsageError(`--match knows reason=… and topic=…, but not ${wrong.name}.`);
  return { match, offsets: new Set(offset) };
}

function dryRun(session: Session, chosen: Chosen, verb: string): number {
  const { print } = session;
  const { letters, missing, sample } = chosen;
  if (print.isJson) {
    print.answer({ dryRun: true, offsets: letters.map((letter) => letter.offset), missing }, "");
    return EXIT.ok;
  }
  if (sample.length > 0) print.line(print.table<DeadLetterView>(deadLetterColumns(print), sample));
  const more = letters.length - sample.length;
  if (more > 0) print.line(`and ${count(more)} more`);
  print.line(`${plural(letters.length, "dead letter")} would be ${verb}.${missingText(missing)}`);
  return EXIT.ok;
}

interface Work {
  readonly type: "dlq.replay" | "dlq.purge";
  readonly verb: "replayed" | "purged";
  readonly group: string;
  readonly audit: { readonly operator: string; readonly reason: string };
  readonly chosen: Chosen;
  readonly perSecond: number | undefined;
}

async function carryOut(session: Session, work: Work): Promise<number> {
  const { io } = session;
  const total = work.chosen.letters.length;
  const stop = stopOnSignal(io);
  const progress = io.startProgress(work.verb, total);
  const missing = [...work.chosen.missing];
  const startedAtMs = io.clock.now();
  let asked = 0;
  let done = 0;
  try {
    for (const offsets of slices(work.chosen.letters, work.perSecond)) {
      if (work.perSecond !== undefined) {
        const dueAtMs = startedAtMs + (asked / work.perSecond) * 1_000;
        const waitMs = dueAtMs - io.clock.now();
        if (waitMs > 0) await io.clock.sleep(waitMs, stop.signal);
      }
      if (stop.signal.aborted) break;
      const view = await session.request(work.type, { group: work.group, offsets, ...work.audit });
      asked += offsets.length;
      done += view.done;
      missing.push(...view.missing);
      progress.update(asked);
    }
  } catch (error) {
    if (EscrowError.is(error)) session.print.note(halfway(work, done));
    throw error;
  } finally {
    progress.stop();
    stop.unlisten();
  }
  if (asked < total) session.print.note(halfway(work, done));
  const text = `${plural(done, "dead letter")} ${work.verb}.${missingText(missing)}`;
  session.print.answer({ done, missing }, done === 0 ? nothing(work, text) : text);
  if (asked < total) return EXIT.interrupted;
  return missing.length > 0 ? EXIT.refused : EXIT.ok;
}

/** So many slices a second at most, when there is a rate; more would be a request for each letter. */
const SLICES_PER_SECOND = 10;

function* slices(
  letters: Chosen["letters"],
  perSecond: number | undefined,
): Generator<readonly number[]> {
  const itemsMax =
    perSecond === undefined
      ? LIMITS.pageItemsMax
      : Math.min(LIMITS.pageItemsMax, Math.ceil(perSecond / SLICES_PER_SECOND));
  let offsets: number[] = [];
  let bytes = 0;
  for (const letter of letters) {
    const isFull = offsets.length >= itemsMax || bytes + letter.bytes > LIMITS.transactionBytesMax;
    if (isFull && offsets.length > 0) {
      yield offsets;
      offsets = [];
      bytes = 0;
    }
    offsets.push(letter.offset);
    bytes += letter.bytes;
  }
  if (offsets.length > 0) yield offsets;
}

const halfway = (work: Work, done: number): string =>
  `Stopped on the way: ${count(done)} of ${count(work.chosen.letters.length)} ${work.verb}. The same command goes on; nothing is ${work.verb} twice.`;

const MISSING_SHOWN_MAX = 10;

function missingText(missing: readonly number[]): string {
  if (missing.length === 0) return "";
  const more = missing.length > MISSING_SHOWN_MAX ? " …" : "";
  return ` No dead letter (any more) at offset ${missing.slice(0, MISSING_SHOWN_MAX).join(", ")}${more}.`;
}

const nothing = (work: Work, text: string): string =>
  `${text} See which there are: escrow dlq list ${shellWord(work.group)}`;
