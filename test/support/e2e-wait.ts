/** Waiting for a condition with a deadline: the only sleep of the end-to-end tests. */
import { setTimeout as delay } from "node:timers/promises";

const LOOK_EVERY_MS = 10;

export type Seen = undefined | null | false;

/** What `look` gives once it gives something; after `withinMs` an error that says what was awaited. */
export async function waitFor<T>(
  what: string,
  look: () => T | Seen | Promise<T | Seen>,
  withinMs = 10_000,
): Promise<T> {
  const untilMs = performance.now() + withinMs;
  for (;;) {
    const seen = await look();
    if (seen !== undefined && seen !== null && seen !== false) return seen;
    if (performance.now() > untilMs) throw new Error(`waited ${withinMs} ms in vain for ${what}`);
    await delay(LOOK_EVERY_MS);
  }
}

/** Lets time pass in which something must not happen: fails as soon as it does. */
export async function staysTrue(
  what: string,
  forMs: number,
  look: () => boolean | Promise<boolean>,
): Promise<void> {
  const untilMs = performance.now() + forMs;
  while (performance.now() < untilMs) {
    if (!(await look())) throw new Error(`${what} did not stay true`);
    await delay(LOOK_EVERY_MS);
  }
}
