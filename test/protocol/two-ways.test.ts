/** A batch may be read in two ways, the quick and the careful one (codec.ts). Nobody can tell which it was. */
import fc from "fast-check";
import { Packr, Unpackr } from "msgpackr";
import { describe, expect, test, vi } from "vitest";
import {
  decodeBrokerBatch,
  decodeClientBatch,
  encodeBatch,
  readBrokerBatch,
  readClientBatch,
} from "../../protocol/src/codec.ts";
import { EscrowError } from "../../protocol/src/errors.ts";
import { BROKER_FRAMES, type BrokerFrame, CLIENT_FRAMES } from "../../protocol/src/frames.ts";
import { LIMITS } from "../../protocol/src/limits.ts";
import { decodeMessage, encodeMessage, readMessageBytes } from "../../protocol/src/message.ts";
import { messageValues, valuesOf } from "./arbitraries.ts";
import { mutated, seeded } from "./mutants.ts";

const foreign = new Packr({ useRecords: false, variableMapSize: true });

const outcome = (read: (data: Uint8Array) => unknown, data: Uint8Array): unknown => {
  try {
    return { taken: read(data) };
  } catch (error) {
    if (EscrowError.is(error)) return { code: error.code, message: error.message };
    throw error;
  }
};

const PAIRS = [
  ["client", CLIENT_FRAMES, decodeClientBatch, readClientBatch],
  ["broker", BROKER_FRAMES, decodeBrokerBatch, readBrokerBatch],
] as const;

const framesOf = (table: (typeof PAIRS)[number][1]): fc.Arbitrary<object[]> =>
  fc.array(
    fc.oneof(
      ...Object.entries(table).map(([type, fields]) =>
        valuesOf(fields).map((values) => ({ type, ...values })),
      ),
    ),
    { minLength: 1, maxLength: 5 },
  );

describe.each(PAIRS)("a batch from a %s", (_from, table, quick, careful) => {
  test("of our own writer is the same batch both ways, from a Buffer and from plain bytes", () => {
    fc.assert(
      fc.property(framesOf(table), (frames) => {
        const data = encodeBatch(frames as BrokerFrame[]);
        for (const bytes of [Buffer.from(data), Uint8Array.from(data)])
          expect(outcome(quick, bytes)).toEqual(outcome(careful, bytes));
      }),
    );
  });

  test("of another encoder is the same batch both ways, whatever the order of its keys", () => {
    const shuffled = framesOf(table).chain((frames) =>
      fc.tuple(
        ...frames.map((frame) =>
          fc
            .shuffledSubarray(Object.entries(frame), { minLength: Object.keys(frame).length })
            .map((pairs) => Object.fromEntries(pairs)),
        ),
      ),
    );
    fc.assert(
      fc.property(shuffled, (frames) => {
        const data = Buffer.from(foreign.pack(frames));
        expect(outcome(quick, data)).toEqual(outcome(careful, data));
      }),
    );
  });

  test("that is changed at random is taken or refused alike", () => {
    const seed = 4_711;
    const random = seeded(seed);
    const samples = Object.entries(table).flatMap(([type, fields], index) =>
      fc
        .sample(valuesOf(fields), { numRuns: 3, seed: index })
        .map((values) => encodeBatch([{ type, ...values } as BrokerFrame])),
    );
    let taken = 0;
    for (let round = 0; round < 20_000; round++) {
      const mutant = Buffer.from(mutated(samples[random(samples.length)] ?? data0, random));
      const one = outcome(quick, mutant);
      expect(one, `seed ${seed}, round ${round}`).toEqual(outcome(careful, mutant));
      if ("taken" in (one as object)) taken++;
    }
    expect(taken).toBeGreaterThan(500);
  });
});

const data0 = new Uint8Array(1);

describe("an encoded message", () => {
  test("is the same message both ways, changed at random or not", () => {
    const random = seeded(99);
    fc.assert(
      fc.property(messageValues, (values) => {
        const data = Buffer.from(encodeMessage(values as never));
        for (const bytes of [data, Buffer.from(mutated(data, random))])
          expect(outcome(decodeMessage, bytes)).toEqual(outcome(readMessageBytes, bytes));
      }),
      { numRuns: 1_000 },
    );
  });
});

describe("the quick way is the one that is gone", () => {
  test.each(PAIRS)("by all frames of a %s but operators' answers", (_from, table, decode) => {
    const careful = vi.spyOn(Unpackr.prototype, "unpack");
    for (const [type, fields] of Object.entries(table))
      for (const values of fc.sample(valuesOf(fields), { numRuns: 20, seed: 1 })) {
        const frame = { type, ...values, value: undefined, detail: undefined };
        decode(encodeBatch([frame as unknown as BrokerFrame]));
        expect(careful.mock.calls, type).toEqual([]);
      }
    careful.mockRestore();
  });
});

describe("limits hold on the quick way, too", () => {
  const tokens = new Array(LIMITS.settleTokensMax).fill("t");
  const acks = (count: number) =>
    Array.from({ length: count }, (_, id) => ({ type: "ack", id, tokens }) as const);

  test.each<[string, Uint8Array]>([
    ["more items than a batch may have", encodeBatch(acks(65))],
    ["more frames than a batch may have", encodeBatch(new Array(2_049).fill({ type: "ping" }))],
    [
      "more tokens than an ack may have",
      encodeBatch([{ type: "ack", id: 1, tokens: [...tokens, "t"] }]),
    ],
    ["a byte after the end", Buffer.concat([encodeBatch([{ type: "ping" }]), Buffer.of(0xc0)])],
    ["no frames", encodeBatch([])],
  ])("%s", (_what, data) => {
    expect(outcome(decodeClientBatch, data)).toEqual(outcome(readClientBatch, data));
  });

  test("as many items as a batch may have are taken", () => {
    expect(decodeClientBatch(encodeBatch(acks(63)))).toHaveLength(63);
  });
});

describe("the writer", () => {
  test("mends text that UTF-8 cannot say, in the middle of a batch, and leaves the rest alone", () => {
    const cut = "order \ud83d";
    const [bad, good] = decodeBrokerBatch(
      encodeBatch([
        { type: "error", re: 1, code: "INTERNAL", message: cut },
        { type: "ok", re: 2 },
      ]),
    );
    expect(bad).toMatchObject({ message: "order \ufffd" });
    expect(good).toMatchObject({ re: 2 });
  });

  test.each([
    0,
    1,
    127,
    128,
    255,
    256,
    65_535,
    65_536,
    2 ** 31,
    2 ** 32 - 1,
    2 ** 32,
    2 ** 53 - 1,
    -1,
    -32,
    -33,
    -129,
    -40_000,
    -(2 ** 31),
    -(2 ** 40),
    0.5,
    -0.25,
    1e300,
  ])("writes the number %d so that it arrives", (number) => {
    const data = encodeBatch([{ type: "ok", re: 1, value: { number } }]);
    expect(decodeBrokerBatch(data)[0]).toMatchObject({ value: { number } });
  });

  test.each([0, 1, 10, 11, 31, 32, 63, 64, 65, 85, 86, 255, 256, 21_845, 21_846, 60_000])(
    "writes text of %d characters so that it arrives, plain or not",
    (length) => {
      for (const text of ["a".repeat(length), "€".repeat(length), `${"a".repeat(length)}é`]) {
        if (Buffer.byteLength(text) > LIMITS.stringBytesMax) continue;
        const data = encodeBatch([{ type: "ok", re: 1, value: { text } }]);
        expect(decodeBrokerBatch(data)[0]).toMatchObject({ value: { text } });
      }
    },
  );

  test("what was written stays as it is while more is written", () => {
    const batches = Array.from({ length: 60 }, (_, index) => {
      const body = new Uint8Array(index * 1_000).fill(index);
      return encodeBatch([
        {
          type: "send",
          id: index,
          sendId: "s",
          messages: [encodeMessage({ id: "m", topic: "t", body })],
        },
      ]);
    });
    for (const [index, batch] of batches.entries()) {
      const [frame] = decodeClientBatch(batch);
      const [message] = frame?.type === "send" ? frame.messages : [];
      const { body } = decodeMessage(message ?? new Uint8Array());
      expect([body.length, body.every((byte) => byte === index)]).toEqual([index * 1_000, true]);
    }
  });
});
