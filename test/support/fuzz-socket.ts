/** A TCP connection to a broker that says whatever bytes it is told, as WebSocket frames, right or wrong, or as neither. */
import { connect, type Socket } from "node:net";
import { decodeBrokerBatch, SUBPROTOCOL } from "@escrowmq/protocol";

const KEY = "dGhlIHNhbXBsZSBub25jZQ==";
const CLOSE = 0x88;
const BINARY = 0x82;

export const OPCODES = { continuation: 0x00, text: 0x01, binary: 0x02, ping: 0x09, close: 0x08 };
export const FIN = 0x80;

/** An upgrade as a client of ours asks for it; `extra` are whole lines. */
export const upgradeRequest = (port: number, extra: readonly string[] = []): string =>
  [
    "GET / HTTP/1.1",
    `Host: 127.0.0.1:${port}`,
    "Upgrade: websocket",
    "Connection: Upgrade",
    `Sec-WebSocket-Key: ${KEY}`,
    "Sec-WebSocket-Version: 13",
    `Sec-WebSocket-Protocol: ${SUBPROTOCOL}`,
    ...extra,
    "\r\n",
  ].join("\r\n");

/** A masked frame (by a mask of zeros); `length` may be another one than the payload's. */
export function webSocketFrame(
  firstByte: number,
  payload: Uint8Array,
  length = payload.length,
): Buffer {
  const header = Buffer.alloc(14);
  header[0] = firstByte;
  if (length < 126) {
    header[1] = 0x80 | length;
    return Buffer.concat([header.subarray(0, 6), payload]);
  }
  if (length < 65_536) {
    header[1] = 0x80 | 126;
    header.writeUInt16BE(length, 2);
    return Buffer.concat([header.subarray(0, 8), payload]);
  }
  header[1] = 0x80 | 127;
  header.writeBigUInt64BE(BigInt(length), 2);
  return Buffer.concat([header, payload]);
}

export class FuzzSocket {
  readonly closed: Promise<void>;
  /** Of the HTTP answer; empty before it has come. */
  head = "";
  /** Of the frames of type `closing`, and of the WebSocket. */
  code: string | null = null;
  closeCode: number | null = null;
  readonly types: string[] = [];
  hasEnded = false;
  readonly #socket: Socket;
  #rest = Buffer.alloc(0);

  constructor(port: number) {
    this.#socket = connect(port, "127.0.0.1");
    this.#socket.setNoDelay(true);
    this.#socket.on("error", () => undefined);
    this.#socket.on("data", (data: Buffer) => this.#hear(data));
    this.closed = new Promise((resolve) =>
      this.#socket.on("close", () => {
        this.hasEnded = true;
        resolve();
      }),
    );
  }

  get status(): number {
    return Number(/^HTTP\/1\.1 (\d+)/.exec(this.head)?.[1] ?? 0);
  }

  /** Resolves when the kernel has taken it, or the connection is gone. */
  say(bytes: string | Uint8Array): Promise<void> {
    if (this.hasEnded || this.#socket.destroyed) return Promise.resolve();
    return new Promise((resolve) => {
      this.#socket.write(bytes, () => resolve());
    });
  }

  stopReading(): void {
    this.#socket.pause();
  }

  destroy(): void {
    this.#socket.destroy();
  }

  #hear(data: Buffer): void {
    this.#rest = Buffer.concat([this.#rest, data]);
    if (this.head === "") {
      const end = this.#rest.indexOf("\r\n\r\n");
      if (end < 0) return;
      this.head = this.#rest.subarray(0, end).toString("latin1");
      this.#rest = this.#rest.subarray(end + 4);
    }
    if (this.status === 101) while (this.#frame());
  }

  /** The broker's own frames are well-formed: whole, unmasked, with a length of 1, 3 or 9 bytes. */
  #frame(): boolean {
    if (this.#rest.length < 2) return false;
    const [first = 0, short = 0] = this.#rest;
    const at = short < 126 ? 2 : short === 126 ? 4 : 10;
    if (this.#rest.length < at) return false;
    const length =
      short < 126
        ? short
        : short === 126
          ? this.#rest.readUInt16BE(2)
          : Number(this.#rest.readBigUInt64BE(2));
    if (this.#rest.length < at + length) return false;
    const payload = this.#rest.subarray(at, at + length);
    this.#rest = this.#rest.subarray(at + length);
    if (first === CLOSE && length >= 2) this.closeCode = payload.readUInt16BE(0);
    if (first === BINARY) this.#batch(payload);
    return true;
  }

  #batch(payload: Buffer): void {
    for (const frame of decodeBrokerBatch(payload)) {
      this.types.push(frame.type);
      if (frame.type === "closing") this.code = frame.code;
    }
  }
}
