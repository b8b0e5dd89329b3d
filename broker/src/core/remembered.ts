/**
 * A map that forgets: every entry is kept for at least `keepMs`, unless more than `keepMax` would be
 * held. Two generations instead of a time per entry: when the young one is old or full it becomes the
 * old one, and what was the old one is gone in one piece.
 *
 * Invariants
 * - M1 Forgetting depends on the times given to `set` only, so that recovery forgets what the live engine forgot.
 * - M2 Entries never change, an id stands at most once in a generation, and new ones come behind the others.
 *   Ids and values stand in columns, not in objects: a million of them is nothing to the garbage collector,
 *   they grow without a pause, and a checkpoint copies bytes.
 */
import { IdHash } from "./id-hash.ts";
import { Ids, type SavedIds } from "./ids.ts";
import type { Piece } from "./lasting-part.ts";
import { NOWHERE } from "./places.ts";

/** Values by place, in a form that takes little memory. Places are filled one after the other. */
export interface Columns<V> {
  get(place: number): V;
  add(value: V): void;
  /** The values of these places, as plain data. */
  save(from: number, to: number): unknown;
  /** What `save` gave, behind what is there. */
  load(saved: never): void;
}

export interface RememberedState {
  readonly youngNo: number;
  readonly youngSinceMs: number;
}

/** Some entries of one generation. */
export interface RememberedPart {
  readonly no: number;
  readonly ids: SavedIds;
  readonly values: unknown;
}

interface Generation<V> {
  readonly ids: Ids;
  readonly columns: Columns<V>;
}

export class Remembered<V> {
  readonly #newColumns: () => Columns<V>;
  readonly #keepMs: number;
  readonly #generationMax: number;
  readonly #hash: IdHash;
  #young: Generation<V>;
  #old: Generation<V>;
  /** The old one's is one less. */
  #youngNo = 1;
  #youngSinceMs = 0;

  constructor(
    newColumns: () => Columns<V>,
    keepMs: number,
    keepMax: number,
    hash: IdHash = new IdHash(),
  ) {
    this.#newColumns = newColumns;
    this.#keepMs = keepMs;
    this.#generationMax = Math.max(1, Math.floor(keepMax / 2));
    this.#hash = hash;
    this.#young = this.#newGeneration();
    this.#old = this.#newGeneration();
  }

  get size(): number {
    return this.#young.ids.size + this.#old.ids.size;
  }

  get(id: string): V | undefined {
    return find(this.#young, id) ?? find(this.#old, id);
  }

  /** It will be remembered for as long as one that is set now. */
  isYoung(id: string): boolean {
    return this.#young.ids.find(id) !== NOWHERE;
  }

  /** The caller has made sure that the id is not remembered, or at least not young. */
  set(id: string, value: V, atMs: number): void {
    if (this.#young.ids.size >= this.#generationMax || atMs - this.#youngSinceMs >= this.#keepMs) {
      this.#old = this.#young;
      this.#young = this.#newGeneration();
      this.#youngNo++;
      this.#youngSinceMs = atMs;
    }
    this.#young.ids.add(id);
    this.#young.columns.add(value);
  }

  save(): RememberedState {
    return { youngNo: this.#youngNo, youngSinceMs: this.#youngSinceMs };
  }

  /** What is remembered now, in pieces of at most `entriesMax`. They may be taken later, one by one (M2). */
  savePieces(entriesMax: number): Iterable<Piece<RememberedPart>> {
    const old = piecesOf(this.#youngNo - 1, this.#old, this.#old.ids.size, entriesMax);
    const young = piecesOf(this.#youngNo, this.#young, this.#young.ids.size, entriesMax);
    return (function* () {
      yield* old;
      yield* young;
    })();
  }

  load({ youngNo, youngSinceMs }: RememberedState): void {
    this.#youngNo = youngNo;
    this.#youngSinceMs = youngSinceMs;
  }

  loadPart({ no, ids, values }: RememberedPart): void {
    const { ids: known, columns } = no === this.#youngNo ? this.#young : this.#old;
    known.load(ids);
    columns.load(values as never);
  }

  #newGeneration(): Generation<V> {
    return { ids: new Ids(this.#hash), columns: this.#newColumns() };
  }
}

function find<V>({ ids, columns }: Generation<V>, id: string): V | undefined {
  const place = ids.find(id);
  return place === NOWHERE ? undefined : columns.get(place);
}

function* piecesOf<V>(
  no: number,
  { ids, columns }: Generation<V>,
  size: number,
  entriesMax: number,
): Generator<Piece<RememberedPart>> {
  for (let from = 0; from < size; from += entriesMax) {
    const to = Math.min(from + entriesMax, size);
    yield {
      name: to - from === entriesMax ? `${no}/${from}-${to}` : null,
      take: () => ({ no, ids: ids.save(from, to), values: columns.save(from, to) }),
    };
  }
}
