/**
 * Broadcast: each instance of a group gets every message. An instance is a group of its own (group.ts) that
 * holds nothing back and is forgotten when it stays away; what it loses by that it is told.
 *
 * Invariants
 * - S1 An instance has one subscription at most. Who subscribes by its name takes its place: behind a
 *   connection that is only half open the process may have been restarted long ago.
 * - S2 Nothing is kept for instances but what is under way (retention.ts), and no instance for ever.
 * - S3 Each lost message is told: in the answer to `subscribe` all since the last time that was surely heard,
 *   and in a `gap` as it happens. A `credit` says that the answer was heard.
 * - S4 An instance with pending acks stays: they are part of an undecided transaction (T9).
 */
import type { BrokerFrames } from "@escrowmq/protocol";
import { NEVER } from "./alarms.ts";
import type { Subscription } from "./consumers.ts";
import type { Core } from "./core.ts";
import type { Cursor } from "./cursor.ts";
import type { Group } from "./group.ts";
import type { Refusal } from "./transact.ts";
import type { Turn } from "./turn.ts";

type Gap = BrokerFrames["gap"]["gaps"][number];

/** What an instance that is here was told on this connection. */
interface Told {
  readonly subscription: Subscription;
  /** By cursor: how many it has lost, ever. */
  readonly lost: Map<Cursor, number>;
  /** The same as the answer said it, as long as it may not have been heard. */
  readonly unheard: Map<Cursor, number>;
}

/** One that is due and has pending acks is looked at again. */
const HELD_AGAIN_MS = 60_000;

export class Instances {
  readonly #core: () => Core;
  /** Those that are here. */
  readonly #here = new Map<Group, Told>();
  #nextAtMs = NEVER;

  constructor(core: () => Core) {
    this.#core = core;
  }

  /** When one may have been away for too long. */
  get nextAtMs(): number {
    return this.#nextAtMs;
  }

  get connected(): number {
    return this.#here.size;
  }

  get known(): number {
    let known = 0;
    for (const { instance } of this.#core().state.groups.values()) if (instance !== null) known++;
    return known;
  }

  /** Null: it may come. */
  refusal(group: string, instance: string | undefined): Refusal | null {
    const { state, policy } = this.#core();
    const parent = state.groupsByName.get(group);
    if (instance === undefined || parent === undefined || parent.instances.has(instance))
      return null;
    if (parent.instances.size < policy.instancesPerGroupMax) return null;
    if (this.#longestAway(parent) !== null) return null;
    return {
      code: "INSTANCE_LIMIT",
      message: `The group ${group} has ${parent.instances.size} instances, and all are needed.`,
    };
  }

  /** `subscribe` was not refused: the group by which the instance reads. */
  enter(parent: Group, instance: string, turn: Turn): Group {
    const { state, policy } = this.#core();
    const known = parent.instances.get(instance);
    if (known !== undefined) {
      turn.log({ kind: "instanceSeen", groupNo: known.no, isHere: true });
      return known;
    }
    const oldest =
      parent.instances.size >= policy.instancesPerGroupMax ? this.#longestAway(parent) : null;
    if (oldest !== null) turn.log({ kind: "instanceForgotten", groupNo: oldest.no });
    const groupNo = state.nextGroupNo;
    turn.log({ kind: "instanceOpened", groupNo, parentNo: parent.no, instance });
    return state.group(groupNo);
  }

  /** S3: what the answer to `subscribe` says; nothing to ordinary groups. Cursors from `newFromNo` on are new. */
  entered(subscription: Subscription, newFromNo: number): Pick<BrokerFrames["ok"], "gaps"> {
    if (subscription.group.instance === null) return {};
    const cursors = subscription.feeds.map(({ cursor }) => cursor);
    const lost = new Map(cursors.map((cursor) => [cursor, cursor.lost]));
    const unheard = new Map([...lost].filter(([cursor, count]) => count > cursor.told));
    this.#here.set(subscription.group, { subscription, lost, unheard });
    return {
      gaps: cursors.map((cursor) =>
        this.#gap(cursor, cursor.no < newFromNo ? { lost: cursor.lost - cursor.told } : {}),
      ),
    };
  }

  /** The subscription that has the instance's place (S1). */
  holder(parent: Group, instance: string): Subscription | undefined {
    const group = parent.instances.get(instance);
    return group === undefined ? undefined : this.#here.get(group)?.subscription;
  }

  /** Its subscription is over: another one has its place. */
  replaced({ connection, no }: Subscription, turn: Turn): void {
    const code = "INSTANCE_REPLACED";
    const message = "Somebody else subscribed by the name of this instance.";
    const frame = { type: "ended", subscription: no, code, message } as const;
    turn.send({ kind: "frame", to: connection.id, frame });
  }

  left(group: Group, turn: Turn): void {
    this.#here.delete(group);
    turn.log({ kind: "instanceSeen", groupNo: group.no, isHere: false });
    this.#nextAtMs = Math.min(this.#nextAtMs, turn.nowMs + this.#core().policy.instanceKeptMs);
  }

  /** Its credit shows that the answer to `subscribe` was heard. */
  credited(group: Group, turn: Turn): void {
    const told = this.#here.get(group);
    if (told === undefined || this.#core().admission === "none") return;
    for (const [cursor, lost] of told.unheard)
      turn.log({ kind: "gapTold", cursorNo: cursor.no, lost });
    told.unheard.clear();
  }

  /** Retention took messages of this topic, or an instance goes on without one. */
  tell(topicNo: number, turn: Turn): void {
    const { state } = this.#core();
    for (const cursor of state.readers.get(topicNo) ?? []) {
      const told = this.#here.get(state.group(cursor.groupNo));
      const before = told?.lost.get(cursor);
      if (told === undefined || before === undefined || cursor.lost === before) continue;
      told.lost.set(cursor, cursor.lost);
      const { connection, no } = told.subscription;
      const gaps = [this.#gap(cursor, { lost: cursor.lost - before })];
      turn.send({
        kind: "frame",
        to: connection.id,
        frame: { type: "gap", subscription: no, gaps },
      });
    }
  }

  /** Forgets who was away for too long. */
  look(turn: Turn): void {
    const { state, policy, admission } = this.#core();
    if (admission === "none") {
      this.#nextAtMs = turn.nowMs + HELD_AGAIN_MS;
      return;
    }
    this.#nextAtMs = NEVER;
    for (const group of [...state.groups.values()]) {
      const leftAtMs = group.instance?.leftAtMs ?? null;
      if (leftAtMs === null) continue;
      const dueAtMs = leftAtMs + policy.instanceKeptMs;
      const isDue = dueAtMs <= turn.nowMs;
      if (isDue && !hasPending(group)) turn.log({ kind: "instanceForgotten", groupNo: group.no });
      else this.#nextAtMs = Math.min(this.#nextAtMs, isDue ? turn.nowMs + HELD_AGAIN_MS : dueAtMs);
    }
  }

  #longestAway(parent: Group): Group | null {
    let found: Group | null = null;
    let sinceMs = NEVER;
    for (const group of parent.instances.values()) {
      const leftAtMs = group.instance?.leftAtMs ?? NEVER;
      if (leftAtMs >= sinceMs || hasPending(group)) continue;
      found = group;
      sinceMs = leftAtMs;
    }
    return found;
  }

  #gap(cursor: Cursor, lost: Pick<Gap, "lost">): Gap {
    const { name } = this.#core().state.topic(cursor.topicNo);
    return { topic: name, ...lost, total: cursor.lost };
  }
}

const hasPending = ({ cursors }: Group): boolean =>
  [...cursors.values()].some((cursor) => cursor.counts.pending > 0);
