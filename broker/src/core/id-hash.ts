/**
 * Ids (1 to 64 ASCII characters) as words of four bytes, and their hash.
 *
 * Clients choose ids, so the hash has a key that they cannot know: HalfSipHash with one round a word
 * and three at the end, as hash tables use it. The key is drawn by who makes the engine.
 *
 * Invariants
 * - K1 Nothing but the time that a look-up takes depends on the key: not the outputs, nor their order,
 *   nor what is saved.
 * - K2 Different ids have different words: what is unused of the last word is zero, and no id has a zero.
 */

export const ID_WORDS_MAX = 16;

export type HashKey = readonly [number, number];

/** For tests, where nobody attacks. */
export const DEFAULT_HASH_KEY: HashKey = [0x0706_0504, 0x0f0e_0d0c];

export class IdHash {
  readonly #key: HashKey;
  /** Of the id that was read last. */
  readonly words: Uint32Array;
  #wordCount = 0;
  #hash = 0;
  #lastId = "";

  /** `wordsMax`: more, where an id is a part of what is looked up. */
  constructor(key: HashKey = DEFAULT_HASH_KEY, wordsMax: number = ID_WORDS_MAX) {
    this.#key = key;
    this.words = new Uint32Array(wordsMax);
  }

  get wordCount(): number {
    return this.#wordCount;
  }

  get hash(): number {
    return this.#hash;
  }

  /** False: this can be no id. Most ids are asked for several times in a row, and read once. */
  read(id: string): boolean {
    if (id === this.#lastId) return this.#wordCount > 0;
    this.#lastId = id;
    this.#wordCount = packId(id, this.words);
    this.#hash = this.#hashOf(this.#wordCount);
    return this.#wordCount > 0;
  }

  /** As `read`, of words that were saved. */
  readWords(from: Uint32Array, start: number, count: number): void {
    this.#lastId = "";
    for (let at = 0; at < count; at++) this.words[at] = from[start + at] ?? 0;
    this.#wordCount = count;
    this.#hash = this.#hashOf(count);
  }

  #hashOf(count: number): number {
    let v0 = this.#key[0] | 0;
    let v1 = this.#key[1] | 0;
    let v2 = v0 ^ 0x6c79_6765;
    let v3 = v1 ^ 0x7465_6462;
    // The last of the words that are mixed in is the number of words, as HalfSipHash ends with a length.
    for (let at = 0; at <= count + 3; at++) {
      const word = at < count ? (this.words[at] ?? 0) | 0 : at === count ? count << 24 : 0;
      if (at === count + 1) v2 ^= 0xff;
      v3 ^= word;
      v0 = (v0 + v1) | 0;
      v1 = ((v1 << 5) | (v1 >>> 27)) ^ v0;
      v0 = (v0 << 16) | (v0 >>> 16);
      v2 = (v2 + v3) | 0;
      v3 = ((v3 << 8) | (v3 >>> 24)) ^ v2;
      v0 = (v0 + v3) | 0;
      v3 = ((v3 << 7) | (v3 >>> 25)) ^ v0;
      v2 = (v2 + v1) | 0;
      v1 = ((v1 << 13) | (v1 >>> 19)) ^ v2;
      v2 = (v2 << 16) | (v2 >>> 16);
      v0 ^= word;
    }
    return (v1 ^ v3) >>> 0;
  }
}

/** How many words it takes; 0: it is no id. Four characters at a time: each request brings an id. */
function packId(id: string, words: Uint32Array): number {
  const { length } = id;
  if (length > words.length * 4) return 0;
  let count = 0;
  let at = 0;
  let all = 0;
  for (; at + 4 <= length; at += 4) {
    const one = id.charCodeAt(at);
    const two = id.charCodeAt(at + 1);
    const three = id.charCodeAt(at + 2);
    const four = id.charCodeAt(at + 3);
    all |= one | two | three | four;
    if (one === 0 || two === 0 || three === 0 || four === 0) return 0;
    words[count++] = one | (two << 8) | (three << 16) | (four << 24);
  }
  let word = 0;
  for (let shift = 0; at < length; at++, shift += 8) {
    const unit = id.charCodeAt(at);
    all |= unit;
    if (unit === 0) return 0;
    word |= unit << shift;
  }
  if (word !== 0) words[count++] = word;
  return all > 0x7f ? 0 : count;
}

const units: number[] = [];

/** The id that these words say. */
export function idOfWords(words: Uint32Array, count: number): string {
  units.length = 0;
  for (let at = 0; at < count; at++) {
    for (let word = words[at] ?? 0; word !== 0; word >>>= 8) units.push(word & 0xff);
  }
  return String.fromCharCode(...units);
}
