/**
 * Consumer groups, and the instances of a group that is broadcast to. An instance is a group of its own, named
 * `group%instance`: it has cursors like any other, and its parent's policy.
 *
 * Invariants
 * - N1 An instance has the policy that its parent has, from the same record on.
 * - N2 A parent is made before its instances, and goes after them.
 */
import { instanceGroup } from "@escrowmq/protocol/names";
import type { Cursor } from "./cursor.ts";
import { type GroupChange, type Pause, withChange } from "./group-changes.ts";
import type { GroupPolicy, RecordOf } from "./records.ts";
import type { State } from "./state.ts";

export interface Group {
  readonly no: number;
  readonly name: string;
  policy: GroupPolicy;
  /** By topic number. */
  readonly cursors: Map<number, Cursor>;
  /** By their own names. */
  readonly instances: Map<string, Group>;
  /** Null: it is an ordinary group. */
  readonly instance: Instance | null;
  /** Null: it is not paused. */
  paused: Pause | null;
  /** The newest first. */
  changes: readonly GroupChange[];
}

export interface Instance {
  readonly parent: Group;
  /** Within its parent. */
  readonly name: string;
  /** Null: it is here. */
  leftAtMs: number | null;
}

export function updateGroup(state: State, record: RecordOf<"groupUpdated">): void {
  const { groupNo, group: name, policy } = record;
  const known = state.groups.get(groupNo);
  if (known === undefined) return addGroup(state, groupNo, name, policy, null);
  // N1
  for (const one of [known, ...known.instances.values()]) {
    one.policy = policy;
    for (const cursor of one.cursors.values()) setOrder(state, cursor);
  }
}

/** As its group says. Dead letters have no order: each was the end of one. */
export function setOrder(state: State, cursor: Cursor): void {
  const { isOrdered } = state.group(cursor.groupNo).policy;
  cursor.setOrdered(isOrdered && !state.topic(cursor.topicNo).isDeadLetters);
}

export function pauseGroup(state: State, record: RecordOf<"groupPaused">): void {
  const { groupNo, isPaused, operator, reason } = record;
  const group = state.group(groupNo);
  group.paused = isPaused ? { atMs: state.atMs, operator, reason } : null;
  const what = isPaused ? "paused" : "resumed";
  noteChange(state, group, { what, topic: "", offset: 0, count: 1, operator, reason });
}

/** With a group that is broadcast to all its instances are paused. */
export const isPaused = ({ paused, instance }: Group): boolean =>
  paused !== null || (instance !== null && instance.parent.paused !== null);

export function noteChange(state: State, group: Group, change: Omit<GroupChange, "atMs">): void {
  group.changes = withChange(group.changes, { atMs: state.atMs, ...change });
}

/** It is here: it is made by its first subscription. */
export function openInstance(state: State, record: RecordOf<"instanceOpened">): void {
  const parent = state.group(record.parentNo);
  const instance = { parent, name: record.instance, leftAtMs: null };
  addGroup(
    state,
    record.groupNo,
    instanceGroup(parent.name, record.instance),
    parent.policy,
    instance,
  );
}

export function addGroup(
  state: State,
  no: number,
  name: string,
  policy: GroupPolicy,
  instance: Instance | null,
): void {
  const group: Group = {
    no,
    name,
    policy,
    cursors: new Map(),
    instances: new Map(),
    instance,
    paused: null,
    changes: [],
  };
  state.groups.set(no, group);
  state.groupsByName.set(name, group);
  state.nextGroupNo = Math.max(state.nextGroupNo, no + 1);
  instance?.parent.instances.set(instance.name, group);
}

export function removeGroup(state: State, group: Group): void {
  state.groups.delete(group.no);
  state.groupsByName.delete(group.name);
  group.instance?.parent.instances.delete(group.instance.name);
}

export function seeInstance(state: State, { groupNo, isHere }: RecordOf<"instanceSeen">): void {
  const { instance } = state.group(groupNo);
  if (instance !== null) instance.leftAtMs = isHere ? null : state.atMs;
}

/** At a start nobody is here. While the broker was down nobody could come back: that time is not counted. */
export function leaveAll(state: State, atMs: number, pausedMs: number): void {
  for (const { instance } of state.groups.values())
    if (instance !== null)
      instance.leftAtMs = instance.leftAtMs === null ? atMs : instance.leftAtMs + pausedMs;
}
