/** What the parts of the load share: names, the current connections, and how errors are read. */
import type { Producer } from "@escrowmq/producer";
import { EscrowError, instanceGroup } from "@escrowmq/protocol";
import type { AdminClient } from "@escrowmq/protocol/client";
import type { Decision, History, Outcome, SaidMessage } from "../history/history.ts";
import type { Random } from "./e2e-random.ts";

export const TOPICS = ["t0", "t1", "t2", "out"] as const;
export const GROUPS = ["a", "b", "c"] as const;
/** Every instance of it gets every message. */
export const BROADCAST_GROUP = "cache";
export const INSTANCES = ["one", "two"] as const;
export const INSTANCE_GROUPS = INSTANCES.map((instance) =>
  instanceGroup(BROADCAST_GROUP, instance),
);
/** All that have a progress of their own. */
export const READERS: readonly string[] = [...GROUPS, ...INSTANCE_GROUPS];
/** Its members answer requests. */
export const REPLYING_GROUP = "a";
/** Those of a group that is ordered by key, and wants only some messages. */
export const PICKY_GROUP = "c";
export const PICKY_FILTER = "wanted || sought";
/** What only one of its members asks for. */
export const WEIGHTED_GROUP = "b";
export const WEIGHTS = { t0: 4, t1: 1, t2: 2, out: 1 } as const;
export const TAGS = ["wanted", "sought", "other"] as const;
export const isWanted = ({ tag }: SaidMessage): boolean => tag === "wanted" || tag === "sought";
export const PRODUCER_GROUP = "load";
export const LEASE_MS = 5_000;

/** A message as one reader sees it. */
export interface Place {
  readonly group: string;
  readonly topic: string;
  readonly offset: number;
}

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
  /** What was given back for another attempt, lately. */
  readonly returned: Place[];
  /** Nothing new; what is there is acked. */
  readonly isEnding: boolean;
}

/** What an error says about whether it happened; errors of the test itself are thrown on. */
export function outcomeOf(error: unknown): Outcome {
  if (!EscrowError.is(error)) throw error;
  return error.code === "OUTCOME_UNKNOWN" ? "info" : "fail";
}

/** Topics, and the terms of all groups. */
export async function setUpLoad(admin: AdminClient): Promise<void> {
  for (const topic of TOPICS) await admin.request("topic.create", { topic });
  for (const group of [...GROUPS, BROADCAST_GROUP])
    await admin.request("group.update", {
      group,
      leaseMs: LEASE_MS,
      attemptsMax: 1_000,
      ordered: group === PICKY_GROUP,
    });
}
