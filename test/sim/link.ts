/**
 * One connection between a client and the broker, message by message. It is slow, it breaks, and each side
 * learns of that when it does: at once, after a while, or, where only one direction is dead, when the other
 * side has been silent for too long.
 */
import {
  type BrokerFrame,
  type ClientFrame,
  decodeBrokerBatch,
  encodeBatch,
} from "@escrowmq/protocol";
import type { Session, Socket } from "../../broker/src/server/session.ts";
import type { Process } from "./process.ts";
import type { Random } from "./random.ts";
import type { Time } from "./time.ts";
import type { Witness } from "./witness.ts";

export interface LinkEnds {
  /** By the broker just now; whether it is ever heard is another matter. */
  readonly said: (frame: BrokerFrame) => void;
  readonly heard: (frame: BrokerFrame, saidAtMs: number) => void;
  /** Nothing more will come, and nothing that is said arrives. Once. */
  readonly closed: () => void;
  /** The first moment from which on it is no whole connection any more. Once, and never after `closed`. */
  readonly broken: () => void;
}

export interface LinkOptions {
  readonly time: Time;
  readonly random: Random;
  readonly witness: Witness;
  /** The broker's. */
  readonly process: Process;
  readonly ends: LinkEnds;
}

/** Enough unread for deliveries to stop, and for the connection to be closed. */
const CONGESTED_BYTES = 2_000_000;
const TOO_SLOW_BYTES = 40_000_000;

type Direction = "toBroker" | "toClient";

export class Link implements Socket {
  readonly #options: LinkOptions;
  #session: Session | null = null;
  readonly #isDead = { toBroker: false, toClient: false };
  readonly #arrivesAtMs = { toBroker: 0, toClient: 0 };
  #slowUntilMs = 0;
  #isOpenHere = true;
  #isOpenThere = true;
  #isWhole = true;
  bufferedBytes = 0;

  constructor(options: LinkOptions) {
    this.#options = options;
  }

  opened(session: Session): void {
    this.#session = session;
  }

  /** From the client. */
  say(frames: readonly ClientFrame[]): void {
    if (!this.#isOpenHere) return;
    const data = encodeBatch(frames);
    this.#carry("toBroker", () =>
      this.#options.process.wake(() => {
        if (this.#isOpenThere) this.#options.witness.guarded(() => this.#session?.message(data));
      }),
    );
  }

  // What the broker does with its end.

  send(data: Uint8Array): void {
    if (!this.#isOpenThere) return;
    this.#options.witness.noted(() => {
      const frames = decodeBrokerBatch(data);
      const { witness, process, ends } = this.#options;
      for (const frame of frames) {
        witness.said(this.#session?.id ?? 0, frame, process.nowMs());
        ends.said(frame);
      }
      const { nowMs } = this.#options.time;
      this.#carry("toClient", () => {
        for (const frame of frames) if (this.#isOpenHere) ends.heard(frame, nowMs);
      });
    });
  }

  close(): void {
    this.#closeThere();
    this.#carry("toClient", () => this.#closeHere());
  }

  terminate(): void {
    this.close();
  }

  pause(): void {
    return;
  }

  // What becomes of it.

  /** Either side learns of it after so long. */
  cut(clientAfterMs: number, brokerAfterMs: number): void {
    const { time } = this.#options;
    this.#isDead.toBroker = true;
    this.#isDead.toClient = true;
    this.#break();
    if (clientAfterMs === 0) this.#closeHere();
    else time.after(clientAfterMs, () => this.#closeHere());
    time.after(brokerAfterMs, () => this.#closeThere());
  }

  /** Nothing arrives in one direction any more; heartbeats tell both sides in the end. */
  die(direction: Direction, noticedAfterMs: number): void {
    this.#isDead[direction] = true;
    this.#break();
    const { time, random } = this.#options;
    time.after(noticedAfterMs, () => this.#closeHere());
    time.after(noticedAfterMs + random.below(15_000), () => this.#closeThere());
  }

  slow(ms: number): void {
    this.#slowUntilMs = this.#options.time.nowMs + ms;
  }

  /** The client reads nothing for a while, or so little that it is closed. */
  congest(ms: number, isHopeless: boolean): void {
    this.bufferedBytes = isHopeless ? TOO_SLOW_BYTES : CONGESTED_BYTES;
    this.#drained();
    this.#options.time.after(ms, () => {
      this.bufferedBytes = 0;
      this.#drained();
    });
  }

  #drained(): void {
    this.#options.process.wake(() => {
      if (this.#isOpenThere) this.#options.witness.guarded(() => this.#session?.drained());
    });
  }

  /** In the order in which it was said. */
  #carry(direction: Direction, arrive: () => void): void {
    const { time, random } = this.#options;
    const slowMs = Math.max(0, this.#slowUntilMs - time.nowMs);
    const latencyMs = random.next() * (random.chance(0.02) ? 500 : 3) + slowMs;
    const atMs = Math.max(this.#arrivesAtMs[direction], time.nowMs + latencyMs);
    this.#arrivesAtMs[direction] = atMs;
    time.at(atMs, () => {
      if (!this.#isDead[direction]) arrive();
    });
  }

  #closeHere(): void {
    if (!this.#isOpenHere) return;
    this.#isOpenHere = false;
    this.#break();
    this.#options.ends.closed();
  }

  #closeThere(): void {
    if (!this.#isOpenThere) return;
    this.#isOpenThere = false;
    this.#break();
    this.#options.process.wake(() => this.#options.witness.guarded(() => this.#session?.closed()));
  }

  #break(): void {
    if (!this.#isWhole) return;
    this.#isWhole = false;
    this.#options.ends.broken();
  }
}
