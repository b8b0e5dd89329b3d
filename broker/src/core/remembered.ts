/**
 * A map that forgets: every entry is kept for at least `keepMs`, unless more than `keepMax` would be
 * held. Two generations instead of a time per entry: when the young one is old or full it becomes the
 * old one, and what was the old one is gone in one piece.
 *
 * Invariants
 * - M1 Forgetting depends on the times given to `set` only, so that recovery forgets what the live engine forgot.
 */
export interface RememberedState<V> {
  readonly youngSinceMs: number;
  readonly young: readonly (readonly [string, V])[];
  readonly old: readonly (readonly [string, V])[];
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

  save(): RememberedState<V> {
    return { youngSinceMs: this.#youngSinceMs, young: [...this.#young], old: [...this.#old] };
  }

  load(state: RememberedState<V>): void {
    this.#youngSinceMs = state.youngSinceMs;
    this.#young = new Map(state.young);
    this.#old = new Map(state.old);
  }
}
