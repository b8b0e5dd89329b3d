/** Ids of 128 random bits, as 32 hex digits: nobody can guess one, and no two clients ever make the same. */
const ID_BYTES = 16;
/** Randomness is drawn for this many ids at once, because each draw is a call into the platform. */
const IDS_DRAWN = 256;

const HEX = Array.from({ length: 256 }, (_, byte) => byte.toString(16).padStart(2, "0"));

/** Makes a function that gives a new id at each call. */
export function idSource(fillRandom: (bytes: Uint8Array) => void): () => string {
  const pool = new Uint8Array(ID_BYTES * IDS_DRAWN);
  let at = pool.length;
  return () => {
    if (at === pool.length) {
      fillRandom(pool);
      at = 0;
    }
    let id = "";
    for (const end = at + ID_BYTES; at < end; at++) id += HEX[pool[at] ?? 0];
    return id;
  };
}
