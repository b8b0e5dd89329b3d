import { crc32 } from "node:zlib";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { encodeBlock, NO_HASH, openBlock } from "../../broker/src/store/block.ts";
import { blockOf, messageOf, ONE_OF_EACH, START_MS, withoutData } from "./sample.ts";

const STORE_ID = Buffer.from("00112233445566778899aabbccddeeff", "hex");
const FIRST = { storeId: STORE_ID, hash: NO_HASH, bytes: 0 };
const VERSION_AT = 4;
const NUMBER_AT = 24;
const HEADER_CRC_AT = 80;
const HEADER_BYTES = 84;

const sealed = (number = 1, messages = 3) => encodeBlock(blockOf(number, messages), FIRST);
const changed = (bytes: Uint8Array, change: (copy: Buffer) => void): Buffer => {
  const copy = Buffer.from(bytes);
  change(copy);
  return copy;
};
/** A lie that is signed: only what the checks behind the checksum compare can find it. */
const signed = (bytes: Uint8Array, change: (copy: Buffer) => void): Buffer =>
  changed(bytes, (copy) => {
    change(copy);
    copy.writeUInt32BE(crc32(copy.subarray(HEADER_BYTES)), 60);
    copy.writeUInt32BE(crc32(copy.subarray(0, HEADER_CRC_AT)), HEADER_CRC_AT);
  });
const refusal = (bytes: Uint8Array, number = 1, storeId: Uint8Array = STORE_ID): unknown => {
  try {
    return openBlock(bytes, number, storeId).decode();
  } catch (error) {
    return error;
  }
};

describe("a block", () => {
  it("gives back what was put in", () => {
    const block = { number: 2 ** 40, atMs: START_MS + 0.25, records: Object.values(ONE_OF_EACH) };
    const bytes = encodeBlock(block, FIRST).bytes;
    const opened = openBlock(bytes, block.number, STORE_ID);
    expect(opened.decode()).toEqual(withoutData(block));
    expect([opened.messageCount, opened.recordCount]).toEqual([5, block.records.length]);
    expect(
      [0, 1, 2, 3, 4].map((slot) => Buffer.from(opened.message(slot) ?? []).toString()),
    ).toEqual(["hello", "", "half", "old", "half"]);
  });

  it("numbers the messages of all its records in their order", () => {
    const one = blockOf(1, 2);
    const other = blockOf(2, 1);
    const block = { ...one, records: [...one.records, ONE_OF_EACH.acked, ...other.records] };
    const opened = encodeBlock(block, FIRST);
    expect(opened.message(1)).toEqual(messageOf(1, 1));
    expect(opened.message(2)).toEqual(messageOf(2, 0));
  });

  it("has no message outside its slots", () => {
    const opened = sealed();
    expect([3, -1, 0.5, Number.NaN].map((slot) => opened.message(slot))).toEqual([
      null,
      null,
      null,
      null,
    ]);
  });

  it("names its predecessor and the size of the log before it", () => {
    const first = sealed();
    const next = encodeBlock(blockOf(2), { ...FIRST, hash: first.hash(), bytes: 77 });
    expect(next.previousHash()).toEqual(first.hash());
    expect(next.bytesBefore).toBe(77);
    expect(first.hash()).toHaveLength(16);
  });

  it("has another hash for any other content", () => {
    const messages = blockOf(1).records.map((record) =>
      record.kind === "sent" ? { ...record, messages: record.messages.toReversed() } : record,
    );
    const other = encodeBlock({ ...blockOf(1), records: messages }, FIRST);
    expect(other.hash()).not.toEqual(sealed().hash());
  });

  it("is refused for any flipped bit", () => {
    const { bytes } = sealed();
    for (let bit = 0; bit < bytes.length * 8; bit++) {
      const flipped = changed(bytes, (copy) => {
        copy[bit >> 3] = (copy[bit >> 3] ?? 0) ^ (1 << (bit & 7));
      });
      // A flipped version may read as one of the future.
      expect(refusal(flipped)).toMatchObject({
        code: expect.stringMatching(
          bit >> 3 >= VERSION_AT && bit >> 3 < VERSION_AT + 4
            ? /STORE_(CORRUPT|VERSION)/
            : /STORE_CORRUPT/,
        ),
      });
    }
  });

  it("is refused for any length but its own", () => {
    const { bytes } = sealed();
    fc.assert(
      fc.property(fc.nat(bytes.length - 1), (length) => {
        expect(refusal(bytes.subarray(0, length))).toMatchObject({ code: "STORE_CORRUPT" });
      }),
    );
    expect(refusal(Buffer.concat([bytes, Buffer.from([0])]))).toMatchObject({
      code: "STORE_CORRUPT",
    });
  });

  it.each<[string, RegExp, (copy: Buffer) => void]>([
    [
      "of another number",
      /says that it is block 2/,
      (copy) => copy.writeUInt32BE(2, NUMBER_AT + 4),
    ],
    ["of another store", /another store/, (copy) => copy.fill(9, 8, 24)],
    ["with more messages than it holds", /sections beyond/, (copy) => copy.writeUInt32BE(1e6, 68)],
    [
      "with fewer messages than it holds",
      /do not fill|malformed/,
      (copy) => copy.writeUInt32BE(2, 68),
    ],
    ["with more records than it holds", /1 records but/, (copy) => copy.writeUInt32BE(2, 64)],
    [
      "with records beyond its end",
      /sections beyond/,
      (copy) => copy.writeUInt32BE(1e6, HEADER_BYTES),
    ],
  ])("%s is refused although its checksums match", (_, sentence, change) => {
    expect(refusal(signed(sealed().bytes, change))).toMatchObject({
      code: "STORE_CORRUPT",
      message: expect.stringMatching(sentence),
    });
  });

  it("of a newer format is refused as such", () => {
    const newer = signed(sealed().bytes, (copy) => copy.writeUInt32BE(2, VERSION_AT));
    expect(refusal(newer)).toMatchObject({
      code: "STORE_VERSION",
      message: expect.stringContaining("version 2"),
    });
  });

  it("names the block in its refusal", () => {
    expect(refusal(sealed(5).bytes, 9)).toMatchObject({
      message: "Block 9 says that it is block 5.",
      detail: { block: 9 },
    });
  });

  it("is not made of messages without bytes", () => {
    expect(() => encodeBlock(withoutData(blockOf(1)), FIRST)).toThrow(/with all its bytes/);
  });
});
