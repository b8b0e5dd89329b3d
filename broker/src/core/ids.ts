/**
 * Ids by place, in the order in which they were added, and the place of each: a Map from ids to numbers
 * that holds bytes instead of strings. Ids are never taken out.
 *
 * Invariants
 * - Z1 An id is found if and only if it was added: the words are compared, the hash only says where to look.
 */
import { Column } from "./columns.ts";
import type { IdHash } from "./id-hash.ts";
import { invariant } from "./invariant.ts";
import { NOWHERE, Places } from "./places.ts";

export interface SavedIds {
  /** Words of each id; one byte each. */
  readonly counts: Uint8Array;
  /** The words of all, in the machine's order. */
  readonly words: Uint8Array;
}

export class Ids {
  readonly #hash: IdHash;
  readonly #places = new Places();
  readonly #words = new Column(Uint32Array);
  readonly #starts = new Column(Uint32Array);
  readonly #counts = new Column(Uint8Array);

  constructor(hash: IdHash) {
    this.#hash = hash;
  }

  get size(): number {
    return this.#places.size;
  }

  /** NOWHERE if it was not added. */
  find(id: string): number {
    const hash = this.#hash;
    if (!hash.read(id)) return NOWHERE;
    const places = this.#places;
    for (let place = places.first(hash.hash); place !== NOWHERE; place = places.next())
      if (this.#isAt(place)) return place;
    return NOWHERE;
  }

  /** The caller has made sure that it is not there. */
  add(id: string): void {
    invariant(this.#hash.read(id), "an id is 1 to 64 ASCII characters");
    this.#add();
  }

  save(from: number, to: number): SavedIds {
    const end = to === from ? 0 : this.#starts.at(to - 1) + this.#counts.at(to - 1);
    const words = to === from ? new Uint8Array(0) : this.#words.save(this.#starts.at(from), end);
    return { counts: this.#counts.save(from, to), words };
  }

  /** Behind what is there. */
  load({ counts, words }: SavedIds): void {
    // The bytes may stand anywhere in a file's, and words begin at multiples of four.
    const aligned = new Uint32Array(words.slice().buffer);
    let start = 0;
    for (const count of counts) {
      this.#hash.readWords(aligned, start, count);
      this.#places.add(this.#hash.hash, this.#places.size);
      this.#starts.push(this.#words.length + start);
      start += count;
    }
    this.#counts.load(counts);
    this.#words.load(words);
  }

  #add(): void {
    const { words, wordCount, hash } = this.#hash;
    this.#places.add(hash, this.#places.size);
    this.#starts.push(this.#words.length);
    this.#counts.push(wordCount);
    for (let at = 0; at < wordCount; at++) this.#words.push(words[at] ?? 0);
  }

  #isAt(place: number): boolean {
    const { words, wordCount } = this.#hash;
    if (this.#counts.at(place) !== wordCount) return false;
    const start = this.#starts.at(place);
    for (let at = 0; at < wordCount; at++)
      if (this.#words.at(start + at) !== words[at]) return false;
    return true;
  }
}
