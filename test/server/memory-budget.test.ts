/** What follows when memory runs short, as tables. */
import { describe, expect, it } from "vitest";
import {
  assemblyPlaces,
  blockBytesMax,
  laneBytesMax,
  MEMORY_BYTES_DEFAULT,
  MEMORY_BYTES_MIN,
  narrowedWindow,
  nextOpenBytes,
  openBytesMax,
  READ_BYTES,
  SETTLING_RESERVE_BYTES,
  sendingBytes,
  sharesOf,
  tooSlowBytes,
  unreadAllowance,
  widenedWindow,
  worstFirst,
} from "../../broker/src/server/memory-budget.ts";
import { LIMITS } from "../../protocol/src/limits.ts";

const MIB = 1_048_576;

describe.each([MEMORY_BYTES_MIN, MEMORY_BYTES_DEFAULT, 1_024 * MIB])("a budget of %d", (bytes) => {
  const shares = sharesOf(bytes);

  it("is what its shares are together", () => {
    const total = Object.values(shares).reduce((sum, share) => sum + share, 0);
    expect(total).toBeLessThanOrEqual(bytes);
    expect(total).toBeGreaterThan(bytes * 0.99);
  });

  it("has room for two blocks at their largest", () => {
    const largest = openBytesMax(shares) + SETTLING_RESERVE_BYTES + LIMITS.batchBytesMax;
    expect(openBytesMax(shares)).toBeGreaterThan(MIB);
    expect(2 * largest).toBeLessThanOrEqual(shares.blocksBytesMax);
  });

  it("can read a block, and finish several of the largest batches at once", () => {
    expect(blockBytesMax(shares)).toBeLessThanOrEqual(shares.readingBytesMax);
    expect(assemblyPlaces(shares.assemblingBytesMax)).toBeGreaterThanOrEqual(2);
  });

  it.each([1, 10, 100, 1_000])("is not used up by %d greedy connections", (count) => {
    let used = 0;
    const held = new Array<number>(count).fill(0);
    for (let round = 0; round < 2_000; round++)
      for (let at = 0; at < count; at++) {
        if ((held[at] ?? 0) > laneBytesMax(shares.sendingBytesMax, used)) continue;
        held[at] = (held[at] ?? 0) + 1_024;
        used += 1_024;
      }
    expect(used).toBeLessThanOrEqual(
      Math.max(shares.sendingBytesMax, count * (READ_BYTES + 1_024)),
    );
    expect(Math.max(...held) - Math.min(...held)).toBeLessThanOrEqual(shares.sendingBytesMax / 8);
  });
});

describe("an allowance", () => {
  it.each([
    // share, used, lane, unread
    [16, 0, 4, 1],
    [16, 8, 2, 0.5],
    [16, 12, 1, 1 / 16],
    [16, 15.9, 1 / 16, 1 / 16],
    [16, 17, 1 / 16, 1 / 16],
  ])(
    "of a share of %d MiB with %d used is %d in a lane, %d unread",
    (share, used, lane, unread) => {
      expect(laneBytesMax(share * MIB, used * MIB)).toBe(lane * MIB);
      expect(unreadAllowance(share * MIB, used * MIB)).toBe(unread * MIB);
    },
  );
});

describe("those who hold most", () => {
  const holders = [10, 50, 30, 0, 40].map((bytes) => ({ bytes }));
  it.each([
    [130, 130, []],
    [130, 120, [50]],
    [130, 60, [50, 40]],
    [130, 1, [50, 40, 30, 10]],
  ])("of %d used with a share of %d are %j", (used, share, expected) => {
    expect(worstFirst(holders, used, share).map(({ bytes }) => bytes)).toEqual(expected);
  });

  it("one peer may hold at most a quarter of the share, or 32 MiB", () => {
    expect(tooSlowBytes(96 * MIB)).toBe(24 * MIB);
    expect(tooSlowBytes(1_024 * MIB)).toBe(32 * MIB);
  });
});

describe("a window", () => {
  it("is halved, at most to half of what its lane may hold, and not below 16 KiB", () => {
    expect(narrowedWindow(2 * MIB, 4 * MIB)).toBe(MIB);
    expect(narrowedWindow(2 * MIB, 100_000)).toBe(50_000);
    expect(narrowedWindow(20_000, 100_000)).toBe(16_384);
  });

  it("is doubled up to what the client had at first", () => {
    expect(widenedWindow(16_384)).toBe(32_768);
    expect(widenedWindow(1.5 * MIB)).toBe(LIMITS.windowBytesMax);
  });
});

describe("a block", () => {
  it.each([
    // full at, MiB written, in ms, full at next
    [8, 8, 40, 8],
    [8, 8, 160, 5],
    [8, 8, 1_000, 4],
    [1, 1, 40, 2],
    [1, 0.4, 40, 1],
    [1, 1, 60, 1],
    [0.25, 0.5, 1_000, 0.25],
    // A stall of a tiny block says nothing about its size.
    [8, 0.1, 1_000, 8],
  ])(
    "full at %d MiB, of %d written in %d ms, lets the next be full at %d",
    (full, written, ms, next) => {
      expect(nextOpenBytes(full * MIB, 8 * MIB, written * MIB, ms)).toBe(next * MIB);
    },
  );

  it("that is full sooner lets fewer sends wait", () => {
    expect(sendingBytes(16 * MIB, 8 * MIB)).toBe(16 * MIB);
    expect(sendingBytes(16 * MIB, MIB)).toBe(2 * MIB);
    expect(sendingBytes(16 * MIB, Number.POSITIVE_INFINITY)).toBe(16 * MIB);
  });
});
