/** Bytes that went wrong at random, the same for the same seed. */

/** Numbers below `max`, the same for the same seed (mulberry32). */
export function seeded(seed: number): (max: number) => number {
  let state = seed;
  return (max) => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) % max;
  };
}

/** Bytes that are changed in some places, and sometimes cut off. */
export function mutated(data: Uint8Array, random: (max: number) => number): Uint8Array {
  const mutant = Uint8Array.from(data);
  for (let changes = random(5); changes >= 0; changes--)
    mutant[random(mutant.length)] = random(256);
  return random(6) === 0 ? mutant.subarray(0, random(mutant.length)) : mutant;
}
