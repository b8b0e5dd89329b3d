/**
 * A peer of a broker in the same process, in any state that a connection can be in, and what it was told. It
 * knows what it may expect: one answer to each request, or an end with a reason that has a name.
 */
import {
  type BrokerFrame,
  type ClientFrame,
  decodeBrokerBatch,
  decodeClientBatch,
  ERROR_TABLE,
  EscrowError,
  encodeBatch,
} from "@escrowmq/protocol";
import type { Broker } from "../../broker/src/server/broker.ts";

type Session = ReturnType<Broker["accept"]>;

export class FuzzPeer {
  readonly tokens: string[] = [];
  /** Sentences: what it was told and should not have been. */
  readonly wrong: string[] = [];
  welcomes = 0;
  closedBy: string | null = null;
  #waiting = new Map<number, number>();
  readonly #session: Session;

  constructor(broker: Broker) {
    this.#session = broker.accept({
      send: (data) => {
        for (const frame of decodeBrokerBatch(data)) this.#hear(frame);
      },
      close: (code, reason) => this.#ended(`${code} ${reason}`),
      terminate: () => this.#ended("terminated"),
      pause: () => undefined,
      bufferedBytes: 0,
    });
  }

  /** Requests that wait for their answers. */
  get unanswered(): number {
    return [...this.#waiting.values()].reduce((sum, count) => sum + count, 0);
  }

  say(...frames: ClientFrame[]): void {
    this.sayBytes(encodeBatch(frames));
  }

  sayBytes(data: Uint8Array): void {
    if (this.closedBy !== null) return;
    for (const id of requestsIn(data)) this.#waiting.set(id, (this.#waiting.get(id) ?? 0) + 1);
    this.#session.message(data);
  }

  /** As a transport does it at the end, whoever began it. */
  leave(): void {
    this.#ended("left");
    this.#session.closed();
  }

  #hear(frame: BrokerFrame): void {
    if (frame.type === "welcome") this.welcomes++;
    if (frame.type === "deliver") this.tokens.push(...frame.deliveries.map(({ token }) => token));
    if (frame.type === "closing" && !closesFor(frame.code))
      this.wrong.push(`it was closed with ${frame.code}`);
    if (frame.type !== "ok" && frame.type !== "error") return;
    const waiting = this.#waiting.get(frame.re) ?? 0;
    if (waiting === 0) this.wrong.push(`an answer to ${frame.re}, which nobody asked`);
    if (waiting > 1) this.#waiting.set(frame.re, waiting - 1);
    else this.#waiting.delete(frame.re);
    if (frame.type === "error" && frame.code === "INTERNAL") this.wrong.push(frame.message);
  }

  #ended(by: string): void {
    this.closedBy ??= by;
    this.#waiting = new Map();
  }
}

/** What a client's fault is answered with; INTERNAL would be ours. */
const closesFor = (code: string): boolean =>
  code !== "INTERNAL" &&
  Object.entries(ERROR_TABLE).some(([name, { closes }]) => name === code && closes);

/** The ids of the requests in a batch, as far as it can be read at all. */
function requestsIn(data: Uint8Array): readonly number[] {
  try {
    return decodeClientBatch(data).flatMap((frame) => ("id" in frame ? [frame.id] : []));
  } catch (error) {
    if (!EscrowError.is(error)) throw error;
    return [];
  }
}
