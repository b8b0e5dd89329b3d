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
import { type Fields, Refused, readFields } from "./fields.ts";
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
const unpackr = new Unpackr({
  useRecords: false,
  structuredClone: false,
  mapsAsObjects: true,
  int64AsType: "number",
  copyBuffers: true,
});

/** Decodes bytes that passed the pre-scan; `refuse` makes the error from the reason. */
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

/** One bad text must not cost the other frames of the batch their connection: it is mended (K3). */
export const encodeBatch = (frames: readonly (ClientFrame | BrokerFrame)[]): Uint8Array =>
  packr.pack(isWellFormedInside(frames) ? frames : wellFormed(frames));

/** Throws BAD_FRAME or UNKNOWN_FRAME: the connection has to end (K2). */
export function decodeClientBatch(data: Uint8Array): (ClientFrame | BadRequest)[] {
  return readBatch(data).map((value) => {
    const { type, fields } = tableEntry(CLIENT_FRAMES, value);
    try {
      return { type, ...readFields(fields, value, type) } as unknown as ClientFrame;
    } catch (error) {
      if (!(error instanceof Refused)) throw error;
      const id = requestId(fields, value);
      if (id === null) throw new EscrowError("BAD_FRAME", `${error.message}.`);
      return { type: "bad", id, error: new EscrowError("INVALID_ARGUMENT", `${error.message}.`) };
    }
  });
}

/** Throws BAD_FRAME or UNKNOWN_FRAME: the broker does not speak this protocol. */
export function decodeBrokerBatch(data: Uint8Array): BrokerFrame[] {
  return readBatch(data).map((value) => {
    const { type, fields } = tableEntry(BROKER_FRAMES, value);
    try {
      return { type, ...readFields(fields, value, type) } as unknown as BrokerFrame;
    } catch (error) {
      if (error instanceof Refused) throw new EscrowError("BAD_FRAME", `${error.message}.`);
      throw error;
    }
  });
}

/** Null when there is nobody to answer: the frame is no request, or its id is none that `re` could hold. */
function requestId(fields: Fields, value: Record<string, unknown>): number | null {
  const id = value.id;
  return "id" in fields && Number.isSafeInteger(id) && (id as number) >= 0 ? (id as number) : null;
}

function readBatch(data: Uint8Array): Record<string, unknown>[] {
  const batch = unpack(
    data,
    (reason) => new EscrowError("BAD_FRAME", `The batch is malformed: ${reason}.`),
  );
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

function tableEntry(
  table: Readonly<Record<string, Fields>>,
  frame: Record<string, unknown>,
): { type: string; fields: Fields } {
  const type = frame.type;
  const fields = typeof type === "string" && Object.hasOwn(table, type) ? table[type] : undefined;
  if (typeof type !== "string" || fields === undefined)
    throw new EscrowError("UNKNOWN_FRAME", "A frame has a type that goes in this direction.");
  return { type, fields };
}
