/** Which of the named points (kill-points.mjs) a load comes to, and killing a broker there. */
import type { BrokerProcess } from "./e2e-broker.ts";
import type { Exit } from "./e2e-process.ts";

export const POINTS_OF_WRITING = [
  "append asked for",
  "append under way",
  "append on disk, not answered",
  "mark written, not synced",
  "mark synced, not renamed",
  "mark renamed",
  "checkpoint begun",
  "checkpoint written, not synced",
  "checkpoint synced, not renamed",
  "checkpoint renamed, directory not synced",
  "checkpoint final, older ones still there",
  "pack written, not synced",
  "pack synced, not renamed",
  "pack renamed, its copy not",
  "pack renamed, no checkpoint names it",
  "segment made, directory not synced",
  "segment's name on disk, not opened",
  "segment opened, nothing in it",
  "segment full, not flushed",
  "segment being flushed",
  "segment flushed, not sealed",
  "seal written, not renamed",
  "seal renamed",
  "start: log being replayed",
  "start: store locked, nothing read",
  "start: checkpoint opened",
  "start: recovered, mark not written",
  "start: opened, not on disk",
  "start: opened, not serving",
] as const;

/** What little is left at the front is copied once, so those come first. */
export const POINTS_OF_RETIREMENT = [
  "copy forward not on disk",
  "copy forward on disk, old place still there",
  "retirement decided, not on disk",
  "retirement on disk, nothing freed",
  "log's start written, not renamed",
  "log's start renamed, directory not synced",
  "segment not set aside",
  "segment set aside, directory not synced",
  "segment half removed",
] as const;

export type KillPoint = (typeof POINTS_OF_WRITING | typeof POINTS_OF_RETIREMENT)[number];

/** Points of a start come before it is ready; the start after such a death is a usual one. */
export const isOfStart = (point: KillPoint): boolean => point.startsWith("start: ");

/** Starts the broker so that it dies at `point`; null: as usual. False: it died before it was ready. */
export async function startTowards(
  broker: BrokerProcess,
  point: KillPoint | null,
): Promise<boolean> {
  try {
    await broker.restart(point === null ? {} : { KILL_AT: point });
    return true;
  } catch (error) {
    if (!(await hasDied(broker))) throw error;
    return false;
  }
}

/** Whether it comes to its point from now on, and dies there, within `withinMs`. */
export async function diesByItself(broker: BrokerProcess, withinMs: number): Promise<boolean> {
  broker.program.tell("SIGHUP");
  const timeout = new Promise<null>((resolve) => setTimeout(() => resolve(null), withinMs));
  return isKilled(await Promise.race([broker.program.exited, timeout]));
}

const hasDied = async (broker: BrokerProcess): Promise<boolean> =>
  isKilled(await broker.program.exited);

const isKilled = (exit: Exit | null): boolean => exit?.signal === "SIGKILL";
