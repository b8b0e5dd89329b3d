/**
 * A map that forgets: every entry is kept for at least `keepMs`, unless more than `keepMax` would be
 * held. Two generations instead of a time per entry: when the young one is old or full it becomes the
 * old one, and what was the old one is gone in one piece.
 *
 * Invariants
 * - M1 Forgetting depends on the times given to `set` only, so that recovery forgets what the live engine forgot.
 * - M2 Entries never change, and new ones come behind the others. The values stand in columns, not in
 *   objects: a million of them is nothing to the garbage collector, and a checkpoint copies bytes.
 */

/** Values by place, in a form that takes little memory. Places are filled one after the other. */
export interface Columns<V> {
  get(place: number): V;
  add(value: V): void;
  /** The values of these places, as plain data. */
  save(from: number, to: number): unknown;
  /** What `save` gave, behind what is there. */
  load(saved: never): void;
}

/** A piece of what is remembered, as it stood when `save` was called. */
export interface RememberedPart {
  readonly generation: "young" | "old";
  readonly youngSinceMs: number;
  readonly keys: readonly string[];
  readonly values: unknown;
}

interface Generation<V> {
  readonly places: Map<string, number>;
  readonly columns: Columns<V>;
}

export class Remembered<V> {
  readonly #newColumns: () => Columns<V>;
  readonly #keepMs: number;
  readonly #generationMax: number;
  #young: Generation<V>;
  #old: Generation<V>;
  #youngSinceMs = 0;

  constructor(newColumns: () => Columns<V>, keepMs: number, keepMax: number) {
    this.#newColumns = newColumns;
    this.#keepMs = keepMs;
    this.#generationMax = Math.max(1, Math.floor(keepMax / 2));
    this.#young = this.#newGeneration();
    this.#old = this.#newGeneration();
  }

  get size(): number {
    return this.#young.places.size + this.#old.places.size;
  }

  get(key: string): V | undefined {
    return find(this.#young, key) ?? find(this.#old, key);
  }

  /** The caller has made sure that the key is not remembered. */
  set(key: string, value: V, atMs: number): void {
    if (
      this.#young.places.size >= this.#generationMax ||
      atMs - this.#youngSinceMs >= this.#keepMs
    ) {
      this.#old = this.#young;
      this.#young = this.#newGeneration();
      this.#youngSinceMs = atMs;
    }
    const { places, columns } = this.#young;
    places.set(key, places.size);
    columns.add(value);
  }

  /** What is remembered now, in parts of at most `entriesMax`. They may be taken later, one by one (M2). */
  save(entriesMax: number): Iterable<RememberedPart> {
    const youngSinceMs = this.#youngSinceMs;
    const generations = [
      { generation: "old" as const, of: this.#old, size: this.#old.places.size },
      { generation: "young" as const, of: this.#young, size: this.#young.places.size },
    ];
    return (function* () {
      for (const { generation, of, size } of generations) {
        let from = 0;
        for (const keys of firstOf(of.places, size, entriesMax)) {
          const values = of.columns.save(from, from + keys.length);
          from += keys.length;
          yield { generation, youngSinceMs, keys, values };
        }
      }
    })();
  }

  load({ generation, youngSinceMs, keys, values }: RememberedPart): void {
    this.#youngSinceMs = youngSinceMs;
    const { places, columns } = generation === "young" ? this.#young : this.#old;
    for (const key of keys) places.set(key, places.size);
    columns.load(values as never);
  }

  #newGeneration(): Generation<V> {
    return { places: new Map(), columns: this.#newColumns() };
  }
}

function find<V>({ places, columns }: Generation<V>, key: string): V | undefined {
  const place = places.get(key);
  return place === undefined ? undefined : columns.get(place);
}

/** The first `size` keys in slices; at least one slice, so that an empty generation is told, too. */
function* firstOf(
  places: ReadonlyMap<string, number>,
  size: number,
  max: number,
): Generator<string[]> {
  let left = size;
  let slice: string[] = [];
  for (const key of places.keys()) {
    if (left-- <= 0) break;
    slice.push(key);
    if (slice.length < max) continue;
    yield slice;
    slice = [];
  }
  yield slice;
}
