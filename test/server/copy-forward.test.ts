/** Copying forward, from the shell's side: when it begins, how much at once, and what it leaves alone. */
import { EscrowError } from "@escrowmq/protocol";
import { describe, expect, it } from "vitest";
import type { Place } from "../../broker/src/core/records.ts";
import type { Input } from "../../broker/src/core/types.ts";
import type { Clock } from "../../broker/src/server/clock.ts";
import { CopyForward } from "../../broker/src/server/copy-forward.ts";
import type { Log } from "../../broker/src/server/log.ts";
import type { BlockStore, Front } from "../../broker/src/store/store.ts";
import { Driver, message } from "../support/sim-driver.ts";

const AFTER_MS = 60_000;
const BODY = "x".repeat(100);

const turn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));

/** An engine with messages in it, a store that has them, and a clock that the test moves. */
class Bench extends Driver {
  readonly shop: number;
  readonly copies: (readonly string[])[] = [];
  readonly errors: string[] = [];
  readonly copyForward: CopyForward;
  front: Front | null = null;
  /** Instead of the bytes. */
  fault: EscrowError | null = null;
  /** While a message is being read. */
  meanwhile: () => void = () => undefined;
  #monotonicMs = 0;
  #timers: (() => void)[] = [];

  constructor() {
    super();
    this.topic("orders");
    this.shop = this.producer("shop");
    this.copyForward = new CopyForward({
      engine: this.engine,
      store: { front: async () => this.front, readMessages: this.#read } as unknown as BlockStore,
      clock: {
        monotonicMs: () => this.#monotonicMs,
        soon: (callback: () => void) => void setImmediate(callback),
        setTimer: (callback: () => void) => {
          this.#timers.push(callback);
          return { cancel: () => undefined };
        },
      } as unknown as Clock,
      log: {
        info: () => undefined,
        warn: (_: object, text: string) => this.errors.push(text),
        error: (_: object, text: string) => this.errors.push(text),
      } as unknown as Log,
      afterMs: AFTER_MS,
      take: (input) => this.#take(input),
    });
  }

  sends(count: number): void {
    for (let at = 0; at < count; at++)
      this.send(this.shop, `send-${this.blocks.length}`, message("orders", BODY));
  }

  /** All so far stands in the front segment, which has that many bytes. */
  seals(bytes: number): void {
    this.front = { last: this.engine.core.state.block, bytes };
  }

  /** One look, and all that follows from it without the clock. */
  async look(): Promise<void> {
    this.copyForward.look();
    for (let turns = 0; turns < 40; turns++) await turn();
  }

  passes(ms: number): void {
    this.#monotonicMs += ms;
  }

  /** The wait between two pieces is over. */
  async goesOn(): Promise<void> {
    for (const timer of this.#timers.splice(0)) timer();
    for (let turns = 0; turns < 40; turns++) await turn();
  }

  get isWaiting(): boolean {
    return this.#timers.length > 0;
  }

  #take(input: Input): void {
    if (input.kind !== "copied") return;
    this.copies.push(input.messages.map(({ of }) => `${of.place.block}.${of.place.slot}`));
    this.step(input);
  }

  readonly #read = async (block: Place["block"], slots: readonly number[]) => {
    this.meanwhile();
    if (this.fault !== null) throw this.fault;
    const records = this.blocks.find(({ number }) => number === block)?.records ?? [];
    const all = records.flatMap((one) => ("messages" in one ? one.messages : []));
    return slots.map((slot) => all[slot]?.data ?? new Uint8Array());
  };
}

/** Three messages in a front segment of 100 KB. */
async function nearlyEmpty(): Promise<Bench> {
  const bench = new Bench();
  bench.sends(3);
  bench.seals(100_000);
  await bench.look();
  bench.passes(AFTER_MS);
  return bench;
}

describe("the front segment", () => {
  it("is left alone until it has been nearly empty for a while, and goes then", async () => {
    const bench = await nearlyEmpty();
    bench.passes(-1);
    await bench.look();
    expect(bench.copies).toEqual([]);
    expect(bench.copyForward.liveBytes).toBe(3 * BODY.length);
    bench.passes(1);
    await bench.look();
    expect(bench.copies.flat()).toHaveLength(3);
    expect(bench.engine.core.state.neededBlock).toBeGreaterThan(bench.front?.last ?? 0);
    await bench.goesOn();
    expect(bench.isWaiting).toBe(false);
    expect(bench.copyForward.copiedBytes).toBe(3 * BODY.length);
  });

  it("is not copied while more than a twentieth of it is needed", async () => {
    const bench = new Bench();
    bench.sends(3);
    bench.seals(3 * BODY.length * 19);
    for (let look = 0; look < 3; look++) {
      await bench.look();
      bench.passes(AFTER_MS);
    }
    expect(bench.copies).toEqual([]);
  });

  it("begins its wait anew when another segment has come to the front", async () => {
    const bench = await nearlyEmpty();
    bench.sends(1);
    bench.seals(100_000);
    await bench.look();
    expect(bench.copies).toEqual([]);
  });

  it("is not copied while the disk is short", async () => {
    const bench = await nearlyEmpty();
    bench.step({ kind: "admission", admission: "settle" });
    await bench.look();
    expect(bench.copies).toEqual([]);
    bench.step({ kind: "admission", admission: "all" });
    await bench.look();
    expect(bench.copies.flat()).toHaveLength(3);
  });

  it("goes in small pieces, out of a few blocks each, with waits in between", async () => {
    const bench = new Bench();
    bench.sends(40);
    bench.seals(1_000_000);
    await bench.look();
    bench.passes(AFTER_MS);
    await bench.look();
    expect(bench.copies.map((piece) => piece.length)).toEqual([16]);
    await bench.goesOn();
    await bench.goesOn();
    expect(bench.copies.map((piece) => piece.length)).toEqual([16, 16, 8]);
    expect(new Set(bench.copies.flat()).size).toBe(40);
  });

  it("stays when something in it cannot be read, and is not tried again and again", async () => {
    const bench = await nearlyEmpty();
    bench.fault = new EscrowError("STORE_CORRUPT");
    await bench.look();
    bench.fault = null;
    await bench.look();
    expect(bench.copies).toEqual([]);
    expect(bench.errors).toEqual(["a segment is kept: messages in it cannot be read"]);
  });

  it("may lose a message to retention while it is read, and nobody minds", async () => {
    const bench = await nearlyEmpty();
    bench.fault = new EscrowError("MESSAGE_RETIRED");
    await bench.look();
    expect(bench.errors).toEqual([]);
    expect(bench.engine.core.state.neededBlock).toBeLessThanOrEqual(bench.front?.last ?? 0);
  });

  it("is copied no further once the broker stops", async () => {
    const bench = await nearlyEmpty();
    bench.meanwhile = () => bench.copyForward.stop();
    await bench.look();
    expect(bench.copies).toEqual([]);
  });

  it("is looked through with the event loop free in between, among a million messages", async () => {
    const bench = await nearlyEmpty();
    const { state } = bench.engine.core;
    const topic = state.topic(1);
    const place = { block: state.block + 1_000_000, slot: 0 };
    for (let at = 0; at < 1_000_000; at++) topic.append(place, 1, state.atMs);
    bench.copyForward.look();
    let turns = 0;
    while (bench.copies.length === 0 && turns < 1_000) {
      await turn();
      turns++;
    }
    // 1,953 parts of the index, at most 256 in one turn.
    expect(turns).toBeGreaterThan(7);
    expect(bench.copies.flat()).toHaveLength(3);
  });
});
