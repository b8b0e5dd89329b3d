/** What a broker holds when everything is settled, asked from outside: the other half of the oracle. */
import { createConsumer } from "@escrowmq/consumer";
import type { AdminClient } from "@escrowmq/protocol/client";
import { type History, readKey } from "./e2e-history.ts";
import { GROUPS, LEASE_MS, PRODUCER_GROUP, TOPICS } from "./e2e-load-world.ts";
import type { Final, FinalState } from "./e2e-oracle.ts";
import { RawClient } from "./e2e-raw-client.ts";
import { waitFor } from "./e2e-wait.ts";

export async function finalOf(url: string, admin: AdminClient, history: History): Promise<Final> {
  return {
    groups: GROUPS,
    leaseMs: LEASE_MS,
    visible: await readAll(url, admin),
    transactions: await statesOf(url, history),
    dead: await deadIn(admin),
    topics: await topicsOf(admin),
  };
}

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

async function statesOf(url: string, history: History): Promise<ReadonlyMap<string, FinalState>> {
  const raw = await RawClient.open(url);
  const states = new Map<string, FinalState>();
  const ids = [...history.transactions.keys()];
  for (let from = 0; from < ids.length; from += 1_000) {
    const asked = ids.slice(from, from + 1_000).map(async (transactionId) => {
      const group = PRODUCER_GROUP;
      const answer = await raw.ask({ type: "verdict", transactionId, group, verdict: "unknown" });
      states.set(transactionId, answer.type === "ok" ? (answer.state ?? "none") : "none");
    });
    await Promise.all(asked);
  }
  raw.close();
  return states;
}

async function deadIn(admin: AdminClient): Promise<ReadonlySet<string>> {
  const dead = new Set<string>();
  for (const group of GROUPS) {
    let after: string | undefined;
    do {
      const page = await admin.request("dlq.list", { group, limit: 1_000, after });
      for (const { topic, originOffset } of page.items)
        dead.add(readKey(group, topic, originOffset));
      after = page.next;
    } while (after !== undefined);
  }
  return dead;
}

async function topicsOf(admin: AdminClient): Promise<ReadonlySet<string>> {
  const { items } = await admin.request("topic.list", { limit: 1_000 });
  return new Set(items.map(({ topic }) => topic));
}
