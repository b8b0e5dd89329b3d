/**
 * What one step brings about: records, which are applied as they are made, and sends.
 *
 * Invariants
 * - L1 All records of a turn stand in one block.
 * - R1 Every request gets one answer: `ok`, `refuse` or `inspect`.
 */
import type { BrokerFrames, ErrorCode, ErrorDetail } from "@escrowmq/protocol";
import type { LogRecord } from "./records.ts";
import type { State } from "./state.ts";
import type { ConnectionId, Send } from "./types.ts";

type Answer = Omit<BrokerFrames["ok"], "type" | "re">;

/** Shared by all turns that bring nothing about: most bring one record and one send, or less. */
const NONE: readonly never[] = [];

export class Turn {
  readonly nowMs: number;
  readonly #state: State;
  readonly #openBlock: (nowMs: number) => void;
  #records: LogRecord[] | null = null;
  #sends: Send[] | null = null;

  constructor(state: State, nowMs: number, openBlock: (nowMs: number) => void) {
    this.#state = state;
    this.nowMs = nowMs;
    this.#openBlock = openBlock;
  }

  get records(): readonly LogRecord[] {
    return this.#records ?? NONE;
  }

  get sends(): readonly Send[] {
    return this.#sends ?? NONE;
  }

  log(record: LogRecord): void {
    this.#openBlock(this.nowMs);
    if (this.#records === null) this.#records = [record];
    else this.#records.push(record);
    this.#state.apply(record);
  }

  send(send: Send): void {
    if (this.#sends === null) this.#sends = [send];
    else this.#sends.push(send);
  }

  ok(to: ConnectionId, re: number, answer: Answer = {}): void {
    this.send({ kind: "frame", to, frame: { type: "ok", re, ...answer } });
  }

  refuse(
    to: ConnectionId,
    re: number,
    code: ErrorCode,
    message: string,
    detail?: ErrorDetail,
  ): void {
    const frame = { type: "error", re, code, message } as const;
    this.send({
      kind: "frame",
      to,
      frame: detail === undefined ? frame : { ...frame, detail },
    });
  }
}
