/** Ids of 128 random bits, as 32 hex digits: nobody can guess one, and no two clients ever make the same. */
const ID_BYTES = 16;
/** Randomness is drawn for this many ids at once, because each draw is a call into the platform. */
const IDS_DRAWN = 256;

const HEX_DIGITS = Uint8Array.from("0123456789abcdef", (digit) => digit.charCodeAt(0));

/** Makes a function that gives a new id at each call. */
export function idSource(fillRandom: (bytes: Uint8Array) => void): () => string {
  const pool = new Uint8Array(ID_BYTES * IDS_DRAWN);
  const units = new Array<number>(ID_BYTES * 2).fill(0);
  let at = pool.length;
  return () => {
    if (at === pool.length) {
      fillRandom(pool);
      at = 0;
    }
    for (let place = 0; place < units.length; place += 2) {
      const byte = pool[at++] ?? 0;
      units[place] = HEX_DIGITS[byte >> 4] ?? 0;
      units[place + 1] = HEX_DIGITS[byte & 15] ?? 0;
    }
    // In one go: put together bit by bit, an id would leave a dozen strings behind.
    return String.fromCharCode.apply(null, units);
  };
}
