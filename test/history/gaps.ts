/**
 * What a broadcast instance has lost it was told.
 *
 * Rules
 * - S3 What it is told is never less than what it has not heard of yet; in the end it has heard of all.
 */
import type { History } from "./history.ts";

/** By `instance topic`: how many lost messages it has heard of, ever. */
export class Heard {
  readonly totals = new Map<string, number>();
  /** How many gaps it was told of. */
  gaps = 0;

  /** A problem, or null. `lost` undefined: the instance is new to the topic. */
  tell(key: string, lost: number | undefined, total: number): string | null {
    const known = this.totals.get(key) ?? 0;
    if (total > known) this.gaps++;
    // One that was forgotten counts from 0 again; its answers may come after those of its successor.
    this.totals.set(key, Math.max(known, total));
    if (lost === undefined || total - lost <= known) return null;
    return `S3: ${key} is told of ${lost} lost messages of ${total}, and knew of ${known}`;
  }
}

/** `lost`: by `instance topic`, of those that have been connected since; what they had lost some time before. */
export function gapProblems(history: History, lost: ReadonlyMap<string, number>): string[] {
  const problems: string[] = [];
  for (const [key, count] of lost) {
    const known = history.heard.totals.get(key) ?? 0;
    if (known < count)
      problems.push(`S3: ${key} has lost ${count} messages, and knows of ${known}`);
  }
  return problems;
}
