/** What the doctor says of messages that wait for their time. */
import { expect, test } from "vitest";
import { DEFAULT_POLICY } from "../../broker/src/core/policy.ts";
import { examine, type Patient } from "../../broker/src/server/doctor.ts";

const HEALTHY: Patient = {
  stats: {
    connections: 0,
    topics: 0,
    groups: 0,
    undecided: 0,
    parked: 0,
    undecidedBytes: 0,
    oldestUndecidedAgeMs: 0,
    decisionsKept: 0,
    messages: 0,
    leased: 0,
    waiting: 0,
    held: 0,
    filtered: 0,
    standing: 0,
    pausedGroups: 0,
    deadLetters: 0,
    blocks: 1,
    retired: 0,
    expired: 0,
    scheduled: 0,
    scheduledBytes: 0,
    overdueMs: 0,
    lapsed: 0,
    storeBytes: 0,
    rssBytes: 0,
  },
  groups: [],
  pausedGroups: [],
  standing: [],
  policy: DEFAULT_POLICY,
  freeBytes: 2 ** 40,
  sendFreeBytesMin: 1,
  isExposed: false,
  host: "127.0.0.1",
  allowedOrigins: [],
  endpointRanges: [],
  storeFailures: 0,
  unreadable: { reads: 0, last: "" },
  memory: {
    sending: 0,
    settling: 0,
    assembling: 0,
    blocks: 0,
    reading: 0,
    asking: 0,
    unread: 0,
  },
  memoryBytesMax: 2 ** 28,
  pausedConnections: 0,
  clockBehindMs: 0,
};

const said = (stats: Partial<Patient["stats"]>, clockBehindMs = 0): string[] =>
  examine({ ...HEALTHY, stats: { ...HEALTHY.stats, ...stats }, clockBehindMs })
    .findings.filter(({ area }) => area === "scheduled")
    .map(({ level, text }) => `${level}: ${text}`);

test("a few that wait are well", () => {
  expect(said({ scheduled: 1 })).toEqual(["ok: 1 scheduled message of at most 1000000."]);
  expect(said({ scheduled: 3 })).toEqual(["ok: 3 scheduled messages of at most 1000000."]);
});

test("near the limit, long overdue, or by a clock that is off is a warning each", () => {
  const many = "warning: 800000 scheduled messages of at most 1000000.";
  expect(said({ scheduled: 800_000 })).toEqual([
    `${many} Beyond that, delayed messages are refused.`,
  ]);
  expect(said({ scheduled: 1, overdueMs: 90_000 })[0]).toContain("The first is due since 90 s.");
  expect(said({ scheduled: 1 }, 7_200_000)[0]).toContain("2.0 hours behind the clock on the wall");
  expect(said({ scheduled: 1 }, -120_000)[0]).toContain("come that much too early");
});

test("a clock that is off matters to nobody while nothing waits", () => {
  expect(said({}, 7_200_000)).toEqual(["ok: 0 scheduled messages of at most 1000000."]);
});
