/**
 * The HTTP side of the check-back, for producers that hold no connection: `(Request) => Response`, as
 * serverless platforms and frameworks take it. An operator names it: `escrow producer set-endpoint`.
 *
 * Invariants: Y1 and Y2 of check-signature.ts and H1 of check.ts. Whoever is not the broker learns
 * nothing but a status.
 */
import type { WireMessage } from "@escrowmq/protocol";
import {
  type Environment,
  type Logger,
  platformEnvironment,
  SILENT,
} from "@escrowmq/protocol/client";
import { answerCheck, type CheckHandler, type CheckQuestion } from "./check.ts";
import { createNonceMemory, type NonceMemory, verifyCheckRequest } from "./check-signature.ts";
import { checkedMessage } from "./message.ts";

export interface CheckEndpointOptions {
  /** The signing keys that the broker showed (hex); two during a rotation. */
  readonly secrets: readonly string[];
  readonly onCheck: CheckHandler;
  /** How long onCheck may take; the broker waits 5,000 ms in all. Default 4,000 ms. */
  readonly checkTimeoutMs?: number;
  /** The path the broker was told, when a proxy in between has changed it. Default: the request's. */
  readonly path?: string;
  /** Default: one of this endpoint's own. */
  readonly nonces?: NonceMemory;
  readonly logger?: Logger;
  /** Ms since 1970, and timers; for tests. */
  readonly nowMs?: () => number;
  readonly startTimer?: Environment["startTimer"];
}

const CHECK_TIMEOUT_MS = 4_000;
/** The largest transaction in base64, and the JSON around it. */
const BODY_BYTES_MAX = 8_388_608;

/** Makes the handler of a check-back endpoint. It never rejects. */
export function createCheckEndpoint(
  options: CheckEndpointOptions,
): (request: Request) => Promise<Response> {
  const { secrets, nonces = createNonceMemory(), logger = SILENT } = options;
  const terms = {
    onCheck: options.onCheck,
    checkTimeoutMs: options.checkTimeoutMs ?? CHECK_TIMEOUT_MS,
    startTimer: options.startTimer ?? platformEnvironment.startTimer,
    logger,
  };
  return async (request) => {
    if (request.method !== "POST") return refusal(405);
    const body = await readBody(request);
    if (body === null) return refusal(413);
    const { pathname, search } = new URL(request.url);
    const verification = await verifyCheckRequest({
      secrets,
      nonces,
      method: request.method,
      path: options.path ?? pathname + search,
      timestamp: request.headers.get("escrowmq-timestamp"),
      nonce: request.headers.get("escrowmq-nonce"),
      signature: request.headers.get("escrowmq-signature"),
      body,
      ...(options.nowMs === undefined ? {} : { nowMs: options.nowMs() }),
    });
    if (verification.kind === "invalid") {
      logger.warn({ because: verification.because }, "a check-back request was refused");
      return refusal(401);
    }
    const question = readQuestion(body);
    if (question === null) return refusal(400);
    const verdict = await answerCheck(question, terms);
    return new Response(JSON.stringify({ verdict }), {
      status: 200,
      headers: { "content-type": "application/json" },
    });
  };
}

const refusal = (status: number): Response => new Response(null, { status });

/** Null when it is larger than any check can be, found out without keeping it. */
async function readBody(request: Request): Promise<Uint8Array | null> {
  const chunks: Uint8Array[] = [];
  let size = 0;
  if (request.body !== null) {
    const reader = request.body.getReader();
    for (;;) {
      const { done, value } = await reader.read();
      if (done) break;
      size += value.length;
      if (size > BODY_BYTES_MAX) {
        await reader.cancel();
        return null;
      }
      chunks.push(value);
    }
  }
  const body = new Uint8Array(size);
  let at = 0;
  for (const chunk of chunks) {
    body.set(chunk, at);
    at += chunk.length;
  }
  return body;
}

/** Null when it is not what the broker sends. */
function readQuestion(body: Uint8Array): CheckQuestion | null {
  const value = parse(body);
  if (!isRecord(value)) return null;
  const { transactionId, attempt, ageMs, messages = [] } = value;
  if (typeof transactionId !== "string" || typeof attempt !== "number") return null;
  if (typeof ageMs !== "number" || !Array.isArray(messages)) return null;
  const read: WireMessage[] = [];
  for (const item of messages) {
    const message = readMessage(item);
    if (message === null) return null;
    read.push(message);
  }
  return { id: transactionId, attempt, ageMs, decodeMessages: () => read.map(checkedMessage) };
}

function parse(body: Uint8Array): unknown {
  try {
    return JSON.parse(new TextDecoder().decode(body));
  } catch {
    // JSON's only way to say that the text is none; the caller answers 400.
    return null;
  }
}

function readMessage(value: unknown): WireMessage | null {
  if (!isRecord(value)) return null;
  const { id, topic, key, tag, headers, body } = value;
  if (typeof id !== "string" || typeof topic !== "string" || typeof body !== "string") return null;
  if (!isTextOrAbsent(key) || !isTextOrAbsent(tag) || !isHeaders(headers)) return null;
  return { id, topic, key, tag, headers, body: fromBase64(body) };
}

const isRecord = (value: unknown): value is Record<string, unknown> =>
  typeof value === "object" && value !== null && !Array.isArray(value);

const isTextOrAbsent = (value: unknown): value is string | undefined =>
  value === undefined || typeof value === "string";

const isHeaders = (value: unknown): value is Record<string, string> | undefined =>
  value === undefined ||
  (isRecord(value) && Object.values(value).every((item) => typeof item === "string"));

/** The request is the broker's by now, so what it says is base64. */
const fromBase64 = (base64: string): Uint8Array =>
  Uint8Array.from(atob(base64), (character) => character.charCodeAt(0));
