/**
 * Hostile frames against sessions and core, in every state a connection can be in, without a socket: each request
 * is answered once or the connection ends with a code; no peer harms another, and nothing stays behind.
 */
import { type ClientFrame, encodeBatch, encodeMessage } from "@escrowmq/protocol";
import { describe, expect, it } from "vitest";
import type { Broker } from "../../broker/src/server/broker.ts";
import { createBroker } from "../../broker/src/server/create-broker.ts";
import { MemoryDisk } from "../../broker/src/store/memory-disk.ts";
import { openMemoryStore } from "../../broker/src/store/memory-store.ts";
import { CLIENT_FRAMES } from "../../protocol/src/frames.ts";
import { AnyRequest, type Known } from "../support/e2e-any-request.ts";
import { Random } from "../support/e2e-random.ts";
import { waitFor } from "../support/e2e-wait.ts";
import { FrameFuzzer } from "../support/fuzz-frames.ts";
import { FuzzPeer } from "../support/fuzz-peer.ts";
import { FRAMES, heapBytes, SEED } from "../support/fuzz-run.ts";

const STALL_MS = 50;
const MIB = 1_048_576;
const HEAP_GROWTH_MAX = 64 * MIB;
const PEERS = 6;
/** Then the broker is another one: what legal frames make it keep is not what is measured. */
const FRAMES_OF_A_WORLD = 20_000;
const NEIGHBOUR_EVERY = 200;
const MICROSECONDS = 1_000;

const hello = { type: "hello", version: 1, client: "fuzz" } as const;

/** What a connection has said before the hostile part begins. */
const OVERTURES: readonly (readonly ClientFrame[][])[] = [
  [],
  [[hello]],
  [[hello], [{ type: "announce", id: 1, group: "g", checker: true }]],
  [
    [hello],
    [
      { type: "subscribe", id: 1, subscription: 1, group: "h", topics: [{ topic: "x" }] },
      { type: "credit", subscription: 1, messages: 50, bytes: MIB },
    ],
  ],
];

/** Frames that meet each other: few names, few ids. */
function meetingFrames(seed: number): ClientFrame[] {
  const any = new AnyRequest(new Random(seed), { tokens: [], transactions: [] });
  return Array.from({ length: 300 }, (_, id) => any.next(id));
}

/** CPU and not time: another process that has the core makes nobody here wait for a frame. */
function cpuMs(): number {
  const { user, system } = process.cpuUsage();
  return (user + system) / MICROSECONDS;
}

/** A neighbour that does its work: it sends and is answered, whatever the others do. */
class Neighbour {
  readonly #peer: FuzzPeer;
  #sent = 0;

  constructor(broker: Broker) {
    this.#peer = new FuzzPeer(broker);
    this.#peer.say(hello);
    this.#peer.say({ type: "topic.create", id: 1, topic: "neighbour" });
  }

  async works(): Promise<void> {
    const sendId = `neighbour-${this.#sent++}`;
    const message = encodeMessage({ id: sendId, topic: "neighbour", body: Uint8Array.of(1) });
    this.#peer.say({ type: "send", id: 2, sendId, messages: [message] });
    await waitFor("the neighbour's answer", () => this.#peer.unanswered === 0);
    expect(this.#peer.closedBy).toBeNull();
    expect(this.#peer.wrong).toEqual([]);
  }
}

const tick = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));

class World {
  readonly #fuzzer: FrameFuzzer;
  readonly #any: AnyRequest;
  readonly #known: Known = { tokens: [], transactions: [] };
  readonly #broker: Broker;
  readonly #peers = new Map<number, FuzzPeer>();
  readonly #neighbour: Neighbour;
  readonly ends: Map<string, number>;
  slowestMs = 0;
  #nextId = 1;

  constructor(broker: Broker, seed: number, ends: Map<string, number>) {
    this.#broker = broker;
    this.#fuzzer = new FrameFuzzer(seed, CLIENT_FRAMES, meetingFrames(seed));
    this.#any = new AnyRequest(new Random(seed), this.#known);
    this.#neighbour = new Neighbour(broker);
    this.ends = ends;
  }

  async run(frames: number): Promise<number> {
    let done = 0;
    for (let batch = 1; done < frames; batch++) {
      done += await this.#one();
      if (batch % NEIGHBOUR_EVERY === 0) await this.#neighbour.works();
    }
    for (const peer of this.#peers.values()) await this.#rest(peer);
    await this.#neighbour.works();
    return done;
  }

  async #one(): Promise<number> {
    const at = this.#fuzzer.random(PEERS);
    const peer = this.#peer(at);
    const { data, frames } = this.#fuzzer.random(4) === 0 ? this.#legal() : this.#fuzzer.batch();
    const tookMs = await this.#says(peer, data);
    if (tookMs <= STALL_MS) this.slowestMs = Math.max(this.slowestMs, tookMs);
    else if (await this.#stallsAgain(data))
      expect.fail(`${tookMs} ms for ${data.subarray(0, 2_000).toString("hex")}`);
    this.#known.tokens.push(...peer.tokens.splice(0));
    if (this.#fuzzer.random(100) === 0) peer.leave();
    if (peer.closedBy !== null) await this.#bury(at, peer);
    return frames;
  }

  async #says(peer: FuzzPeer, data: Buffer): Promise<number> {
    const beforeMs = cpuMs();
    peer.sayBytes(data);
    await tick();
    await tick();
    return cpuMs() - beforeMs;
  }

  /** In one of the states at least; the work of a compiler or a collector, on whatever thread, does not come again. */
  async #stallsAgain(data: Buffer): Promise<boolean> {
    for (const overture of OVERTURES) {
      const peer = new FuzzPeer(this.#broker);
      for (const batch of overture) peer.say(...batch);
      await tick();
      const tookMs = await this.#says(peer, data);
      peer.leave();
      if (tookMs > STALL_MS) return true;
    }
    return false;
  }

  #legal(): { readonly data: Buffer; readonly frames: number } {
    const frames = Array.from({ length: 4 }, () => this.#any.next(this.#nextId++));
    return { data: Buffer.from(encodeBatch(frames)), frames: frames.length };
  }

  #peer(at: number): FuzzPeer {
    const there = this.#peers.get(at);
    if (there !== undefined) return there;
    const peer = new FuzzPeer(this.#broker);
    this.#peers.set(at, peer);
    for (const batch of OVERTURES[this.#fuzzer.random(OVERTURES.length)] ?? []) peer.say(...batch);
    return peer;
  }

  /** Every request has its answer, or the connection its end. */
  async #rest(peer: FuzzPeer): Promise<void> {
    if (peer.unanswered > 0) await waitFor("the answers", () => peer.unanswered === 0);
    expect(peer.wrong).toEqual([]);
    expect(peer.welcomes).toBeLessThanOrEqual(1);
  }

  async #bury(at: number, peer: FuzzPeer): Promise<void> {
    const by = peer.closedBy ?? "";
    this.ends.set(by, (this.ends.get(by) ?? 0) + 1);
    peer.leave();
    this.#peers.delete(at);
    await this.#rest(peer);
  }
}

describe("hostile frames in any state of a connection", () => {
  it(`are answered once each or end it with a code, and harm nobody (${FRAMES.session} frames, seed ${SEED})`, async () => {
    const ends = new Map<string, number>();
    let [done, slowestMs, heapBefore] = [0, 0, 0];
    for (let seed = SEED; done < FRAMES.session; seed++) {
      const broker = await createBroker({
        port: null,
        logLevel: "silent",
        policy: { undecidedPerGroupMax: 200, checkIntervalMs: 50 },
        openStore: () => openMemoryStore(new MemoryDisk()),
      });
      let gaveUp = false;
      void broker.failed.then(() => {
        gaveUp = true;
      });
      const world = new World(broker, seed, ends);
      done += await world.run(Math.min(FRAMES_OF_A_WORLD, FRAMES.session - done));
      slowestMs = Math.max(slowestMs, world.slowestMs);
      expect(gaveUp).toBe(false);
      await broker.close();
      const heap = heapBytes();
      if (heapBefore === 0) heapBefore = heap;
      expect(heap - heapBefore).toBeLessThan(HEAP_GROWTH_MAX);
    }
    const said = [...ends].map(([by, times]) => `${by} ${times}`).join(", ");
    console.info(
      `sessions: seed ${SEED}, ${done} frames; ended: ${said}; slowest ${slowestMs.toFixed(1)} ms`,
    );
    expect(ends.size).toBeGreaterThan(3);
  }, 3_600_000);
});
