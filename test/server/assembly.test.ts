/** Batches that are begun and not ended. */
import { describe, expect, it } from "vitest";
import { ASSEMBLE_WITHIN_MS, Assembly } from "../../broker/src/server/assembly.ts";

const KIB = 1_024;

function aBench(places: number) {
  const log: string[] = [];
  let nowMs = 0;
  let timer: { atMs: number; run: () => void } | null = null;
  const assembly = new Assembly(places, {
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
    const piece = assembly.open({
      pause: (isPaused) => void log.push(`${name} ${isPaused ? "waits" : "goes on"}`),
      tooSlow: () => {
        log.push(`${name} closed`);
        assembly.close(piece);
      },
    });
    return {
      holds: (kib: number) => assembly.grow(piece, kib * KIB),
      leaves: () => assembly.close(piece),
    };
  };
  const passes = (ms: number): void => {
    nowMs += ms;
    while (timer !== null && timer.atMs <= nowMs) {
      const { run } = timer as { run: () => void };
      timer = null;
      run();
    }
  };
  return { assembly, log, peer, passes, hasTimer: () => timer !== null };
}

describe("a batch of which a part has come", () => {
  it("of one read needs no place, however many there are", () => {
    const { log, peer, assembly } = aBench(1);
    const all = Array.from({ length: 100 }, (_, at) => peer(`${at}`));
    for (const one of all) one.holds(64);
    expect(log).toEqual([]);
    expect(assembly.bytes).toBe(100 * 64 * KIB);
  });

  it("of more waits for a place, in the order in which they asked", () => {
    const { log, peer, assembly } = aBench(2);
    const [a, b, c, d] = ["a", "b", "c", "d"].map(peer);
    for (const one of [a, b, c, d]) one?.holds(65);
    expect(log).toEqual(["c waits", "d waits"]);
    b?.holds(3_000);
    b?.holds(0);
    expect(log.slice(2)).toEqual(["c goes on"]);
    a?.leaves();
    expect(log.slice(3)).toEqual(["d goes on"]);
    expect(assembly.bytes).toBe(2 * 65 * KIB);
  });

  it("that does not come to an end is closed when somebody waits for its place", () => {
    const { log, peer, passes, hasTimer } = aBench(1);
    peer("stalled").holds(100);
    passes(10 * ASSEMBLE_WITHIN_MS);
    expect(log).toEqual([]);
    peer("next").holds(100);
    passes(1);
    expect(log).toEqual(["next waits", "stalled closed", "next goes on"]);
    expect(hasTimer()).toBe(false);
  });

  it("is not closed before its time, and not when nobody waits any more", () => {
    const { log, peer, passes } = aBench(1);
    peer("slow").holds(100);
    const next = peer("next");
    next.holds(100);
    passes(ASSEMBLE_WITHIN_MS - 1);
    next.leaves();
    passes(ASSEMBLE_WITHIN_MS);
    expect(log).toEqual(["next waits", "next goes on"]);
  });

  it("frees its bytes and its place when the connection ends", () => {
    const { peer, assembly, log } = aBench(1);
    const a = peer("a");
    a.holds(500);
    a.leaves();
    peer("b").holds(500);
    expect(log).toEqual([]);
    expect(assembly.bytes).toBe(500 * KIB);
  });
});
