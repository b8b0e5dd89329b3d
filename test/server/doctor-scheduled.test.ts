/** What the doctor says of messages that wait for their time. */
import { expect, test } from "vitest";
import { examine, type Patient } from "../../broker/src/server/doctor.ts";
import { HEALTHY } from "../support/healthy-patient.ts";

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
    `${many} Beyond that, messages with a delay or a reserved key are refused.`,
  ]);
  // What is queued stands in the same table.
  expect(said({ scheduled: 1, queued: 799_999 })[0]).toContain(
    "warning: 1 scheduled message and 799999 queued of at most 1000000.",
  );
  expect(said({ scheduled: 1, overdueMs: 90_000 })[0]).toContain("The first is due since 90 s.");
  expect(said({ scheduled: 1 }, 7_200_000)[0]).toContain("2.0 hours behind the clock on the wall");
  expect(said({ scheduled: 1 }, -120_000)[0]).toContain("come that much too early");
});

test("a clock that is off matters to nobody while nothing waits", () => {
  expect(said({}, 7_200_000)).toEqual(["ok: 0 scheduled messages of at most 1000000."]);
});
