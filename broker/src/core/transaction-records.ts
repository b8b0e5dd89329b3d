/** What records do to a transaction that stays undecided. As in state.ts, nothing here refuses (A1). */
import type { RecordOf } from "./records.ts";
import type { State } from "./state.ts";

export function checked(
  state: State,
  { transactionId, isCounted, nextCheckAtMs }: RecordOf<"checked">,
): void {
  const transaction = state.transaction(transactionId);
  if (isCounted) transaction.checks++;
  transaction.nextCheckAtMs = nextCheckAtMs;
}

export function parked(state: State, { transactionId, cause }: RecordOf<"parked">): void {
  const transaction = state.transaction(transactionId);
  transaction.parked = cause;
  state.totals.parked++;
  state.totalsOf(transaction.group).parked++;
}

export function resumed(state: State, { transactionId, checkAtMs }: RecordOf<"resumed">): void {
  const transaction = state.transaction(transactionId);
  transaction.parked = null;
  transaction.checks = 0;
  transaction.ageFromMs = state.atMs;
  transaction.nextCheckAtMs = checkAtMs;
  state.totals.parked--;
  state.totalsOf(transaction.group).parked--;
}
