/**
 * One connection: bytes <-> inputs. It knows a small socket of its own, not ws.
 *
 *   opened --hello--> greeted --frames--> …   any fatal error: closing{code}, then closed
 *
 * Invariants
 * - A2 Before the hello nothing is decoded but one small message, and the core hears nothing.
 * - K2 A bad frame ends the connection; a bad value refuses one request.
 */
import { randomBytes } from "node:crypto";
import { crc32 } from "node:zlib";
import {
  type BadRequest,
  type ClientFrame,
  type ClientFrames,
  decodeClientBatch,
  decodeMessage,
  type ErrorCode,
  EscrowError,
  encodeBatch,
  LIMITS,
  PROTOCOL_VERSION,
} from "@escrowmq/protocol";
import type { ConnectionId, Input, NewMessage } from "../core/types.ts";
import type { Arrival } from "./inbox.ts";
import { Outbox } from "./outbox.ts";

/** What a session needs of its transport. */
export interface Socket {
  send(data: Uint8Array): void;
  close(code: number, reason: string): void;
  /** Bytes handed to `send` that the peer has not taken yet. */
  readonly bufferedBytes: number;
}

/** What the transport calls. */
export interface SessionEvents {
  message(data: Uint8Array): void;
  /** The peer has taken what was sent, or some of it. */
  drained(): void;
  closed(): void;
}

export interface SessionHost {
  readonly broker: string;
  readonly storeId: string;
  /** Something to work on when its turn comes. */
  arrived(arrival: Arrival): void;
  take(input: Input): void;
  /** The parsed URL, or a thrown ENDPOINT_REFUSED. */
  parseEndpoint(url: string): string;
  closed(session: Session): void;
}

/** Beyond this nothing more is delivered to a peer until it has read. */
const CONGESTED_BYTES = 1_048_576;
/** Beyond this it is closed: it gets replies, too, and those cannot be held back. */
const TOO_SLOW_BYTES = 32 * 1_048_576;

/** WebSocket close codes: policy violation for the peer's faults, going away for ours. */
const CLOSE_POLICY = 1008;
export const CLOSE_GOING_AWAY = 1001;

type State = "opened" | "greeted" | "closed";

export class Session implements SessionEvents {
  readonly id: ConnectionId;
  readonly outbox: Outbox;
  readonly #socket: Socket;
  readonly #host: SessionHost;
  #state: State = "opened";
  #isCongested = false;

  constructor(id: ConnectionId, socket: Socket, host: SessionHost) {
    this.id = id;
    this.#socket = socket;
    this.#host = host;
    this.outbox = new Outbox((data) => this.#write(data));
  }

  get isGreeted(): boolean {
    return this.#state === "greeted";
  }

  message(data: Uint8Array): void {
    this.#host.arrived({ bytes: data.length, work: () => this.#work(data) });
  }

  /** In its turn: what the peer sent before it left is worked on first. */
  closed(): void {
    this.#host.arrived({ bytes: 0, work: () => this.#end() });
  }

  #work(data: Uint8Array): void {
    if (this.#state === "closed") return;
    try {
      if (this.#state === "opened") this.#hello(data);
      else for (const frame of decodeClientBatch(data)) this.#frame(frame);
    } catch (error) {
      if (!EscrowError.is(error)) throw error;
      this.refuse(error.code, error.message);
    }
  }

  drained(): void {
    if (!this.#isCongested || this.#socket.bufferedBytes > CONGESTED_BYTES / 2) return;
    this.#isCongested = false;
    this.#host.take({ kind: "congested", connection: this.id, isCongested: false });
  }

  #end(): void {
    if (this.#state === "closed") return;
    const wasGreeted = this.#state === "greeted";
    this.#state = "closed";
    if (wasGreeted) this.#host.take({ kind: "disconnected", connection: this.id });
    this.#host.closed(this);
  }

  /** Says why and closes. */
  refuse(code: ErrorCode, message: string, closeCode = CLOSE_POLICY): void {
    if (this.#state === "closed") return;
    this.outbox.flush();
    this.#socket.send(encodeBatch([{ type: "closing", code, message }]));
    this.#socket.close(closeCode, code);
    this.#end();
  }

  #write(data: Uint8Array): void {
    if (this.#state === "closed") return;
    this.#socket.send(data);
    const { bufferedBytes } = this.#socket;
    if (bufferedBytes > TOO_SLOW_BYTES)
      return this.refuse("TOO_SLOW", "The connection reads too slowly.");
    if (bufferedBytes <= CONGESTED_BYTES || this.#isCongested) return;
    this.#isCongested = true;
    this.#host.take({ kind: "congested", connection: this.id, isCongested: true });
  }

  #hello(data: Uint8Array): void {
    if (data.length > LIMITS.helloBytesMax)
      throw new EscrowError(
        "BATCH_TOO_LARGE",
        `The hello may have at most ${LIMITS.helloBytesMax} bytes.`,
      );
    const [hello, ...others] = decodeClientBatch(data);
    if (hello?.type !== "hello" || others.length > 0)
      throw new EscrowError("HELLO_EXPECTED", "The first message must be a hello alone.");
    if (hello.version !== PROTOCOL_VERSION)
      throw new EscrowError(
        "UNSUPPORTED_VERSION",
        `This broker speaks version ${PROTOCOL_VERSION}.`,
      );
    this.#state = "greeted";
    this.#host.take({ kind: "connected", connection: this.id, client: hello.client });
    const { broker, storeId } = this.#host;
    this.#write(encodeBatch([{ type: "welcome", version: PROTOCOL_VERSION, broker, storeId }]));
  }

  #frame(frame: ClientFrame | BadRequest): void {
    const from = this.id;
    switch (frame.type) {
      case "hello":
        throw new EscrowError("HELLO_EXPECTED", "A connection says hello once.");
      case "ping":
        return this.#write(encodeBatch([{ type: "pong" }]));
      case "bad":
        return this.#host.take({ kind: "refused", from, re: frame.id, error: frame.error });
      case "send":
        return this.#withMessages(frame, (messages, digest) => ({
          kind: "send",
          from,
          frame,
          messages,
          digest,
        }));
      case "prepare":
        return this.#withMessages(frame, (messages, digest) => ({
          kind: "prepare",
          from,
          frame,
          messages,
          digest: (frame.acks ?? []).reduce((crc, token) => crc32(token, crc), digest),
        }));
      case "producer.endpoint":
        return this.#endpoint(frame);
      default:
        return this.#host.take({ kind: "frame", from, frame });
    }
  }

  #withMessages(
    frame: ClientFrames["send" | "prepare"],
    toInput: (messages: readonly NewMessage[], digest: number) => Input,
  ): void {
    const input = this.#orRefusal(frame.id, () => {
      let digest = 0;
      const messages = frame.messages.map((data) => {
        digest = crc32(data, digest);
        const { topic, body } = decodeMessage(data);
        return { topic, bodyBytes: body.length, data };
      });
      return toInput(messages, digest);
    });
    this.#host.take(input);
  }

  #endpoint(frame: ClientFrames["producer.endpoint"]): void {
    const input = this.#orRefusal(frame.id, () => {
      const url = frame.url === undefined ? null : this.#host.parseEndpoint(frame.url);
      return {
        kind: "setEndpoint",
        from: this.id,
        frame,
        url,
        secret: randomBytes(32).toString("hex"),
      };
    });
    this.#host.take(input);
  }

  #orRefusal(re: number, make: () => Input): Input {
    try {
      return make();
    } catch (error) {
      if (!EscrowError.is(error)) throw error;
      return { kind: "refused", from: this.id, re, error };
    }
  }
}
