/** How long the fuzz runs are, their seed, and the heap that they measure. */
import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";

export const SEED = Number(process.env.SEED ?? Date.now() % 1_000_000_007);

const asked = process.env.FUZZ_FRAMES;
const frames = Number(asked ?? 300_000);

/** Most of them go to the decoders, which all others have to pass; a socket is a hundred times slower. */
export const FRAMES = {
  isLong: asked !== undefined,
  decoder: asked === undefined ? frames : Math.round(frames * 0.94),
  session: asked === undefined ? 20_000 : Math.round(frames * 0.04),
  socket: asked === undefined ? 6_000 : Math.round(frames * 0.02),
} as const;

setFlagsFromString("--expose-gc");
const collect: unknown = runInNewContext("gc");

/** After a collection. */
export function heapBytes(): number {
  if (typeof collect === "function") collect();
  return process.memoryUsage().heapUsed;
}
