/** Words of the command line as values; what cannot be read is a bad usage that says what was expected. */
import { InvalidArgumentError } from "commander";
import type { Position } from "./connect.ts";

export const integer =
  (min: number, max: number) =>
  (text: string): number => {
    const value = Number(text);
    if (!/^\d+$/.test(text) || value < min || value > max)
      throw new InvalidArgumentError(`Expected an integer from ${min} to ${max}.`);
    return value;
  };

/** For an option that is given several times, or with several values. */
export const each =
  <T>(parse: (text: string) => T) =>
  (text: string, before: readonly T[] | undefined): readonly T[] => [
    ...(before ?? []),
    parse(text),
  ];

const SPAN_MS: Readonly<Record<string, number>> = {
  ms: 1,
  s: 1_000,
  m: 60_000,
  h: 3_600_000,
  d: 86_400_000,
};

export function duration(text: string): number {
  const [, amount, unit] = /^(\d+(?:\.\d+)?)(ms|s|m|h|d)$/.exec(text) ?? [];
  const unitMs = SPAN_MS[unit ?? ""];
  if (amount === undefined || unitMs === undefined)
    throw new InvalidArgumentError("Expected a duration such as 500ms, 30s, 5m, 2h or 1d.");
  return Math.round(Number(amount) * unitMs);
}

export const durations = (text: string): readonly number[] => text.split(",").map(duration);

const SIZE_BYTES: Readonly<Record<string, number>> = { "": 1, b: 1, k: 1_024, m: 1_048_576 };

export function byteSize(text: string): number {
  const [, amount, unit] = /^(\d+)(|b|k|m|kib|mib)$/i.exec(text) ?? [];
  const unitBytes = SIZE_BYTES[(unit ?? "?").toLowerCase().replace("ib", "")];
  if (amount === undefined || unitBytes === undefined)
    throw new InvalidArgumentError("Expected a size such as 4096, 64KiB or 1MiB.");
  return Number(amount) * unitBytes;
}

export interface Pair {
  readonly name: string;
  readonly value: string;
}

export function pair(text: string): Pair {
  const at = text.indexOf("=");
  if (at < 1) throw new InvalidArgumentError("Expected name=value.");
  return { name: text.slice(0, at), value: text.slice(at + 1) };
}

const ISO = /^\d{4}-\d{2}-\d{2}(T\d{2}:\d{2}(:\d{2}(\.\d+)?)?(Z|[+-]\d{2}:\d{2})?)?$/;

/** `earliest`, `latest`, `offset:N` or `time:ISO`; a time without a zone is local. */
export function position(text: string): Position {
  if (text === "earliest" || text === "latest") return { from: text };
  const [, kind, rest] = /^(offset|time):(.+)$/.exec(text) ?? [];
  if (kind === "offset" && /^\d{1,15}$/.test(rest ?? "")) return { from: kind, at: Number(rest) };
  if (kind === "time" && ISO.test(rest ?? "")) {
    // Date reads a date alone as UTC, everything else without a zone as local.
    const atMs = Date.parse(rest?.includes("T") ? rest : `${rest}T00:00`);
    if (atMs >= 0) return { from: kind, at: atMs };
  }
  throw new InvalidArgumentError(
    "Expected earliest, latest, offset:N or time:ISO, such as time:2025-01-31T09:00.",
  );
}
