/** What a broker holds when everything is settled, asked from outside: the other half of the oracle. */
import type { AdminClient } from "@escrowmq/protocol/client";
import type { Account, Final } from "../history/final.ts";
import { type History, readKey, type State } from "../history/history.ts";
import { passedOver } from "./e2e-final-passed-over.ts";
import { GROUPS, PRODUCER_GROUP, READERS, TOPICS } from "./e2e-load-world.ts";
import { RawClient } from "./e2e-raw-client.ts";

/** What the broker's counters say and the history cannot have been is a problem of the history. */
export async function finalOf(url: string, admin: AdminClient, history: History): Promise<Final> {
  const final = {
    groups: READERS,
    visible: await readAll(admin),
    // Nothing is undecided any more.
    waiting: new Set<string>(),
    transactions: await statesOf(url, history),
    standings: await standingsOf(admin),
    topics: await topicsOf(admin),
    accounts: await accountsOf(admin),
    terms: TERMS,
  };
  const { standings, problems } = await passedOver(admin, history, final);
  for (const problem of problems) history.problem(problem);
  return { ...final, standings: new Map([...standings, ...final.standings]) };
}

const TERMS = {
  // A lease begins at the broker, and its end is seen here.
  latenessMs: 2_000,
  losesDeliveries: false,
  mayStayParked: false,
  mayBuryByItself: false,
};

/** Where there are only sends, to one topic; `ids`: what is visible in it. */
export const finalOfSends = (topic: string, ids: readonly string[]): Final => ({
  groups: [],
  visible: new Map([[topic, ids]]),
  transactions: new Map(),
  standings: new Map(),
  topics: new Set([topic]),
  waiting: new Set(),
  accounts: [{ topic, nextOffset: ids.length, halfMessages: 0, scheduled: 0, queued: 0 }],
  terms: TERMS,
});

/** Nothing is half in the end. */
const accountsOf = (admin: AdminClient): Promise<Account[]> =>
  Promise.all(
    TOPICS.map(async (topic) => {
      const { nextOffset, scheduled, queued } = await admin.request("topic.describe", { topic });
      return { topic, nextOffset, halfMessages: 0, scheduled, queued };
    }),
  );

/** Everything that is visible, as an operator sees it: to a group some of it may have lapsed. */
async function readAll(admin: AdminClient): Promise<ReadonlyMap<string, readonly string[]>> {
  const visible = new Map<string, readonly string[]>();
  for (const topic of TOPICS) {
    const ids: string[] = [];
    let after: string | undefined;
    do {
      const page = await admin.request("message.find", { topic, limit: 1_000, after });
      if (page.unreadable.length > 0) throw new Error(`unreadable: ${topic} ${page.unreadable}`);
      for (const { offset, id } of page.items) ids[offset] = id;
      after = page.next;
    } while (after !== undefined);
    visible.set(topic, ids);
  }
  return visible;
}

async function statesOf(url: string, history: History): Promise<ReadonlyMap<string, State>> {
  const raw = await RawClient.open(url);
  const states = new Map<string, State>();
  const ids = [...history.transactions.keys()];
  for (let from = 0; from < ids.length; from += 1_000) {
    const asked = ids.slice(from, from + 1_000).map(async (transactionId) => {
      const group = PRODUCER_GROUP;
      const answer = await raw.ask({ type: "verdict", transactionId, group, verdict: "unknown" });
      if (answer.type === "ok" && answer.state !== undefined)
        states.set(transactionId, answer.state);
    });
    await Promise.all(asked);
  }
  raw.close();
  return states;
}

/** The dead letters; all else is settled, one way or the other. */
async function standingsOf(admin: AdminClient): Promise<Final["standings"]> {
  const standings = new Map<string, "dead">();
  for (const group of GROUPS) {
    let after: string | undefined;
    do {
      const page = await admin.request("dlq.list", { group, limit: 1_000, after });
      for (const { topic, originOffset } of page.items)
        standings.set(readKey(group, topic, originOffset), "dead");
      after = page.next;
    } while (after !== undefined);
  }
  return standings;
}

async function topicsOf(admin: AdminClient): Promise<ReadonlySet<string>> {
  const { items } = await admin.request("topic.list", { limit: 1_000 });
  return new Set(items.map(({ topic }) => topic));
}
