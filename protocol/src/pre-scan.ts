/**
 * A structural check of MessagePack bytes before the decoder sees them: one pass, no recursion,
 * nothing allocated. The decoder's own behaviour on hostile bytes is why it exists: shared references
 * can hold the event loop for seconds, and extensions build functions, regular expressions and errors.
 *
 * Invariants
 * - S1 Refused: every extension type, keys that are not strings, integers beyond 2^53, broken UTF-8,
 *   trailing bytes, the key `__proto__` (the decoder renames it), and anything past the limits. In
 *   frames and messages also a key that stands twice in a map: which of the two counts differs
 *   between decoders, so two parties would read two messages.
 * - S2 What passes, the decoder decodes: it never throws on it.
 */
import { LIMITS } from "./limits.ts";

export interface PreScanLimits {
  readonly depthMax: number;
  readonly itemsMax: number;
  readonly stringBytesMax: number;
  readonly binaryBytesMax: number;
  /** Of one map, at most 128. Absent: neither counted nor compared, for data of our own making. */
  readonly mapKeysMax?: number;
}

export const BATCH_SCAN: PreScanLimits = {
  depthMax: LIMITS.depthMax,
  itemsMax: LIMITS.batchItemsMax,
  stringBytesMax: LIMITS.stringBytesMax,
  binaryBytesMax: LIMITS.batchBytesMax,
  mapKeysMax: LIMITS.mapKeysMax,
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
const KEYS_CEILING = 128;
/** Where the keys of each open map stand, and how many there are. */
const keyStart = new Int32Array((DEPTH_CEILING + 1) * KEYS_CEILING);
const keyEnd = new Int32Array((DEPTH_CEILING + 1) * KEYS_CEILING);
const keyCount = new Int32Array(DEPTH_CEILING + 1);
/** Comparing keys is the only step that is not linear; this bounds it to some milliseconds a scan. */
const COMPARISONS_MAX = 4_194_304;
let comparisonsLeft = 0;
const strictUtf8 = new TextDecoder("utf-8", { fatal: true });

/** Returns null for acceptable bytes, else the reason for refusing them. `limits.depthMax` <= 64. */
export function preScan(data: Uint8Array, limits: PreScanLimits = BATCH_SCAN): string | null {
  const end = data.length;
  let at = 0;
  let items = 0;
  let depth = 0;
  left[0] = 1;
  isMap[0] = 0;
  comparisonsLeft = COMPARISONS_MAX;
  const keysMax = Math.min(limits.mapKeysMax ?? 0, KEYS_CEILING);
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
      if (kind === MAP && keysMax > 0 && size > keysMax) return "too many keys in a map";
      if (++depth > limits.depthMax) return "too deep";
      keyCount[depth] = 0;
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
    if (isKey) {
      if (size === 9 && isProto(data, at)) return "a map key is __proto__";
      if (keysMax > 0 && !isNewKey(data, at, at + size, depth)) return "a map key stands twice";
    }
    at += size;
  }
}

const readUint32 = (data: Uint8Array, at: number): number =>
  (data[at] ?? 0) * 0x100_0000 +
  (((data[at + 1] ?? 0) << 16) | ((data[at + 2] ?? 0) << 8) | (data[at + 3] ?? 0));

const isSafeHighWord = (highWord: number): boolean =>
  highWord <= 0x1f_ffff && highWord >= -0x20_0000;

/** Whether no key of the map open at `depth` has the same bytes; remembers this one. */
function isNewKey(data: Uint8Array, start: number, end: number, depth: number): boolean {
  const size = end - start;
  const first = depth * KEYS_CEILING;
  const last = first + (keyCount[depth] ?? 0);
  for (let key = first; key < last; key++) {
    const other = keyStart[key] ?? 0;
    if ((keyEnd[key] ?? 0) - other !== size) continue;
    let same = 0;
    while (same < size && data[start + same] === data[other + same]) same++;
    comparisonsLeft -= same;
    // Whoever sends so many keys that differ so little only wants to keep us busy.
    if (same === size || comparisonsLeft < 0) return false;
  }
  keyStart[last] = start;
  keyEnd[last] = end;
  keyCount[depth] = last - first + 1;
  return true;
}

function isProto(data: Uint8Array, at: number): boolean {
  for (let index = 0; index < 9; index++)
    if (data[at + index] !== PROTO.charCodeAt(index)) return false;
  return true;
}

const PROTO = "__proto__";

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
