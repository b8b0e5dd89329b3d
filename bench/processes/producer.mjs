/** Makes the load of one producer process, run by run, and tells what came of each. */
import { Bodies } from "../body.mjs";
import { nowMs, reached } from "../clock.mjs";
import { closedLoop, openLoop } from "../load.mjs";
import { topicsOf } from "../scenarios.mjs";
import { Tally } from "../tally.mjs";
import { adapter, cpuMs, fault, listen, openAll, task, tell } from "./parent.mjs";

const { scenario } = task;
const bodies = new Bodies(scenario.bytes);
const topics = topicsOf(scenario);
let connections = [];

let turn = 0;
const operate = (connection, stampMs) =>
  connection.operate(topics[turn++ % topics.length], bodies.make(stampMs));

async function load(plan) {
  const { ratePerSecond, inFlight, producers } = scenario;
  if (ratePerSecond !== null)
    return openLoop({ ...plan, lanes: connections, ratePerSecond: ratePerSecond / producers });
  const lanes = Array.from({ length: inFlight }, () => connections).flat();
  return closedLoop({ ...plan, lanes });
}

async function run({ startMs, untilMs, operationsMax }) {
  const tally = new Tally();
  const cpuBeforeMs = cpuMs();
  await reached(startMs);
  await load({ operate, tally, startMs, untilMs, operationsMax });
  tell("done", { ...tally.report, endedAtMs: nowMs(), cpuMs: cpuMs() - cpuBeforeMs });
}

listen({
  run,
  stop: () => Promise.all(connections.map((connection) => connection.close())),
});

try {
  const { openProducer } = await adapter();
  connections = await openAll(scenario.connections, () => openProducer(task));
  tell("ready");
} catch (error) {
  fault(error);
}
