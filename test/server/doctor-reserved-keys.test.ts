/** What the doctor says of transactions that reserve their keys, and of what waits for them. */
import { expect, test } from "vitest";
import { examine, type Patient } from "../../broker/src/server/doctor.ts";
import { HEALTHY } from "../support/healthy-patient.ts";

type Reserving = NonNullable<Patient["reserving"]>;

const said = (stats: Partial<Patient["stats"]>, reserving?: Partial<Reserving>): string[] => {
  const oldest = { transactionId: "tx-1", ageMs: 1_000, isParked: false, ...reserving };
  return examine({
    ...HEALTHY,
    stats: { ...HEALTHY.stats, ...stats },
    reserving: reserving === undefined ? null : oldest,
  })
    .findings.filter(({ area }) => area === "reserved keys")
    .map(({ level, text }) => `${level}: ${text}`);
};

test("none is well, and so are a few for as long as local work takes", () => {
  expect(said({})).toEqual(["ok: 0 reserved keys of at most 100000, 0 messages behind them."]);
  expect(said({ reservedKeys: 1, queued: 2 }, { ageMs: 60_000 })).toEqual([
    "ok: 1 reserved key of at most 100000, 2 messages behind them.",
  ]);
});

test("near the limit is a warning that says what is refused beyond it", () => {
  expect(said({ reservedKeys: 79_999 })[0]).toMatch(/^ok: /);
  expect(said({ reservedKeys: 80_000 })).toEqual([
    "warning: 80000 reserved keys of at most 100000, 0 messages behind them. Beyond that, transactions that reserve their keys are refused.",
  ]);
});

const SOME = { reservedKeys: 3, queued: 5 };

test("what waits for longer than a minute is a warning that says for which transaction", () => {
  expect(said(SOME, { ageMs: 60_001 })).toEqual([
    "warning: 3 reserved keys of at most 100000, 5 messages behind them. The oldest transaction that others wait for is undecided, prepared 60 s ago: escrow tx show tx-1",
  ]);
});

test("what waits for a parked one is a warning at once: nobody asks for its verdict any more", () => {
  expect(said(SOME, { ageMs: 5_000, isParked: true })).toEqual([
    "warning: 3 reserved keys of at most 100000, 5 messages behind them. The oldest transaction that others wait for is parked, prepared 5 s ago: escrow tx show tx-1",
  ]);
});

test("both are two warnings", () => {
  const both = said({ reservedKeys: 90_000, queued: 5 }, { ageMs: 7_200_000 });
  expect(both.map((text) => text.split(". ")[1])).toEqual([
    expect.stringMatching(/^Beyond that/),
    expect.stringMatching(/^The oldest .* prepared 2\.0 hours ago/),
  ]);
});
