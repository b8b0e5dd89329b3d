/** What the doctor says of groups that retention has met, or is about to meet. */
import { expect, test } from "vitest";
import type { GroupBehind } from "../../broker/src/core/types.ts";
import { examine } from "../../broker/src/server/doctor.ts";
import { HEALTHY } from "../support/healthy-patient.ts";

const MIB = 1_048_576;
const HOUR = 3_600_000;
const DAY = 24 * HOUR;

const SLOW: GroupBehind = {
  group: "slow",
  topic: "orders",
  unsettled: "drop",
  oldestAgeMs: 0,
  retentionMs: 7 * DAY,
  heldBytes: 0,
  expired: 0,
  retentionBytes: 0,
  behindBytes: 0,
  isPaused: false,
};

const said = (group: Partial<GroupBehind>): string => {
  const { findings } = examine({ ...HEALTHY, groups: [{ ...SLOW, ...group }] });
  return findings
    .filter(({ area }) => area === "retention")
    .map(({ level, text }) => `${level}: ${text}`)
    .join("\n");
};
const NEXT = ": escrow group describe slow";

test("a group near the age at which messages are dropped is about to lose some", () => {
  expect(said({ oldestAgeMs: 6 * DAY })).toBe(
    `warning: Group slow in topic orders is about to lose messages: its oldest is 6.0 days old, and they are dropped at 7.0 days${NEXT}`,
  );
});

test("so is one with almost as many bytes before it as its topic may hold", () => {
  expect(said({ retentionBytes: 100 * MIB, behindBytes: 90 * MIB })).toBe(
    `warning: Group slow in topic orders is about to lose messages: 90 MiB are before it, and beyond 100 MiB the oldest are dropped${NEXT}`,
  );
});

test("what was lost and what is held back is counted; that a group is paused is said", () => {
  expect(said({ expired: 3, isPaused: true })).toBe(
    `warning: Group slow in topic orders, which is paused, has lost 3 messages to retention${NEXT}`,
  );
  const kept = { unsettled: "keep", oldestAgeMs: 8 * DAY, heldBytes: 300 * MIB } as const;
  expect(said(kept)).toBe(
    `warning: Group slow in topic orders holds back 300 MiB that could be retired, for 1.0 days${NEXT}`,
  );
});

test("without such a group all is well", () => {
  const { findings } = examine(HEALTHY);
  expect(findings.find(({ area }) => area === "retention")).toEqual({
    level: "ok",
    area: "retention",
    text: "No group holds messages back, and none is about to lose any.",
  });
});
