/**
 * The two kinds of load: closed loop (so many operations under way, the next begins when one ends) and
 * open loop (an operation is due every so often, whether the last has ended or not).
 *
 * Invariant L1: in the open loop latency counts from the moment at which an operation was due. A system
 * that stalls makes the load late, and the wait counts (no coordinated omission).
 */
import { Worker } from "node:worker_threads";
import { nowMs, paused } from "./clock.mjs";

/** After a refusal; without it a full broker would be asked in a tight loop. */
const PAUSE_AFTER_FAILURE_MS = 10;

/**
 * One lane for each operation that may be under way; `operate(connection, stampMs)` does one. Nothing
 * begins after `untilMs`; resolves when the last operation has ended.
 */
export async function closedLoop({ lanes, operate, tally, untilMs, operationsMax = Infinity }) {
  let begun = 0;
  async function lane(connection) {
    while (nowMs() < untilMs && begun < operationsMax) {
      begun++;
      const startMs = nowMs();
      try {
        await operate(connection, tally.wantsStamp() ? startMs : 0);
        tally.ended(startMs);
      } catch (error) {
        tally.failed(error);
        await paused(PAUSE_AFTER_FAILURE_MS);
      }
    }
  }
  await Promise.all(lanes.map(lane));
}

export async function openLoop({ lanes, operate, tally, startMs, untilMs, ratePerSecond }) {
  const gapMs = 1000 / ratePerSecond;
  const running = new Set();
  let dueMs = startMs;
  let turn = 0;
  async function once(intendedMs) {
    tally.late(nowMs() - intendedMs);
    try {
      await operate(lanes[turn++ % lanes.length], intendedMs);
      tally.ended(intendedMs);
    } catch (error) {
      tally.failed(error);
    }
  }
  function sendDue() {
    const now = nowMs();
    for (; dueMs <= now && dueMs < untilMs; dueMs += gapMs) {
      // L1
      const operation = once(dueMs).finally(() => running.delete(operation));
      running.add(operation);
    }
  }
  await paced(gapMs, sendDue, () => dueMs >= untilMs);
  await Promise.all(running);
}

/**
 * Calls `work` about every `gapMs` until `isOver`. Node's timers are a millisecond coarse, which would
 * count as latency; a thread that sleeps on a futex is exact to some tens of microseconds.
 */
async function paced(gapMs, work, isOver) {
  const thread = new Worker(new URL("pacer.mjs", import.meta.url), {
    workerData: { gapMs },
    execArgv: [],
  });
  await new Promise((resolve, reject) => {
    thread.on("error", reject);
    thread.on("message", () => {
      work();
      if (isOver()) resolve();
    });
  });
  await thread.terminate();
}
