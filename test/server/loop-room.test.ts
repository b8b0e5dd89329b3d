/** The open block has room again: whoever waits for that is told, also when it is the limit that has moved. */
import { expect, test } from "vitest";
import { Engine } from "../../broker/src/core/engine.ts";
import { Inbox } from "../../broker/src/server/inbox.ts";
import { Loop, type LoopOptions } from "../../broker/src/server/loop.ts";

const MIB = 1_048_576;

/** A loop whose writes end when the test says so, and what it has still to work on. */
class Bench {
  readonly inbox: Inbox;
  readonly loop: Loop;
  readonly #writes: (() => void)[] = [];
  readonly #lane: ReturnType<Inbox["open"]>;
  #ms = 0;
  #sends = 0;

  constructor() {
    const nothing = (): void => undefined;
    const store = { append: () => new Promise<void>((resolve) => this.#writes.push(resolve)) };
    const clock = {
      nowMs: () => 1_000_000 + this.#ms,
      monotonicMs: () => this.#ms,
      soon: (act: () => void) => void setImmediate(act),
      setTimer: () => ({ cancel: nothing }),
    };
    this.loop = new Loop({
      engine: new Engine(),
      clock: clock as unknown as LoopOptions["clock"],
      store: store as unknown as LoopOptions["store"],
      openBytesMax: 8 * MIB,
      roomy: () => this.inbox.wake(),
      deliver: nothing,
      planned: nothing,
      sealed: nothing,
      written: nothing,
      failed: (cause) => {
        throw cause;
      },
    });
    this.inbox = new Inbox({
      sendingBytesMax: () => 16 * MIB,
      settlingBytesMax: 16 * MIB,
      hasRoom: (kind) => this.loop.hasRoom(kind),
      working: (bytes) => this.loop.hold(bytes),
      soon: (act) => void setImmediate(act),
    });
    this.#lane = this.inbox.open({ pause: nothing, narrow: nothing });
    this.inbox.becomeSending(this.#lane);
    this.loop.take({ kind: "open" });
    this.loop.take({ kind: "connected", connection: 1, client: "shop" });
  }

  /** Something of this size that writes a record. */
  sends(bytes: number): void {
    this.inbox.add(this.#lane, {
      bytes,
      work: () => {
        const id = ++this.#sends;
        const frame = { type: "topic.create", id, topic: `t${id}` } as const;
        this.loop.take({ kind: "frame", from: 1, frame });
      },
    });
  }

  /** The block that is being written is on disk. */
  async written(tookMs: number): Promise<void> {
    this.#ms += tookMs;
    this.#writes.shift()?.();
    await this.turns();
  }

  async turns(): Promise<void> {
    for (let at = 0; at < 50; at++) await new Promise((resolve) => setImmediate(resolve));
  }

  async rest(): Promise<void> {
    while (this.#writes.length > 0) await this.written(5);
  }
}

test("sends that found the block full are taken when a fast disk raises its limit", async () => {
  const bench = new Bench();
  await bench.turns();
  await bench.written(1);
  // A slow write halves the limit.
  bench.sends(MIB);
  await bench.turns();
  bench.sends(2.5 * MIB);
  await bench.turns();
  await bench.written(200);
  expect(bench.loop.fullAtBytes).toBe(4 * MIB);
  // While the next block is written, the one behind it fills up, and three wait.
  for (let at = 0; at < 8; at++) bench.sends(MIB);
  await bench.turns();
  expect(bench.inbox.bytes("sending")).toBeGreaterThan(3 * MIB - 1);
  await bench.written(5);
  expect(bench.loop.fullAtBytes).toBe(8 * MIB);
  await bench.rest();
  expect(bench.inbox.bytes("sending")).toBe(0);
});
