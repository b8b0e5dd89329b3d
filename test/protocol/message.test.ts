/** The encoded message: its limits, each with its code, and what names and texts may do to it. */
import fc from "fast-check";
import { Packr } from "msgpackr";
import { describe, expect, test } from "vitest";
import { encodeBatch } from "../../protocol/src/codec.ts";
import { EscrowError } from "../../protocol/src/errors.ts";
import { CLIENT_FRAMES } from "../../protocol/src/frames.ts";
import { LIMITS } from "../../protocol/src/limits.ts";
import {
  decodeMessage,
  encodeMessage,
  MESSAGE_FIELDS,
  type WireMessage,
} from "../../protocol/src/message.ts";
import { messageValues } from "./arbitraries.ts";

const packr = new Packr({ useRecords: false, variableMapSize: true });
const body = Uint8Array.of(1);
const good: WireMessage = { id: "m1", topic: "orders", body };

const codeOf = (run: () => unknown): string => {
  try {
    run();
  } catch (error) {
    if (EscrowError.is(error)) return error.code;
    throw error;
  }
  return "taken";
};

const headersOf = (count: number, valueBytes: number) =>
  Object.fromEntries(
    Array.from({ length: count }, (_, index) => [`h${index + 100}`, "v".repeat(valueBytes)]),
  );

/** As a foreign producer would encode it: nothing was checked. */
const encodedElsewhere = (message: object): Uint8Array => packr.pack(message);

test("a message arrives as it was sent", () => {
  fc.assert(
    fc.property(messageValues, (values) => {
      const decoded = decodeMessage(encodeMessage(values as unknown as WireMessage));
      const present = Object.entries(decoded).filter(([, value]) => value !== undefined);
      expect({ ...Object.fromEntries(present), body: Uint8Array.from(decoded.body) }).toEqual(
        values,
      );
    }),
  );
});

test("the same message is the same bytes, whatever the order of its fields and the kind of its bytes", () => {
  const one = encodeMessage({ id: "m1", topic: "orders", key: "k", body });
  const other = encodeMessage({ body: Buffer.from(body), key: "k", topic: "orders", id: "m1" });
  expect(Buffer.compare(one, other)).toBe(0);
});

describe("refused by encoder and decoder alike", () => {
  const cut = "\ud83d";
  test.each<[string, string, object]>([
    ["INVALID_MESSAGE_ID", "no id", { topic: "orders", body }],
    ["INVALID_MESSAGE_ID", "an empty id", { ...good, id: "" }],
    ["INVALID_MESSAGE_ID", "an id of 65 characters", { ...good, id: "i".repeat(65) }],
    ["INVALID_MESSAGE_ID", "an id with a line end", { ...good, id: "i\n" }],
    ["INVALID_TOPIC", "no topic", { id: "m1", body }],
    ["INVALID_TOPIC", "a topic that is a path", { ...good, topic: "../orders" }],
    ["INVALID_TOPIC", "a topic of 129 characters", { ...good, topic: "t".repeat(129) }],
    ["INVALID_TOPIC", "a dead-letter topic", { ...good, topic: "%DLQ%billing" }],
    ["INVALID_MESSAGE", "no body", { id: "m1", topic: "orders" }],
    ["INVALID_MESSAGE", "a body of text", { ...good, body: "text" }],
    ["INVALID_MESSAGE", "a body of numbers", { ...good, body: [1, 2] }],
    ["INVALID_KEY", "a key of 257 bytes", { ...good, key: "k".repeat(257) }],
    ["INVALID_KEY", "a key of 258 bytes in 86 characters", { ...good, key: "€".repeat(86) }],
    ["INVALID_KEY", "a key that is a number", { ...good, key: 1 }],
    ["INVALID_KEY", "an empty key", { ...good, key: "" }],
    ["INVALID_KEY", "a key with a line end", { ...good, key: "42\n" }],
    ["INVALID_KEY", "a key with DEL", { ...good, key: "\u007f" }],
    ["INVALID_KEY", "a key with a C1 control", { ...good, key: "a\u0085b" }],
    ["INVALID_TAG", "a tag of 129 bytes", { ...good, tag: "t".repeat(129) }],
    ["INVALID_TAG", "an empty tag", { ...good, tag: "" }],
    [
      "INVALID_TAG",
      "a tag with a bar, which is how filters tell tags apart",
      { ...good, tag: "a|b" },
    ],
    ["INVALID_TAG", "a tag with a tab", { ...good, tag: "a\tb" }],
    ["INVALID_TAG", "a tag that ends with a blank", { ...good, tag: "a " }],
    [
      "INVALID_HEADER",
      "a header's name with a control character",
      { ...good, headers: { "a\0": "" } },
    ],
    ["INVALID_HEADER", "a reserved header", { ...good, headers: { "escrowmq-trace": "a" } }],
    ["INVALID_HEADER", "headers in a list", { ...good, headers: ["a"] }],
    ["INVALID_HEADER", "headers of bytes", { ...good, headers: body }],
    ["INVALID_HEADER", "a header that is a number", { ...good, headers: { a: 1 } }],
    ["INVALID_HEADER", "a header without a name", { ...good, headers: { "": "a" } }],
    ["INVALID_DELAY", "two times", { ...good, delayMs: 1, deliverAtMs: 1 }],
    ["INVALID_DELAY", "a delay before now", { ...good, delayMs: -1 }],
    ["INVALID_DELAY", "a delay of more than a year", { ...good, delayMs: LIMITS.delayMsMax + 1 }],
    ["INVALID_DELAY", "half a millisecond", { ...good, delayMs: 0.5 }],
    ["INVALID_DELAY", "a time that is none", { ...good, deliverAtMs: Number.NaN }],
    ["INVALID_DELAY", "a time that is a date", { ...good, deliverAtMs: "2026-12-24" }],
    ["INVALID_TTL", "a time to live of nothing", { ...good, ttlMs: 0 }],
    [
      "BODY_TOO_LARGE",
      "a body of 1 MiB and 1",
      { ...good, body: new Uint8Array(LIMITS.bodyBytesMax + 1) },
    ],
    ["TOO_MANY_HEADERS", "65 headers", { ...good, headers: headersOf(65, 1) }],
    [
      "HEADERS_TOO_LARGE",
      "16,385 bytes of headers",
      { ...good, headers: { a: "v".repeat(16_384) } },
    ],
  ])("as %s: %s", (code, _what, message) => {
    expect(codeOf(() => encodeMessage(message as WireMessage))).toBe(code);
    expect(codeOf(() => decodeMessage(encodedElsewhere(message)))).toBe(code);
  });

  test.each<[code: string, string, Partial<WireMessage>]>([
    ["INVALID_KEY", "a key", { key: `k${cut}` }],
    ["INVALID_TAG", "a tag", { tag: cut }],
    ["INVALID_HEADER", "a header", { headers: { a: cut } }],
    ["INVALID_HEADER", "a header's name", { headers: { [`${cut}b`]: "a" } }],
  ])("as %s: half a surrogate pair in %s", (code, _what, more) => {
    expect(codeOf(() => encodeMessage({ ...good, ...more }))).toBe(code);
    // An encoder that lets it through writes bytes that are no UTF-8: nothing of them can be told apart.
    expect(codeOf(() => decodeMessage(encodedElsewhere({ ...good, ...more })))).toMatch(
      /^INVALID_/,
    );
  });
});

describe("taken, at the limit", () => {
  test.each<[string, Partial<WireMessage>]>([
    ["an id of 64 characters", { id: "i".repeat(64) }],
    ["a topic of 128 characters", { topic: "t".repeat(128) }],
    ["a key of 256 bytes", { key: "é".repeat(128) }],
    ["a tag of 128 bytes", { tag: "😀".repeat(32) }],
    ["64 headers", { headers: headersOf(64, 252) }],
    ["blanks within a tag, and in a key", { tag: "a b", key: " k " }],
    ["control characters in a header's value", { headers: { trace: "a\n\tb" } }],
    [
      "the headers of a request",
      { headers: { "escrowmq-inbox": "1", "escrowmq-correlation": "2" } },
    ],
    ["an empty body", { body: new Uint8Array() }],
    ["a body of 1 MiB", { body: new Uint8Array(LIMITS.bodyBytesMax) }],
  ])("%s", (_what, more) => {
    expect(decodeMessage(encodeMessage({ ...good, ...more }))).toMatchObject(
      more.body === undefined ? more : { id: "m1" },
    );
  });

  test("the largest message fits into the frames that carry it", () => {
    const data = encodeMessage({
      id: "i".repeat(64),
      topic: "t".repeat(128),
      key: "k".repeat(256),
      tag: "g".repeat(128),
      headers: headersOf(64, 252),
      body: new Uint8Array(LIMITS.bodyBytesMax),
    });
    const send = { id: 1, sendId: "s", messages: [data] };
    for (const [name, field] of Object.entries(CLIENT_FRAMES.send))
      expect(() => field.read(send[name as keyof typeof send])).not.toThrow();
  });

  test("the largest transaction fits into one batch", () => {
    const messages = new Array(1_000).fill(new Uint8Array(LIMITS.transactionBytesMax / 1_000));
    const acks = new Array(LIMITS.transactionAcksMax).fill("t".repeat(64));
    const transactionId = "t".repeat(64);
    const group = "g".repeat(128);
    const data = encodeBatch([{ type: "prepare", id: 1, transactionId, group, messages, acks }]);
    expect(data.length).toBeLessThanOrEqual(LIMITS.batchBytesMax);
  });
});

describe("names of JavaScript's own as headers", () => {
  test("are headers like any other", () => {
    const headers = { constructor: "a", toString: "b", hasOwnProperty: "c", prototype: "d" };
    const decoded = decodeMessage(encodeMessage({ ...good, headers }));
    expect(Object.entries(decoded.headers ?? {})).toEqual(Object.entries(headers));
  });

  test("are refused if JavaScript could not carry them: none is lost or renamed silently", () => {
    const headers = JSON.parse('{"__proto__":"x"}') as Record<string, string>;
    expect(codeOf(() => encodeMessage({ ...good, headers }))).toBe("INVALID_HEADER");
    const elsewhere = encodedElsewhere({ ...good, headers });
    expect(codeOf(() => decodeMessage(elsewhere))).toBe("INVALID_MESSAGE");
  });

  test("are ignored as fields, and change no prototype", () => {
    const elsewhere = encodedElsewhere({ ...good, constructor: "x", toString: "y", polluted: 1 });
    expect(Object.keys(decodeMessage(elsewhere))).toEqual(Object.keys(MESSAGE_FIELDS));
    expect("polluted" in {}).toBe(false);
  });
});

describe("bytes that are no message", () => {
  test.each([
    ["nothing", new Uint8Array()],
    ["text", packr.pack("text")],
    ["a list", packr.pack([1])],
    ["bytes", packr.pack(new Uint8Array(4))],
    ["nil", packr.pack(null)],
    ["two messages", Uint8Array.from([...encodeMessage(good), ...encodeMessage(good)])],
    [
      "an id that stands twice",
      Buffer.concat([
        Buffer.from([0x84]),
        Buffer.from("a26964a16d", "hex"),
        encodeMessage(good).subarray(1),
      ]),
    ],
  ])("are INVALID_MESSAGE: %s", (_what, data) => {
    expect(codeOf(() => decodeMessage(data))).toBe("INVALID_MESSAGE");
  });

  test("are INVALID_MESSAGE wherever a message is cut off", () => {
    const data = encodeMessage({ ...good, key: "k", headers: { a: "b" } });
    for (let end = 0; end < data.length; end++)
      expect(codeOf(() => decodeMessage(data.subarray(0, end)))).toBe("INVALID_MESSAGE");
  });
});
