/**
 * What has arrived and is not worked on yet: one lane for each connection, worked on in turns.
 *
 * A socket hands over all it has in one go, up to megabytes; worked on in one go, too, that would keep the
 * loop from noticing that a block is on disk, and blocks and clients would move in waves, waiting for each
 * other. So each turn of the event loop does a slice.
 *
 * Invariants
 * - Messages of one connection are worked on in the order in which they came.
 * - N1 Connections that only settle, answer and ask go first; those that send or prepare get an eighth of
 *   the work at least. When the open block is full only sending waits.
 * - N2 Connections of a kind take turns by bytes: one with much waiting delays another by a turn at most.
 * - N3 A connection over its allowance is not read from until half of it is worked off. When a kind's share
 *   is used up nobody of that kind is read from, so what waits is the share and one read of each at most.
 * - N4 A sender that is stopped is told a smaller window, and larger ones again when the inbox is calm.
 */
import { LIMITS } from "@escrowmq/protocol";
import { isCalm, laneBytesMax, narrowedWindow, widenedWindow } from "./memory-budget.ts";

export interface Arrival {
  readonly bytes: number;
  readonly work: () => void;
}

/** Where arrivals come from. */
export interface Source {
  /** Reads nothing more from the peer, or again. */
  pause(isPaused: boolean): void;
  /** Tells the peer how much of sends and prepares it may have unanswered. */
  narrow(windowBytes: number): void;
}

export interface InboxOptions {
  /** The share of sending, or less of it while the disk is slow. */
  readonly sendingBytesMax: () => number;
  readonly settlingBytesMax: number;
  /** False while the open block is full for sends, or for settling: that waits until `wake`. */
  readonly hasRoom: (kind: LaneKind) => boolean;
  /** Called before an arrival of so many bytes is worked on. */
  readonly working: (bytes: number) => void;
  /** In the next turn of the event loop. */
  readonly soon: (callback: () => void) => void;
}

export type LaneKind = "settling" | "sending";

/** One turn's work: about half a millisecond. */
const SLICE_BYTES = 131_072;
const SENDING_SLICE_BYTES_MIN = SLICE_BYTES / 8;
/** What a lane may have worked on before the next one has its turn. */
const QUANTUM_BYTES = 32_768;
/** An arrival costs memory and work beyond its bytes: this makes many tiny ones no cheaper than they are. */
const ARRIVAL_BYTES = 256;

export class Inbox {
  readonly #options: InboxOptions;
  readonly #pools: Readonly<Record<LaneKind, Pool>>;
  #isScheduled = false;

  constructor(options: InboxOptions) {
    this.#options = options;
    this.#pools = {
      settling: new Pool("settling", () => options.settlingBytesMax),
      sending: new Pool("sending", options.sendingBytesMax),
    };
  }

  /** A lane for a new connection: of the settling kind, until it sends or prepares. */
  open(source: Source): Lane {
    return new Lane(source, this.#pools.settling);
  }

  add(lane: Lane, arrival: Arrival): void {
    lane.add(arrival);
    this.#schedule();
  }

  /** The connection has sent or prepared: from now on it is one of those. */
  becomeSending(lane: Lane): void {
    lane.moveTo(this.#pools.sending);
  }

  /** Whole batches that wait. */
  bytes(kind: LaneKind): number {
    return this.#pools[kind].bytes;
  }

  /** Connections that are not read from at the moment. */
  get paused(): number {
    return this.#pools.settling.paused + this.#pools.sending.paused;
  }

  /** There is room again, or something to do. */
  wake(): void {
    if (this.#canWork("settling") || this.#canWork("sending")) this.#schedule();
  }

  #canWork(kind: LaneKind): boolean {
    return !this.#pools[kind].isEmpty && this.#options.hasRoom(kind);
  }

  #schedule(): void {
    if (this.#isScheduled) return;
    this.#isScheduled = true;
    this.#options.soon(() => {
      this.#isScheduled = false;
      this.#work();
    });
  }

  // N1
  #work(): void {
    const left = this.#serve("settling", SLICE_BYTES - SENDING_SLICE_BYTES_MIN);
    this.#serve("sending", Math.max(0, left) + SENDING_SLICE_BYTES_MIN);
    this.wake();
  }

  /** Works off about `sliceBytes`; returns what is left of them. */
  #serve(kind: LaneKind, sliceBytes: number): number {
    const pool = this.#pools[kind];
    let left = sliceBytes;
    while (left > 0 && this.#options.hasRoom(kind)) {
      const arrival = pool.take();
      if (arrival === null) break;
      left -= arrival.bytes + ARRIVAL_BYTES;
      this.#options.working(arrival.bytes);
      arrival.work();
    }
    return left;
  }
}

/** What waits of one connection. */
export class Lane {
  readonly #source: Source;
  #pool: Pool;
  #arrivals: Arrival[] = [];
  #first = 0;
  bytes = 0;
  isPaused = false;
  #windowBytes: number = LIMITS.windowBytesMax;
  /** What is left of its turn; it may go below zero by one arrival, which the next turn makes good (N2). */
  turnBytes = 0;

  constructor(source: Source, pool: Pool) {
    this.#source = source;
    this.#pool = pool;
    pool.joined(this);
  }

  get isEmpty(): boolean {
    return this.#first >= this.#arrivals.length;
  }

  add(arrival: Arrival): void {
    const wasEmpty = this.isEmpty;
    this.#arrivals.push(arrival);
    this.#pool.added(this, arrival.bytes + ARRIVAL_BYTES, wasEmpty);
  }

  take(): Arrival | null {
    const arrival = this.#arrivals[this.#first];
    if (arrival === undefined) return null;
    this.#first++;
    if (this.isEmpty || this.#first >= COMPACT_AFTER) {
      this.#arrivals = this.#arrivals.slice(this.#first);
      this.#first = 0;
    }
    return arrival;
  }

  moveTo(pool: Pool): void {
    if (pool === this.#pool) return;
    this.#pool.left(this);
    this.#pool = pool;
    pool.joined(this);
    // N3: the new pool has an allowance and a gate of its own.
    if (!pool.mustStop(this)) this.pause(false);
  }

  /** The connection is gone: what it sent before is still worked on, and nothing more comes. */
  close(): void {
    this.#pool.forget(this);
  }

  pause(isPaused: boolean): void {
    if (isPaused === this.isPaused) return;
    this.isPaused = isPaused;
    this.#pool.paused += isPaused ? 1 : -1;
    this.#source.pause(isPaused);
  }

  // N4
  narrow(laneMaxBytes: number): void {
    this.#tell(narrowedWindow(this.#windowBytes, laneMaxBytes));
  }

  widen(): void {
    if (this.#windowBytes < LIMITS.windowBytesMax) this.#tell(widenedWindow(this.#windowBytes));
  }

  #tell(windowBytes: number): void {
    if (windowBytes === this.#windowBytes) return;
    this.#windowBytes = windowBytes;
    this.#source.narrow(windowBytes);
  }
}

/** A lane gives back the memory of what it has worked off after so many arrivals. */
const COMPACT_AFTER = 1_024;

/** The lanes of one kind, and their share of memory. */
class Pool {
  readonly #kind: LaneKind;
  readonly #bytesMax: () => number;
  /** All open lanes: whom the gate stops. */
  readonly #lanes = new Set<Lane>();
  /** Those with something to do, in the order of their turns. */
  readonly #busy = new Set<Lane>();
  bytes = 0;
  paused = 0;
  #isFull = false;

  constructor(kind: LaneKind, bytesMax: () => number) {
    this.#kind = kind;
    this.#bytesMax = bytesMax;
  }

  get isEmpty(): boolean {
    return this.#busy.size === 0;
  }

  joined(lane: Lane): void {
    this.#lanes.add(lane);
    if (!lane.isEmpty) this.#busy.add(lane);
    this.bytes += lane.bytes;
    if (lane.isPaused) this.paused++;
    if (this.mustStop(lane)) lane.pause(true);
  }

  left(lane: Lane): void {
    this.#lanes.delete(lane);
    this.#busy.delete(lane);
    if (lane.isPaused) this.paused--;
    this.#shrink(lane.bytes);
  }

  forget(lane: Lane): void {
    this.#lanes.delete(lane);
    if (lane.isPaused) this.paused--;
    lane.isPaused = false;
  }

  mustStop(lane: Lane): boolean {
    return this.#isFull || lane.bytes > this.#laneBytesMax();
  }

  added(lane: Lane, bytes: number, wasEmpty: boolean): void {
    lane.bytes += bytes;
    this.bytes += bytes;
    if (wasEmpty) this.#busy.add(lane);
    if (this.bytes > this.#bytesMax()) return this.#close();
    const maxBytes = this.#laneBytesMax();
    if (lane.bytes <= maxBytes || lane.isPaused || !this.#lanes.has(lane)) return;
    // N3: alone.
    this.#stop(lane, maxBytes);
  }

  /** The next arrival of the lane whose turn it is (N2). */
  take(): Arrival | null {
    for (const lane of this.#busy) {
      if (lane.turnBytes <= 0) lane.turnBytes += QUANTUM_BYTES;
      if (lane.turnBytes <= 0) {
        this.#toTheEnd(lane);
        continue;
      }
      return this.#takeFrom(lane);
    }
    return null;
  }

  #takeFrom(lane: Lane): Arrival | null {
    const arrival = lane.take();
    const bytes = (arrival?.bytes ?? 0) + ARRIVAL_BYTES;
    lane.bytes -= bytes;
    lane.turnBytes -= bytes;
    if (lane.isEmpty) {
      this.#busy.delete(lane);
      lane.turnBytes = 0;
    } else if (lane.turnBytes <= 0) this.#toTheEnd(lane);
    this.#shrink(bytes);
    this.#release(lane);
    return arrival;
  }

  #toTheEnd(lane: Lane): void {
    this.#busy.delete(lane);
    this.#busy.add(lane);
  }

  /** N3: half of the allowance, so that reading does not go on and off with each arrival. */
  #release(lane: Lane): void {
    if (!this.#lanes.has(lane)) return;
    if (lane.isEmpty && isCalm(this.#bytesMax(), this.bytes)) lane.widen();
    if (!lane.isPaused || this.#isFull) return;
    if (lane.isEmpty || lane.bytes <= this.#laneBytesMax() / 2) lane.pause(false);
  }

  #laneBytesMax(): number {
    return laneBytesMax(this.#bytesMax(), this.bytes);
  }

  #shrink(bytes: number): void {
    this.bytes -= bytes;
    if (!this.#isFull || this.bytes > (this.#bytesMax() * 3) / 4) return;
    this.#isFull = false;
    for (const lane of this.#lanes) this.#release(lane);
  }

  /** The share is used up: nobody of this kind is read from. */
  #close(): void {
    if (this.#isFull) return;
    this.#isFull = true;
    const maxBytes = this.#laneBytesMax();
    for (const lane of this.#lanes) this.#stop(lane, maxBytes);
  }

  #stop(lane: Lane, maxBytes: number): void {
    lane.pause(true);
    // N4
    if (this.#kind === "sending" && !lane.isEmpty) lane.narrow(maxBytes);
  }
}
