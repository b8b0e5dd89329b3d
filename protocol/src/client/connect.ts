/**
 * What all clients of the broker have in common: their options, and the first connection.
 */
import { EscrowError } from "../errors.ts";
import { LIMITS } from "../limits.ts";
import { isName } from "../names.ts";
import { Calls, type Session } from "./calls.ts";
import type { Environment } from "./environment.ts";
import { type Logger, SILENT } from "./logger.ts";

export const REQUEST_TIMEOUT_MS = 30_000;
/** Seconds of work for the fastest broker; about 1 KiB of memory each beside their bytes. */
export const UNANSWERED_MAX = 100_000;
/** What a process of moderate size can lose to a broker that is away for a while. */
export const UNANSWERED_BYTES_MAX = 268_435_456;

/** Options that producers, consumers and operators' clients share. */
export interface ClientOptions {
  /** `ws://` or `wss://`, host and port. */
  readonly url: string;
  /** The credential that the broker asks for, if it does. */
  readonly token?: string;
  /** Silent by default. */
  readonly logger?: Logger;
  /** Closes the client when it aborts. */
  readonly signal?: AbortSignal;
  /** How long a request, and the first connection, may take. Default 30,000 ms. */
  readonly requestTimeoutMs?: number;
  /** Requests that may wait for answers; beyond that they reject with OVERLOADED. Default 100,000. */
  readonly unansweredMax?: number;
  /** The same in bytes. Default 256 MiB. */
  readonly unansweredBytesMax?: number;
  /** Shown to operators in listings. */
  readonly clientName?: string;
}

/**
 * Connects, and resolves when the session is set up for the first time.
 * Rejects with UNREACHABLE when that takes longer than `requestTimeoutMs`, CLOSED when the signal
 * aborts, or with the broker's refusal of the session.
 */
export async function connect<S extends Session>(
  options: ClientOptions,
  defaults: { readonly clientName: string; readonly isRedialing: boolean },
  environment: Environment,
  makeSession: (calls: Calls) => S,
): Promise<S> {
  checkOptions(options);
  const { url, token, signal, requestTimeoutMs = REQUEST_TIMEOUT_MS } = options;
  const calls = new Calls({
    url,
    token,
    signal,
    requestTimeoutMs,
    unansweredMax: options.unansweredMax ?? UNANSWERED_MAX,
    unansweredBytesMax: options.unansweredBytesMax ?? UNANSWERED_BYTES_MAX,
    environment,
    clientName: options.clientName ?? defaults.clientName,
    isRedialing: defaults.isRedialing,
    logger: options.logger ?? SILENT,
  });
  const patience = environment.startTimer(() => {
    const cause = calls.link.trouble ?? undefined;
    // It was reached, and meant what it said: that is what the caller has to know.
    const isAnswer = cause?.code === "FILTER_CONFLICT";
    calls.close(isAnswer ? cause : new EscrowError("UNREACHABLE", cause?.message, { cause }));
  }, requestTimeoutMs);
  try {
    const session = makeSession(calls);
    await calls.open(session);
    return session;
  } finally {
    patience.stop();
  }
}

const closedBy = (signal: AbortSignal | undefined): EscrowError =>
  new EscrowError("CLOSED", undefined, { cause: signal?.reason });

function checkOptions(options: ClientOptions): void {
  const { url, signal, requestTimeoutMs, clientName } = options;
  if (!isBrokerUrl(url)) throw invalid("url must be a ws: or wss: URL");
  if (requestTimeoutMs !== undefined) checkMs("requestTimeoutMs", requestTimeoutMs);
  for (const name of ["unansweredMax", "unansweredBytesMax"] as const) {
    const most = options[name];
    if (most !== undefined && !(most >= 1)) throw invalid(`${name} must be a number from 1`);
  }
  if (clientName !== undefined && clientName.length > LIMITS.nameCharactersMax)
    throw invalid(`clientName may have at most ${LIMITS.nameCharactersMax} characters`);
  if (signal?.aborted === true) throw closedBy(signal);
}

function isBrokerUrl(url: string): boolean {
  try {
    return ["ws:", "wss:"].includes(new URL(url).protocol);
  } catch {
    // URL's only way to say that the text is none.
    return false;
  }
}

/** The error for an option or argument that cannot be used. */
export const invalid = (what: string): EscrowError =>
  new EscrowError("INVALID_ARGUMENT", `${what}.`);

export function checkMs(option: string, ms: number): void {
  if (!(Number.isFinite(ms) && ms > 0)) throw invalid(`${option} must be a positive number of ms`);
}

export function checkGroup(group: string): void {
  checkName("INVALID_GROUP", "group", group);
}

export function checkName(
  code: "INVALID_GROUP" | "INVALID_INSTANCE",
  what: string,
  name: string,
): void {
  if (!isName(name))
    throw new EscrowError(
      code,
      `${what} must be 1 to ${LIMITS.nameCharactersMax} letters, digits, dots, hyphens and underscores.`,
    );
}

/** A reason short enough for the broker to keep. */
export const shortReason = (reason: string): string =>
  reason.length <= LIMITS.reasonCharactersMax
    ? reason
    : `${reason.slice(0, LIMITS.reasonCharactersMax - 1)}…`;
