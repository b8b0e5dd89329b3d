/**
 * Each transaction behaves as one machine that does one thing after the other.
 *
 * Rules
 * - T1 Nobody gets a message of a transaction before it is committed, nor ever if it is rolled back.
 * - T2 It is decided once: by somebody who asked for that, and for everybody who asks later.
 * - T6 What was decided is remembered.  T7 The same prepare again is the same transaction, another is refused.
 * - I1 What was answered ok is so in the end.  I2 What was not answered happened or not, and for everybody.
 */
import type { Final } from "./final.ts";
import type { Decision, History, State, Transaction, TransactionStep } from "./history.ts";
import { type Machine, unexplained } from "./search.ts";

interface Standing {
  readonly state: Exclude<State, "parked">;
  /** What it was prepared with. */
  readonly messages: readonly string[];
}

const STATE_OF = { commit: "committed", rollback: "rolledBack" } as const;
const isDecided = (state: State): boolean => state === "committed" || state === "rolledBack";

export function transactionProblems(history: History, final: Final): string[] {
  const problems: string[] = [];
  for (const transaction of history.transactions.values()) {
    const problem = problemOf(transaction, final);
    if (problem !== null) problems.push(problem);
  }
  for (const id of final.transactions.keys())
    if (!history.transactions.has(id)) problems.push(`D1: ${id} is known, and nobody prepared it`);
  return problems;
}

function problemOf(transaction: Transaction, { transactions }: Final): string | null {
  const { id } = transaction;
  const state = transactions.get(id) ?? "none";
  const last: TransactionStep = {
    kind: "sighting",
    state,
    message: null,
    outcome: "ok",
    invokedAt: Number.MAX_SAFE_INTEGER,
    endedAt: Number.MAX_SAFE_INTEGER,
  };
  const culprit = unexplained(MACHINE, [...transaction.steps, last]);
  if (culprit === null) return null;
  const what = culprit === last ? lastWords(transaction, state) : wordsOf(culprit);
  return `${what} (${id}: ${transaction.steps.map(nameOf).join(", ")}; in the end ${state})`;
}

const MACHINE: Machine<TransactionStep, Standing> = {
  start: { state: "none", messages: [] },
  next: (standing, step) => {
    const following = followUp(standing, step);
    return following === null ? [] : [following];
  },
  textOf: ({ state, messages }) => `${state} ${messages.join()}`,
};

/** Null: it cannot have been so. */
function followUp(now: Standing, step: TransactionStep): Standing | null {
  switch (step.kind) {
    case "prepare": {
      const isSame = now.state !== "none" && isSameContent(now.messages, step.messages);
      if (step.outcome === "fail")
        return !step.isConflict || (now.state !== "none" && !isSame) ? now : null;
      if (now.state === "none") return { state: "undecided", messages: step.messages };
      if (step.outcome === "info") return now;
      if (!isSame) return null;
      return step.told === null || isTold(now, step.told) ? now : null;
    }
    case "verdict":
      if (step.outcome === "fail") return step.told === null || isTold(now, step.told) ? now : null;
      return decided(now, step.verdict, step.outcome === "ok");
    case "suggestion":
      return decided(now, step.verdict, false);
    case "sighting":
      if (!isTold(now, step.state)) return null;
      return step.message === null || now.messages.includes(step.message) ? now : null;
  }
}

const isSameContent = (one: readonly string[], other: readonly string[]): boolean =>
  one.length === other.length && one.every((message, at) => message === other[at]);

const isTold = ({ state }: Standing, told: State): boolean =>
  state === (told === "parked" ? "undecided" : told);

/** `isOk`: it was answered so; else it may just as well have been refused. */
function decided(now: Standing, verdict: Decision, isOk: boolean): Standing | null {
  if (now.state === "undecided") return { ...now, state: STATE_OF[verdict] };
  return !isOk || now.state === STATE_OF[verdict] ? now : null;
}

function wordsOf(step: TransactionStep): string {
  switch (step.kind) {
    case "prepare":
      return step.outcome === "ok"
        ? "T7: a prepare is answered ok, and cannot have been"
        : "T7: a prepare is said to be in conflict, and is not";
    case "verdict":
      return step.outcome === "ok"
        ? `T2: the ${step.verdict} is answered ok, and cannot have been`
        : `T2: the ${step.verdict} is refused for ${step.told}, which it cannot have been`;
    case "suggestion":
      return "T2: a suggestion has no end";
    case "sighting":
      return step.message === null
        ? `T2: it is said to be ${step.state}, which it cannot have been`
        : `T1: ${step.message} is delivered, and it cannot have been committed`;
  }
}

function lastWords({ steps }: Transaction, state: State): string {
  const ok = steps.filter((step) => step.outcome === "ok" && step.kind !== "sighting");
  if (state === "none" && ok.length > 0) return "I1: what was answered ok is lost";
  const promised = ok.find((step) => step.kind === "verdict");
  if (promised?.kind === "verdict") return `I1: its ${promised.verdict} was answered ok`;
  if (isDecided(state)) return `T2: it is ${state}, and nobody wanted that`;
  return "T6: what was decided is forgotten";
}

function nameOf(step: TransactionStep): string {
  if (step.kind === "prepare") return `prepare ${step.outcome}`;
  if (step.kind === "sighting") return step.message === null ? step.state : `seen ${step.message}`;
  return `${step.kind} ${step.verdict} ${step.outcome}`;
}
