/**
 * Records <-> bytes: an array of arrays [code, ...fields], by one table. Message bytes are not
 * here; they stand behind the records in the block (block.ts).
 *
 * Changing the format
 * - A new kind gets the next free code. Codes, field orders and the numbers of names are never
 *   given a second meaning, nor used again when a kind goes.
 * - Any change of what is written, a new kind included, raises FORMAT_VERSION: an older broker must
 *   refuse the store and not fail in its middle. Blocks, `escrowmq.json` and checkpoints share the
 *   number.
 * - The reader of every earlier version stays, and is picked by the version in the block's header:
 *   the blocks of a store are never rewritten. `openBlock` (block.ts) refuses what has no reader.
 * - A store written by each released version is kept under test/store and opened by the tests.
 *
 * Invariants
 * - R1 What is written can be read back, as it was: a broken string is a crash before the write and
 *   not a store that refuses to open, or says something else.
 * - R2 Decoding is strict: an unknown code, a field too many or too few, or a wrong type is
 *   STORE_CORRUPT.
 */
import { EscrowError, type PreScanLimits, preScan, Writer } from "@escrowmq/protocol";
import { Unpackr } from "msgpackr";
import { invariant } from "../core/invariant.ts";
import type { LogRecord, RecordKind } from "../core/records.ts";
import { FieldReader, Malformed, type Shape } from "./record-fields.ts";
import { SHAPES } from "./record-shapes.ts";

export const FORMAT_VERSION = 1;

/**
 * A section is one block's records, already under a CRC: the limits stop a bug, not an
 * attacker.
 */
const RECORDS_SCAN: PreScanLimits = {
  depthMax: 8,
  itemsMax: 67_108_864,
  stringBytesMax: 1_048_576,
  binaryBytesMax: 0,
};

const writer = new Writer({ illFormedText: "refuse" });
const unpackr = new Unpackr({
  useRecords: false,
  structuredClone: false,
  mapsAsObjects: true,
  int64AsType: "number",
});

type AnyShape = Shape<RecordKind>;

const shapeByCode: AnyShape[] = [];
for (const shape of Object.values(SHAPES) as AnyShape[]) {
  invariant(shapeByCode[shape.code] === undefined, "A record code belongs to one kind.");
  shapeByCode[shape.code] = shape;
}

/** A view on a slab, which lives as long as the view: to be copied into a block at once. */
export function encodeRecords(records: readonly LogRecord[]): Uint8Array {
  writer.begin();
  writer.arrayHead(records.length);
  for (const record of records) {
    const shape = SHAPES[record.kind] as AnyShape;
    writer.value(shape.write(shape.code, record));
  }
  return writer.cut();
}

/** `where` begins the sentence of the STORE_CORRUPT that bytes of another shape end in (R2). */
export function decodeRecords(section: Uint8Array, where: string): LogRecord[] {
  const refuse = (what: string) =>
    new EscrowError("STORE_CORRUPT", `The records of ${where} are malformed: ${what}.`);
  const reason = preScan(section, RECORDS_SCAN);
  if (reason !== null) throw refuse(reason);
  const rows: unknown = unpackr.unpack(section);
  if (!Array.isArray(rows)) throw refuse("they are not an array");
  const fields = new FieldReader();
  try {
    return rows.map((row) => readRecord(fields, row));
  } catch (error) {
    if (error instanceof Malformed) throw refuse(error.message);
    throw error;
  }
}

function readRecord(fields: FieldReader, row: unknown): LogRecord {
  fields.begin(row);
  const code = fields.number();
  const shape = shapeByCode[code];
  if (shape === undefined) throw new Malformed(`there is no record code ${code}`);
  const record = shape.read(fields);
  fields.end();
  return record;
}
