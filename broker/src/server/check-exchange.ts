/**
 * One request and its answer: resolve, connect, check the peer, ask, read, judge. The socket is made
 * here and handed to Node's HTTP client when it is connected, because an agent writes the request
 * before anybody could look at the peer (H1). So there is no agent, no pool, no proxy and no redirect.
 */
import type { LookupAddress, LookupAllOptions } from "node:dns";
import http, { type ClientRequest, type IncomingMessage } from "node:http";
import https from "node:https";
import net, { isIP, type LookupFunction, type Socket } from "node:net";
import tls, { type SecureContext } from "node:tls";
import type { AddressGuard } from "./address-guard.ts";
import { readAnswer } from "./check-question.ts";
import { hostOf, isAdmitted } from "./endpoint-url.ts";

/** `dns.lookup` for all addresses of a name. */
export type Lookup = (
  host: string,
  options: LookupAllOptions,
  done: (error: NodeJS.ErrnoException | null, addresses: LookupAddress[]) => void,
) => void;

export interface ExchangeRules {
  readonly guard: AddressGuard;
  readonly lookup: Lookup;
  /** Made once, when first needed: it holds every root certificate. */
  readonly secureContext: () => SecureContext;
  /** Resolution, connection, request and answer together. */
  readonly requestTimeoutMs: number;
  readonly answerBytesMax: number;
  readonly signal: AbortSignal;
}

export interface ExchangeRequest {
  readonly url: URL;
  readonly headers: Readonly<Record<string, string>>;
  readonly body: Buffer;
}

export interface Exchanged {
  readonly outcome: "commit" | "rollback" | "unknown" | "timeout" | "failed" | "unreachable";
  readonly note: string;
}

const HEADER_BYTES_MAX = 8_192;

/** Never rejects: each way to end is an outcome. */
export function exchange(request: ExchangeRequest, rules: ExchangeRules): Promise<Exchanged> {
  return new Promise((resolve) => {
    const isPlain = request.url.protocol === "http:";
    const socket = connect(request.url, isPlain, rules);
    let asked: ClientRequest | null = null;

    const timer = setTimeout(() => {
      const note = `after ${rules.requestTimeoutMs} ms`;
      end(
        asked === null
          ? { outcome: "unreachable", note: `no connection ${note}` }
          : { outcome: "timeout", note: `no answer ${note}` },
      );
    }, rules.requestTimeoutMs);
    const stop = () => end({ outcome: "unreachable", note: "the broker is stopping" });
    rules.signal.addEventListener("abort", stop);

    function end(exchanged: Exchanged): void {
      clearTimeout(timer);
      rules.signal.removeEventListener("abort", stop);
      asked?.destroy();
      socket.destroy();
      // Only the first end counts: what destroying brings about comes later.
      resolve(exchanged);
    }

    socket.on("error", (error) => end(asked === null ? notReached(error) : lost(error)));
    socket.once("connect", () => {
      if (!isAdmitted(rules.guard, socket.remoteAddress ?? "", isPlain)) end(REFUSED);
    });
    socket.once(isPlain ? "connect" : "secureConnect", () => {
      if (socket.destroyed) return;
      asked = write(request, socket);
      asked.on("error", (error) => end(lost(error)));
      asked.on("upgrade", () => end(failed("it switched protocols")));
      asked.on("response", (response) => read(response, rules.answerBytesMax, end));
    });
  });
}

const REFUSED: Exchanged = { outcome: "unreachable", note: "the address is not permitted" };

function connect(url: URL, isPlain: boolean, rules: ExchangeRules): Socket {
  const host = hostOf(url);
  const port = Number(url.port) || (isPlain ? 80 : 443);
  const lookup = guardedLookup(rules, isPlain);
  if (isPlain) return net.connect({ host, port, lookup });
  return tls.connect({
    host,
    port,
    lookup,
    // An address is no server name; its certificate is checked against `host`.
    ...(isIP(host) === 0 ? { servername: host } : {}),
    secureContext: rules.secureContext(),
    ALPNProtocols: ["http/1.1"],
    // Said, so that no environment variable can turn it off.
    rejectUnauthorized: true,
  });
}

const REFUSED_CODE = "ADDRESS_REFUSED";

/** Not called for literals: those were judged when the URL was parsed. One refused answer refuses all. */
function guardedLookup(rules: ExchangeRules, isPlain: boolean): LookupFunction {
  return (host, options, done) =>
    rules.lookup(host, { ...options, all: true }, (error, addresses) => {
      const first = addresses?.[0];
      if (error !== null && error !== undefined) return done(error, "", 0);
      if (
        first === undefined ||
        !addresses.every(({ address }) => isAdmitted(rules.guard, address, isPlain))
      )
        return done(Object.assign(new Error("refused"), { code: REFUSED_CODE }), "", 0);
      return options.all === true ? done(null, addresses) : done(null, first.address, first.family);
    });
}

function write({ url, headers, body }: ExchangeRequest, socket: Socket): ClientRequest {
  const asked = (url.protocol === "http:" ? http : https).request({
    createConnection: () => socket,
    method: "POST",
    host: hostOf(url),
    path: url.pathname + url.search,
    setHost: false,
    maxHeaderSize: HEADER_BYTES_MAX,
    insecureHTTPParser: false,
    headers: {
      host: url.host,
      connection: "close",
      "content-type": "application/json",
      "content-length": body.length,
      accept: "application/json",
      "user-agent": "escrowmq",
      ...headers,
    },
  });
  asked.end(body);
  return asked;
}

function read(
  response: IncomingMessage,
  bytesMax: number,
  end: (exchanged: Exchanged) => void,
): void {
  response.on("error", (error) => end(lost(error)));
  if (response.statusCode !== 200) {
    end(failed(`status ${response.statusCode}`));
    return;
  }
  const chunks: Buffer[] = [];
  let bytes = 0;
  response.on("data", (chunk: Buffer) => {
    bytes += chunk.length;
    if (bytes > bytesMax) end(failed("the answer is too large"));
    else chunks.push(chunk);
  });
  response.on("end", () => {
    const verdict = readAnswer(Buffer.concat(chunks));
    end(
      verdict === null
        ? failed("status 200, no verdict")
        : { outcome: verdict, note: "status 200" },
    );
  });
}

const failed = (note: string): Exchanged => ({ outcome: "failed", note });

const lost = (error: Error): Exchanged => failed(`the connection broke (${codeOf(error)})`);

function notReached(error: Error): Exchanged {
  const code = codeOf(error);
  return code === REFUSED_CODE
    ? REFUSED
    : { outcome: "unreachable", note: `no connection (${code})` };
}

/** Node's code only: an error's text may hold what the peer sent, a certificate's fields for example. */
function codeOf(error: Error & { readonly code?: unknown }): string {
  return typeof error.code === "string" && /^[A-Z0-9_]{1,64}$/.test(error.code)
    ? error.code
    : "no code";
}
