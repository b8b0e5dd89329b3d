/**
 * SHA-256 (FIPS 180-4). The platform's own either answers later, and a send must leave in the turn in which
 * it was asked for, or is not there in every place where this package runs.
 */

const WORDS = 16;
const ROUNDS = 64;

/** The first 32 bits of the fractions of the roots of the first primes. */
const ROOTS = firstPrimes(ROUNDS).map((prime) => ({
  square: fraction(Math.sqrt(prime)),
  cube: fraction(Math.cbrt(prime)),
}));
const START = ROOTS.slice(0, 8).map(({ square }) => square);
const KEYS = Uint32Array.from(ROOTS, ({ cube }) => cube);

/** In hex digits. */
export function sha256(text: string): string {
  const state = Uint32Array.from(START);
  const padded = pad(new TextEncoder().encode(text));
  const words = new Uint32Array(ROUNDS);
  for (let at = 0; at < padded.byteLength; at += WORDS * 4) {
    for (let word = 0; word < WORDS; word++) words[word] = padded.getUint32(at + word * 4);
    mix(state, words);
  }
  return Array.from(state, (word) => word.toString(16).padStart(8, "0")).join("");
}

/** A one bit, zeros up to a whole block, and the length in bits. */
function pad(bytes: Uint8Array): DataView {
  const blocks = Math.ceil((bytes.length + 9) / (WORDS * 4));
  const padded = new Uint8Array(blocks * WORDS * 4);
  padded.set(bytes);
  padded[bytes.length] = 0x80;
  const view = new DataView(padded.buffer);
  view.setBigUint64(padded.length - 8, BigInt(bytes.length) * 8n);
  return view;
}

/** One block into the state; `words` holds the block in front, and has room for what is made of it. */
function mix(state: Uint32Array, words: Uint32Array): void {
  const word = (at: number): number => words[at] ?? 0;
  for (let at = WORDS; at < ROUNDS; at++) {
    const early = word(at - 15);
    const late = word(at - 2);
    const one = turned(early, 7) ^ turned(early, 18) ^ (early >>> 3);
    const two = turned(late, 17) ^ turned(late, 19) ^ (late >>> 10);
    words[at] = word(at - 16) + one + word(at - 7) + two;
  }
  let [a = 0, b = 0, c = 0, d = 0, e = 0, f = 0, g = 0, h = 0] = state;
  for (let round = 0; round < ROUNDS; round++) {
    const choice = (e & f) ^ (~e & g);
    const ofE = turned(e, 6) ^ turned(e, 11) ^ turned(e, 25);
    const first = h + ofE + choice + (KEYS[round] ?? 0) + word(round);
    const majority = (a & b) ^ (a & c) ^ (b & c);
    const second = (turned(a, 2) ^ turned(a, 13) ^ turned(a, 22)) + majority;
    [h, g, f, e, d, c, b, a] = [g, f, e, (d + first) | 0, c, b, a, (first + second) | 0];
  }
  for (const [at, value] of [a, b, c, d, e, f, g, h].entries())
    state[at] = (state[at] ?? 0) + value;
}

const turned = (word: number, by: number): number => (word >>> by) | (word << (32 - by));

function fraction(root: number): number {
  return Math.floor((root % 1) * 2 ** 32);
}

function firstPrimes(count: number): number[] {
  const primes: number[] = [];
  for (let one = 2; primes.length < count; one++)
    if (primes.every((prime) => one % prime !== 0)) primes.push(one);
  return primes;
}
