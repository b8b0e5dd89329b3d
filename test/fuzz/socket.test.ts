/**
 * Hostile bytes against a broker process: frames that went wrong, in WebSocket frames that went wrong, over TCP. The
 * process lives, says why it closes, holds nothing of it, and a neighbour that does its work is served all the time.
 */
import { setTimeout as delay } from "node:timers/promises";
import { type ClientFrame, encodeBatch, encodeMessage } from "@escrowmq/protocol";
import { describe, expect, it } from "vitest";
import { CLIENT_FRAMES } from "../../protocol/src/frames.ts";
import { AnyRequest } from "../support/e2e-any-request.ts";
import { type BrokerProcess, useBench } from "../support/e2e-broker.ts";
import { Random } from "../support/e2e-random.ts";
import { RawClient } from "../support/e2e-raw-client.ts";
import { waitFor } from "../support/e2e-wait.ts";
import { FrameFuzzer } from "../support/fuzz-frames.ts";
import { FRAMES, SEED } from "../support/fuzz-run.ts";
import {
  FIN,
  FuzzSocket,
  OPCODES,
  upgradeRequest,
  webSocketFrame,
} from "../support/fuzz-socket.ts";

const bench = useBench();
const LANES = 6;
const BATCHES_OF_A_CONNECTION = 30;
const ANSWER_MS_MAX = 2_000;
const MIB = 1_048_576;
const RSS_GROWTH_MAX = 160 * MIB;
const STALL_MS = 50;
const QUIET_MS = 1_000;

const hello = encodeBatch([{ type: "hello", version: 1, client: "fuzz" }]);
const binary = FIN | OPCODES.binary;

/** Names that are there, so that what is hostile meets what is real. */
function meetingFrames(seed: number): ClientFrame[] {
  const any = new AnyRequest(new Random(seed), { tokens: [], transactions: [] });
  return Array.from({ length: 200 }, (_, id) => any.next(id));
}

/** What WebSocket forbids. Each ends the connection. */
const forbidden = (data: Buffer, random: (max: number) => number): Buffer => {
  const kinds = [
    // Compressed, though that was not agreed upon; other reserved bits; reserved opcodes.
    () => webSocketFrame(binary | 0x40, data),
    () => webSocketFrame(binary | 0x30, data),
    () => webSocketFrame(FIN | (3 + random(5)), data),
    () => webSocketFrame(FIN | (11 + random(5)), data),
    // Not masked.
    () => Buffer.concat([Buffer.of(binary, Math.min(125, data.length)), data.subarray(0, 125)]),
    // Control frames that are too long or in pieces; a continuation of nothing.
    () => webSocketFrame(FIN | OPCODES.ping, Buffer.alloc(126 + random(1_000))),
    () => webSocketFrame(OPCODES.ping, Buffer.alloc(4)),
    () => webSocketFrame(FIN | OPCODES.continuation, data),
    // Lengths: beyond the limit, beyond 2^53.
    () => webSocketFrame(binary, data, 64 * MIB),
    () => webSocketFrame(binary, data, Number.MAX_SAFE_INTEGER),
    () => webSocketFrame(FIN | OPCODES.text, data),
    // Ends: of one byte, with a code that is none, with broken text.
    () => webSocketFrame(FIN | OPCODES.close, Buffer.of(3)),
    () => webSocketFrame(FIN | OPCODES.close, Buffer.of(0, 5)),
    () => webSocketFrame(FIN | OPCODES.close, Buffer.of(3, 0xe8, 0xff, 0xff)),
    // No WebSocket at all.
    () => data,
  ];
  return kinds[random(kinds.length)]?.() ?? data;
};

/** In two to five pieces, with a ping between them, as WebSocket allows. */
function inPieces(data: Buffer, random: (max: number) => number): Buffer {
  const count = 2 + random(4);
  const size = Math.ceil(data.length / count);
  const pieces = Array.from({ length: count }, (_, at) => {
    const opcode = at === 0 ? OPCODES.binary : OPCODES.continuation;
    const part = data.subarray(at * size, (at + 1) * size);
    return webSocketFrame(at === count - 1 ? FIN | opcode : opcode, part);
  });
  pieces.splice(1 + random(count - 1), 0, webSocketFrame(FIN | OPCODES.ping, Buffer.of(1)));
  return Buffer.concat(pieces);
}

class Lane {
  readonly ends: Map<string, number>;
  readonly wrong: string[] = [];
  readonly #fuzzer: FrameFuzzer;
  readonly #port: number;

  constructor(seed: number, port: number, ends: Map<string, number>) {
    this.#fuzzer = new FrameFuzzer(seed, CLIENT_FRAMES, meetingFrames(seed));
    this.#port = port;
    this.ends = ends;
  }

  /** One connection, until its end or that of its batches; how many frames it was. */
  async run(): Promise<number> {
    const random = (max: number): number => this.#fuzzer.random(max);
    const socket = new FuzzSocket(this.#port);
    let done = 0;
    await socket.say(upgradeRequest(this.#port));
    if (random(10) > 0) await socket.say(webSocketFrame(binary, hello));
    for (let batch = 0; batch < BATCHES_OF_A_CONNECTION && !socket.hasEnded; batch++) {
      const { data, frames } = this.#fuzzer.batch();
      done += frames;
      const kind = random(30);
      if (kind === 0) await socket.say(forbidden(data, random));
      else if (kind === 1) await socket.say(inPieces(data, random));
      else if (kind === 2) await this.#drip(socket, webSocketFrame(binary, data));
      else await socket.say(webSocketFrame(binary, data));
    }
    // A peer that is gone without a word, or one that waits to be answered.
    if (random(4) > 0) await Promise.race([socket.closed, delay(20)]);
    this.#note(socket);
    socket.destroy();
    await socket.closed;
    return done;
  }

  async #drip(socket: FuzzSocket, bytes: Buffer): Promise<void> {
    for (let at = 0; at < Math.min(bytes.length, 40); at++)
      await socket.say(bytes.subarray(at, at + 1));
    await socket.say(bytes.subarray(40));
  }

  #note(socket: FuzzSocket): void {
    const { code, closeCode, hasEnded } = socket;
    const why = code ?? (closeCode === null ? (hasEnded ? "ended" : "open") : `code ${closeCode}`);
    this.ends.set(why, (this.ends.get(why) ?? 0) + 1);
    if (code === "INTERNAL") this.wrong.push("it was closed with INTERNAL");
    if (closeCode !== null && ![1000, 1002, 1003, 1007, 1008, 1009].includes(closeCode))
      this.wrong.push(`it was closed with ${closeCode}`);
  }
}

interface Watched {
  readonly stallMs: number;
  readonly rss: number;
}

async function watch({ program }: BrokerProcess): Promise<Watched> {
  program.lines.length = 0;
  process.kill(program.pid, "SIGUSR2");
  return JSON.parse(await program.line("watch"));
}

/** Sends and is answered, time after time, until told to stop; the slowest answer. */
async function neighbourOf(url: string): Promise<{ stop(): Promise<number> }> {
  const raw = await RawClient.open(url);
  await raw.ask({ type: "topic.create", topic: "neighbour" });
  let [slowestMs, sent, isOver] = [0, 0, false];
  const working = (async () => {
    while (!isOver) {
      const startMs = performance.now();
      const sendId = `neighbour-${sent++}`;
      const message = encodeMessage({ id: sendId, topic: "neighbour", body: Uint8Array.of(1) });
      const answer = await raw.ask({ type: "send", sendId, messages: [message] });
      expect(answer).toMatchObject({ type: "ok" });
      slowestMs = Math.max(slowestMs, performance.now() - startMs);
      raw.frames.length = 0;
      await delay(5);
    }
  })();
  return {
    stop: async () => {
      isOver = true;
      await working;
      raw.close();
      return slowestMs;
    },
  };
}

async function heldBytes(url: string): Promise<number> {
  const text = await (await fetch(`${url.replace("ws:", "http:")}/metrics`)).text();
  const parts = [...text.matchAll(/escrowmq_memory_bytes\{part="\w+"\} (\S+)/g)];
  return parts.reduce((sum, [, bytes]) => sum + Number(bytes), 0);
}

describe("hostile bytes on a socket", () => {
  it(`end the connection with a code, or are answered, and cost nobody else anything (${FRAMES.socket} frames, seed ${SEED})`, async () => {
    const broker = await bench.brokerProcess(
      { policy: { undecidedPerGroupMax: 200 } },
      { NODE_OPTIONS: "--expose-gc" },
    );
    const port = Number(new URL(broker.url).port);
    const admin = await bench.admin(broker.url);
    const neighbour = await neighbourOf(broker.url);
    await delay(QUIET_MS);
    await watch(broker);
    await delay(QUIET_MS);
    const before = await watch(broker);
    const ends = new Map<string, number>();
    const lanes = Array.from({ length: LANES }, (_, at) => new Lane(SEED + at, port, ends));
    let done = 0;
    const startMs = performance.now();
    const gone = broker.program.exited.then(({ code }) => {
      throw new Error(`the broker ended with ${code}: ${broker.program.stderr.slice(-2_000)}`);
    });
    const all = lanes.map(async (lane) => {
      while (done < FRAMES.socket && broker.program.isRunning) done += await lane.run();
    });
    await Promise.race([Promise.all(all), gone]);
    gone.catch(() => undefined);
    const seconds = (performance.now() - startMs) / 1_000;
    const during = await watch(broker);
    const slowestMs = await neighbour.stop();
    await waitFor("their end", async () => (await admin.request("stats", {})).connections === 1);
    await waitFor("free memory", async () => (await heldBytes(broker.url)) === 0);
    const after = await watch(broker);
    const said = [...ends].map(([why, times]) => `${why} ${times}`).join(", ");
    const growthMib = Math.round((after.rss - before.rss) / MIB);
    console.info(
      `sockets: seed ${SEED}, ${done} frames, ${Math.round(done / seconds)} a second; ${said}; the neighbour waited ` +
        `${slowestMs.toFixed(0)} ms at most; the loop ${during.stallMs.toFixed(0)} ms (${before.stallMs.toFixed(0)} ms in quiet); ${growthMib} MiB more`,
    );
    expect(lanes.flatMap(({ wrong }) => wrong)).toEqual([]);
    expect(slowestMs).toBeLessThan(ANSWER_MS_MAX);
    expect(after.rss - before.rss).toBeLessThan(RSS_GROWTH_MAX);
    // Other processes may have the core: what the loop waited in quiet is not its own.
    if (FRAMES.isLong) expect(during.stallMs).toBeLessThan(STALL_MS + before.stallMs);
    expect(ends.size).toBeGreaterThan(4);
  }, 3_600_000);
});
