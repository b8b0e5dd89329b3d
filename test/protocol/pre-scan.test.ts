/** What never reaches the decoder, and that what does reach it is decoded, quickly and without surprise. */
import fc from "fast-check";
import { Packr, Unpackr } from "msgpackr";
import { describe, expect, test } from "vitest";
import { decodeBrokerBatch, decodeClientBatch, unpack } from "../../protocol/src/codec.ts";
import { EscrowError } from "../../protocol/src/errors.ts";
import { BROKER_FRAMES, CLIENT_FRAMES } from "../../protocol/src/frames.ts";
import { LIMITS } from "../../protocol/src/limits.ts";
import { BATCH_SCAN, preScan } from "../../protocol/src/pre-scan.ts";
import { valuesOf } from "./arbitraries.ts";
import { mutated, seeded } from "./mutants.ts";

const plain = new Packr({ useRecords: false, variableMapSize: true });
const decoder = new Unpackr({
  useRecords: false,
  structuredClone: false,
  mapsAsObjects: true,
  int64AsType: "number",
  copyBuffers: true,
});

const hex = (text: string): Uint8Array =>
  Uint8Array.from(Buffer.from(text.replaceAll(" ", ""), "hex"));
const text = (of: string): string => {
  const bytes = Buffer.from(of);
  return Buffer.from([0xd9, bytes.length]).toString("hex") + bytes.toString("hex");
};
const repeated = (head: string, byte: number, times: number): Uint8Array =>
  Uint8Array.from(Buffer.concat([hex(head), Buffer.alloc(times, byte)]));

/** Each level holds the one below twice, by reference: 2^levels values in a few hundred bytes. */
function sharedGraph(levels: number): Uint8Array {
  let graph: unknown[] = [1];
  for (let level = 0; level < levels; level++) graph = [graph, graph];
  const sharing = new Packr({ structuredClone: true, useRecords: false });
  return Uint8Array.from([...sharing.pack(graph), 0xc0]);
}

const records = new Packr({ useRecords: true });
const cloning = new Packr({ useRecords: false, structuredClone: true, moreTypes: true });

describe("the pre-scan refuses", () => {
  const REFUSED: readonly [string, Uint8Array, string][] = [
    ["nothing at all", hex(""), "truncated"],
    ["the unused tag", hex("c1"), "type 0xc1 is not allowed"],
    ["shared references that would hold the loop for seconds", sharedGraph(24), "is not allowed"],
    ["a record definition", records.pack({ admin: 1 }), "is not allowed"],
    ["records in an array", records.pack([{ a: 1 }, { a: 2 }]), "is not allowed"],
    ["a big integer", hex("c7 02 42 01 01"), "type 0xc7 is not allowed"],
    ["a regular expression", cloning.pack(/a/), "is not allowed"],
    ["an error", cloning.pack(new Error("x")), "is not allowed"],
    ["a set", cloning.pack(new Set([1])), "is not allowed"],
    ["a date", plain.pack(new Date(0)), "is not allowed"],
    ["a typed array", cloning.pack(new Float64Array(2)), "is not allowed"],
    ["undefined", hex("d4 00 00"), "type 0xd4 is not allowed"],
    ...[0xc7, 0xc8, 0xc9, 0xd4, 0xd5, 0xd6, 0xd7, 0xd8].map((tag): [string, Uint8Array, string] => [
      `the extension tag 0x${tag.toString(16)}`,
      Uint8Array.of(tag, ...new Uint8Array(32)),
      "is not allowed",
    ]),
    ["5,000 nested arrays", repeated("", 0x91, 5_000), "too deep"],
    ["17 nested arrays", hex(`${"91".repeat(17)} c0`), "too deep"],
    ["a mebi of empty maps", repeated("dd 00 10 00 00", 0x80, 1 << 20), "too many items"],
    ["four billion items in five bytes", hex("dd ff ff ff ff"), "too many items"],
    ["four billion keys in five bytes", hex("df ff ff ff ff"), "too many items"],
    ["more items than bytes", hex("dc 00 09 c0"), "truncated"],
    ["a number as key", hex("81 01 01"), "a map key is not a string"],
    ["nil as key", hex("81 c0 01"), "a map key is not a string"],
    ["bytes as key", hex("81 c4 01 61 01"), "a map key is not a string"],
    ["a map as key", hex("81 80 01"), "a map key is not a string"],
    ["a key that stands twice", hex("82 a1 61 01 a1 61 02"), "a map key stands twice"],
    ["a key that stands twice in two notations", hex(`82 a1 61 01 ${text("a")} 02`), "twice"],
    ["a key that stands twice far apart", hex("83 a1 61 01 a1 62 81 a1 61 01 a1 61 02"), "twice"],
    ["the prototype as key", hex(`81 ${text("__proto__")} 80`), "a map key is __proto__"],
    ["129 keys", plain.pack(Object.fromEntries(keys(129))), "too many keys in a map"],
    ["a cut string", hex("a5 61 62"), "truncated"],
    ["a string that claims four gibibytes", hex("db ff ff ff ff 61"), "string too long"],
    ["a string of 64 KiB and 1", plain.pack("a".repeat(65_537)), "string too long"],
    ["bytes that claim four gibibytes", hex("c6 ff ff ff ff 61"), "binary too long"],
    ["a lone continuation byte", hex("a1 80"), "broken UTF-8"],
    ["an overlong slash", hex("a2 c0 af"), "broken UTF-8"],
    ["half a surrogate pair", hex("a3 ed a0 80"), "broken UTF-8"],
    ["a code point beyond Unicode", hex("a4 f4 90 80 80"), "broken UTF-8"],
    ["broken UTF-8 in a key", hex("81 a1 ff 01"), "broken UTF-8"],
    ["2^53 unsigned", hex("cf 00 20 00 00 00 00 00 00"), "integer beyond 2^53"],
    ["the greatest unsigned", hex("cf ff ff ff ff ff ff ff ff"), "integer beyond 2^53"],
    ["2^53 signed", hex("d3 00 20 00 00 00 00 00 00"), "integer beyond 2^53"],
    ["the least signed", hex("d3 80 00 00 00 00 00 00 00"), "integer beyond 2^53"],
    ["a byte too many", hex("01 c0"), "trailing bytes"],
    ["two values", hex("80 80"), "trailing bytes"],
  ];

  test.each(REFUSED)("%s", (_what, data, reason) => {
    expect(preScan(data)).toContain(reason);
    const refusals = [decodeClientBatch, decodeBrokerBatch].map((decode) => {
      try {
        return decode(data);
      } catch (error) {
        return EscrowError.is(error, "BAD_FRAME");
      }
    });
    expect(refusals).toEqual([true, true]);
  });
});

const keys = (count: number) =>
  Array.from({ length: count }, (_, index) => [`k${index}`, 1] as const);

describe("the pre-scan lets pass", () => {
  const PASSED: readonly [string, Uint8Array, unknown][] = [
    ["2^53 - 1 in 64 bits", hex("cf 00 1f ff ff ff ff ff ff"), Number.MAX_SAFE_INTEGER],
    ["-(2^53 - 1) in 64 bits", hex("d3 ff e0 00 00 00 00 00 01"), Number.MIN_SAFE_INTEGER],
    ["a small number in 64 bits", hex("cf 00 00 00 00 00 00 00 07"), 7],
    ["an integer written as a float", hex("cb 40 1c 00 00 00 00 00 00"), 7],
    [
      "16 nested arrays",
      hex(`${"91".repeat(16)} c0`),
      JSON.parse(`${"[".repeat(16)}null${"]".repeat(16)}`),
    ],
    ["128 keys", plain.pack(Object.fromEntries(keys(128))), Object.fromEntries(keys(128))],
    ["the same key in two maps", hex("92 81 a1 61 01 81 a1 61 02"), [{ a: 1 }, { a: 2 }]],
    ["the same key one map deeper", hex("81 a1 61 81 a1 61 02"), { a: { a: 2 } }],
    ["keys of which one begins another", hex("82 a1 61 01 a2 61 61 02"), { a: 1, aa: 2 }],
    ["all of Unicode", plain.pack("aé€😀\u0000\uffff"), "aé€😀\u0000\uffff"],
  ];

  test.each(PASSED)("%s, and the decoder decodes it", (_what, data, value) => {
    expect(preScan(data)).toBeNull();
    expect(unpack(data, () => new Error("refused"))).toEqual(value);
  });

  test("every value that MessagePack can say plainly, decoded as it was", () => {
    const value = fc.letrec((tie) => ({
      any: fc.oneof(
        { depthSize: "small" },
        fc.constant(null),
        fc.boolean(),
        fc.maxSafeInteger(),
        fc.string({ unit: "binary" }),
        fc.array(tie("any")),
        fc.dictionary(fc.string({ unit: "binary" }), tie("any")),
      ),
    })).any;
    fc.assert(
      fc.property(value, (given) => {
        const data = Uint8Array.from(plain.pack(given));
        if (JSON.stringify(given).includes('"__proto__"')) return;
        expect(preScan(data)).toBeNull();
        expect(decoder.unpack(data)).toEqual(given);
      }),
    );
  });
});

describe("the work of a scan is bounded", () => {
  const key = (length: number, index: number) => "k".repeat(length - 4) + String(index + 1_000);
  const similar = Object.fromEntries(
    Array.from({ length: 128 }, (_, index) => [key(500, index), 1] as const),
  );

  test("maps full of long keys that differ at the end only are refused once they cost too much", () => {
    expect(preScan(plain.pack(similar))).toBeNull();
    expect(preScan(plain.pack(new Array(64).fill(similar)))).toBe("a map key stands twice");
  });

  test("as many maps as allowed pass: different keys cost little", () => {
    const many = new Array(255).fill(Object.fromEntries(keys(127)));
    expect(preScan(plain.pack(many))).toBeNull();
  });

  test("shared references are refused at the first one, however much they would unfold to", () => {
    expect(preScan(sharedGraph(26))).toMatch(/is not allowed/);
  });

  test("the limits of our own data: no keys are counted without a limit of them", () => {
    const { mapKeysMax: _none, ...own } = BATCH_SCAN;
    expect(preScan(plain.pack(Object.fromEntries(keys(300))), own)).toBeNull();
  });
});

describe("a valid batch", () => {
  const samples = [CLIENT_FRAMES, BROKER_FRAMES].flatMap((table) =>
    Object.entries(table).map(([type, fields], index) => {
      const [values] = fc.sample(valuesOf(fields), { numRuns: 1, seed: index });
      return {
        decode: table === CLIENT_FRAMES ? decodeClientBatch : decodeBrokerBatch,
        type,
        values,
      };
    }),
  );

  test("is refused wherever it is cut off", () => {
    for (const { type, values } of samples) {
      const data = Uint8Array.from(plain.pack([{ type, ...values }]));
      for (let end = 0; end < data.length; end++)
        expect(preScan(data.subarray(0, end))).toBe("truncated");
      expect(preScan(data)).toBeNull();
    }
  });

  test("that is changed at random is decoded or refused: no other error, no trace in the next one", () => {
    const seed = 777;
    const random = seeded(seed);
    const seeds = samples.map(({ decode, type, values }) => ({
      decode,
      data: Uint8Array.from(plain.pack([{ type, ...values }])),
    }));
    const control = Uint8Array.from(plain.pack([{ type: "stats", id: 5 }]));
    let passed = 0;
    for (let round = 0; round < 20_000; round++) {
      const { decode, data } = seeds[random(seeds.length)] ?? {
        decode: decodeClientBatch,
        data: control,
      };
      const mutant = mutated(data, random);
      const code = outcome(() => decode(mutant));
      expect(["taken", "BAD_FRAME", "UNKNOWN_FRAME"], `seed ${seed}, round ${round}`).toContain(
        code,
      );
      if (preScan(mutant) === null) {
        passed++;
        expect(() => decoder.unpack(mutant)).not.toThrow();
      }
      if (round % 100 === 0) expect(decodeClientBatch(control)).toEqual([{ type: "stats", id: 5 }]);
    }
    expect(passed).toBeGreaterThan(2_000);
  });
});

function outcome(run: () => unknown): string {
  try {
    run();
    return "taken";
  } catch (error) {
    return EscrowError.is(error) ? error.code : String(error);
  }
}

test("the pre-scan's limits are those of the limits table", () => {
  expect(BATCH_SCAN).toEqual({
    depthMax: LIMITS.depthMax,
    itemsMax: LIMITS.batchItemsMax,
    stringBytesMax: LIMITS.stringBytesMax,
    binaryBytesMax: LIMITS.batchBytesMax,
    mapKeysMax: LIMITS.mapKeysMax,
  });
});
