/**
 * A Socket out of `ws` on Node, out of the platform's own WebSocket elsewhere. The only file of the
 * client that knows either.
 *
 * Invariants
 * - N1 No event comes before `dial` has returned, and none after `closed`, which comes exactly once.
 * - N2 Compression is off: it costs memory for each connection and hides sizes from the limits.
 * - N3 On Node `ws` is used even where Node has a WebSocket of its own, which can neither be
 *   terminated nor be given a limit for incoming messages.
 */
import type { WebSocket as WsSocket } from "ws";
import { SUBPROTOCOL } from "../frames.ts";
import { LIMITS } from "../limits.ts";

export interface Socket {
  /** Bytes given to `send` that the operating system has not taken yet. */
  readonly bufferedAmount: number;
  send(data: Uint8Array): void;
  /** Says goodbye, after what was sent. */
  close(): void;
  /** Ends at once; for a peer that does not answer. */
  terminate(): void;
}

export interface SocketEvents {
  opened(): void;
  received(data: Uint8Array): void;
  /** `bufferedAmount` may have shrunk. */
  written(): void;
  closed(cause: unknown): void;
}

export type Dial = (url: string, events: SocketEvents) => Socket;

/** How often to look whether a platform's WebSocket, which does not say so, has written. */
const WRITTEN_POLL_MS = 5;
const HANDSHAKE_WITHIN_MS = 10_000;

export const platformDial: Dial = (url, events) => {
  const later = new LateSocket();
  connect(url, events, later).catch((error: unknown) => {
    // An invalid URL or a missing WebSocket: to the caller it is a dial that failed.
    events.closed(error);
  });
  return later;
};

async function connect(url: string, events: SocketEvents, later: LateSocket): Promise<void> {
  if (isNode()) {
    const { WebSocket } = await import("ws");
    later.becomes(nodeSocket(url, events, WebSocket));
    return;
  }
  await Promise.resolve();
  later.becomes(platformSocket(url, events));
}

/** Bun and Deno pass for Node in much, but their own WebSockets are the native ones. */
const isNode = (): boolean =>
  typeof process !== "undefined" &&
  process.versions?.node !== undefined &&
  !("Bun" in globalThis) &&
  !("Deno" in globalThis);

/** Stands in for the socket while its module is being loaded; only its end can be asked for so early. */
class LateSocket implements Socket {
  #socket: Socket | null = null;
  #isEnded = false;

  becomes(socket: Socket): void {
    this.#socket = socket;
    if (this.#isEnded) socket.terminate();
  }

  get bufferedAmount(): number {
    return this.#socket?.bufferedAmount ?? 0;
  }

  send(data: Uint8Array): void {
    this.#socket?.send(data);
  }

  close(): void {
    this.#isEnded = true;
    this.#socket?.close();
  }

  terminate(): void {
    this.#isEnded = true;
    this.#socket?.terminate();
  }
}

/**
 * Masks keep a page's script from writing what a proxy would take for HTTP. On the way to the same
 * machine there is neither; a mask of zeros spares both sides a pass over every byte.
 */
const noMask = (mask: Uint8Array): void => {
  mask.fill(0);
};

function isLoopback(url: string): boolean {
  const { hostname } = new URL(url);
  return hostname === "localhost" || hostname === "[::1]" || hostname.startsWith("127.");
}

function nodeSocket(url: string, events: SocketEvents, WebSocket: typeof WsSocket): Socket {
  const socket = new WebSocket(url, [SUBPROTOCOL], {
    perMessageDeflate: false,
    maxPayload: LIMITS.batchBytesMax,
    handshakeTimeout: HANDSHAKE_WITHIN_MS,
    followRedirects: false,
    ...(isLoopback(url) ? { generateMask: noMask } : {}),
  });
  let cause: unknown = null;
  socket.on("open", () => events.opened());
  socket.on("message", (data: Buffer, isBinary: boolean) => {
    if (isBinary) events.received(data);
    else socket.terminate();
  });
  socket.on("error", (error) => {
    cause = error;
    // After a violation of its limits `ws` would wait 30 s for the peer's goodbye.
    socket.terminate();
  });
  socket.on("close", () => events.closed(cause));
  const written = (): void => events.written();
  return {
    get bufferedAmount() {
      return socket.bufferedAmount;
    },
    send: (data) => socket.send(data, { binary: true }, written),
    close: () => socket.close(),
    terminate: () => socket.terminate(),
  };
}

/** As much of the WebSocket of browsers, Deno and Bun as is used here. */
interface PlatformWebSocket {
  binaryType: string;
  readonly bufferedAmount: number;
  send(data: Uint8Array): void;
  close(): void;
  addEventListener(type: string, listener: (event: { readonly data?: unknown }) => void): void;
}

interface HasWebSocket {
  readonly WebSocket: new (url: string, protocols: string[]) => PlatformWebSocket;
}

const hasWebSocket = (scope: object): scope is HasWebSocket =>
  "WebSocket" in scope && typeof scope.WebSocket === "function";

function platformSocket(url: string, events: SocketEvents): Socket {
  const scope: object = globalThis;
  if (!hasWebSocket(scope)) throw new Error("This platform has no WebSocket.");
  const socket = new scope.WebSocket(url, [SUBPROTOCOL]);
  socket.binaryType = "arraybuffer";
  let isClosed = false;
  let isPolling = false;
  const end = (cause: unknown): void => {
    if (isClosed) return;
    isClosed = true;
    events.closed(cause);
  };
  const poll = (): void => {
    isPolling = false;
    if (isClosed) return;
    events.written();
    watch();
  };
  const watch = (): void => {
    if (isPolling || socket.bufferedAmount === 0) return;
    isPolling = true;
    setTimeout(poll, WRITTEN_POLL_MS);
  };
  socket.addEventListener("open", () => {
    if (!isClosed) events.opened();
  });
  socket.addEventListener("message", ({ data }) => {
    if (isClosed) return;
    if (data instanceof ArrayBuffer && data.byteLength <= LIMITS.batchBytesMax)
      events.received(new Uint8Array(data));
    else terminate();
  });
  socket.addEventListener("close", () => end(null));
  socket.addEventListener("error", () => end(null));
  const terminate = (): void => {
    socket.close();
    // The closing handshake with a dead peer may never end.
    end(null);
  };
  return {
    get bufferedAmount() {
      return socket.bufferedAmount;
    },
    send: (data) => {
      socket.send(data);
      watch();
    },
    close: () => socket.close(),
    terminate,
  };
}
