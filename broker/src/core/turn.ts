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

export class Turn {
  readonly nowMs: number;
  readonly records: LogRecord[] = [];
  readonly sends: Send[] = [];
  readonly #state: State;
  readonly #openBlock: () => void;

  constructor(state: State, nowMs: number, openBlock: () => void) {
    this.#state = state;
    this.nowMs = nowMs;
    this.#openBlock = openBlock;
  }

  log(record: LogRecord): void {
    this.#openBlock();
    this.records.push(record);
    this.#state.apply(record);
  }

  send(send: Send): void {
    this.sends.push(send);
  }

  ok(to: ConnectionId, re: number, answer: Answer = {}): void {
    this.sends.push({ kind: "frame", to, frame: { type: "ok", re, ...answer } });
  }

  refuse(
    to: ConnectionId,
    re: number,
    code: ErrorCode,
    message: string,
    detail?: ErrorDetail,
  ): void {
    const frame = { type: "error", re, code, message } as const;
    this.sends.push({
      kind: "frame",
      to,
      frame: detail === undefined ? frame : { ...frame, detail },
    });
  }
}
