/**
 * Is this HTTP request really the broker's, and said for the first time?
 *
 * Invariants
 * - Y1 Nothing is believed before the signature over method, path, timestamp, nonce and body holds.
 * - Y2 A signed request is accepted once, within five minutes of its timestamp. Nonces are kept as long
 *   as their timestamps are acceptable; a memory that is full refuses, because forgetting would accept
 *   a repetition.
 */
export const CHECK_AGE_MAX_MS = 300_000;
const NONCES_MAX = 100_000;
const NONCE_CHARACTERS_MAX = 128;
/** The broker has at most three keys at a time; each signature costs a computation. */
const SIGNATURES_MAX = 4;

/** Which nonces were seen. Instances that share an endpoint can share one over a store of theirs. */
export interface NonceMemory {
  /** True when the nonce is new and is now remembered until `untilMs`; false when it is not. */
  remember(nonce: string, untilMs: number, nowMs: number): boolean | Promise<boolean>;
}

export interface CheckSignature {
  /** The endpoint's signing keys as the broker showed them (hex). Two during a rotation. */
  readonly secrets?: readonly string[];
  readonly secret?: string;
  readonly method: string;
  /** As in the request line: path and query. */
  readonly path: string;
  /** Header `escrowmq-timestamp`. */
  readonly timestamp: string | null | undefined;
  /** Header `escrowmq-nonce`. */
  readonly nonce: string | null | undefined;
  /** Header `escrowmq-signature`: one `v1=` for each of the broker's keys, separated by commas. */
  readonly signature: string | null | undefined;
  /** Exactly as received. */
  readonly body: Uint8Array | string;
  /** Ms since 1970. Default: now. */
  readonly nowMs?: number;
  /** Default: one memory for this process. */
  readonly nonces?: NonceMemory;
}

export type Verification =
  | { readonly kind: "valid" }
  | {
      readonly kind: "invalid";
      readonly because: "malformed" | "stale" | "wrongSignature" | "repeated";
    };

/** Remembers nonces in this process, at most `noncesMax`. */
export function createNonceMemory(noncesMax: number = NONCES_MAX): NonceMemory {
  const untilMsOf = new Map<string, number>();
  const forget = (nowMs: number): void => {
    for (const [nonce, untilMs] of untilMsOf) if (untilMs < nowMs) untilMsOf.delete(nonce);
  };
  return {
    remember: (nonce, untilMs, nowMs) => {
      const known = untilMsOf.get(nonce);
      if (known !== undefined && known >= nowMs) return false;
      if (untilMsOf.size >= noncesMax) forget(nowMs);
      if (untilMsOf.size >= noncesMax) return false;
      untilMsOf.set(nonce, untilMs);
      return true;
    },
  };
}

const processNonces = createNonceMemory();
const encoder = new TextEncoder();

/** Verifies a signed check request. Expected faults are values, not throws. */
export async function verifyCheckRequest(request: CheckSignature): Promise<Verification> {
  const { timestamp, nonce, nowMs = Date.now(), nonces = processNonces } = request;
  const signatures = signaturesOf(request.signature);
  const atMs = Number(timestamp);
  if (!timestamp || !/^\d{1,15}$/.test(timestamp) || !isNonce(nonce) || signatures === null)
    return { kind: "invalid", because: "malformed" };
  if (Math.abs(nowMs - atMs) > CHECK_AGE_MAX_MS) return { kind: "invalid", because: "stale" };
  const signed = signedBytes(request, timestamp, nonce);
  if (!(await isSigned(secretsOf(request), signatures, signed)))
    return { kind: "invalid", because: "wrongSignature" };
  // Only now, so that a stranger cannot fill the memory.
  const isNew = await nonces.remember(nonce, atMs + CHECK_AGE_MAX_MS, nowMs);
  return isNew ? { kind: "valid" } : { kind: "invalid", because: "repeated" };
}

const secretsOf = ({ secret, secrets = [] }: CheckSignature): readonly string[] =>
  secret === undefined ? secrets : [secret, ...secrets];

const isNonce = (nonce: string | null | undefined): nonce is string =>
  typeof nonce === "string" && nonce.length <= NONCE_CHARACTERS_MAX && /^[0-9a-f]+$/i.test(nonce);

function signedBytes(
  { method, path, body }: CheckSignature,
  timestamp: string,
  nonce: string,
): Uint8Array<ArrayBuffer> {
  const head = encoder.encode(`${method}\n${path}\n${timestamp}\n${nonce}\n`);
  const tail = typeof body === "string" ? encoder.encode(body) : body;
  const signed = new Uint8Array(head.length + tail.length);
  signed.set(head);
  signed.set(tail, head.length);
  return signed;
}

/** The comparison is WebCrypto's own, which takes the same time wherever the bytes differ. */
async function isSigned(
  secrets: readonly string[],
  signatures: readonly Uint8Array<ArrayBuffer>[],
  signed: Uint8Array<ArrayBuffer>,
): Promise<boolean> {
  const { subtle } = globalThis.crypto;
  for (const secret of secrets) {
    if (secret === "") continue;
    const hmac = { name: "HMAC", hash: "SHA-256" };
    const key = await subtle.importKey("raw", encoder.encode(secret), hmac, false, ["verify"]);
    for (const signature of signatures)
      if (await subtle.verify("HMAC", key, signature, signed)) return true;
  }
  return false;
}

/** Null unless every part of the header is a signature of this version, and they are few. */
function signaturesOf(
  header: string | null | undefined,
): readonly Uint8Array<ArrayBuffer>[] | null {
  const parts = (header ?? "").split(",", SIGNATURES_MAX + 1).map((part) => part.trim());
  if (parts.length > SIGNATURES_MAX) return null;
  const signatures: Uint8Array<ArrayBuffer>[] = [];
  for (const part of parts) {
    const hex = /^v1=([0-9a-f]{64})$/i.exec(part)?.[1];
    if (hex === undefined) return null;
    signatures.push(bytesOfHex(hex));
  }
  return signatures;
}

function bytesOfHex(hex: string): Uint8Array<ArrayBuffer> {
  const bytes = new Uint8Array(hex.length / 2);
  for (let at = 0; at < bytes.length; at++)
    bytes[at] = Number.parseInt(hex.slice(at * 2, at * 2 + 2), 16);
  return bytes;
}
