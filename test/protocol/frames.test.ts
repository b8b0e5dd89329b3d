/** Every frame of the tables: what goes over the wire arrives, and nothing else is taken for it. */
import fc from "fast-check";
import { Packr } from "msgpackr";
import { describe, expect, test } from "vitest";
import { decodeBrokerBatch, decodeClientBatch, encodeBatch } from "../../protocol/src/codec.ts";
import { EscrowError } from "../../protocol/src/errors.ts";
import type { Field, Fields } from "../../protocol/src/fields.ts";
import {
  BROKER_FRAMES,
  type BrokerFrame,
  CLIENT_FRAMES,
  type ClientFrame,
} from "../../protocol/src/frames.ts";
import { LIMITS } from "../../protocol/src/limits.ts";
import { EVERY_KIND, valuesOf } from "./arbitraries.ts";

const packr = new Packr({ useRecords: false, variableMapSize: true });

/** The bytes of a batch of anything, as a foreign or hostile peer would write them. */
const bytesOf = (frames: unknown): Uint8Array => packr.pack(frames);

type Decode = (data: Uint8Array) => readonly object[];

const DIRECTIONS: readonly [string, Readonly<Record<string, Fields>>, Decode, Decode][] = [
  ["client", CLIENT_FRAMES, decodeClientBatch, decodeBrokerBatch],
  ["broker", BROKER_FRAMES, decodeBrokerBatch, decodeClientBatch],
];

const FRAMES = DIRECTIONS.flatMap(([direction, table, decode, decodeOther]) =>
  Object.entries(table).map(([type, fields]) => ({
    name: `${direction} ${type}`,
    type,
    fields,
    decode,
    decodeOther,
    table,
  })),
);

const codeOf = (run: () => unknown): string => {
  try {
    run();
  } catch (error) {
    if (EscrowError.is(error)) return error.code;
    throw error;
  }
  return "taken";
};

/** Without the fields that hold nothing: absent and undefined are the same on the wire. */
const withoutAbsent = (value: unknown): unknown => {
  if (typeof value !== "object" || value === null || value instanceof Uint8Array) return value;
  if (Array.isArray(value)) return value.map(withoutAbsent);
  return Object.fromEntries(
    Object.entries(value)
      .filter(([, held]) => held !== undefined)
      .map(([key, held]) => [key, withoutAbsent(held)]),
  );
};

const plainBytes = (value: unknown): unknown =>
  value instanceof Uint8Array
    ? Uint8Array.from(value)
    : Array.isArray(value)
      ? value.map(plainBytes)
      : typeof value === "object" && value !== null
        ? Object.fromEntries(Object.entries(value).map(([key, held]) => [key, plainBytes(held)]))
        : value;

const isOnlyValueAccepted = (field: Field<unknown>, value: unknown): boolean => {
  try {
    field.read(value);
    return true;
  } catch {
    // Which values a field refuses is what is asked here; how it says so, the codec's tests ask.
    return false;
  }
};

/** INVALID_ARGUMENT, or the code of the field or of one within it. */
function codesOf(field: Field<unknown>): RegExp {
  const inner = Object.values(field.fields ?? field.item?.fields ?? {}).map(({ code }) => code);
  const codes = ["INVALID_ARGUMENT", field.code, ...inner].filter((code) => code !== undefined);
  return new RegExp(`^(?:${codes.join("|")})$`);
}

describe.each(FRAMES)("$name", ({ type, fields, decode, decodeOther, table }) => {
  test("arrives as it was sent, whatever its fields hold", () => {
    fc.assert(
      fc.property(fc.array(valuesOf(fields), { minLength: 1, maxLength: 4 }), (values) => {
        const frames = values.map((value) => ({ type, ...value })) as (ClientFrame | BrokerFrame)[];
        const decoded = decode(encodeBatch(frames));
        expect(plainBytes(withoutAbsent(decoded))).toEqual(plainBytes(frames));
      }),
      { numRuns: 60 },
    );
  });

  test("arrives the same when absent fields are undefined, nil, or joined by unknown ones", () => {
    fc.assert(
      fc.property(valuesOf(fields), (values) => {
        const frame = { type, ...values };
        const absent = Object.keys(fields).filter((name) => !(name in values));
        const padded = Object.fromEntries(absent.map((name) => [name, undefined]));
        const nil = Object.fromEntries(absent.map((name) => [name, null]));
        const alien = { later: [1, { toString: "x" }], constructor: "x", hasOwnProperty: 1 };
        const expected = plainBytes(frame);
        for (const data of [
          encodeBatch([{ ...frame, ...padded } as ClientFrame]),
          bytesOf([{ ...frame, ...nil }]),
          bytesOf([{ ...alien, ...frame }]),
        ])
          expect(plainBytes(withoutAbsent(decode(data)[0]))).toEqual(expected);
      }),
      { numRuns: 20 },
    );
  });

  test("does not go in the other direction", () => {
    const [values] = fc.sample(valuesOf(fields), { numRuns: 1, seed: 1 });
    expect(codeOf(() => decodeOther(bytesOf([{ type, ...values }])))).toBe("UNKNOWN_FRAME");
  });

  const isRequest = table === CLIENT_FRAMES && "id" in fields;
  for (const [name, field] of Object.entries(fields)) {
    test(`refuses a ${name} that it does not take`, () => {
      const [values] = fc.sample(valuesOf(fields), { numRuns: 1, seed: 1 });
      const wrong = EVERY_KIND.filter((value) => !isOnlyValueAccepted(field, value));
      if (field.says !== "plain data") expect(wrong.length).toBeGreaterThan(6);
      for (const value of wrong) {
        const data = bytesOf([{ type, ...values, [name]: value }]);
        if (!isRequest || name === "id") expect(codeOf(() => decode(data))).toBe("BAD_FRAME");
        else
          expect(decode(data)).toEqual([
            {
              type: "bad",
              id: values?.id,
              error: expect.objectContaining({ code: expect.stringMatching(codesOf(field)) }),
            },
          ]);
      }
    });

    test(`${field.isOptional ? "may lack" : "must have"} a ${name}`, () => {
      const [values] = fc.sample(valuesOf(fields), { numRuns: 1, seed: 1 });
      const { [name]: _absent, ...others } = values ?? {};
      const result = codeOf(() => decode(bytesOf([{ type, ...others }])));
      const isAnswerable = isRequest && name !== "id";
      expect(result).toBe(field.isOptional || isAnswerable ? "taken" : "BAD_FRAME");
      if (!field.isOptional && isAnswerable)
        expect(decode(bytesOf([{ type, ...others }]))[0]).toMatchObject({ type: "bad" });
    });
  }
});

describe.each(DIRECTIONS)("a batch from a %s", (_direction, table, decode) => {
  const [first = ""] = Object.keys(table);

  test.each([
    ["no array", {}],
    ["text", "ping"],
    ["bytes", new Uint8Array(3)],
    ["a number", 1],
    ["nil", null],
    ["an empty array", []],
    ["an array of no maps", [1]],
    ["an array of arrays", [[]]],
    ["an array of bytes", [new Uint8Array(1)]],
    ["an array with a nil", [null]],
    ["more frames than allowed", new Array(LIMITS.batchFramesMax + 1).fill({ type: "ping" })],
  ])("that is %s is BAD_FRAME", (_what, batch) => {
    expect(codeOf(() => decode(bytesOf(batch)))).toBe("BAD_FRAME");
  });

  test.each([
    ["none", {}],
    ["an unknown one", { type: "pingg" }],
    ["another case", { type: first.toUpperCase() }],
    ["the decoder's own word", { type: "bad", id: 1 }],
    ["a number", { type: 1 }],
    ["a list of one", { type: [first] }],
    ["an inherited name", { type: "constructor" }],
    ["a method's name", { type: "hasOwnProperty" }],
    ["the prototype's name", { type: "__proto__" }],
    ["nothing", { type: "" }],
  ])("whose frame has as its type %s is UNKNOWN_FRAME", (_what, frame) => {
    expect(codeOf(() => decode(bytesOf([frame])))).toBe("UNKNOWN_FRAME");
  });

  test("is refused whole for one bad frame", () => {
    const good = table === CLIENT_FRAMES ? { type: "ping" } : { type: "pong" };
    expect(codeOf(() => decode(bytesOf([good, { type: "nonsense" }])))).toBe("UNKNOWN_FRAME");
  });
});

describe("a refused request", () => {
  test.each([-1, 0.5, "1", null, 2 ** 53])(
    "ends the connection if its id is %j: nobody could match an answer to it",
    (id) => {
      expect(codeOf(() => decodeClientBatch(bytesOf([{ type: "stats", id }])))).toBe("BAD_FRAME");
    },
  );

  test("is answered only if it is a request: an id in another frame makes none of it", () => {
    const credit = { type: "credit", id: 7, subscription: 1, messages: -1, bytes: 0 };
    expect(codeOf(() => decodeClientBatch(bytesOf([credit])))).toBe("BAD_FRAME");
  });

  test("names the field and never repeats what it held", () => {
    const [bad] = decodeClientBatch(
      bytesOf([{ type: "topic.create", id: 1, topic: "secret value" }]),
    );
    expect(bad).toMatchObject({
      error: { message: expect.stringContaining("topic.create.topic") },
    });
    expect(bad).not.toMatchObject({ error: { message: expect.stringContaining("secret") } });
  });

  test("leaves the frames next to it as they are", () => {
    const batch = [{ type: "ping" }, { type: "stats", id: 1 }, { type: "tx.show", id: 2 }];
    const types = decodeClientBatch(bytesOf(batch)).map((frame) => frame.type);
    expect(types).toEqual(["ping", "stats", "bad"]);
  });
});

describe("text that is cut in the middle of an emoji", () => {
  test("costs nobody the connection: the encoder mends it", () => {
    const frames: ClientFrame[] = [
      { type: "ping" },
      { type: "bury", id: 1, token: "a", reason: "half \ud83d" },
      { type: "subscribe", id: 2, subscription: 1, group: "g", topics: [{ topic: "\udc00" }] },
    ];
    const [ping, bury, subscribe] = decodeClientBatch(encodeBatch(frames));
    expect(ping).toEqual({ type: "ping" });
    expect(bury).toMatchObject({ reason: "half \ufffd" });
    expect(subscribe).toMatchObject({ type: "bad", id: 2 });
  });
});
