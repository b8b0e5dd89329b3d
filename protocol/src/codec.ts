/**
 * Bytes <-> frames, the only decoder of frames. One WebSocket message is a batch: an array of frames.
 *
 * There are two ways to read a batch. What comes from our own writer is read in one pass (reader.ts).
 * At the first byte that is anything else the batch goes the careful way from its beginning: pre-scan,
 * msgpackr, then field by field; only that way refuses.
 *
 * Invariants
 * - K1 The pre-scan passes before msgpackr sees a byte.
 * - K2 A batch with one bad frame is refused whole: BAD_FRAME (or UNKNOWN_FRAME) and the connection ends.
 *   A request that is well-formed but holds an illegal value is refused, and the connection goes on:
 *   INVALID_ARGUMENT, or the code of the field.
 * - K3 What the writer makes of frames within the limits, every strict decoder takes.
 * - K4 Both ways read the same: whatever the quick one is sure of, the careful one reads as the same frames.
 */
import { Unpackr } from "msgpackr";
import { EscrowError } from "./errors.ts";
import {
  encodedKey,
  entriesOf,
  type FieldEntries,
  type Fields,
  Refused,
  readFields,
  takeFields,
} from "./fields.ts";
import { BROKER_FRAMES, type BrokerFrame, CLIENT_FRAMES, type ClientFrame } from "./frames.ts";
import { LIMITS } from "./limits.ts";
import { preScan } from "./pre-scan.ts";
import { KeptWords, Reader } from "./reader.ts";
import { Writer } from "./writer.ts";

// structuredClone must be false explicitly: otherwise shared references are decoded (see pre-scan.ts).
const unpackr = new Unpackr({
  useRecords: false,
  structuredClone: false,
  mapsAsObjects: true,
  int64AsType: "number",
  copyBuffers: false,
});

/**
 * Decodes bytes that pass the pre-scan; `refuse` makes the error from the reason. Byte strings are
 * views on `data`, which must not change any more.
 */
export function unpack(data: Uint8Array, refuse: (reason: string) => Error): unknown {
  const reason = preScan(data);
  if (reason !== null) throw refuse(reason);
  return unpackr.unpack(data);
}

/** A request that is well-formed but holds an illegal value: to be answered, not to end the connection. */
export interface BadRequest {
  readonly type: "bad";
  readonly id: number;
  readonly error: EscrowError;
}

/**
 * Messages in the frames are views on `data`, which must not change any more.
 * Throws BAD_FRAME or UNKNOWN_FRAME: the connection has to end (K2).
 */
export function decodeClientBatch(data: Uint8Array): (ClientFrame | BadRequest)[] {
  const taken = takeBatch(CLIENT_SHAPES, data);
  return taken === null ? readClientBatch(data) : (taken as unknown as ClientFrame[]);
}

/** The careful way; for tests, too. */
export const readClientBatch = (data: Uint8Array): (ClientFrame | BadRequest)[] =>
  readBatch(data).map((value) => {
    const shape = shapeOf(CLIENT_SHAPES, value);
    try {
      return readFields(shape.entries, value, { type: shape.type }) as unknown as ClientFrame;
    } catch (error) {
      const message = refusalText(shape, error);
      const id = requestId(shape, value);
      if (id === null) throw new EscrowError("BAD_FRAME", message);
      const code = (error instanceof Refused ? error.code : undefined) ?? "INVALID_ARGUMENT";
      return { type: "bad", id, error: new EscrowError(code, message) };
    }
  });

/**
 * Messages in the frames are views on `data`, which must not change any more: who keeps one, copies it.
 * Throws BAD_FRAME or UNKNOWN_FRAME: the broker does not speak this protocol.
 */
export function decodeBrokerBatch(data: Uint8Array): BrokerFrame[] {
  const taken = takeBatch(BROKER_SHAPES, data);
  return taken === null ? readBrokerBatch(data) : (taken as unknown as BrokerFrame[]);
}

/** The careful way; for tests, too. */
export const readBrokerBatch = (data: Uint8Array): BrokerFrame[] =>
  readBatch(data).map((value) => {
    const shape = shapeOf(BROKER_SHAPES, value);
    try {
      return readFields(shape.entries, value, { type: shape.type }) as unknown as BrokerFrame;
    } catch (error) {
      throw new EscrowError("BAD_FRAME", refusalText(shape, error));
    }
  });

/**
 * Text that UTF-8 cannot say is mended as every encoder of UTF-8 would: it must not cost the other
 * frames of the batch their connection (K3).
 */
export function encodeBatch(frames: readonly (ClientFrame | BrokerFrame)[]): Uint8Array {
  writer.begin();
  writer.arrayHead(frames.length);
  for (const frame of frames) writeFrame(frame);
  return writer.cut();
}

/** What a frame of a type looks like, ready to be read. */
interface Shape {
  readonly type: string;
  /** `type` and its value, as MessagePack writes them. */
  readonly head: Uint8Array;
  readonly entries: FieldEntries;
  readonly isRequest: boolean;
  /** A frame with all its keys, to be copied and filled: all frames of a type are alike to the engine. */
  readonly empty: Readonly<Record<string, unknown>>;
}

const TYPE_KEY = encodedKey("type");

const shapesOf = (table: Readonly<Record<string, Fields>>): ReadonlyMap<unknown, Shape> =>
  new Map(
    Object.entries(table).map(([type, fields]) => [
      type,
      {
        type,
        head: Uint8Array.of(...TYPE_KEY, ...encodedKey(type)),
        entries: entriesOf(fields),
        isRequest: "id" in fields,
        empty: {
          type,
          ...Object.fromEntries(Object.keys(fields).map((name) => [name, undefined])),
        },
      },
    ]),
  );

const CLIENT_SHAPES = shapesOf(CLIENT_FRAMES);
const BROKER_SHAPES = shapesOf(BROKER_FRAMES);
const ALL_SHAPES = new Map([...CLIENT_SHAPES, ...BROKER_SHAPES]);
const TYPES = new KeptWords((word) => ALL_SHAPES.has(word));
const reader = new Reader();
/** A small batch may wait long for a slow peer. */
const writer = new Writer({ copiedBytesMax: 16_384 });

function writeFrame(frame: ClientFrame | BrokerFrame): void {
  const shape = ALL_SHAPES.get(frame.type);
  // Only a caller without types can come here: what he says goes out as it is, and is refused.
  if (shape === undefined) return writer.value(frame);
  writer.fields(shape.entries, frame as unknown as Record<string, unknown>, shape.head);
}

/** The quick way; null: in doubt. */
function takeBatch(
  shapes: ReadonlyMap<unknown, Shape>,
  data: Uint8Array,
): Record<string, unknown>[] | null {
  reader.begin(data);
  const count = reader.arrayLength();
  if (count === 0 || count > LIMITS.batchFramesMax) reader.doubt();
  const frames: Record<string, unknown>[] = [];
  for (let left = count; left > 0 && reader.isSure; left--) {
    const pairs = reader.mapLength();
    const shape = reader.takes(TYPE_KEY) ? shapes.get(reader.word(TYPES)) : undefined;
    if (shape === undefined) reader.doubt();
    else frames.push(takeFields(shape.entries, reader, pairs - 1, { ...shape.empty }));
  }
  return reader.finish() ? frames : null;
}

function shapeOf(shapes: ReadonlyMap<unknown, Shape>, frame: Record<string, unknown>): Shape {
  const shape = shapes.get(frame.type);
  if (shape === undefined)
    throw new EscrowError("UNKNOWN_FRAME", "A frame has a type that goes in this direction.");
  return shape;
}

function refusalText({ type }: Shape, error: unknown): string {
  if (!(error instanceof Refused)) throw error;
  return `${[type, ...error.path].join(".")} must be ${error.says}.`;
}

/** Null when there is nobody to answer: the frame is no request, or its id is none that `re` could hold. */
function requestId({ isRequest }: Shape, value: Record<string, unknown>): number | null {
  const id = value.id;
  return isRequest && Number.isSafeInteger(id) && (id as number) >= 0 ? (id as number) : null;
}

const malformed = (reason: string): EscrowError =>
  new EscrowError("BAD_FRAME", `The batch is malformed: ${reason}.`);

function readBatch(data: Uint8Array): Record<string, unknown>[] {
  const batch = unpack(data, malformed);
  if (!Array.isArray(batch) || batch.length === 0 || batch.length > LIMITS.batchFramesMax)
    throw new EscrowError(
      "BAD_FRAME",
      `A batch is an array of 1 to ${LIMITS.batchFramesMax} frames.`,
    );
  for (const frame of batch) {
    if (
      typeof frame !== "object" ||
      frame === null ||
      Array.isArray(frame) ||
      frame instanceof Uint8Array
    )
      throw new EscrowError("BAD_FRAME", "A frame is a map.");
  }
  return batch as Record<string, unknown>[];
}
