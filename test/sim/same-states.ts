/** P8: what a replay of the log gives is what the live engine had; leased deliveries included. */
import { type EntriesPart, readEntries } from "../../broker/src/core/entries.ts";
import { LastingPart, wholePart } from "../../broker/src/core/lasting-part.ts";
import { demand } from "./violation.ts";

export function sameStates(
  live: readonly unknown[],
  replayed: readonly unknown[],
  nowMs: number,
): void {
  demand(live.length === replayed.length, "P8", () => "a part of the state is missing");
  for (const [at, part] of live.entries()) {
    const one = nameOf(part) + asText(wholePart(part), nowMs);
    const other = nameOf(replayed[at]) + asText(wholePart(replayed[at]), nowMs);
    demand(one === other, "P8", () => `live ${one.slice(0, 300)}, replayed ${other.slice(0, 300)}`);
  }
}

const nameOf = (part: unknown): string => (part instanceof LastingPart ? part.name : "");

function asText(part: unknown, nowMs: number): string {
  return JSON.stringify(ripened(part, nowMs), (_key, value: unknown) =>
    value instanceof Uint8Array ? Buffer.from(value).toString("base64") : value,
  );
}

/** That a wait is over has no record: time passes by itself. */
function ripened(part: unknown, nowMs: number): unknown {
  if (typeof part !== "object" || part === null || !("entries" in part)) return part;
  const { cursorNo, ...saved } = part.entries as EntriesPart;
  const entries = [...readEntries({ cursorNo, ...saved })].map((entry) => {
    const isRipe = entry.kind === "waiting" && entry.number <= nowMs;
    return isRipe ? { ...entry, kind: "ready", number: 0 } : entry;
  });
  // What is ready stands before what waits, so that the order tells the same.
  return { cursorNo, entries: entries.sort((one, other) => one.offset - other.offset) };
}
