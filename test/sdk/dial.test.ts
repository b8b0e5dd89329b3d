import { once } from "node:events";
import type { AddressInfo } from "node:net";
import { afterEach, describe, expect, it } from "vitest";
import { type WebSocket, WebSocketServer } from "ws";
import { platformDial, type Socket } from "../../protocol/src/client/dial.ts";
import { LIMITS, SUBPROTOCOL } from "../../protocol/src/index.ts";

let server: WebSocketServer | null = null;
afterEach(() => {
  for (const client of server?.clients ?? []) client.terminate();
  server?.close();
  server = null;
});

async function listen(): Promise<string> {
  server = new WebSocketServer({ port: 0, host: "127.0.0.1" });
  await once(server, "listening");
  return `ws://127.0.0.1:${(server.address() as AddressInfo).port}`;
}

async function accepted(): Promise<WebSocket> {
  const [socket] = await once(server ?? new WebSocketServer({ noServer: true }), "connection");
  return socket as WebSocket;
}

/** A dialed socket whose events are kept in order, with a way to wait for the next of a kind. */
function dial(url: string) {
  const events: string[] = [];
  const waiting = new Map<string, () => void>();
  const note = (kind: string, text = ""): void => {
    events.push(kind + text);
    waiting.get(kind)?.();
  };
  const socket: Socket = platformDial(url, {
    opened: () => note("opened"),
    received: (data) => note("received", ` ${data.length}`),
    written: () => note("written"),
    closed: (cause) => note("closed", cause instanceof Error ? " with a cause" : ""),
  });
  const next = (kind: string) => new Promise<void>((resolve) => waiting.set(kind, resolve));
  return { socket, events, next };
}

describe("a dialed socket", () => {
  it("speaks the subprotocol, uncompressed, in binary, and says when it has written", async () => {
    const url = await listen();
    const accepting = accepted();
    const { socket, events, next } = dial(url);
    expect(events).toEqual([]);
    await next("opened");
    const peer = await accepting;
    expect(peer.protocol).toBe(SUBPROTOCOL);
    expect(peer.extensions).toBe("");
    const arrived = once(peer, "message");
    socket.send(new Uint8Array([1, 2, 3]));
    await next("written");
    expect(socket.bufferedAmount).toBe(0);
    const [data, isBinary] = await arrived;
    expect([...data]).toEqual([1, 2, 3]);
    expect(isBinary).toBe(true);
    peer.send(new Uint8Array(5));
    await next("received");
    socket.close();
    await next("closed");
    expect(events).toEqual(["opened", "written", "received 5", "closed"]);
  });

  it("closes with the cause when nobody listens", async () => {
    const { events, next } = dial("ws://127.0.0.1:1");
    await next("closed");
    expect(events).toEqual(["closed with a cause"]);
  });

  it("ends at text, and at more bytes than a batch may have", async () => {
    const url = await listen();
    for (const bad of ["text", new Uint8Array(LIMITS.batchBytesMax + 1)]) {
      const accepting = accepted();
      const { events, next } = dial(url);
      const peer = await accepting;
      peer.on("error", () => undefined);
      peer.send(bad);
      await next("closed");
      expect(events.filter((event) => event.startsWith("received"))).toEqual([]);
    }
  });

  it("that was given up before it opened never opens", async () => {
    const url = await listen();
    const { socket, events, next } = dial(url);
    socket.terminate();
    await next("closed");
    expect(events).toEqual(["closed with a cause"]);
  });
});
