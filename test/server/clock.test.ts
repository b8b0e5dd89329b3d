/** C5: broker time runs with the monotonic clock and never goes back. */
import { afterEach, describe, expect, it, vi } from "vitest";
import { systemClock } from "../../broker/src/server/clock.ts";

afterEach(() => {
  vi.restoreAllMocks();
});

/** A wall clock and a monotonic one that the test moves. */
function clocks(wallMs: number): { wallMs: number; monotonicMs: number } {
  const times = { wallMs, monotonicMs: 500 };
  vi.spyOn(Date, "now").mockImplementation(() => times.wallMs);
  vi.spyOn(performance, "now").mockImplementation(() => times.monotonicMs);
  return times;
}

describe("broker time", () => {
  it.each([3_600_000, -3_600_000])("does not move when the wall clock jumps by %i ms", (jumpMs) => {
    const times = clocks(1_000_000);
    const clock = systemClock();
    times.monotonicMs += 250;
    times.wallMs += 250 + jumpMs;
    expect(clock.nowMs()).toBe(1_000_250);
  });

  it("starts after the last block, when the wall clock was set back while the broker was down", () => {
    const times = clocks(1_000_000);
    const clock = systemClock();
    clock.startAfter(5_000_000);
    expect(clock.nowMs()).toBe(5_000_001);
    times.monotonicMs += 10;
    expect(clock.nowMs()).toBe(5_000_011);
  });

  it("is the wall clock's when that is ahead of the last block", () => {
    clocks(1_000_000);
    const clock = systemClock();
    clock.startAfter(900_000);
    expect(clock.nowMs()).toBe(1_000_000);
  });

  it("stands still while the process is stopped, whatever it looks at first when it goes on", () => {
    const times = clocks(1_000_000);
    const clock = systemClock();
    times.monotonicMs += 1_000;
    expect(clock.nowMs()).toBe(1_001_000);
    times.monotonicMs += 60_000;
    times.wallMs += 61_000;
    // The heartbeat that was due is as much as may have passed.
    expect(clock.nowMs()).toBe(1_001_500);
    times.monotonicMs += 1_000;
    expect(clock.nowMs()).toBe(1_002_500);
    expect(clock.monotonicMs()).toBe(62_000);
    // A clock that is made later knows nothing of it.
    expect(systemClock().nowMs()).toBe(1_061_000);
  });
});
