/**
 * A broker by script, over sockets in memory and a clock that only `advance` moves. What it is sent goes
 * through the real decoder, so that an illegal frame of an SDK fails the test that makes it.
 */

import type { SocketEvents } from "../../protocol/src/client/dial.ts";
import type { Environment, Timer } from "../../protocol/src/client/environment.ts";
import {
  type BrokerFrame,
  type ClientFrame,
  type ClientFrames,
  type ClientFrameType,
  decodeClientBatch,
  encodeBatch,
  encodeMessage,
} from "../../protocol/src/index.ts";

type Script<Type extends ClientFrameType> = (
  frame: ClientFrames[Type],
  connection: FakeConnection,
) => void;

interface FakeTimer {
  readonly atMs: number;
  readonly run: () => void;
}

export const url = "ws://broker.test:7733";

export class FakeBroker {
  nowMs = 1_000;
  /** What a dial meets. "silent": a peer that accepts and says nothing. */
  door: "open" | "closed" | "silent" = "open";
  readonly connections: FakeConnection[] = [];
  dials = 0;
  readonly #scripts = new Map<ClientFrameType, Script<ClientFrameType>>();
  readonly #timers = new Set<FakeTimer>();
  #ticks: (() => void)[] = [];
  #random = 0;

  readonly environment: Environment = {
    dial: (_url, events) => this.#dial(events),
    nowMs: () => this.nowMs,
    startTimer: (run, afterMs) => this.#startTimer(run, afterMs),
    afterTick: (run) => void this.#ticks.push(run),
    random: () => 0.5,
    fillRandom: (bytes) => {
      for (let at = 0; at < bytes.length; at++) bytes[at] = this.#random++ % 251;
    },
  };

  constructor() {
    this.on("hello", (_, to) =>
      to.send({ type: "welcome", version: 1, broker: "fake", storeId: "store" }),
    );
    this.on("ping", (_, to) => to.send({ type: "pong" }));
    for (const type of ["announce", "send", "prepare", "verdict", "subscribe"] as const)
      this.on(type, ok);
    for (const type of ["ack", "release", "extend", "retry", "bury"] as const) this.on(type, ok);
  }

  on<Type extends ClientFrameType>(type: Type, script: Script<Type>): void {
    this.#scripts.set(type, script as Script<ClientFrameType>);
  }

  /** Frames of this type get no answer. */
  ignore(type: ClientFrameType): void {
    this.#scripts.delete(type);
  }

  get connection(): FakeConnection {
    const latest = this.connections.at(-1);
    if (latest === undefined) throw new Error("nobody has connected");
    return latest;
  }

  /** All frames of this type, over all connections. */
  received<Type extends ClientFrameType>(type: Type): ClientFrames[Type][] {
    return this.connections.flatMap((connection) => connection.received(type));
  }

  /** Lets everything happen that needs no time. */
  async settle(): Promise<void> {
    for (let quiet = 0; quiet < 2; quiet++) {
      await new Promise((resolve) => setImmediate(resolve));
      const ticks = this.#ticks;
      this.#ticks = [];
      for (const tick of ticks) tick();
      if (ticks.length > 0) quiet = -1;
    }
  }

  async advance(ms: number): Promise<void> {
    const untilMs = this.nowMs + ms;
    await this.settle();
    for (let next = this.#next(untilMs); next !== null; next = this.#next(untilMs)) {
      this.#timers.delete(next);
      this.nowMs = Math.max(this.nowMs, next.atMs);
      next.run();
      await this.settle();
    }
    this.nowMs = untilMs;
  }

  get timersRunning(): number {
    return this.#timers.size;
  }

  tick(run: () => void): void {
    this.#ticks.push(run);
  }

  handle(frame: ClientFrame, connection: FakeConnection): void {
    this.#scripts.get(frame.type)?.(frame, connection);
  }

  #dial(events: SocketEvents) {
    this.dials++;
    if (this.door === "closed") {
      this.tick(() => events.closed(new Error("refused")));
      return { bufferedAmount: 0, send: () => undefined, close: nothing, terminate: nothing };
    }
    const connection = new FakeConnection(this, events);
    this.connections.push(connection);
    if (this.door === "open") this.tick(() => events.opened());
    return connection.socket;
  }

  #startTimer(run: () => void, afterMs: number): Timer {
    const timer = { atMs: this.nowMs + afterMs, run };
    this.#timers.add(timer);
    return { stop: () => void this.#timers.delete(timer) };
  }

  #next(untilMs: number): FakeTimer | null {
    let next: FakeTimer | null = null;
    for (const timer of this.#timers)
      if (timer.atMs <= untilMs && (next === null || timer.atMs < next.atMs)) next = timer;
    return next;
  }
}

const nothing = (): void => undefined;

const ok = (frame: ClientFrame, to: FakeConnection): void => {
  if ("id" in frame) to.send({ type: "ok", re: frame.id });
};

export class FakeConnection {
  /** As they arrived: one array for each WebSocket message. */
  readonly batches: ClientFrame[][] = [];
  readonly bytes: number[] = [];
  isOpen = true;
  /** What the socket claims to hold. */
  bufferedAmount = 0;
  readonly #broker: FakeBroker;
  readonly #events: SocketEvents;

  constructor(broker: FakeBroker, events: SocketEvents) {
    this.#broker = broker;
    this.#events = events;
  }

  readonly socket = (() => {
    const read = (): number => this.bufferedAmount;
    return {
      get bufferedAmount() {
        return read();
      },
      send: (data: Uint8Array) => this.#receive(data),
      close: () => this.drop(),
      terminate: () => this.drop(),
    };
  })();

  received<Type extends ClientFrameType>(type: Type): ClientFrames[Type][] {
    return this.batches.flat().filter((frame): frame is ClientFrames[Type] => frame.type === type);
  }

  send(...frames: BrokerFrame[]): void {
    const data = encodeBatch(frames);
    this.#broker.tick(() => {
      if (this.isOpen) this.#events.received(data);
    });
  }

  sendBytes(data: Uint8Array): void {
    this.#broker.tick(() => this.#events.received(data));
  }

  written(): void {
    this.#events.written();
  }

  drop(): void {
    if (!this.isOpen) return;
    this.isOpen = false;
    this.#broker.tick(() => this.#events.closed(null));
  }

  #receive(data: Uint8Array): void {
    if (!this.isOpen) return;
    const frames = decodeClientBatch(data).map((frame) => {
      if (frame.type === "bad") throw frame.error;
      return frame;
    });
    this.batches.push(frames);
    this.bytes.push(data.length);
    for (const frame of frames) this.#broker.handle(frame, this);
  }
}

/** One entry of a deliver frame. */
export function delivery(
  token: string,
  fields: {
    topic?: string;
    body?: Uint8Array;
    attempt?: number;
    leaseMs?: number;
    key?: string;
    message?: Uint8Array;
  } = {},
) {
  const { topic = "orders", body = new TextEncoder().encode(`{"of":"${token}"}`) } = fields;
  return {
    token,
    topic,
    offset: 0,
    attempt: fields.attempt ?? 1,
    leaseMs: fields.leaseMs ?? 60_000,
    atMs: 1,
    message: fields.message ?? encodeMessage({ id: `id-${token}`, topic, key: fields.key, body }),
  };
}

export function deliver(to: FakeConnection, ...deliveries: ReturnType<typeof delivery>[]): void {
  to.send({ type: "deliver", subscription: 1, deliveries });
}

/** A promise and the means to end it. */
export function deferred<T>() {
  let resolve: (value: T) => void = nothing;
  let reject: (error: unknown) => void = nothing;
  const promise = new Promise<T>((yes, no) => {
    resolve = yes;
    reject = no;
  });
  return { promise, resolve, reject };
}

/** The code that a promise rejects with, as a value; "ok" if it resolves. */
export const codeOf = (promise: Promise<unknown>): Promise<string> =>
  promise.then(
    () => "ok",
    (error: unknown) =>
      typeof error === "object" && error !== null && "code" in error
        ? String(error.code)
        : String(error),
  );
