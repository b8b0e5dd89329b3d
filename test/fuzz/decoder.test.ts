/**
 * Hostile frames against the decoders (reliability, layer L4): whatever comes, a batch is read or refused with a
 * typed error; nothing else is thrown, nothing stalls, nothing is kept.
 *
 *   FUZZ_FRAMES=20000000 SEED=7 npx vitest run test/fuzz
 */
import { isDeepStrictEqual } from "node:util";
import { describe, expect, it } from "vitest";
import {
  decodeBrokerBatch,
  decodeClientBatch,
  readBrokerBatch,
  readClientBatch,
} from "../../protocol/src/codec.ts";
import { EscrowError } from "../../protocol/src/errors.ts";
import { BROKER_FRAMES, CLIENT_FRAMES } from "../../protocol/src/frames.ts";
import { decodeMessage, encodeMessage } from "../../protocol/src/message.ts";
import { FrameFuzzer } from "../support/fuzz-frames.ts";
import { FRAMES, heapBytes, SEED } from "../support/fuzz-run.ts";

const STALL_MS = 50;
const LOOK_AGAIN_MS = 10;
const MIB = 1_048_576;
const HEAP_GROWTH_MAX = 32 * MIB;
const A_SLICE = 20_000;
/** The careful way as well, which must come to the same end. */
const BOTH_WAYS_ONE_IN = 8;

interface Read {
  readonly frames: readonly object[];
}

const DIRECTIONS = [
  ["clients", CLIENT_FRAMES, decodeClientBatch, readClientBatch, 3 / 4],
  ["brokers", BROKER_FRAMES, decodeBrokerBatch, readBrokerBatch, 1 / 4],
] as const;

/** What a batch came to; throws whatever was thrown that is no refusal. */
function outcomeOf(read: (data: Uint8Array) => readonly object[], data: Buffer): string | Read {
  try {
    return { frames: read(data) };
  } catch (error) {
    if (EscrowError.is(error, "BAD_FRAME") || EscrowError.is(error, "UNKNOWN_FRAME"))
      return error.code;
    throw new Error(`thrown on ${data.subarray(0, 400).toString("hex")}`, { cause: error });
  }
}

/** The messages in a frame that was read are read or refused, too. */
function openMessages(frame: object): void {
  if (!("messages" in frame) || !Array.isArray(frame.messages)) return;
  for (const message of frame.messages)
    try {
      decodeMessage(message);
    } catch (error) {
      if (!EscrowError.is(error)) throw error;
    }
}

/** A stall comes again with the same bytes; another process that had the core does not. */
function leastMs(read: () => void): number {
  let least = Number.POSITIVE_INFINITY;
  for (let time = 0; time < 5; time++) {
    const startMs = performance.now();
    read();
    least = Math.min(least, performance.now() - startMs);
  }
  return least;
}

const MESSAGES = [0, 1, 30].map((bytes) =>
  encodeMessage({ id: "m-1", topic: "orders", headers: { a: "b" }, body: new Uint8Array(bytes) }),
);
const SENDS = [{ type: "send", id: 1, sendId: "s-1", messages: MESSAGES }];

describe.each(DIRECTIONS)("hostile frames from %s", (from, table, decode, careful, share) => {
  const frames = Math.round(FRAMES.decoder * share);
  it(`are read or refused by name, at once, and nothing of them stays (${frames} frames, seed ${SEED})`, async () => {
    const fuzzer = new FrameFuzzer(SEED, table, from === "clients" ? SENDS : []);
    const tally = new Map<string, number>();
    const count = (what: string): void => void tally.set(what, (tally.get(what) ?? 0) + 1);
    let [done, batches, slowestMs, heapBefore] = [0, 0, 0, 0];
    const startMs = performance.now();
    while (done < frames) {
      for (let slice = 0; slice < A_SLICE && done < frames; slice++, batches++) {
        const { data, frames: made } = fuzzer.batch();
        done += made;
        const sinceMs = performance.now();
        const outcome = outcomeOf(decode, data);
        let tookMs = performance.now() - sinceMs;
        if (tookMs > LOOK_AGAIN_MS) tookMs = leastMs(() => outcomeOf(decode, data));
        slowestMs = Math.max(slowestMs, tookMs);
        if (tookMs > STALL_MS) expect.fail(`${tookMs} ms for ${data.toString("hex")}`);
        if (
          batches % BOTH_WAYS_ONE_IN === 0 &&
          !isDeepStrictEqual(outcome, outcomeOf(careful, data))
        )
          expect.fail(`two outcomes for ${data.toString("hex")}`);
        count(typeof outcome === "string" ? outcome : "read");
        if (typeof outcome !== "string") outcome.frames.forEach(openMessages);
      }
      if (heapBefore === 0) heapBefore = heapBytes();
      await new Promise((resolve) => setImmediate(resolve));
    }
    const rate = Math.round((done / (performance.now() - startMs)) * 1_000);
    const said = [...tally].map(([what, times]) => `${what} ${times}`).join(", ");
    console.info(
      `decoder, ${from}: seed ${SEED}, ${done} frames in ${batches} batches, ${rate} a second; ${said}; slowest ${slowestMs.toFixed(1)} ms`,
    );
    expect(heapBytes() - heapBefore).toBeLessThan(HEAP_GROWTH_MAX);
    expect(tally.get("read") ?? 0).toBeGreaterThan(batches / 100);
  }, 3_600_000);
});
