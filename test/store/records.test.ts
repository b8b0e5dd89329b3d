import fc from "fast-check";
import { Packr } from "msgpackr";
import { describe, expect, it } from "vitest";
import type { LogRecord } from "../../broker/src/core/records.ts";
import { SHAPES } from "../../broker/src/store/record-shapes.ts";
import { decodeRecords, encodeRecords } from "../../broker/src/store/records.ts";
import { ONE_OF_EACH, recordWithoutData } from "./sample.ts";

const roundTrip = (records: readonly LogRecord[]) =>
  decodeRecords(encodeRecords(records), "a test");
const pack = (value: unknown) => new Packr({ useRecords: false }).pack(value);
/** Its last field: what its one message says of its times. */
const PREPARED = [10, "tx-1", "shop", 1, [1, 2], [], 5, 0, ["m-1"], [0, 0, 0, 0]];
const refusal = (bytes: Uint8Array): unknown => {
  try {
    return decodeRecords(bytes, "block 7");
  } catch (error) {
    return error;
  }
};

describe("the record codec", () => {
  for (const record of Object.values(ONE_OF_EACH))
    it(`gives ${record.kind} back as it was`, () => {
      expect(roundTrip([record])).toEqual([recordWithoutData(record)]);
    });

  it("keeps every code that is in existing stores", () => {
    const codes = Object.entries(SHAPES).sort(([, one], [, other]) => one.code - other.code);
    expect(codes.map(([kind, { code }]) => `${code} ${kind}`).join(", ")).toBe(
      "1 opened, 2 topicCreated, 3 topicUpdated, 4 topicDeleted, 5 groupUpdated, 6 groupDeleted, " +
        "7 cursorOpened, 8 cursorReset, 9 sent, 10 prepared, 11 decided, 12 checked, 13 parked, " +
        "14 resumed, 15 endpointSet, 16 delivered, 17 acked, 18 returned, 19 buried, 20 replayed, " +
        "21 purged, 22 clock, 23 retired, 24 moved, 30 cursorFiltered, 31 taken, 35 due, 36 recalled, " +
        "37 lapsed, 38 queued, 40 groupPaused, 41 skipped, 45 instanceOpened, 46 instanceSeen, " +
        "47 instanceForgotten, 48 abandoned, 49 gapTold",
    );
  });

  it("keeps every byte that is in existing stores", () => {
    const bytes = encodeRecords(Object.values(ONE_OF_EACH));
    expect(Buffer.from(bytes).toString("base64")).toMatchSnapshot();
  });

  it("gives an endpoint that was removed back as null", () => {
    const record = { ...ONE_OF_EACH.endpointSet, endpoint: null };
    expect(roundTrip([record])).toEqual([record]);
  });

  const timing = { id: "m-1", key: 0, delayMs: 1_000, deliverAtMs: 0, ttlMs: 60_000 };

  it("gives back what messages say of their times", () => {
    const [first, second] = ONE_OF_EACH.sent.messages;
    if (first === undefined || second === undefined) throw new Error("The sample has two.");
    const sent = { ...ONE_OF_EACH.sent, messages: [first, { ...second, timing }] };
    const prepared = { ...ONE_OF_EACH.prepared, messages: [{ ...first, timing }] };
    const decided = { ...ONE_OF_EACH.decided, fromAtMs: 1_234.5 };
    const all = [sent, prepared, decided];
    expect(roundTrip(all)).toEqual(all.map(recordWithoutData));
  });

  it("gives back the keys of those that have one that matters, and that a prepare reserves them", () => {
    const [first, second] = ONE_OF_EACH.sent.messages;
    if (first === undefined || second === undefined) throw new Error("The sample has two.");
    const at = (id: string, key: number) => ({ ...timing, id, key, delayMs: 0, ttlMs: 0 });
    const some = [
      { ...first, timing: at("m-1", 4_294_967_295) },
      second,
      { ...second, timing: at("m-3", 0) },
      { ...second, timing: at("m-4", 1) },
    ];
    const sent = { ...ONE_OF_EACH.sent, messages: some };
    const prepared = { ...ONE_OF_EACH.prepared, messages: some };
    const all = [sent, prepared, { ...prepared, reservesKeys: true as const }, sent];
    expect(roundTrip(all)).toEqual(all.map(recordWithoutData));
  });

  it("spends no byte on keys where none matters, and one on that they are reserved", () => {
    const messages = ONE_OF_EACH.prepared.messages.map((one) => ({ ...one, timing }));
    const keyed = messages.map((one) => ({ ...one, timing: { ...timing, key: 7 } }));
    const rows = [messages, keyed].map((these) => ({ ...ONE_OF_EACH.prepared, messages: these }));
    const reserving = { ...ONE_OF_EACH.prepared, messages: keyed, reservesKeys: true as const };
    const lengths = [...rows, reserving].map(
      (record) => new Packr().unpack(encodeRecords([record]))[0].length,
    );
    expect(lengths).toEqual([10, 11, 12]);
  });

  it("spends no byte on times where no message says any", () => {
    const rows = (record: LogRecord) => new Packr().unpack(encodeRecords([record]))[0].length;
    expect([rows(ONE_OF_EACH.sent), rows(ONE_OF_EACH.prepared), rows(ONE_OF_EACH.decided)]).toEqual(
      [4, 8, 6],
    );
  });

  it("spends one byte on the offset of a neighbour", () => {
    const offsets = Array.from({ length: 1_000 }, (_, i) => 2 ** 40 + i);
    expect(encodeRecords([{ kind: "acked", cursorNo: 1, offsets }]).length).toBeLessThan(1_030);
  });

  it("gives any records back in their order", () => {
    const whole = fc.maxSafeNat();
    const text = fc.string({ unit: "grapheme", maxLength: 80 });
    const messages = fc.array(fc.record({ topicNo: whole, bytes: whole, data: fc.constant(null) }));
    const record: fc.Arbitrary<LogRecord> = fc.oneof(
      fc.record({ kind: fc.constant("sent" as const), sendId: text, digest: whole, messages }),
      fc.record({
        kind: fc.constant("prepared" as const),
        transactionId: text,
        group: text,
        digest: whole,
        messages,
        acks: fc.array(fc.record({ cursorNo: whole, offset: whole })),
        checkAtMs: fc.double({ noNaN: true, min: 0.5 }),
        onUndecided: fc.constantFrom("park" as const, "rollback" as const),
      }),
      fc.record({
        kind: fc.constant("acked" as const),
        cursorNo: whole,
        offsets: fc.array(whole),
      }),
      fc.record({
        kind: fc.constant("delivered" as const),
        cursorNo: whole,
        firstDeliveryNo: whole,
        offsets: fc.array(whole),
        connection: whole,
      }),
      fc.constantFrom(...Object.values(ONE_OF_EACH)),
    );
    fc.assert(
      fc.property(fc.array(record), (records) => {
        expect(roundTrip(records)).toEqual(records.map(recordWithoutData));
      }),
      { numRuns: 200 },
    );
  });

  it.each([
    ["an unknown code", [[99, 1]]],
    ["no code", [[]]],
    ["a code that is a text", [["9"]]],
    ["a field too few", [[17, 1]]],
    ["a field too many", [[13, "tx-1", 0, 0]]],
    ["a text for a number", [[1, "now", 0]]],
    ["a number for a text", [[13, 1, 0]]],
    ["a number for a flag", [[3, 1, 1, 1]]],
    ["a name that has no number", [[13, "tx-1", 2]]],
    ["a text among offsets", [[17, 1, ["1"]]]],
    ["times of a message that is not there", [[9, "send", 1, [1, 2], ["m-1"], [1, 0, 0, 5]]]],
    ["times without an id", [[9, "send", 1, [1, 2], [], [0, 0, 0, 5]]]],
    ["more keys than ids", [[9, "send", 1, [1, 2], ["m-1"], [0, 0, 0, 5], [7, 8]]]],
    ["fewer keys than ids", [[9, "send", 1, [1, 2], ["m-1"], [0, 0, 0, 5], []]]],
    ["a text for a key", [[9, "send", 1, [1, 2], ["m-1"], [0, 0, 0, 5], ["ann"]]]],
    ["keys that are said not to be reserved", [[...PREPARED, [7], false]]],
    ["a number for keys that are reserved", [[...PREPARED, [7], 1]]],
    ["reserved keys without the keys", [[...PREPARED, true]]],
    ["half a pair", [[9, "send", 1, [1, 2, 3]]]],
    ["an endpoint of two fields", [[15, "group", ["url", true], "ada", ""]]],
    ["a record that is a map", [{ kind: "acked" }]],
    ["records that are no array", 5],
    ["bytes among the fields", [[13, Buffer.from("tx"), 0]]],
    ["an extension type", [[1, new Date(0), 0]]],
  ])("refuses %s as corrupt", (_, rows) => {
    expect(refusal(pack(rows))).toMatchObject({
      code: "STORE_CORRUPT",
      message: expect.stringContaining("block 7"),
    });
  });

  it("refuses any cut-off section as corrupt", () => {
    const bytes = encodeRecords(Object.values(ONE_OF_EACH));
    for (let length = 0; length < bytes.length; length += 7)
      expect(refusal(bytes.subarray(0, length))).toMatchObject({ code: "STORE_CORRUPT" });
  });
});
