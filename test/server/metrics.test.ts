/** What stands on /metrics, by name: each gauge says its own figure, each record counts under its kind. */
import { readFileSync } from "node:fs";
import { expect, test } from "vitest";
import { type Figures, Metrics, NO_FIGURES } from "../../broker/src/server/metrics.ts";

/** Every figure has a number of its own, so that two that were mixed up show. */
const { memory, ...NUMBERS } = NO_FIGURES;
const names = Object.keys(NUMBERS) as (keyof typeof NUMBERS)[];
const FIGURES = {
  ...Object.fromEntries(names.map((name, at) => [name, at + 1])),
  memory: { ...memory, blocks: 1_000, unread: 2_000 },
} as Figures;

/** Without `escrowmq_`. */
const GAUGES: readonly (readonly [name: string, figure: number])[] = [
  ["connections", FIGURES.connections],
  ["paused_connections", FIGURES.pausedConnections],
  ["undecided_transactions", FIGURES.undecided],
  ["parked_transactions", FIGURES.parked],
  ["undecided_bytes", FIGURES.undecidedBytes],
  ["oldest_undecided_seconds", FIGURES.oldestUndecidedAgeMs / 1_000],
  ["messages", FIGURES.messages],
  ["leased_deliveries", FIGURES.leased],
  ["waiting_retries", FIGURES.waiting],
  ["held_messages", FIGURES.held],
  ["filtered_messages", FIGURES.filtered],
  ["standing_groups", FIGURES.standing],
  ["paused_groups", FIGURES.pausedGroups],
  ["dead_letters", FIGURES.deadLetters],
  ["instances", FIGURES.instances],
  ["instances_connected", FIGURES.instancesConnected],
  ["retired_messages", FIGURES.retired],
  ["expired_messages", FIGURES.expired],
  ["groups_about_to_lose", FIGURES.aboutToLose],
  ["scheduled_messages", FIGURES.scheduled],
  ["queued_messages", FIGURES.queued],
  ["reserved_keys", FIGURES.reservedKeys],
  ["scheduled_overdue_ms", FIGURES.overdueMs],
  ["lapsed_messages", FIGURES.lapsed],
  ["retention_held_bytes", FIGURES.heldBytes],
  ["store_bytes", FIGURES.storeBytes],
  ["retired_bytes", FIGURES.retiredBytes],
  ["front_segment_live_bytes", FIGURES.frontLiveBytes],
  ["copied_forward_bytes", FIGURES.copiedBytes],
  ["disk_free_bytes", FIGURES.freeBytes],
  ['memory_bytes{part="blocks"}', 1_000],
  ['memory_bytes{part="unread"}', 2_000],
];

const lines = (text: string): string[] => text.split("\n");
const namesIn = (text: string, type: string): string[] =>
  lines(text).flatMap((line) => {
    const [, name, its] = /^# TYPE escrowmq_(\w+) (\w+)$/.exec(line) ?? [];
    return name !== undefined && its === type ? [name] : [];
  });

test("each gauge says its own figure, and no figure is left out", async () => {
  const text = await new Metrics(() => FIGURES).text();
  for (const [name, figure] of GAUGES) expect(lines(text)).toContain(`escrowmq_${name} ${figure}`);
  const known = GAUGES.map(([name]) => name.replace(/\{.*/, ""));
  expect(namesIn(text, "gauge").sort()).toEqual([...new Set(known)].sort());
  expect(GAUGES.filter(([name]) => !name.startsWith("memory")).length).toBe(names.length);
});

test("the figures are gathered once for all gauges, and only when somebody asks", async () => {
  let times = 0;
  const metrics = new Metrics(() => {
    times++;
    return FIGURES;
  });
  expect(times).toBe(0);
  await metrics.text();
  await metrics.text();
  expect(times).toBe(2);
});

test("every metric has its row in OPERATING, and every row its metric", async () => {
  const text = await new Metrics(() => FIGURES).text();
  const told = ["counter", "gauge", "histogram"].flatMap((type) => namesIn(text, type));
  const operating = readFileSync(new URL("../../docs/OPERATING.md", import.meta.url), "utf8");
  const [, table = ""] = operating.split("| metric | labels | watch for |");
  const rows = lines(table.split("\n\n")[0] ?? "").map((row) => row.split("|")[1] ?? "");
  const documented = rows.flatMap((cell) => [...cell.matchAll(/`(\w+)`/g)].map(([, name]) => name));
  expect([...documented].sort()).toEqual([...told].sort());
});
