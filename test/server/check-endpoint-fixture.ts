/** A client of check-back endpoints with a clock, a resolver and a log of the test's own, and servers that behave as told. */
import http, { type RequestListener } from "node:http";
import net, { type AddressInfo, type Server, type Socket } from "node:net";
import {
  type CheckEndpointOptions,
  createCheckEndpointClient,
  type EndpointQuestion,
} from "../../broker/src/server/check-endpoint.ts";

export const LOOPBACK = ["127.0.0.0/8", "::1/128"];

/** Answers of a name server by host name; a name may get other answers each time. */
export type Names = Record<string, readonly string[] | (() => readonly string[])>;

export function endpointWorld(options: Partial<CheckEndpointOptions> & { names?: Names } = {}) {
  const { names = {}, ...rest } = options;
  const clock = { nowMs: 1_700_000_000_000 };
  const logged: unknown[] = [];
  const lookups: string[] = [];
  const client = createCheckEndpointClient({
    allowedRanges: LOOPBACK,
    nowMs: () => clock.nowMs,
    randomNonce: () => "00112233445566778899aabbccddeeff",
    requestTimeoutMs: 2_000,
    lookup: (host, _options, done) => {
      lookups.push(host);
      const entry = names[host];
      const addresses = typeof entry === "function" ? entry() : entry;
      if (addresses === undefined)
        return done(Object.assign(new Error("unknown"), { code: "ENOTFOUND" }), []);
      done(
        null,
        addresses.map((address) => ({ address, family: net.isIPv6(address) ? 6 : 4 })),
      );
    },
    log: {
      info: (...line) => logged.push(line),
      warn: (...line) => logged.push(line),
    },
    ...rest,
  });
  return { client, clock, logged, lookups };
}

export const SECRET = "5e".repeat(32);

export const question = (url: string, more: Partial<EndpointQuestion> = {}): EndpointQuestion => ({
  url,
  secrets: [SECRET],
  group: "orders",
  transactionId: "AAAAAAAAAAAAAAAAAAAAAA",
  attempt: 1,
  ageMs: 6_000,
  messages: null,
  ...more,
});

const closers: (() => Promise<void>)[] = [];

async function listen(server: Server): Promise<number> {
  const sockets = new Set<Socket>();
  server.on("connection", (socket) => {
    sockets.add(socket);
    socket.on("error", () => socket.destroy());
    socket.on("close", () => sockets.delete(socket));
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  closers.push(async () => {
    for (const socket of sockets) socket.destroy();
    await new Promise((resolve) => server.close(resolve));
  });
  return (server.address() as AddressInfo).port;
}

export const closeServers = async (): Promise<void> => {
  for (const close of closers.splice(0)) await close();
};

/** The port of an HTTP server. */
export const httpServer = (listener: RequestListener): Promise<number> =>
  listen(http.createServer(listener));

/** The port of a server that does as it likes with each connection once the request has come. */
export function rawServer(onRequest: (socket: Socket) => void): Promise<number> {
  return listen(
    net.createServer((socket) => {
      socket.once("data", () => onRequest(socket));
    }),
  );
}

/** The port of any other server. */
export const anyServer = listen;

/** A server that answers with these bytes and ends. */
export const saying = (text: string): Promise<number> => rawServer((socket) => socket.end(text));

export const ok = (body: string): string =>
  `HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: ${Buffer.byteLength(body)}\r\n\r\n${body}`;
