/** A WebSocket client that says whatever a test wants, and keeps what it is told. */
import {
  type BrokerFrame,
  type BrokerFrames,
  type ClientFrame,
  decodeBrokerBatch,
  encodeBatch,
  PROTOCOL_VERSION,
  type RequestFrame,
  SUBPROTOCOL,
} from "@escrowmq/protocol";
import { WebSocket } from "ws";
import { waitFor } from "./e2e-wait.ts";

export interface RawOptions {
  readonly subprotocols?: readonly string[];
  readonly headers?: Readonly<Record<string, string>>;
  /** Says hello by itself. Default true. */
  readonly isGreeting?: boolean;
}

export interface Closed {
  readonly code: number;
  readonly reason: string;
}

export type Answer = BrokerFrames["ok"] | BrokerFrames["error"];

type Unnumbered<Frame> = Frame extends RequestFrame ? Omit<Frame, "id"> : never;

export class RawClient {
  readonly frames: BrokerFrame[] = [];
  readonly closed: Promise<Closed>;
  readonly #socket: WebSocket;
  readonly #asked = new Map<number, (answer: Answer) => void>();
  #nextId = 1;

  /** Rejects when the upgrade is refused, with the HTTP status in the message. */
  static async open(url: string, options: RawOptions = {}): Promise<RawClient> {
    const { subprotocols = [SUBPROTOCOL], headers = {}, isGreeting = true } = options;
    const client = new RawClient(new WebSocket(url, [...subprotocols], { headers }));
    await client.#opened();
    if (isGreeting) {
      client.say({ type: "hello", version: PROTOCOL_VERSION, client: "raw" });
      await client.heard("welcome");
    }
    return client;
  }

  private constructor(socket: WebSocket) {
    this.#socket = socket;
    socket.on("message", (data: Buffer) => {
      for (const frame of decodeBrokerBatch(data)) this.#hear(frame);
    });
    this.closed = new Promise((resolve) =>
      socket.on("close", (code, reason) => resolve({ code, reason: reason.toString() })),
    );
  }

  say(...frames: ClientFrame[]): void {
    this.sayBytes(encodeBatch(frames));
  }

  sayBytes(data: Uint8Array): void {
    this.#socket.send(data);
  }

  sayText(text: string): void {
    this.#socket.send(text);
  }

  /** Sends a request and waits for its answer, whichever it is; the connection's end is none. */
  ask(request: Unnumbered<RequestFrame>): Promise<Answer> {
    const id = this.#nextId++;
    return new Promise((resolve, reject) => {
      this.#asked.set(id, resolve);
      void this.closed.then(() => reject(new Error(`closed before the answer to ${request.type}`)));
      this.say({ ...request, id } as RequestFrame);
    });
  }

  /** The first frame of a type. */
  heard<Type extends BrokerFrame["type"]>(type: Type): Promise<BrokerFrames[Type]> {
    return waitFor(`a frame ${type}`, () => {
      const found = this.frames.find((frame) => frame.type === type);
      return found === undefined ? null : (found as BrokerFrames[Type]);
    });
  }

  /** Waits for the end, and tells the code that the broker gave for it; "" if it gave none. */
  async ended(): Promise<{ readonly why: string; readonly code: number }> {
    const { code } = await this.closed;
    const closing = this.frames.find((frame) => frame.type === "closing");
    return { why: closing?.type === "closing" ? closing.code : "", code };
  }

  get hasEnded(): boolean {
    return this.#socket.readyState > this.#socket.OPEN;
  }

  /** Takes nothing more from the socket: what the broker sends piles up on its side. */
  stopReading(): void {
    this.#socket.pause();
  }

  readAgain(): void {
    this.#socket.resume();
  }

  close(): void {
    this.#socket.terminate();
  }

  #hear(frame: BrokerFrame): void {
    this.frames.push(frame);
    if (frame.type !== "ok" && frame.type !== "error") return;
    this.#asked.get(frame.re)?.(frame);
    this.#asked.delete(frame.re);
  }

  #opened(): Promise<void> {
    return new Promise((resolve, reject) => {
      this.#socket.once("open", () => resolve());
      this.#socket.on("error", reject);
    });
  }
}

export const errorOf = (answer: Answer): string =>
  answer.type === "error" ? answer.code : `ok ${answer.state ?? ""}`.trim();
