/** What the broker holds in the end, as the log on its disk says: the simulation's half of what is judged. */
import type { Account, Final, Standing } from "../history/final.ts";
import { readKey, type State } from "../history/history.ts";
import type { Ledger } from "./ledger.ts";
import type { LedgerCursor, LedgerTopic } from "./ledger-facts.ts";
import type { Witness } from "./witness.ts";

const TERMS = {
  // From the beginning of a lease until it is said: two blocks on a slow disk, and a pause that nobody notices.
  latenessMs: 2_500,
  losesDeliveries: true,
  mayStayParked: true,
  mayBuryByItself: true,
};

export function finalOf(ledger: Ledger, witness: Witness, ordinary: readonly string[]): Final {
  const instances = [...ledger.groups.values()].filter(({ instance }) => instance !== null);
  const groups = [...ordinary, ...instances.map(({ name }) => name)];
  const topics = [...ledger.topics.values()];
  const normal = topics.filter(({ isDeadLetters }) => !isDeadLetters);
  return {
    groups,
    visible: new Map(
      normal.map(({ name, places }) => [name, places.map((place) => witness.messageAt(place))]),
    ),
    transactions: new Map(
      [...ledger.transactions].map(([id, { state }]): [string, State] => [id, state]),
    ),
    waiting: new Set(
      [...ledger.schedule.all.values()].flatMap(({ id, isQueued }) => (isQueued ? [id] : [])),
    ),
    standings: standingsOf(ledger, normal, groups),
    topics: new Set(topics.map(({ name }) => name)),
    accounts: accountsOf(witness),
    terms: TERMS,
  };
}

/** By `instance topic`, of those that are connected: how many messages they have lost, ever. */
export function lostOf(ledger: Ledger): Map<string, number> {
  const lost = new Map<string, number>();
  for (const cursor of ledger.cursors.values()) {
    const { instance, name = "" } = ledger.groups.get(cursor.groupNo) ?? {};
    if (instance?.leftAtMs === null)
      lost.set(`${name} ${ledger.topic(cursor.topicNo).name}`, cursor.expired + cursor.abandoned);
  }
  return lost;
}

/** By the engine's own counters. */
const accountsOf = ({ engine }: Witness): Account[] =>
  [...engine.core.state.topics.values()]
    .filter(({ isDeadLetters }) => !isDeadLetters)
    .map(({ name, nextOffset, halfMessages, scheduled, queued }) => ({
      topic: name,
      nextOffset,
      halfMessages,
      scheduled,
      queued,
    }));

function standingsOf(
  ledger: Ledger,
  topics: readonly LedgerTopic[],
  groups: readonly string[],
): Map<string, Standing> {
  const standings = new Map<string, Standing>();
  for (const group of groups)
    for (const topic of topics) {
      const cursor = ledger.cursorOf(group, topic.no);
      for (const offset of topic.places.keys()) {
        const key = readKey(group, topic.name, offset);
        const standing = standingOf(ledger, cursor, offset, key);
        if (standing !== null) standings.set(key, standing);
      }
    }
  for (const topic of ledger.topics.values())
    for (const { topicNo, offset } of topic.origins.values())
      standings.set(
        readKey(topic.name.slice("%DLQ%".length), ledger.topic(topicNo).name, offset),
        "dead",
      );
  for (const key of ledger.abandoned) standings.set(key, "dead");
  return standings;
}

/** Null: it is settled. */
function standingOf(
  ledger: Ledger,
  cursor: LedgerCursor | undefined,
  offset: number,
  key: string,
): Standing | null {
  if (cursor === undefined || offset < cursor.firstOffset || ledger.gone.has(key)) return "gone";
  return cursor.entries.has(offset) || offset >= cursor.nextOffset ? "unsettled" : null;
}
