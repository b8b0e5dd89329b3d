/** Batches that are begun and not ended. */
import { describe, expect, it } from "vitest";
import { ASSEMBLE_WITHIN_MS, Assembly } from "../../broker/src/server/assembly.ts";
import { LIMITS } from "../../protocol/src/limits.ts";

const KIB = 1_024;

/** Room for two of the largest batches, and as much for all that have no place. */
const BYTES_MAX = 2 * 2 * LIMITS.batchBytesMax;

function aBench() {
  const log: string[] = [];
  let nowMs = 0;
  let timer: { atMs: number; run: () => void } | null = null;
  const assembly = new Assembly(BYTES_MAX, {
    monotonicMs: () => nowMs,
    setTimer: (run, delayMs) => {
      const set = { atMs: nowMs + delayMs, run };
      timer = set;
      return {
        cancel: () => {
          if (timer === set) timer = null;
        },
      };
    },
  });
  const peer = (name: string) => {
    let isWaiting = false;
    const piece = assembly.open({
      pause: (isPaused) => {
        isWaiting = isPaused;
        log.push(`${name} ${isPaused ? "waits" : "goes on"}`);
      },
      tooSlow: () => {
        log.push(`${name} closed`);
        assembly.close(piece);
      },
    });
    return {
      holds: (kib: number) => assembly.grow(piece, kib * KIB),
      holdsUnlessPaused: (kib: number) => {
        if (!isWaiting) assembly.grow(piece, kib * KIB);
      },
      leaves: () => assembly.close(piece),
    };
  };
  const passes = (ms: number): void => {
    const untilMs = nowMs + ms;
    while (timer !== null && timer.atMs <= untilMs) {
      const { atMs, run } = timer as { atMs: number; run: () => void };
      nowMs = atMs;
      timer = null;
      run();
    }
    nowMs = untilMs;
  };
  return { assembly, log, peer, passes, hasTimer: () => timer !== null };
}

describe("a batch of which a part has come", () => {
  it("of one read needs no place, however many there are", () => {
    const { log, peer, assembly } = aBench();
    const all = Array.from({ length: 1_000 }, (_, at) => peer(`${at}`));
    for (const one of all) one.holds(64);
    expect(log).toEqual([]);
    expect(assembly.bytes).toBe(1_000 * 64 * KIB);
  });

  it("may hold more while few do, and waits for a place beyond that, in the order in which they asked", () => {
    const { log, peer } = aBench();
    const [a, b, c, d] = ["a", "b", "c", "d"].map(peer);
    for (const one of [a, b, c, d]) one?.holds(500);
    expect(log).toEqual([]);
    for (const one of [a, b, c, d]) one?.holds(3_000);
    expect(log).toEqual(["c waits", "d waits"]);
    b?.holds(4_000);
    b?.holds(0);
    expect(log.slice(2)).toEqual(["c goes on"]);
    a?.leaves();
    expect(log.slice(3)).toEqual(["d goes on"]);
  });

  it("is held within the share and two reads of each, however many begin one", () => {
    const { peer, assembly } = aBench();
    const all = Array.from({ length: 200 }, (_, at) => peer(`${at}`));
    for (let kib = 64; kib <= 4_096; kib += 64) for (const one of all) one.holdsUnlessPaused(kib);
    expect(assembly.bytes).toBeLessThanOrEqual(BYTES_MAX + 200 * 2 * 64 * KIB);
  });

  it("that stalls is closed when somebody waits for its place, and not before", () => {
    const { log, peer, passes, hasTimer } = aBench();
    peer("stalled").holds(4_000);
    peer("too").holds(4_000);
    passes(10 * ASSEMBLE_WITHIN_MS);
    expect(log).toEqual([]);
    peer("next").holds(4_000);
    passes(500);
    expect(log).toEqual(["next waits", "stalled closed", "next goes on"]);
    passes(500);
    expect(hasTimer()).toBe(false);
  });

  it("that comes slowly is not closed before its time", () => {
    const { log, peer, passes } = aBench();
    const slow = [peer("slow"), peer("slower")];
    for (const one of slow) one.holds(3_000);
    peer("next").holds(4_000);
    for (let at = 1; at * 2_000 < ASSEMBLE_WITHIN_MS; at++) {
      passes(2_000);
      for (const one of slow) one.holds(3_000 + at);
    }
    expect(log).toEqual(["next waits"]);
    passes(2_000);
    // For the other nobody waits any more.
    expect(log).toEqual(["next waits", "slow closed", "next goes on"]);
  });

  it("that stalls within its allowance is closed, too, when others wait for the memory", () => {
    const { log, peer, passes } = aBench();
    const begun = ["a", "b", "c", "d", "e"].map(peer);
    for (const one of begun) one.holds(1_200);
    peer("f").holds(4_000);
    peer("g").holds(4_000);
    peer("next").holds(200);
    expect(log.at(-1)).toBe("next waits");
    passes(4_000);
    expect(log).toContain("a closed");
    expect(log).toContain("next goes on");
  });

  it("frees its bytes and its place when the connection ends", () => {
    const { peer, assembly, log } = aBench();
    const first = [peer("a"), peer("b")];
    for (const one of first) one.holds(4_000);
    for (const one of first) one.leaves();
    peer("c").holds(4_000);
    expect(log).toEqual([]);
    expect(assembly.bytes).toBe(4_000 * KIB);
  });
});
