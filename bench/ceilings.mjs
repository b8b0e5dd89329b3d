/** The limits that every figure is a share of: what is below the broker and what is around it, alone. */
import { levelRate } from "./ceilings/level.mjs";
import { wireRate } from "./ceilings/wire.mjs";

/** `measure({ folder, bytes, inFlight, seconds })` resolves with messages a second. */
export const CEILINGS = [
  { name: "level", title: "LevelDB alone: synced blocks of 100 KiB", measure: levelRate },
  {
    name: "wire",
    title: "ws + msgpackr alone: batches of 64 KiB there, ids back",
    measure: (limits) => wireRate({ ...limits, isEchoing: false }),
  },
  {
    name: "wire-echo",
    title: "ws + msgpackr alone: batches of 64 KiB there and back",
    measure: (limits) => wireRate({ ...limits, isEchoing: true }),
  },
];

/** Which wire ceiling is a scenario's: bodies come back only where somebody consumes. */
export const wireCeilingOf = ({ groups }) => (groups === 0 ? "wire" : "wire-echo");
