/**
 * Latencies, counted in buckets whose widths grow with the value: any quantile within 1.1 %, whatever
 * the number of values, and cheap enough for each message.
 */
const BUCKETS_PER_DOUBLING = 64;
/** 1 microsecond to 2^28 microseconds, four and a half minutes. */
const DOUBLINGS = 28;

export class Histogram {
  #counts;
  #total = 0;
  #maxMs = 0;

  constructor(counts = new Float64Array(BUCKETS_PER_DOUBLING * DOUBLINGS), maxMs = 0) {
    this.#counts = counts;
    this.#maxMs = maxMs;
    for (const count of counts) this.#total += count;
  }

  record(ms) {
    const bucket = Math.floor(Math.log2(Math.max(ms * 1000, 1)) * BUCKETS_PER_DOUBLING);
    this.#counts[Math.min(bucket, this.#counts.length - 1)]++;
    this.#total++;
    if (ms > this.#maxMs) this.#maxMs = ms;
  }

  /** Plain data, to be sent to another process and given to `merged`. */
  get plain() {
    return { counts: this.#counts, maxMs: this.#maxMs };
  }

  get count() {
    return this.#total;
  }

  /** The value that `share` of all values do not exceed; null without values. */
  quantileMs(share) {
    if (this.#total === 0) return null;
    const rank = Math.max(1, Math.ceil(this.#total * share));
    let seen = 0;
    for (let bucket = 0; bucket < this.#counts.length; bucket++) {
      seen += this.#counts[bucket];
      if (seen >= rank) return Math.min(middleMs(bucket), this.#maxMs);
    }
    return this.#maxMs;
  }

  get summary() {
    return {
      samples: this.#total,
      p50Ms: this.quantileMs(0.5),
      p99Ms: this.quantileMs(0.99),
      p999Ms: this.quantileMs(0.999),
      maxMs: this.#total === 0 ? null : this.#maxMs,
    };
  }
}

/** One histogram of several processes' plain ones. */
export function merged(plains) {
  const counts = new Float64Array(BUCKETS_PER_DOUBLING * DOUBLINGS);
  let maxMs = 0;
  for (const plain of plains) {
    plain.counts.forEach((count, bucket) => {
      counts[bucket] += count;
    });
    maxMs = Math.max(maxMs, plain.maxMs);
  }
  return new Histogram(counts, maxMs);
}

const middleMs = (bucket) => 2 ** ((bucket + 0.5) / BUCKETS_PER_DOUBLING) / 1000;
