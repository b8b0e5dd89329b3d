/** Work that a signal ends in order: the first one asks it to stop, the second one ends the process. */
import { EXIT } from "./failure.ts";
import type { Io } from "./io.ts";

export interface Stop {
  /** Aborts on the first signal. */
  readonly signal: AbortSignal;
  /** Signals have their usual effect again. */
  unlisten(): void;
}

export function stopOnSignal(io: Io): Stop {
  const stopping = new AbortController();
  const unlisten = io.onSignal(() => {
    if (stopping.signal.aborted) io.exitNow(EXIT.interrupted);
    else stopping.abort();
  });
  return { signal: stopping.signal, unlisten };
}

/**
 * The value, or undefined when `signal` aborts first. Not Promise.race: racing every message against
 * one promise that lives as long as the program would keep something of each of them.
 */
export function unlessAborted<T>(value: Promise<T>, signal: AbortSignal): Promise<T | undefined> {
  return new Promise((resolve, reject) => {
    const stop = (): void => resolve(undefined);
    const settled = (): void => signal.removeEventListener("abort", stop);
    if (signal.aborted) stop();
    else signal.addEventListener("abort", stop, { once: true });
    value.then(resolve, reject).finally(settled);
  });
}
