/**
 * Bytes <-> frames, the only decoder of frames. One WebSocket message is a batch: an array of frames.
 *
 * Invariants
 * - K1 The pre-scan passes before msgpackr sees a byte.
 * - K2 A batch with one bad frame is refused whole: BAD_FRAME (or UNKNOWN_FRAME) and the connection ends.
 *   A request that is well-formed but holds an illegal value is INVALID_ARGUMENT to that request only.
 * - K3 What `encodeBatch` makes of frames within the limits, every strict decoder takes.
 */
import { Packr, Unpackr } from "msgpackr";
import { EscrowError } from "./errors.ts";
import { entriesOf, type FieldEntries, type Fields, Refused, readFields } from "./fields.ts";
import { BROKER_FRAMES, type BrokerFrame, CLIENT_FRAMES, type ClientFrame } from "./frames.ts";
import { LIMITS } from "./limits.ts";
import { preScan } from "./pre-scan.ts";
import { isWellFormedInside, wellFormed } from "./well-formed.ts";

// msgpackr writes undefined as an extension, which every strict decoder refuses (K3). So it is left
// out of maps and becomes nil in arrays. Named, because msgpackr's types lack `skipValues`.
const encoding = {
  useRecords: false,
  variableMapSize: true,
  skipValues: [undefined],
  encodeUndefinedAsNil: true,
};
const packr = new Packr(encoding);

// structuredClone must be false explicitly: otherwise shared references are decoded (see pre-scan.ts).
const strict = {
  useRecords: false,
  structuredClone: false,
  mapsAsObjects: true,
  int64AsType: "number",
} as const;
const copying = new Unpackr({ ...strict, copyBuffers: true });
const viewing = new Unpackr({ ...strict, copyBuffers: false });

/**
 * Decodes bytes that pass the pre-scan; `refuse` makes the error from the reason. Byte strings are
 * copies, so that one of them does not keep the whole batch in memory.
 */
export function unpackCopies(data: Uint8Array, refuse: (reason: string) => Error): unknown {
  scan(data, refuse);
  return copying.unpack(data);
}

/** The same; byte strings are views on `data`, which must not change any more. */
export function unpackViews(data: Uint8Array, refuse: (reason: string) => Error): unknown {
  scan(data, refuse);
  return viewing.unpack(data);
}

function scan(data: Uint8Array, refuse: (reason: string) => Error): void {
  const reason = preScan(data);
  if (reason !== null) throw refuse(reason);
}

/** A request that is well-formed but holds an illegal value: to be answered, not to end the connection. */
export interface BadRequest {
  readonly type: "bad";
  readonly id: number;
  readonly error: EscrowError;
}

/** One bad text must not cost the other frames of the batch their connection: it is mended (K3). */
export const encodeBatch = (frames: readonly (ClientFrame | BrokerFrame)[]): Uint8Array =>
  packr.pack(isWellFormedInside(frames) ? frames : wellFormed(frames));

/**
 * Messages in the frames are views on `data`: the broker writes them into a block and lets go of them.
 * Throws BAD_FRAME or UNKNOWN_FRAME: the connection has to end (K2).
 */
export function decodeClientBatch(data: Uint8Array): (ClientFrame | BadRequest)[] {
  return readBatch(unpackViews(data, malformed)).map((value) => {
    const shape = shapeOf(CLIENT_SHAPES, value);
    try {
      return readFields(shape.entries, value, { type: shape.type }) as unknown as ClientFrame;
    } catch (error) {
      const message = refusalText(shape, error);
      const id = requestId(shape, value);
      if (id === null) throw new EscrowError("BAD_FRAME", message);
      return { type: "bad", id, error: new EscrowError("INVALID_ARGUMENT", message) };
    }
  });
}

/**
 * Messages in the frames are copies: an application may keep one for long.
 * Throws BAD_FRAME or UNKNOWN_FRAME: the broker does not speak this protocol.
 */
export function decodeBrokerBatch(data: Uint8Array): BrokerFrame[] {
  return readBatch(unpackCopies(data, malformed)).map((value) => {
    const shape = shapeOf(BROKER_SHAPES, value);
    try {
      return readFields(shape.entries, value, { type: shape.type }) as unknown as BrokerFrame;
    } catch (error) {
      throw new EscrowError("BAD_FRAME", refusalText(shape, error));
    }
  });
}

/** What a frame of a type looks like, ready to be read. */
interface Shape {
  readonly type: string;
  readonly entries: FieldEntries;
  readonly isRequest: boolean;
}

const shapesOf = (table: Readonly<Record<string, Fields>>): ReadonlyMap<unknown, Shape> =>
  new Map(
    Object.entries(table).map(([type, fields]) => [
      type,
      { type, entries: entriesOf(fields), isRequest: "id" in fields },
    ]),
  );

const CLIENT_SHAPES = shapesOf(CLIENT_FRAMES);
const BROKER_SHAPES = shapesOf(BROKER_FRAMES);

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

function readBatch(batch: unknown): Record<string, unknown>[] {
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
