/** What a broker holds when everything is settled, asked from outside: the other half of the oracle. */
import { createConsumer } from "@escrowmq/consumer";
import type { AdminClient } from "@escrowmq/protocol/client";
import type { Account, Final } from "../history/final.ts";
import { type History, readKey, type State } from "../history/history.ts";
import { GROUPS, PRODUCER_GROUP, TOPICS } from "./e2e-load-world.ts";
import { RawClient } from "./e2e-raw-client.ts";
import { waitFor } from "./e2e-wait.ts";

export async function finalOf(url: string, admin: AdminClient, history: History): Promise<Final> {
  const visible = await readAll(url, admin);
  return {
    groups: GROUPS,
    visible,
    transactions: await statesOf(url, history),
    standings: await standingsOf(admin),
    topics: await topicsOf(admin),
    accounts: await accountsOf(admin),
    terms: TERMS,
  };
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
  accounts: [{ topic, nextOffset: ids.length, halfMessages: 0, scheduled: 0 }],
  terms: TERMS,
});

/** Nothing is half in the end. */
const accountsOf = (admin: AdminClient): Promise<Account[]> =>
  Promise.all(
    TOPICS.map(async (topic) => {
      const { nextOffset, scheduled } = await admin.request("topic.describe", { topic });
      return { topic, nextOffset, halfMessages: 0, scheduled };
    }),
  );

/** Everything that is visible, read by a group of its own. */
async function readAll(
  url: string,
  admin: AdminClient,
): Promise<ReadonlyMap<string, readonly string[]>> {
  const visible = new Map<string, string[]>(TOPICS.map((topic) => [topic, []]));
  const subscribe = TOPICS.map((topic) => ({ topic }));
  const auditor = await createConsumer({ url, group: "auditor", subscribe, concurrency: 256 });
  void auditor.run(({ topic, offset, id }) => {
    const ids = visible.get(topic) ?? [];
    ids[offset] = id;
  });
  for (const [topic, ids] of visible) {
    const { nextOffset } = await admin.request("topic.describe", { topic });
    await waitFor(`all of ${topic}`, () => Object.keys(ids).length === nextOffset, 60_000);
  }
  await auditor.close();
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

/** All that is not settled: the dead letters. */
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
