/**
 * The operators' part of the load: topics made, listings read, dead letters replayed, groups paused and resumed,
 * messages skipped, and one group now and then taken back.
 */
import type { AdminClient } from "@escrowmq/protocol/client";
import type { GroupPause, Operation } from "../history/history.ts";
import { AUDIT } from "./e2e-broker.ts";
import {
  BROADCAST_GROUP,
  GROUPS,
  INSTANCE_GROUPS,
  outcomeOf,
  type Place,
  READERS,
  TOPICS,
  type World,
} from "./e2e-load-world.ts";
import { waitFor } from "./e2e-wait.ts";

const ACTS = { nothing: 70, pause: 10, skip: 18, reset: 2 } as const;
const RESUMED_SHARE = 0.25;
/** What was moved counts for little in D2 and D9, so that the others stay where they are. */
const RESET = { group: "b", topic: "t2" } as const;
const RESET_BY_MAX = 200;
const TOPICS_MADE_MAX = 500;
const PAUSABLE = [...GROUPS, BROADCAST_GROUP];

let topics = 0;

const readersOf = (group: string): readonly string[] =>
  group === BROADCAST_GROUP ? INSTANCE_GROUPS : [group];

export class LoadOperator {
  readonly #world: World;
  /** By what is known: paused, or nobody knows. */
  readonly #paused = new Set<string>();
  readonly #unheard: GroupPause[] = [];
  #connection: AdminClient | null = null;

  constructor(world: World) {
    this.#world = world;
  }

  /** One round; a connection that ends in it ends it. */
  async work(): Promise<void> {
    const admin = this.#world.admin();
    const pauseMs = performance.now() + 20;
    if (admin !== null)
      try {
        this.#noticeDeath(admin);
        await this.#createTopic(admin);
        await admin.request("stats", {});
        await admin.request("tx.list", { limit: 10 });
        for (const group of GROUPS) await this.#replaySome(admin, group);
        for (const group of this.#paused)
          if (this.#world.random.next() < RESUMED_SHARE) await this.#resume(admin, group);
        await this.#intervene(admin);
      } catch (error) {
        // The broker is gone; what was asked of it is noted where it was asked.
        outcomeOf(error);
      }
    await waitFor("the next round", () => performance.now() > pauseMs);
  }

  /** So that everything can come to rest: whoever was paused goes on. */
  async calm(): Promise<void> {
    const admin = this.#world.admin();
    if (admin === null) return;
    this.#noticeDeath(admin);
    for (const group of PAUSABLE) await this.#resume(admin, group);
  }

  /** What the broker before this one has not done is not done any more. */
  #noticeDeath(admin: AdminClient): void {
    if (admin === this.#connection) return;
    this.#connection = admin;
    for (const resume of this.#unheard.splice(0)) resume.endedAt = this.#world.history.now();
  }

  async #createTopic(admin: AdminClient): Promise<void> {
    if (topics >= TOPICS_MADE_MAX) return;
    const { history } = this.#world;
    const topic = `made-${topics++}`;
    await admin.request("topic.create", { topic });
    history.topics.add(topic);
    history.counts.ok++;
  }

  async #replaySome(admin: AdminClient, group: string): Promise<void> {
    const { history, random } = this.#world;
    const { items } = await admin.request("dlq.list", { group, limit: 20 });
    const chosen = items.filter(() => random.next() < 0.5);
    if (chosen.length === 0) return;
    const replays = chosen.map(({ topic, originOffset }) =>
      history.intervenes("replay", group, topic, originOffset),
    );
    const offsets = chosen.map(({ offset }) => offset);
    await admin.request("dlq.replay", { group, offsets, ...AUDIT });
    // Without an answer it may have happened or not.
    for (const replay of replays) history.ended(replay, "ok");
  }

  async #intervene(admin: AdminClient): Promise<void> {
    const act = this.#world.random.pick<keyof typeof ACTS>(ACTS);
    if (act === "pause") return this.#pause(admin);
    if (act === "skip") return this.#skip(admin);
    if (act === "reset") return this.#reset(admin);
  }

  async #pause(admin: AdminClient): Promise<void> {
    const { history, random } = this.#world;
    const group = PAUSABLE[random.between(0, PAUSABLE.length - 1)] ?? BROADCAST_GROUP;
    const pauses = readersOf(group).map((reader) => history.pauses(reader, true));
    this.#paused.add(group);
    await this.#ends(pauses, admin.request("group.pause", { group, ...AUDIT }));
  }

  async #resume(admin: AdminClient, group: string): Promise<void> {
    const { history } = this.#world;
    const resumes = readersOf(group).map((reader) => history.pauses(reader, false));
    await this.#ends(resumes, admin.request("group.resume", { group, ...AUDIT }));
    if (resumes.every(({ outcome }) => outcome === "ok")) this.#paused.delete(group);
    this.#unheard.push(...resumes.filter(({ outcome }) => outcome === "info"));
  }

  /** What waits for its next attempt, or stands just ahead of a group. */
  async #skip(admin: AdminClient): Promise<void> {
    const { history, returned, random } = this.#world;
    const place = random.next() < 0.7 ? returned.splice(0).at(-1) : await this.#placeAhead(admin);
    if (place === undefined) return;
    const { group, topic, offset } = place;
    const skip = history.intervenes("skip", group, topic, offset);
    const asked = admin.request("group.skip", { group, topic, offsets: [offset], ...AUDIT });
    await this.#ends([skip], asked, ({ done }) => done === 1);
  }

  async #placeAhead(admin: AdminClient): Promise<Place | undefined> {
    const { random } = this.#world;
    const group = READERS[random.between(0, READERS.length - 1)] ?? "";
    const topic = TOPICS[random.between(0, TOPICS.length - 1)] ?? "";
    const { topics: read } = await admin.request("group.describe", { group });
    const at = read.find((one) => one.topic === topic);
    return at === undefined
      ? undefined
      : { group, topic, offset: at.nextOffset + random.between(0, 20) };
  }

  async #reset(admin: AdminClient): Promise<void> {
    const { history, random } = this.#world;
    const { group, topic } = RESET;
    const { nextOffset } = await admin.request("topic.describe", { topic });
    const at = Math.max(0, nextOffset - random.between(0, RESET_BY_MAX));
    const reset = history.intervenes("reset", group, topic);
    const request = { group, topic, from: "offset", at, ...AUDIT } as const;
    await this.#ends([reset], admin.request("group.reset", request));
  }

  /** Notes how it ended: refused, or nothing done, is a failure. */
  async #ends<Value>(
    operations: readonly Operation[],
    asked: Promise<Value>,
    isDone: (value: Value) => boolean = () => true,
  ): Promise<void> {
    const outcome = await asked.then((value) => (isDone(value) ? "ok" : "fail"), outcomeOf);
    for (const operation of operations) this.#world.history.ended(operation, outcome);
  }
}
