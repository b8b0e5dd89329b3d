/**
 * Acknowledges everything for its groups, and says when as many as were sent have come: once after the
 * warm-up, and once when all is over and the system has taken every ack.
 */
import { stampOf } from "../body.mjs";
import { nowMs } from "../clock.mjs";
import { Histogram } from "../histogram.mjs";
import { adapter, cpuMs, fault, listen, task, tell } from "./parent.mjs";

const NOTHING = { count: Number.POSITIVE_INFINITY, reached: () => undefined };

let consumers = [];
let latency = new Histogram();
let handled = 0;
let redelivered = 0;
let cpuBeforeMs = 0;
let goal = NOTHING;

function onMessage(body, isRedelivered) {
  const stampMs = stampOf(body);
  if (stampMs > 0) latency.record(nowMs() - stampMs);
  if (isRedelivered) redelivered++;
  handled++;
  look();
}

function look() {
  if (handled < goal.count) return;
  const { reached } = goal;
  goal = NOTHING;
  reached();
}

async function settle() {
  try {
    await Promise.all(consumers.map((consumer) => consumer.settle()));
    const report = { handled, redelivered, latency: latency.plain, endedAtMs: nowMs() };
    tell("done", { ...report, cpuMs: cpuMs() - cpuBeforeMs });
  } catch (error) {
    fault(error);
  }
}

listen({
  start() {
    cpuBeforeMs = cpuMs();
    for (const consumer of consumers) consumer.start(onMessage, fault);
  },
  /** The warm-up is over when `count` have come: from then on it counts. */
  warmed({ count }) {
    goal = {
      count,
      reached() {
        latency = new Histogram();
        cpuBeforeMs = cpuMs();
        tell("warmed");
      },
    };
    look();
  },
  finish({ count }) {
    goal = { count, reached: settle };
    look();
  },
  progress() {
    tell("progress", { handled });
  },
  stop: () => Promise.all(consumers.map((consumer) => consumer.close())),
});

try {
  const { openConsumer } = await adapter();
  consumers = await Promise.all(task.groups.map((group) => openConsumer(task, group)));
  tell("ready");
} catch (error) {
  fault(error);
}
