/** A thread that tells its parent that the next operation is due. It only wakes: the parent has the plan. */
import { parentPort, workerData } from "node:worker_threads";

const { gapMs } = workerData;
const nothing = new Int32Array(new SharedArrayBuffer(4));
const startMs = performance.now();

for (let tick = 1; ; tick++) {
  const waitMs = startMs + tick * gapMs - performance.now();
  if (waitMs > 0) Atomics.wait(nothing, 0, 0, waitMs);
  parentPort.postMessage(null);
}
