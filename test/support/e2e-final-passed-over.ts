/**
 * Messages that a reader went on without: those whose time to live was over (D15), and those that an instance gave
 * up. Which ones they are the broker does not list, but it counts them. What the history leaves no other end for
 * must be counted, and no more than may have had this end.
 */
import type { AdminClient } from "@escrowmq/protocol/client";
import type { Final, Standing } from "../history/final.ts";
import { gapProblems } from "../history/gaps.ts";
import { type History, type Intervention, type Read, readKey } from "../history/history.ts";
import { LASTING_TTL_MS } from "./e2e-load-messages.ts";
import { INSTANCE_GROUPS, READERS } from "./e2e-load-world.ts";

interface PassedOver {
  readonly standings: Final["standings"];
  readonly problems: readonly string[];
}

/** Of one reader in one topic. */
interface Span {
  atLeast: number;
  atMost: number;
}

export async function passedOver(
  admin: AdminClient,
  history: History,
  final: Final,
): Promise<PassedOver> {
  const standings = new Map<string, Standing>();
  const problems: string[] = [];
  const lost = new Map<string, number>();
  const interventions = new Interventions(history);
  for (const group of READERS) {
    const { topics } = await admin.request("group.describe", { group });
    for (const { topic, lapsed, abandoned = 0 } of topics) {
      const of = { group, topic };
      const span = lapsedOf(history, final, interventions, standings, of);
      // What was moved may have lapsed twice, or been passed over.
      if (!interventions.hasReset(of)) problems.push(...outside("D15", of, lapsed, span));
      if (!INSTANCE_GROUPS.includes(group)) continue;
      problems.push(...outside("B1", of, abandoned, givenUpOf(history, final, standings, of)));
      lost.set(`${group} ${topic}`, abandoned);
    }
  }
  return { standings, problems: [...problems, ...gapProblems(history, lost)] };
}

type Where = { readonly group: string; readonly topic: string };

const outside = (rule: string, { group, topic }: Where, count: number, span: Span): string[] =>
  count >= span.atLeast && count <= span.atMost
    ? []
    : [
        `${rule}: ${group} went on without ${count} messages of ${topic}; by its history ${span.atLeast} to ${span.atMost}`,
      ];

/** What operators did, by what they did it to. */
class Interventions {
  readonly #byKey = new Map<string, Intervention[]>();
  readonly #resets = new Set<string>();

  constructor({ interventions }: History) {
    for (const one of interventions) {
      if (one.outcome === "fail") continue;
      const { kind, group, topic, offset } = one;
      if (kind === "reset") this.#resets.add(`${group} ${topic}`);
      if (offset === null) continue;
      const key = readKey(group, topic, offset);
      this.#byKey.set(key, [...(this.#byKey.get(key) ?? []), one]);
    }
  }

  hasReset({ group, topic }: Where): boolean {
    return this.#resets.has(`${group} ${topic}`);
  }

  of(key: string): readonly Intervention[] {
    return this.#byKey.get(key) ?? [];
  }
}

/** Nobody can tell how these ended, but what they count together; the standing of each is left open. */
function lapsedOf(
  history: History,
  final: Final,
  interventions: Interventions,
  standings: Map<string, Standing>,
  { group, topic }: Where,
): Span {
  const span = { atLeast: 0, atMost: 0 };
  const isMoved = interventions.hasReset({ group, topic });
  for (const [offset, id] of (final.visible.get(topic) ?? []).entries()) {
    const { ttlMs = LASTING_TTL_MS } = history.messages.get(id) ?? {};
    if (ttlMs === LASTING_TTL_MS || !history.mustWant(group, id)) continue;
    const key = readKey(group, topic, offset);
    if (final.standings.has(key)) continue;
    const end = otherEndOf(history.reads.get(key), interventions.of(key), final);
    if (end === "sure" && !isMoved) continue;
    standings.set(key, "gone");
    span.atMost++;
    if (end === "none") span.atLeast++;
  }
  return span;
}

/** Whether something else than its time may have ended it, for all that is known. */
function otherEndOf(
  read: Read | undefined,
  interventions: readonly Intervention[],
  { transactions }: Final,
): "none" | "possible" | "sure" {
  const ends = (read?.deliveries ?? [])
    .flatMap((delivery) => delivery.ends)
    .filter(({ kind, outcome }) => (kind === "ack" || kind === "bury") && outcome !== "fail");
  const isReplayed = interventions.some(({ kind }) => kind === "replay");
  if (!isReplayed && ends.some(({ outcome }) => outcome === "ok")) return "sure";
  const isJoined = (read?.joins ?? []).some(
    ({ transaction }) => transactions.get(transaction.id) === "committed",
  );
  return ends.length > 0 || isJoined || interventions.length > 0 ? "possible" : "none";
}

/** An instance has no dead letters: what it buried it goes on without. */
function givenUpOf(
  history: History,
  final: Final,
  standings: Map<string, Standing>,
  { group, topic }: Where,
): Span {
  const span = { atLeast: 0, atMost: 0 };
  for (const offset of (final.visible.get(topic) ?? []).keys()) {
    const key = readKey(group, topic, offset);
    const buries = (history.reads.get(key)?.deliveries ?? [])
      .flatMap((delivery) => delivery.ends)
      .filter(({ kind, outcome }) => kind === "bury" && outcome !== "fail");
    if (buries.length === 0) continue;
    const isSure = buries.some(({ outcome }) => outcome === "ok");
    standings.set(key, isSure ? "dead" : "gone");
    span.atMost++;
    if (isSure) span.atLeast++;
  }
  return span;
}
