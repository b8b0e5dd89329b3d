/**
 * One message with one group behaves as one machine: it is free, leased, pending in a transaction, settled or
 * a dead letter.
 *
 * Rules
 * - D3 Who holds an old token has no say.  D4 Nothing that was ended comes again.
 * - T9 A joined ack is pending until its transaction is decided, and shares its fate.
 * - D2 Who has settled a message was given it and said so, or an operator did.  D8 A dead letter was buried.
 * - D17 What an operator has skipped is settled.
 */
import type { Final, Standing } from "./final.ts";
import type { Delivery, History, Intervention, Operation, Read, Transaction } from "./history.ts";
import { type Machine, unexplained } from "./search.ts";

type Step = Operation &
  (
    | { readonly kind: "deliver" | "ack" | "retry" | "release" | "bury"; readonly no: number }
    | { readonly kind: "join"; readonly no: number; readonly isCommitted: boolean }
    | { readonly kind: "giveBack" | "giveUp" | Intervention["kind"] }
    | { readonly kind: "end"; readonly standing: Standing | "settled" }
  );

interface Entry {
  readonly kind: "free" | "leased" | "pending" | "joined" | "settled";
  readonly no: number;
  /** Its dead letters: one stays when the group is taken back behind it, and there may be another one then. */
  readonly dead: number;
}

export function deliveryProblems(history: History, final: Final): string[] {
  const problems: string[] = [];
  const interventions = byTopic(history.interventions);
  for (const read of history.reads.values()) {
    const { group, topic, offset } = partsOf(read.key);
    if (!final.groups.includes(group)) continue;
    const these = (interventions.get(`${group} ${topic}`) ?? []).filter(
      (one) => one.outcome !== "fail" && (one.offset === null || one.offset === offset),
    );
    const problem = problemOf(read, these, final);
    if (problem !== null) problems.push(problem);
  }
  return problems;
}

export function partsOf(key: string): { group: string; topic: string; offset: number } {
  const space = key.indexOf(" ");
  const at = key.lastIndexOf("@");
  const offset = Number(key.slice(at + 1));
  return { group: key.slice(0, space), topic: key.slice(space + 1, at), offset };
}

function byTopic(all: readonly Intervention[]): Map<string, Intervention[]> {
  const found = new Map<string, Intervention[]>();
  for (const one of all) {
    const key = `${one.group} ${one.topic}`;
    const known = found.get(key);
    if (known === undefined) found.set(key, [one]);
    else known.push(one);
  }
  return found;
}

function problemOf(
  read: Read,
  interventions: readonly Intervention[],
  final: Final,
): string | null {
  const steps: Step[] = [
    ...read.deliveries.flatMap(stepsOf),
    ...read.joins.flatMap(({ delivery, transaction }) =>
      joinsOf(delivery, transaction, final.transactions.get(transaction.id) ?? "none"),
    ),
    ...interventions,
  ];
  if (final.terms.mayBuryByItself)
    for (let at = 0; at <= interventions.length; at++)
      steps.push({ kind: "giveUp", ...anyTime(0) });
  steps.push({ kind: "end", standing: final.standings.get(read.key) ?? "settled", ...THE_END });
  // The search finds the usual order at once.
  steps.sort((one, other) => Math.min(one.endedAt, LATE) - Math.min(other.endedAt, LATE));
  const culprit = unexplained(MACHINE, steps);
  if (culprit === null) return null;
  return `${wordsOf(culprit)} (${read.key}: ${steps.map(nameOf).join(", ")})`;
}

const LATE = Number.MAX_SAFE_INTEGER;
const THE_END: Operation = { outcome: "ok", invokedAt: LATE, endedAt: LATE };

const anyTime = (invokedAt: number): Operation => ({
  outcome: "info",
  invokedAt,
  endedAt: Number.POSITIVE_INFINITY,
});

function stepsOf({ deliveryNo: no, at, ends }: Delivery): Step[] {
  // When it began nobody knows; its number says what came before it.
  const deliver: Step = { kind: "deliver", no, outcome: "ok", invokedAt: 0, endedAt: at };
  const others = ends.filter(({ outcome }) => outcome !== "fail");
  return [deliver, ...others.map((end): Step => ({ ...end, no }))];
}

function joinsOf({ deliveryNo: no, key }: Delivery, { steps }: Transaction, state: string): Step[] {
  const prepares = steps.filter(
    (step) =>
      step.kind === "prepare" &&
      step.outcome !== "fail" &&
      step.joins.some((one) => one.deliveryNo === no && one.key === key),
  );
  const [first] = prepares;
  if (first === undefined || state === "none") return [];
  const ok = prepares.filter(({ outcome }) => outcome === "ok");
  const endedAt = Math.min(...ok.map((one) => one.endedAt), Number.POSITIVE_INFINITY);
  const outcome = ok.length > 0 ? "ok" : "info";
  const isCommitted = state === "committed";
  const join: Step = {
    kind: "join",
    no,
    isCommitted,
    outcome,
    invokedAt: first.invokedAt,
    endedAt,
  };
  if (state !== "rolledBack") return [join];
  const causes = steps.filter((step) => "verdict" in step && step.verdict === "rollback");
  const causedAt = Math.min(...causes.map(({ invokedAt }) => invokedAt), LATE);
  return [join, { kind: "giveBack", ...anyTime(causedAt) }];
}

const MACHINE: Machine<Step, Entry> = {
  start: { kind: "free", no: 0, dead: 0 },
  next: followUps,
  textOf: ({ kind, no, dead }) => `${kind} ${no} ${dead}`,
};

function followUps(now: Entry, step: Step): readonly Entry[] {
  const { no, dead } = now;
  const to = (kind: Entry["kind"], deadThen = dead): Entry => ({ kind, no, dead: deadThen });
  switch (step.kind) {
    case "deliver":
      // That a lease ended is nobody's operation.
      return (now.kind === "free" || now.kind === "leased") && step.no > now.no
        ? [{ ...now, kind: "leased", no: step.no }]
        : [];
    case "ack":
    case "retry":
    case "release":
    case "bury":
    case "join":
      if (now.kind !== "leased" || now.no !== step.no) return step.outcome === "info" ? [now] : [];
      return [to(endOf(step), step.kind === "bury" ? dead + 1 : dead)];
    case "giveBack":
      return now.kind === "pending" ? [to("free")] : [now];
    case "giveUp":
      return now.kind === "leased" || now.kind === "free" ? [to("settled", dead + 1)] : [now];
    case "skip":
      if (now.kind === "free" || now.kind === "leased") return [to("settled")];
      return step.outcome === "info" ? [now] : [];
    case "replay":
      if (dead === 0) return [now];
      // When the transaction was decided nobody says: before it, or after it.
      if (now.kind === "joined") return [to("free", dead - 1), to("joined", dead - 1)];
      return [to(now.kind === "settled" ? "free" : now.kind, dead - 1)];
    case "purge":
      return [to(now.kind, Math.max(0, dead - 1))];
    case "reset":
      // Back or forward, as seen from this message.
      return [to("free"), to("settled")];
    case "end":
      return isSuch(now, step.standing) ? [now] : [];
  }
}

function endOf(step: Extract<Step, { readonly no: number }>): Entry["kind"] {
  if (step.kind === "ack" || step.kind === "bury") return "settled";
  if (step.kind === "join") return step.isCommitted ? "joined" : "pending";
  return "free";
}

function isSuch({ kind, dead }: Entry, standing: Standing | "settled"): boolean {
  const isSettled = kind === "settled" || kind === "joined";
  switch (standing) {
    case "settled":
      return isSettled && dead === 0;
    case "dead":
      return dead > 0;
    case "unsettled":
      return !isSettled;
    case "gone":
      return true;
  }
}

function wordsOf(step: Step): string {
  switch (step.kind) {
    case "deliver":
      return `D4: delivery ${step.no} is of what was ended or is pending`;
    case "end":
      return step.standing === "settled"
        ? "D2: it was settled by nobody"
        : `D2: it is ${step.standing} in the end, which it cannot be`;
    default:
      return `D3: a ${step.kind} is answered ok, and cannot have been`;
  }
}

const nameOf = (step: Step): string =>
  "no" in step
    ? `${step.kind} ${step.no} ${step.outcome}`
    : step.kind === "end"
      ? `in the end ${step.standing}`
      : `${step.kind} ${step.outcome}`;
