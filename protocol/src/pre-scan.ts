/**
 * A structural check of MessagePack bytes before the decoder sees them: one pass, no recursion,
 * nothing allocated. The decoder's own behaviour on hostile bytes is why it exists: shared references
 * can hold the event loop for seconds, and extensions build functions, regular expressions and errors.
 *
 * Invariants
 * - S1 Refused: every extension type, keys that are not strings, integers beyond 2^53, broken UTF-8,
 *   trailing bytes, and anything past the limits.
 * - S2 What passes, the decoder decodes: it never throws on it.
 */
import { LIMITS } from "./limits.ts";

export interface PreScanLimits {
  readonly depthMax: number;
  readonly itemsMax: number;
  readonly stringBytesMax: number;
  readonly binaryBytesMax: number;
}

export const BATCH_SCAN: PreScanLimits = {
  depthMax: LIMITS.depthMax,
  itemsMax: LIMITS.batchItemsMax,
  stringBytesMax: LIMITS.stringBytesMax,
  binaryBytesMax: LIMITS.batchBytesMax,
};

/** What follows a tag. SCALAR: `SIZE` bytes. The others: a length of `LENGTH_BYTES` bytes, then as much of it. */
const REFUSED = 0;
const SCALAR = 1;
const UINT64 = 2;
const INT64 = 3;
const STRING = 4;
const BINARY = 5;
const ARRAY = 6;
const MAP = 7;

const KIND = new Uint8Array(256);
const SIZE = new Uint8Array(256);
const LENGTH_BYTES = new Uint8Array(256);

for (let tag = 0; tag < 256; tag++) {
  if (tag < 0x80 || tag >= 0xe0 || tag === 0xc0 || tag === 0xc2 || tag === 0xc3) KIND[tag] = SCALAR;
  else if (tag < 0x90) [KIND[tag], SIZE[tag]] = [MAP, tag & 15];
  else if (tag < 0xa0) [KIND[tag], SIZE[tag]] = [ARRAY, tag & 15];
  else if (tag < 0xc0) [KIND[tag], SIZE[tag]] = [STRING, tag & 31];
}
for (const [tag, kind, size] of [
  [0xca, SCALAR, 4],
  [0xcb, SCALAR, 8],
  [0xcc, SCALAR, 1],
  [0xcd, SCALAR, 2],
  [0xce, SCALAR, 4],
  [0xcf, UINT64, 8],
  [0xd0, SCALAR, 1],
  [0xd1, SCALAR, 2],
  [0xd2, SCALAR, 4],
  [0xd3, INT64, 8],
] as const) {
  [KIND[tag], SIZE[tag]] = [kind, size];
}
for (const [tag, kind, lengthBytes] of [
  [0xc4, BINARY, 1],
  [0xc5, BINARY, 2],
  [0xc6, BINARY, 4],
  [0xd9, STRING, 1],
  [0xda, STRING, 2],
  [0xdb, STRING, 4],
  [0xdc, ARRAY, 2],
  [0xdd, ARRAY, 4],
  [0xde, MAP, 2],
  [0xdf, MAP, 4],
] as const) {
  [KIND[tag], LENGTH_BYTES[tag]] = [kind, lengthBytes];
}

const DEPTH_CEILING = 64;
/** Values still to come in each open container. Shared: a scan is synchronous, so one at a time uses it. */
const left = new Int32Array(DEPTH_CEILING + 1);
const isMap = new Uint8Array(DEPTH_CEILING + 1);
const strictUtf8 = new TextDecoder("utf-8", { fatal: true });

/** Returns null for acceptable bytes, else the reason for refusing them. `limits.depthMax` <= 64. */
export function preScan(data: Uint8Array, limits: PreScanLimits = BATCH_SCAN): string | null {
  const end = data.length;
  let at = 0;
  let items = 0;
  let depth = 0;
  left[0] = 1;
  isMap[0] = 0;
  for (;;) {
    while (left[depth] === 0) {
      if (depth === 0) return at === end ? null : "trailing bytes";
      depth--;
    }
    const remaining = left[depth] ?? 0;
    const isKey = isMap[depth] === 1 && (remaining & 1) === 0;
    left[depth] = remaining - 1;
    if (++items > limits.itemsMax) return "too many items";
    if (at >= end) return "truncated";

    const tag = data[at++] ?? 0;
    const kind = KIND[tag] ?? REFUSED;
    if (kind === REFUSED) return `type 0x${tag.toString(16)} is not allowed`;
    if (isKey && kind !== STRING) return "a map key is not a string";
    let size = SIZE[tag] ?? 0;
    for (let more = LENGTH_BYTES[tag] ?? 0; more > 0; more--) {
      if (at >= end) return "truncated";
      size = size * 256 + (data[at++] ?? 0);
    }

    if (kind === ARRAY || kind === MAP) {
      const children = kind === MAP ? size * 2 : size;
      if (children > limits.itemsMax) return "too many items";
      if (children > end - at) return "truncated";
      if (children === 0) continue;
      if (++depth > limits.depthMax) return "too deep";
      left[depth] = children;
      isMap[depth] = kind === MAP ? 1 : 0;
      continue;
    }
    if (kind === STRING && size > limits.stringBytesMax) return "string too long";
    if (kind === BINARY && size > limits.binaryBytesMax) return "binary too long";
    if (size > end - at) return "truncated";
    if (kind === UINT64 && readUint32(data, at) > 0x1f_ffff) return "integer beyond 2^53";
    if (kind === INT64 && !isSafeHighWord(readUint32(data, at) | 0)) return "integer beyond 2^53";
    if (kind === STRING && !isText(data, at, at + size)) return "broken UTF-8";
    at += size;
  }
}

const readUint32 = (data: Uint8Array, at: number): number =>
  (data[at] ?? 0) * 0x100_0000 +
  (((data[at + 1] ?? 0) << 16) | ((data[at + 2] ?? 0) << 8) | (data[at + 3] ?? 0));

const isSafeHighWord = (highWord: number): boolean =>
  highWord <= 0x1f_ffff && highWord >= -0x20_0000;

function isText(data: Uint8Array, start: number, end: number): boolean {
  for (let at = start; at < end; at++)
    if ((data[at] ?? 0) >= 0x80) return isUtf8(data.subarray(start, end));
  return true;
}

function isUtf8(data: Uint8Array): boolean {
  try {
    strictUtf8.decode(data);
    return true;
  } catch {
    // The decoder is asked for nothing but whether it would throw.
    return false;
  }
}
