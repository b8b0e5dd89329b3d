/**
 * A map that forgets: every entry is kept for at least `keepMs`, unless more than `keepMax` would be
 * held. Two generations instead of a time per entry: when the young one is old or full it becomes the
 * old one, and what was the old one is gone in one piece.
 *
 * Invariants
 * - M1 Forgetting depends on the times given to `set` only, so that recovery forgets what the live engine forgot.
 */
/** A piece of what is remembered, as it stood when `save` was called. */
export interface RememberedPart<V> {
  readonly generation: "young" | "old";
  readonly youngSinceMs: number;
  readonly entries: readonly (readonly [string, V])[];
}

export class Remembered<V> {
  readonly #keepMs: number;
  readonly #generationMax: number;
  #young = new Map<string, V>();
  #old = new Map<string, V>();
  #youngSinceMs = 0;

  constructor(keepMs: number, keepMax: number) {
    this.#keepMs = keepMs;
    this.#generationMax = Math.max(1, Math.floor(keepMax / 2));
  }

  get size(): number {
    return this.#young.size + this.#old.size;
  }

  get(key: string): V | undefined {
    return this.#young.get(key) ?? this.#old.get(key);
  }

  set(key: string, value: V, atMs: number): void {
    if (this.#young.size >= this.#generationMax || atMs - this.#youngSinceMs >= this.#keepMs) {
      this.#old = this.#young;
      this.#young = new Map();
      this.#youngSinceMs = atMs;
    }
    this.#young.set(key, value);
  }

  /**
   * What is remembered now, in parts of at most `entriesMax`. The parts may be taken later, one by one:
   * entries never change, and new ones come behind those that are counted here.
   */
  save(entriesMax: number): Iterable<RememberedPart<V>> {
    const youngSinceMs = this.#youngSinceMs;
    const generations = [
      { generation: "old" as const, map: this.#old, size: this.#old.size },
      { generation: "young" as const, map: this.#young, size: this.#young.size },
    ];
    return (function* () {
      for (const { generation, map, size } of generations)
        for (const entries of firstOf(map, size, entriesMax))
          yield { generation, youngSinceMs, entries };
    })();
  }

  load({ generation, youngSinceMs, entries }: RememberedPart<V>): void {
    this.#youngSinceMs = youngSinceMs;
    const map = generation === "young" ? this.#young : this.#old;
    for (const [key, value] of entries) map.set(key, value);
  }
}

/** The first `size` entries in slices; at least one slice, so that an empty generation is told, too. */
function* firstOf<V>(map: Map<string, V>, size: number, max: number): Generator<[string, V][]> {
  let left = size;
  let slice: [string, V][] = [];
  for (const entry of map) {
    if (left-- <= 0) break;
    slice.push(entry);
    if (slice.length < max) continue;
    yield slice;
    slice = [];
  }
  yield slice;
}
