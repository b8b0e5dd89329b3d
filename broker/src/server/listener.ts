/**
 * The only file with ws: accepts connections, adapts them to `Socket`, and answers health and metrics on
 * the same port. The library's open defaults are closed here one by one.
 */
import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import { createRequire } from "node:module";
import type { AddressInfo } from "node:net";
import type { Duplex } from "node:stream";
import { LIMITS, SUBPROTOCOL } from "@escrowmq/protocol";
import type * as Ws from "ws";
import { isLoopback } from "./options.ts";
import type { SessionEvents, Socket } from "./session.ts";

// By require, as all CommonJS here (ADR 10).
const { WebSocketServer } = createRequire(import.meta.url)("ws") as typeof Ws;

export interface ListenerOptions {
  readonly host: string;
  readonly port: number;
  readonly allowedOrigins: readonly string[];
  readonly connectionsMax: number;
  /** A connection was accepted; what it returns is told what happens to it. */
  readonly opened: (socket: Socket) => SessionEvents & { readonly isGreeted: boolean };
  readonly health: () => { readonly isReady: boolean; readonly text: string };
  readonly metrics: () => Promise<{ readonly contentType: string; readonly text: string }>;
}

export interface Listener {
  readonly url: string;
  close(): Promise<void>;
}

export async function listen(options: ListenerOptions): Promise<Listener> {
  const http = createServer({
    headersTimeout: 5_000,
    requestTimeout: 10_000,
    connectionsCheckingInterval: 1_000,
    maxHeaderSize: 8_192,
  });
  http.maxConnections = options.connectionsMax;
  const webSockets = new WebSocketServer({
    noServer: true,
    maxPayload: LIMITS.batchBytesMax,
    // A frame in tiny pieces costs far more memory than its bytes (ws' CVE-2026-48779).
    maxFragments: 64,
    maxBufferedChunks: 4_096,
    perMessageDeflate: false,
    clientTracking: true,
    handleProtocols: (offered) => (offered.has(SUBPROTOCOL) ? SUBPROTOCOL : false),
  });
  const heartbeat = startHeartbeat(webSockets);
  http.on("request", (request, response) => void answerHttp(options, request, response));
  http.on("upgrade", (request, socket, head) =>
    upgrade(options, webSockets, request, socket, head),
  );
  await new Promise<void>((resolve, reject) => {
    http.once("error", reject);
    const { host, port } = options;
    http.listen({ host, port, backlog: BACKLOG }, () => resolve());
  });
  return {
    url: `ws://${addressText(http)}`,
    close: async () => {
      clearInterval(heartbeat);
      for (const one of webSockets.clients) one.terminate();
      const closed = new Promise<void>((resolve) => http.close(() => resolve()));
      http.closeAllConnections();
      await closed;
    },
  };
}

function addressText(http: Server): string {
  const { address, port, family } = http.address() as AddressInfo;
  return family === "IPv6" ? `[${address}]:${port}` : `${address}:${port}`;
}

function upgrade(
  options: ListenerOptions,
  webSockets: Ws.WebSocketServer,
  request: IncomingMessage,
  socket: Duplex,
  head: Buffer,
): void {
  socket.on("error", () => socket.destroy());
  const refusal = refuseUpgrade(options, request);
  if (refusal !== null) {
    socket.end(`HTTP/1.1 ${refusal}\r\nConnection: close\r\nContent-Length: 0\r\n\r\n`);
    return;
  }
  webSockets.handleUpgrade(request, socket, head, (webSocket) => {
    webSockets.emit("connection", webSocket);
    accept(options, webSocket, socket);
  });
}

/** Cross-site pages can open WebSockets to loopback addresses: Origin and Host are checked, both. */
function refuseUpgrade(options: ListenerOptions, request: IncomingMessage): string | null {
  const { origin, host } = request.headers;
  if (origin !== undefined && !options.allowedOrigins.includes(origin)) return "403 Forbidden";
  if (isLoopback(options.host) && !isLoopbackHost(host)) return "403 Forbidden";
  if (!(request.headers["sec-websocket-protocol"] ?? "").split(/,\s*/).includes(SUBPROTOCOL))
    return "400 Bad Request";
  return null;
}

/** A name that resolves to loopback may be an attacker's: only the literal names of loopback are taken. */
function isLoopbackHost(host: string | undefined): boolean {
  const name = (host ?? "").replace(/:\d+$/, "").replace(/^\[(.*)\]$/, "$1");
  return isLoopback(name);
}

function accept(options: ListenerOptions, webSocket: Ws.WebSocket, socket: Duplex): void {
  let isDone = false;
  const events = options.opened({
    send: (data) => {
      if (webSocket.readyState === webSocket.OPEN)
        webSocket.send(data, { binary: true }, () => events.drained());
    },
    close: (code, reason) => {
      webSocket.close(code, reason);
      // A peer that does not answer the close is not waited for.
      setTimeout(() => webSocket.terminate(), CLOSE_WITHIN_MS).unref();
    },
    terminate: () => webSocket.terminate(),
    pause: (isPaused) => {
      if (isPaused) webSocket.pause();
      else webSocket.resume();
    },
    get bufferedBytes() {
      return webSocket.bufferedAmount;
    },
  });
  const done = (): void => {
    if (isDone) return;
    isDone = true;
    clearTimeout(hello);
    events.closed();
  };
  const hello = setTimeout(() => {
    if (!events.isGreeted) webSocket.terminate();
  }, LIMITS.helloWithinMs);
  webSocket.binaryType = "nodebuffer";
  let partBytes = 0;
  webSocket.on("message", (data, isBinary) => {
    // At most one read too little: what this read holds of the next message.
    partBytes = 0;
    if (isBinary) events.message(data as Buffer);
    else webSocket.close(1003, "binary frames only");
  });
  // Control frames are no part of a message.
  for (const control of ["ping", "pong"] as const)
    webSocket.on(control, (data: Buffer) => {
      partBytes = Math.max(0, partBytes - data.length - CONTROL_FRAME_BYTES);
    });
  // The library does not say what it holds of an unfinished message; what it was given since the last does.
  socket.prependListener("data", (chunk: Buffer) => {
    partBytes += chunk.length;
  });
  socket.on("data", () => events.assembling(partBytes));
  webSocket.on("close", done);
  // Every error is followed by a close, which says what matters.
  webSocket.on("error", () => webSocket.terminate());
}

/**
 * Connections that the kernel keeps until they are accepted; it may keep fewer (net.core.somaxconn). Beyond
 * it, it drops them, and a peer that says nothing first waits for minutes: Node's 511 is a reconnect storm's
 * first half second.
 */
const BACKLOG = 4_096;
const CLOSE_WITHIN_MS = 2_000;
const CONTROL_FRAME_BYTES = 6;

/** Pings everybody; who missed two in a row is gone. What a paused one says is not read: it misses none. */
function startHeartbeat(webSockets: Ws.WebSocketServer): NodeJS.Timeout {
  const missed = new WeakMap<Ws.WebSocket, number>();
  webSockets.on("connection", (webSocket: Ws.WebSocket) => {
    webSocket.on("pong", () => missed.set(webSocket, 0));
  });
  const timer = setInterval(() => {
    for (const one of webSockets.clients) {
      if (one.isPaused) continue;
      const count = missed.get(one) ?? 0;
      if (count >= 2) one.terminate();
      else {
        missed.set(one, count + 1);
        one.ping();
      }
    }
  }, LIMITS.pingEveryMs);
  timer.unref();
  return timer;
}

async function answerHttp(
  options: ListenerOptions,
  request: IncomingMessage,
  response: ServerResponse,
): Promise<void> {
  const reply = (status: number, text: string, contentType = "text/plain; charset=utf-8"): void => {
    response.writeHead(status, {
      "content-type": contentType,
      "content-length": Buffer.byteLength(text),
    });
    response.end(request.method === "HEAD" ? undefined : text);
  };
  if (request.method !== "GET" && request.method !== "HEAD")
    return reply(405, "Only GET is answered here.\n");
  if (isLoopback(options.host) && !isLoopbackHost(request.headers.host))
    return reply(403, "Unknown host.\n");
  switch (request.url) {
    case "/healthz":
      return reply(200, "alive\n");
    case "/readyz": {
      const { isReady, text } = options.health();
      return reply(isReady ? 200 : 503, `${text}\n`);
    }
    case "/metrics": {
      const { contentType, text } = await options.metrics();
      return reply(200, text, contentType);
    }
    default:
      return reply(
        404,
        "EscrowMQ speaks WebSocket here, and HTTP on /healthz, /readyz and /metrics.\n",
      );
  }
}
