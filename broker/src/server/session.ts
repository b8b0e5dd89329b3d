/**
 * One connection: bytes <-> inputs. It knows a small socket of its own, not ws.
 *
 *   opened --hello--> greeted --frames--> …   any fatal error: closing{code}, then closed
 *
 * Invariants
 * - A2 Before the hello nothing is decoded but one small message, and the core hears nothing.
 * - K2 A bad frame ends the connection; a bad value refuses one request.
 */
import { crc32 } from "node:zlib";
import {
  type BadRequest,
  type ClientFrame,
  type ClientFrames,
  type ClientFrameType,
  decodeClientBatch,
  decodeMessage,
  type ErrorCode,
  EscrowError,
  encodeBatch,
  LIMITS,
  PROTOCOL_VERSION,
  type WireMessage,
} from "@escrowmq/protocol";
import { QUERIES } from "../core/queries.ts";
import type { ConnectionId, Input, NewMessage } from "../core/types.ts";
import { parseFilter } from "../filter/filter.ts";
import type { Workpiece } from "./assembly.ts";
import type { Flow } from "./flow.ts";
import type { Lane } from "./inbox.ts";
import { Outbox } from "./outbox.ts";
import type { Shelf } from "./unread.ts";

/** What a session needs of its transport. */
export interface Socket {
  send(data: Uint8Array): void;
  close(code: number, reason: string): void;
  /** Ends at once; what was not sent yet is thrown away. */
  terminate(): void;
  /** Reads nothing more from the peer, or again. */
  pause(isPaused: boolean): void;
  /** Bytes handed to `send` that the peer has not taken yet. */
  readonly bufferedBytes: number;
}

/** What the transport calls. */
export interface SessionEvents {
  message(data: Uint8Array): void;
  /** A part of a message has come and is held: so many bytes. 0: none is. */
  assembling(bytes: number): void;
  /** The peer has taken what was sent, or some of it. */
  drained(): void;
  /** Always in the end, after `close` and `terminate`, too. */
  closed(): void;
}

export interface SessionHost {
  readonly broker: string;
  readonly storeId: string;
  readonly flow: Flow;
  /** Listings and inspections that are made and not sent yet. */
  readonly pages: number;
  take(input: Input): void;
  wasTooSlow(): void;
  /** The parsed URL, or a thrown ENDPOINT_REFUSED. */
  parseEndpoint(url: string): string;
  /** A signing key (hex) for an endpoint. */
  newSecret(): string;
  closed(session: Session): void;
}

/**
 * A page is up to thousands of times as large as the frame that asks for it, so the bytes of requests do
 * not bound it: a quarter of a megabyte each, made by asking.
 */
const PAGES_MAX = 64;
const ASKS_FOR_PAGE: ReadonlySet<ClientFrameType> = new Set(QUERIES);

/** WebSocket close codes: policy violation for the peer's faults, going away for ours. */
const CLOSE_POLICY = 1008;
export const CLOSE_GOING_AWAY = 1001;

type State = "opened" | "greeted" | "closed";

export class Session implements SessionEvents {
  readonly id: ConnectionId;
  readonly outbox: Outbox;
  readonly #socket: Socket;
  readonly #host: SessionHost;
  readonly #lane: Lane;
  readonly #shelf: Shelf;
  readonly #workpiece: Workpiece;
  #state: State = "opened";
  #isSender = false;
  #plannedBytes = 0;
  #isHandingOver = false;
  #isLanePaused = false;
  #isAssemblyPaused = false;
  #roomy: (() => void)[] = [];

  constructor(id: ConnectionId, socket: Socket, host: SessionHost) {
    this.id = id;
    this.#socket = socket;
    this.#host = host;
    this.outbox = new Outbox((data) => this.#write(data));
    this.#lane = host.flow.inbox.open({
      pause: (isPaused) => {
        this.#isLanePaused = isPaused;
        this.#pause();
      },
      narrow: (bytes) => this.#write(encodeBatch([{ type: "window", bytes }])),
    });
    this.#workpiece = host.flow.assembly.open({
      pause: (isPaused) => {
        this.#isAssemblyPaused = isPaused;
        this.#pause();
      },
      // It cannot finish what the broker does not read.
      tooSlow: () => {
        if (!this.#isLanePaused) this.#tooSlow("What it began to send did not come to an end.");
      },
    });
    this.#shelf = host.flow.unread.open({
      congested: (isCongested) => this.#congested(isCongested),
      tooSlow: () => this.#tooSlow("The connection reads too slowly."),
    });
  }

  get isGreeted(): boolean {
    return this.#state === "greeted";
  }

  message(data: Uint8Array): void {
    if (this.#state === "closed") return;
    this.#host.flow.inbox.add(this.#lane, { bytes: data.length, work: () => this.#work(data) });
  }

  assembling(bytes: number): void {
    this.#host.flow.assembly.grow(this.#workpiece, bytes);
  }

  /** In its turn: what the peer sent before it left is worked on first. What it held is free at once. */
  closed(): void {
    const { inbox, assembly, unread } = this.#host.flow;
    unread.close(this.#shelf);
    assembly.close(this.#workpiece);
    inbox.add(this.#lane, { bytes: 0, work: () => this.#end() });
    this.#lane.close();
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
    this.#weigh();
  }

  /** The core has decided on deliveries: they are on their way to the socket, by way of the disk. */
  plan(bytes: number): void {
    this.#plannedBytes += bytes;
    this.#weigh();
  }

  /**
   * `give` hands what was planned to the outbox, or finds that it cannot; to be followed by `flush`. In
   * between nothing is weighed: half handed over it would look as if the peer had read the other half.
   */
  handOver(plannedBytes: number, give: () => void): void {
    this.#isHandingOver = true;
    give();
    this.#isHandingOver = false;
    this.#plannedBytes -= plannedBytes;
  }

  flush(): void {
    this.outbox.flush();
    this.#weigh();
  }

  /** Resolves when the peer has read enough to be sent more, or is gone. */
  roomy(): Promise<void> {
    if (!this.#shelf.isCongested || this.#state === "closed") return Promise.resolve();
    return new Promise((resolve) => this.#roomy.push(resolve));
  }

  #weigh(): void {
    const bytes = this.#plannedBytes + this.#socket.bufferedBytes;
    this.#host.flow.unread.weigh(this.#shelf, bytes);
  }

  #congested(isCongested: boolean): void {
    if (this.#state === "greeted")
      this.#host.take({ kind: "congested", connection: this.id, isCongested });
    if (!isCongested) this.#release();
  }

  #release(): void {
    for (const resolve of this.#roomy.splice(0)) resolve();
  }

  #pause(): void {
    this.#socket.pause(this.#isLanePaused || this.#isAssemblyPaused);
  }

  #end(): void {
    if (this.#state === "closed") return;
    const wasGreeted = this.#state === "greeted";
    this.#state = "closed";
    this.#release();
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

  /** Without waiting for a peer that does not read: the memory is needed now (U2). */
  #tooSlow(message: string): void {
    this.#host.flow.unread.close(this.#shelf);
    if (this.#state !== "closed") {
      this.#host.wasTooSlow();
      this.#socket.send(encodeBatch([{ type: "closing", code: "TOO_SLOW", message }]));
      this.#socket.close(CLOSE_POLICY, "TOO_SLOW");
    }
    this.#socket.terminate();
    this.#end();
  }

  #write(data: Uint8Array): void {
    if (this.#state === "closed") return;
    this.#socket.send(data);
    if (!this.#isHandingOver) this.#weigh();
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
      case "subscribe":
        return this.#host.take(this.#orRefusal(frame.id, () => this.#subscribe(frame)));
      default:
        if (this.#host.pages >= PAGES_MAX && ASKS_FOR_PAGE.has(frame.type) && "id" in frame)
          return this.#host.take({ kind: "refused", from, re: frame.id, error: tooManyPages() });
        return this.#host.take({ kind: "frame", from, frame });
    }
  }

  #withMessages(
    frame: ClientFrames["send" | "prepare"],
    toInput: (messages: readonly NewMessage[], digest: number) => Input,
  ): void {
    if (!this.#isSender) {
      this.#isSender = true;
      this.#host.flow.inbox.becomeSending(this.#lane);
    }
    const input = this.#orRefusal(frame.id, () => {
      let digest = 0;
      const messages = frame.messages.map((data) => {
        digest = crc32(data, digest);
        return newMessage(decodeMessage(data), data);
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
        secret: this.#host.newSecret(),
      };
    });
    this.#host.take(input);
  }

  #subscribe(frame: ClientFrames["subscribe"]): Input {
    for (const { filter } of frame.topics) if (filter !== undefined) parseFilter(filter);
    return { kind: "frame", from: this.id, frame };
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

function newMessage(head: WireMessage, data: Uint8Array): NewMessage {
  const { topic, body, delayMs = 0, deliverAtMs = 0, ttlMs = 0 } = head;
  const plain = { topic, bodyBytes: body.length, data, head };
  if (delayMs + deliverAtMs + ttlMs === 0) return plain;
  return { ...plain, timing: { delayMs, deliverAtMs, ttlMs } };
}

const tooManyPages = (): EscrowError =>
  new EscrowError("OVERLOADED", `${PAGES_MAX} listings are being made; ask again later.`);
