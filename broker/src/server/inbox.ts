/**
 * What has arrived and is not worked on yet. A socket hands over all it has in one go, up to megabytes;
 * worked on in one go, too, that would keep the loop from noticing that a block is on disk, and blocks and
 * clients would move in waves, waiting for each other.
 *
 * Invariants
 * - Messages of one connection are worked on in the order in which they came.
 * - What waits here is bounded: beyond WAITING_BYTES_MAX nothing more is read from anybody.
 */
export interface Arrival {
  readonly bytes: number;
  readonly work: () => void;
}

export interface InboxOptions {
  /** False while the open block is full: nothing more is worked on until `wake`. */
  readonly hasRoom: () => boolean;
  /** Too much waits here, or no longer: read from nobody, or from everybody again. */
  readonly pressure: (isHigh: boolean) => void;
}

/** One turn's work: about half a millisecond. */
const SLICE_BYTES = 131_072;
const WAITING_BYTES_MAX = 16 * 1_048_576;

export class Inbox {
  readonly #options: InboxOptions;
  #arrivals: Arrival[] = [];
  #first = 0;
  #waitingBytes = 0;
  #isScheduled = false;
  #isHigh = false;

  constructor(options: InboxOptions) {
    this.#options = options;
  }

  add(arrival: Arrival): void {
    this.#arrivals.push(arrival);
    this.#waitingBytes += arrival.bytes;
    this.#feelPressure();
    this.wake();
  }

  /** There is room again, or something to do. */
  wake(): void {
    if (this.#first < this.#arrivals.length) this.#schedule();
  }

  #schedule(): void {
    if (this.#isScheduled) return;
    this.#isScheduled = true;
    setImmediate(() => {
      this.#isScheduled = false;
      this.#work();
    });
  }

  #work(): void {
    let left = SLICE_BYTES;
    while (left > 0 && this.#options.hasRoom()) {
      const arrival = this.#arrivals[this.#first];
      if (arrival === undefined) break;
      this.#first++;
      left -= arrival.bytes;
      this.#waitingBytes -= arrival.bytes;
      arrival.work();
    }
    this.#arrivals = this.#arrivals.slice(this.#first);
    this.#first = 0;
    this.#feelPressure();
    if (this.#options.hasRoom()) this.wake();
  }

  #feelPressure(): void {
    const isHigh = this.#waitingBytes > WAITING_BYTES_MAX;
    if (isHigh === this.#isHigh) return;
    this.#isHigh = isHigh;
    this.#options.pressure(isHigh);
  }
}
