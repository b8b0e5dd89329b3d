/** Words of the command line as values; what cannot be read is a bad usage that says what was expected. */
import { LIMITS } from "@escrowmq/protocol";
import { InvalidArgumentError } from "commander";
import type { Position, WeightedTopic } from "./connect.ts";
import { UsageError } from "./failure.ts";

export const integer =
  (min: number, max: number) =>
  (text: string): number => {
    const value = Number(text);
    if (!/^\d+$/.test(text) || value < min || value > max)
      throw new InvalidArgumentError(`Expected an integer from ${min} to ${max}.`);
    return value;
  };

/** An offset that is an argument and no option: the parser's own error is commander's, for options. */
export function offsetOf(text: string, shownBy: string): number {
  if (/^\d{1,15}$/.test(text)) return Number(text);
  throw new UsageError(`The offset must be a number as ${shownBy} shows it, not ${text}.`);
}

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

/** A GB is 7 % less than a GiB, and nobody knows which of the two is meant: only these. */
const SIZE_BYTES: Readonly<Record<string, number>> = {
  "": 1,
  b: 1,
  k: 1_024,
  m: 1_048_576,
  g: 1_073_741_824,
  t: 1_099_511_627_776,
};

export function byteSize(text: string): number {
  const [, amount, unit] = /^(\d{1,15})(|b|[kmgt](?:ib)?)$/i.exec(text) ?? [];
  const unitBytes = SIZE_BYTES[(unit ?? "?").toLowerCase().replace("ib", "")];
  if (amount === undefined || unitBytes === undefined)
    throw new InvalidArgumentError("Expected a size such as 4096, 64KiB, 1MiB or 10GiB.");
  return Number(amount) * unitBytes;
}

/** How long a topic keeps its messages. */
export const retention = (text: string): number =>
  text === "forever" ? LIMITS.retentionMsMax : duration(text);

/** How much a topic keeps; 0: no limit. */
export const retentionSize = (text: string): number => (text === "none" ? 0 : byteSize(text));

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

/** Date reads a date alone as UTC, everything else without a zone as local. */
function timeMs(text: string): number | null {
  const atMs = ISO.test(text) ? Date.parse(text.includes("T") ? text : `${text}T00:00`) : -1;
  return atMs >= 0 ? atMs : null;
}

/** A time without a zone is local. */
export function time(text: string): number {
  const atMs = timeMs(text);
  if (atMs === null)
    throw new InvalidArgumentError(
      "Expected a time such as 2025-01-31T09:00 or 2025-01-31T08:00Z.",
    );
  return atMs;
}

/** `urgent=4`, or a name alone. */
export function weightedTopic(text: string): WeightedTopic {
  const [topic = "", weight, ...rest] = text.split("=");
  if (weight === undefined) return { topic };
  const value = Number(weight);
  if (!/^\d+$/.test(weight) || value < 1 || value > LIMITS.weightMax || rest.length > 0)
    throw new InvalidArgumentError(
      `Expected a topic, or a topic and its weight from 1 to ${LIMITS.weightMax}, such as urgent=4.`,
    );
  return { topic, weight: value };
}

/** `earliest`, `latest`, `offset:N` or `time:ISO`; a time without a zone is local. */
export function position(text: string): Position {
  if (text === "earliest" || text === "latest") return { from: text };
  const [, kind, rest] = /^(offset|time):(.+)$/.exec(text) ?? [];
  if (kind === "offset" && /^\d{1,15}$/.test(rest ?? "")) return { from: kind, at: Number(rest) };
  const atMs = kind === "time" ? timeMs(rest ?? "") : null;
  if (atMs !== null) return { from: "time", at: atMs };
  throw new InvalidArgumentError(
    "Expected earliest, latest, offset:N or time:ISO, such as time:2025-01-31T09:00.",
  );
}
