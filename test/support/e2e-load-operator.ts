/** The operators' part of the load: topics made, listings read, dead letters replayed. */
import type { AdminClient } from "@escrowmq/protocol/client";
import { GROUPS, outcomeOf, type World } from "./e2e-load-world.ts";
import { waitFor } from "./e2e-wait.ts";

let topics = 0;

/** One round; a connection that ends in it ends it. */
export async function operate(world: World): Promise<void> {
  const admin = world.admin();
  const pauseMs = performance.now() + 20;
  if (admin !== null)
    try {
      await createTopic(world, admin);
      await admin.request("stats", {});
      await admin.request("tx.list", { limit: 10 });
      for (const group of GROUPS) await replaySome(world, admin, group);
    } catch (error) {
      // The broker is gone; what was asked of it is noted where it was asked.
      outcomeOf(error);
    }
  await waitFor("the next round", () => performance.now() > pauseMs);
}

async function createTopic({ history }: World, admin: AdminClient): Promise<void> {
  if (topics >= 500) return;
  const topic = `made-${topics++}`;
  await admin.request("topic.create", { topic });
  history.topics.add(topic);
  history.counts.ok++;
}

async function replaySome(world: World, admin: AdminClient, group: string): Promise<void> {
  const { history, random } = world;
  const { items } = await admin.request("dlq.list", { group, limit: 20 });
  const chosen = items.filter(() => random.next() < 0.5);
  if (chosen.length === 0) return;
  const replays = chosen.map(({ topic, originOffset }) =>
    history.intervenes("replay", group, topic, originOffset),
  );
  const offsets = chosen.map(({ offset }) => offset);
  await admin.request("dlq.replay", { group, offsets, operator: "ada", reason: "by plan" });
  // Without an answer it may have happened or not.
  for (const replay of replays) history.ended(replay, "ok");
}
