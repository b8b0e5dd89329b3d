/** What the parts of the load share: names, the current connections, and how errors are read. */
import type { Producer } from "@escrowmq/producer";
import { EscrowError } from "@escrowmq/protocol";
import type { AdminClient } from "@escrowmq/protocol/client";
import type { Decision, History, Outcome, SaidMessage } from "../history/history.ts";
import type { Random } from "./e2e-random.ts";

export const TOPICS = ["t0", "t1", "t2", "out"] as const;
export const GROUPS = ["a", "b", "c"] as const;
/** Those of a group that is ordered by key, and wants only some messages. */
export const PICKY_GROUP = "c";
export const PICKY_FILTER = "wanted || sought";
export const TAGS = ["wanted", "sought", "other"] as const;
export const isWanted = ({ tag }: SaidMessage): boolean => tag === "wanted" || tag === "sought";
export const PRODUCER_GROUP = "load";
export const LEASE_MS = 5_000;

export interface World {
  readonly history: History;
  readonly random: Random;
  /** What the application's own database says of its transactions, and so what a check is answered. */
  readonly database: Map<string, Decision>;
  /** The current ones; what they answer may still be CLOSED, when they are replaced. */
  producer(): Producer;
  admin(): AdminClient | null;
  /** Messages that may still be called back. */
  readonly delayed: { readonly id: string; readonly topic: string }[];
  /** Nothing new; what is there is acked. */
  readonly isEnding: boolean;
}

/** What an error says about whether it happened; errors of the test itself are thrown on. */
export function outcomeOf(error: unknown): Outcome {
  if (!EscrowError.is(error)) throw error;
  return error.code === "OUTCOME_UNKNOWN" ? "info" : "fail";
}
