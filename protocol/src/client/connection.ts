/**
 * One socket, seen as frames: what is sent in one turn of the event loop leaves as one batch, cut
 * where the limits demand it, and no faster than the socket takes it.
 *
 * Invariants
 * - O1 Frames leave in the order in which they were sent.
 * - O2 No batch exceeds `batchFramesMax`, `batchBytesMax` or `batchItemsMax`: a frame that is larger than
 *   BATCH_BYTES_TARGET travels alone, and in less than that there are not so many items.
 * - O3 While the socket holds more than BUFFERED_BYTES_MAX nothing is encoded; it waits here as frames.
 * - O4 `closed` comes once, whoever ends the connection; nothing comes after it.
 */
import { decodeBrokerBatch, encodeBatch } from "../codec.ts";
import { EscrowError } from "../errors.ts";
import type { BrokerFrame, ClientFrame } from "../frames.ts";
import { LIMITS } from "../limits.ts";
import type { Socket } from "./dial.ts";
import type { Environment } from "./environment.ts";
import { bytesOf } from "./frame-size.ts";

/** Beyond this the socket is not fed: more in flight would add memory, not speed. */
const BUFFERED_BYTES_MAX = 1_048_576;
/**
 * A turn's frames leave in pieces of about this size: the broker works on the first while the next
 * ones travel, instead of both sides waiting for each other in turns.
 */
const BATCH_BYTES_TARGET = 65_536;

export interface ConnectionEvents {
  opened(): void;
  /** At the end of a turn, before its frames are encoded: the last chance to add some to them. */
  gather(): void;
  received(frames: readonly BrokerFrame[]): void;
  closed(error: EscrowError): void;
}

export class Connection {
  readonly #environment: Environment;
  readonly #events: ConnectionEvents;
  readonly #socket: Socket;
  #frames: ClientFrame[] = [];
  #bytes: number[] = [];
  #waitingBytes = 0;
  #isScheduled = false;
  #isOver = false;

  /** Starts to dial. */
  constructor(url: string, environment: Environment, events: ConnectionEvents) {
    this.#environment = environment;
    this.#events = events;
    this.#socket = environment.dial(url, {
      opened: () => {
        if (!this.#isOver) events.opened();
      },
      received: (data) => this.#receive(data),
      written: () => {
        if (this.#frames.length > 0) this.schedule();
      },
      closed: (cause) => this.#end(unreachable(cause)),
    });
  }

  /** `bytes` is about what the encoded frame has, when the caller knows it. */
  send(frame: ClientFrame, bytes: number = bytesOf(frame)): void {
    if (this.#isOver) return;
    this.#frames.push(frame);
    this.#bytes.push(bytes);
    this.#waitingBytes += bytes;
    this.schedule();
    // A full piece does not wait for the end of the turn: the peer can work on it meanwhile.
    if (this.#waitingBytes > BATCH_BYTES_TARGET) this.#write(BUFFERED_BYTES_MAX, 1);
  }

  /** Asks for `gather` at the end of this turn. */
  schedule(): void {
    if (this.#isScheduled || this.#isOver) return;
    this.#isScheduled = true;
    this.#environment.afterTick(() => {
      this.#isScheduled = false;
      if (!this.#isOver) this.#flush();
    });
  }

  /** Sends what waits, says goodbye, ends. */
  finish(error: EscrowError): void {
    if (this.#isOver) return;
    this.#write(Number.POSITIVE_INFINITY);
    this.#socket.close();
    this.#end(error);
  }

  /** Ends at once. */
  abandon(error: EscrowError): void {
    if (this.#isOver) return;
    this.#socket.terminate();
    this.#end(error);
  }

  #receive(data: Uint8Array): void {
    if (this.#isOver) return;
    let frames: readonly BrokerFrame[];
    try {
      frames = decodeBrokerBatch(data);
    } catch (error) {
      // A peer that does not speak the protocol: nothing that follows can be trusted either.
      if (!EscrowError.is(error)) throw error;
      this.abandon(error);
      return;
    }
    this.#events.received(frames);
  }

  #flush(): void {
    this.#events.gather();
    this.#write(BUFFERED_BYTES_MAX);
  }

  #write(bufferedBytesMax: number, piecesMax = Number.POSITIVE_INFINITY): void {
    const frames = this.#frames;
    let from = 0;
    for (let pieces = 0; pieces < piecesMax && from < frames.length; pieces++) {
      if (this.#socket.bufferedAmount > bufferedBytesMax) break;
      const to = this.#cut(from);
      this.#socket.send(
        encodeBatch(from === 0 && to === frames.length ? frames : frames.slice(from, to)),
      );
      from = to;
    }
    if (from === 0) return;
    this.#frames = frames.slice(from);
    this.#bytes = this.#bytes.slice(from);
    this.#waitingBytes = this.#bytes.reduce((total, bytes) => total + bytes, 0);
  }

  /** Where the batch that starts at `from` ends (O2). It holds at least one frame. */
  #cut(from: number): number {
    let bytes = 0;
    let to = from;
    const last = Math.min(this.#frames.length, from + LIMITS.batchFramesMax);
    for (; to < last; to++) {
      bytes += this.#bytes[to] ?? 0;
      if (to > from && bytes > BATCH_BYTES_TARGET) break;
    }
    return to;
  }

  #end(error: EscrowError): void {
    if (this.#isOver) return;
    this.#isOver = true;
    this.#frames = [];
    this.#bytes = [];
    this.#waitingBytes = 0;
    this.#events.closed(error);
  }
}

function unreachable(cause: unknown): EscrowError {
  if (!(cause instanceof Error)) return new EscrowError("UNREACHABLE", "The connection ended.");
  // Node's error for a name with several addresses has a code and no message.
  const why = cause.message === "" && "code" in cause ? String(cause.code) : cause.message;
  return new EscrowError("UNREACHABLE", `The connection ended: ${why}`, { cause });
}
