/**
 * HTTP check-back: the question about an undecided transaction, put to the endpoint that an operator
 * set for the producer group. The only outgoing HTTP of the broker. By reliability's rules:
 *
 * Invariants
 * - H1 No byte of a request leaves for an address that the guard does not admit: literals are checked
 *   when parsed, names at the one resolution that is connected to, and the peer before it is written to.
 * - H2 `ask` never rejects, ends within the time allowed, and reads no more than the bytes allowed.
 * - H3 Nothing but the exact answer is a verdict. The answer's text, the path and the secrets are never
 *   logged or returned; notes are made of our own words and Node's error codes.
 * - H4 `unreachable` and `busy` reached nobody: the caller does not count them as attempts.
 */
import { lookup as systemLookup } from "node:dns";
import { createSecureContext, type SecureContext } from "node:tls";
import { EscrowError } from "@escrowmq/protocol";
import { createAddressGuard } from "./address-guard.ts";
import { type Exchanged, type ExchangeRequest, exchange, type Lookup } from "./check-exchange.ts";
import { type CheckQuestion, questionBody, signature } from "./check-question.ts";
import { createCircuitBreaker } from "./circuit-breaker.ts";
import { parseEndpointUrl } from "./endpoint-url.ts";

export interface CheckEndpointOptions {
  /** CIDR ranges that the operator of the host permits besides public addresses; plain http only to these. */
  readonly allowedRanges: readonly string[];
  readonly lookup?: Lookup;
  /** Certificates (PEM) of authorities to trust instead of the public ones. */
  readonly ca?: string | readonly string[];
  readonly nowMs: () => number;
  /** What signatures are dated with: whoever checks them looks at a wall clock. Default nowMs. */
  readonly wallMs?: () => number;
  /** 16 random bytes as 32 hex digits. */
  readonly randomNonce: () => string;
  readonly requestTimeoutMs?: number;
  readonly answerBytesMax?: number;
  readonly perEndpointMax?: number;
  readonly totalMax?: number;
  readonly log: CheckEndpointLog;
}

export interface CheckEndpointLog {
  readonly info: (fields: object, text: string) => void;
  readonly warn: (fields: object, text: string) => void;
}

export interface EndpointQuestion extends CheckQuestion {
  readonly url: string;
  /** Signing keys (hex), newest first. */
  readonly secrets: readonly string[];
}

export interface EndpointAnswer {
  readonly outcome: Exchanged["outcome"] | "busy";
  readonly latencyMs: number;
  /** For the inspector: how it ended, in our own words. */
  readonly note: string;
}

export interface CheckEndpointClient {
  /** The URL as it is stored and shown. Throws ENDPOINT_REFUSED. */
  readonly parseUrl: (url: string) => string;
  readonly ask: (question: EndpointQuestion) => Promise<EndpointAnswer>;
  /** Ends what is under way; everything then and later is `unreachable`. */
  readonly close: () => void;
}

/** Five in a row are no accident; half a minute is one check interval. */
const FAILURES_MAX = 5;
const PAUSE_MS = 30_000;
const ENDPOINTS_MAX = 1_024;

type Unmeasured = Omit<EndpointAnswer, "latencyMs">;

const busy = (note: string): Unmeasured => ({ outcome: "busy", note });

const notAsked = (why: string): Unmeasured => ({
  outcome: "unreachable",
  note: `not asked: ${why}`,
});

/** Throws INVALID_ARGUMENT if `allowedRanges` are not CIDR ranges. */
export function createCheckEndpointClient(options: CheckEndpointOptions): CheckEndpointClient {
  const { nowMs, wallMs = nowMs, log, perEndpointMax = 8, totalMax = 64 } = options;
  const guard = createAddressGuard(options.allowedRanges);
  const breaker = createCircuitBreaker({
    failuresMax: FAILURES_MAX,
    pauseMs: PAUSE_MS,
    endpointsMax: ENDPOINTS_MAX,
    nowMs,
  });
  const asking = new Map<string, number>();
  let askingTotal = 0;
  const closing = new AbortController();
  const rules = {
    guard,
    lookup: options.lookup ?? systemLookup,
    secureContext,
    requestTimeoutMs: options.requestTimeoutMs ?? 5_000,
    answerBytesMax: options.answerBytesMax ?? 65_536,
    signal: closing.signal,
  };

  let context: SecureContext | null = null;
  function secureContext(): SecureContext {
    const { ca } = options;
    context ??= createSecureContext({
      minVersion: "TLSv1.2",
      ...(ca === undefined ? {} : { ca: typeof ca === "string" ? ca : [...ca] }),
    });
    return context;
  }
  // Bad certificates are a fault of the configuration, to be found at the start.
  if (options.ca !== undefined) secureContext();

  const parseUrl = (url: string): string =>
    parseEndpointUrl(url, guard, options.allowedRanges.length > 0).href;

  async function ask(question: EndpointQuestion): Promise<EndpointAnswer> {
    const askedAtMs = nowMs();
    const { outcome, note } = await admitAndAsk(question);
    return { outcome, note, latencyMs: Math.max(0, nowMs() - askedAtMs) };
  }

  async function admitAndAsk(question: EndpointQuestion): Promise<Unmeasured> {
    const url = targetOf(question);
    if (!(url instanceof URL)) return url;
    const endpoint = url.href;
    const inFlight = asking.get(endpoint) ?? 0;
    if (inFlight >= perEndpointMax) return busy("too many checks at this endpoint");
    if (askingTotal >= totalMax) return busy("too many checks at all endpoints");
    const request = signedRequest(url, question);
    if ("outcome" in request) return request;
    if (!breaker.admits(endpoint)) return notAsked("it could not be reached lately");
    asking.set(endpoint, inFlight + 1);
    askingTotal++;
    const exchanged = await exchange(request, rules);
    askingTotal--;
    release(endpoint);
    if (!closing.signal.aborted) report(question.group, url, exchanged);
    return exchanged;
  }

  function release(endpoint: string): void {
    const inFlight = (asking.get(endpoint) ?? 1) - 1;
    if (inFlight === 0) asking.delete(endpoint);
    else asking.set(endpoint, inFlight);
  }

  function report(group: string, url: URL, exchanged: Exchanged): void {
    const change = breaker.report(url.href, exchanged.outcome !== "unreachable");
    // The host only: a path may hold a secret of its own.
    const fields = { group, host: url.host, note: exchanged.note };
    if (change === "opened") log.warn(fields, "The check-back endpoint cannot be reached.");
    if (change === "closed") log.info(fields, "The check-back endpoint can be reached again.");
  }

  function targetOf(question: EndpointQuestion): URL | Unmeasured {
    if (closing.signal.aborted) return notAsked("the broker is stopping");
    if (question.secrets.length === 0) return notAsked("it has no signing key");
    try {
      return new URL(parseUrl(question.url));
    } catch (error) {
      // The permitted ranges may be others than when the endpoint was set.
      if (EscrowError.is(error, "ENDPOINT_REFUSED")) return notAsked(error.code);
      throw error;
    }
  }

  function signedRequest(url: URL, question: EndpointQuestion): ExchangeRequest | Unmeasured {
    try {
      const body = questionBody(question);
      const path = url.pathname + url.search;
      const signed = { path, timestamp: String(wallMs()), nonce: options.randomNonce(), body };
      const headers = {
        "escrowmq-timestamp": signed.timestamp,
        "escrowmq-nonce": signed.nonce,
        "escrowmq-signature": signature(question.secrets, signed),
      };
      return { url, body, headers };
    } catch (error) {
      // A stored message is not what was checked at its prepare: this question cannot be put.
      if (EscrowError.is(error)) return notAsked(error.code);
      throw error;
    }
  }

  return { parseUrl, ask, close: () => closing.abort() };
}
