/**
 * One measurement: one scenario on one system that is up already.
 *
 * Invariants
 * - M1 The warm-up is a run of its own that ends when everything was consumed: the measured run starts
 *   from an empty, warm system, and everything that it sends is waited for.
 * - M2 The rate counts what went the whole way of the scenario: sent, and where there are consumers
 *   handled by all of them and acknowledged, over the time until the last of it.
 */
import { nowMs } from "./clock.mjs";
import { merged } from "./histogram.mjs";
import { machineCpuMs } from "./machine.mjs";
import { Process } from "./process.mjs";
import { deliveriesPerOperation, groupsOf } from "./scenarios.mjs";

const CONSUMER_PROCESSES_MAX = 4;
/** Time for the word to reach all producers, so that they begin together. */
const LEAD_MS = 100;
/** A slow system may be far behind when the producers stop. */
const CATCH_UP_WITHIN_MS = 180_000;

/**
 * `place` is what all processes are told: adapter, variant, addresses, scenario. `usage()` tells what the
 * servers have used so far; `execArgvOf(role)` are flags for Node.
 */
export async function measure({ place, usage, seconds, warmUpSeconds, execArgvOf }) {
  const crew = new Crew(place, execArgvOf);
  try {
    const measured = place.scenario.backlogBytes === null ? measureLoad : measureBacklog;
    return await measured(crew, { usage, seconds, warmUpSeconds });
  } finally {
    await crew.stop();
  }
}

async function measureLoad(crew, { usage, seconds, warmUpSeconds }) {
  await crew.hire();
  crew.startConsuming();
  const warm = await crew.produce({ seconds: warmUpSeconds });
  // M1
  await crew.warmed(operationsOf(warm));
  const before = await used(crew, usage);
  const produced = await crew.produce({ seconds });
  const consumed = await crew.finish(operationsOf(warm) + operationsOf(produced));
  const after = await used(crew, usage);
  return figures(crew.scenario, { produced, consumed, before, after });
}

async function measureBacklog(crew, { usage }) {
  const { scenario } = crew;
  await crew.hireProducers();
  const operationsMax = Math.ceil(scenario.backlogBytes / scenario.bytes);
  const produced = await crew.produce({ seconds: 600, operationsMax });
  await crew.hireConsumers();
  const before = await used(crew, usage);
  const startMs = nowMs();
  crew.startConsuming();
  const consumed = await crew.finish(operationsOf(produced));
  const after = await used(crew, usage);
  // What the producers did is not part of it.
  const idle = produced.map((report) => ({ ...report, startMs, cpuMs: 0 }));
  return figures(scenario, { produced: idle, consumed, before, after });
}

/** The processes of one measurement. */
class Crew {
  #place;
  #execArgvOf;
  #producers = [];
  #consumers = [];
  #relay = null;

  constructor(place, execArgvOf) {
    this.#place = place;
    this.#execArgvOf = execArgvOf;
  }

  get scenario() {
    return this.#place.scenario;
  }

  async hire() {
    await this.hireConsumers();
    await this.hireProducers();
  }

  async hireProducers() {
    const { producers } = this.scenario;
    if (this.#place.hasRelay) this.#relay = this.#fork("relay");
    this.#producers = Array.from({ length: producers }, () => this.#fork("producer"));
    const crew = this.#relay === null ? this.#producers : [this.#relay, ...this.#producers];
    await Promise.all(crew.map((member) => member.answer("ready")));
  }

  async hireConsumers() {
    this.#consumers = dealt(groupsOf(this.scenario), CONSUMER_PROCESSES_MAX).map((groups) => ({
      groups: groups.length,
      process: this.#fork("consumer", { groups }),
    }));
    await this.#ofConsumers(({ process }) => process.answer("ready"));
  }

  startConsuming() {
    for (const { process } of this.#consumers) process.tell("start");
  }

  /** One run of the load; resolves with the producers' reports. */
  async produce({ seconds, operationsMax }) {
    const startMs = nowMs() + LEAD_MS;
    const untilMs = startMs + seconds * 1000;
    const patienceMs = seconds * 1000 + CATCH_UP_WITHIN_MS;
    const reports = this.#producers.map((producer) => {
      const done = producer.answer("done", patienceMs);
      producer.tell("run", { startMs, untilMs, operationsMax });
      return done;
    });
    return (await Promise.all(reports)).map((report) => ({ ...report, startMs }));
  }

  warmed(operations) {
    return this.#goal("warmed", "warmed", operations);
  }

  finish(operations) {
    return this.#goal("finish", "done", operations);
  }

  async relayCpuMs() {
    return this.#relay === null ? 0 : (await this.#relay.ask("usage")).cpuMs;
  }

  async stop() {
    const others = this.#relay === null ? [] : [this.#relay];
    const consumers = this.#consumers.map(({ process }) => process);
    await Promise.all([...this.#producers, ...consumers, ...others].map((each) => each.stop()));
  }

  #goal(kind, answer, operations) {
    const { messages } = this.scenario;
    return this.#ofConsumers(async ({ process, groups }) => {
      const count = operations * messages * groups;
      const answered = process.answer(answer, CATCH_UP_WITHIN_MS);
      process.tell(kind, { count });
      try {
        return await answered;
      } catch (error) {
        throw await this.#explained(error, process, count);
      }
    });
  }

  async #explained(error, process, count) {
    try {
      const { handled } = await process.ask("progress");
      return new Error(`${error.message}; ${handled} of ${count} messages were handled`);
    } catch {
      // The process is gone, and `error` says why.
      return error;
    }
  }

  #ofConsumers(work) {
    return Promise.all(this.#consumers.map(work));
  }

  #fork(file, more = {}) {
    return new Process(file, { ...this.#place, ...more }, this.#execArgvOf(file));
  }
}

/** `items` in at most `hands` lists of nearly the same length. */
function dealt(items, hands) {
  const lists = Array.from({ length: Math.min(hands, items.length) }, () => []);
  items.forEach((item, at) => {
    lists[at % lists.length].push(item);
  });
  return lists;
}

const operationsOf = (reports) => sum(reports.map(({ operations }) => operations));

async function used(crew, usage) {
  const servers = await usage();
  return { ...servers, relayCpuMs: await crew.relayCpuMs(), machineCpuMs: machineCpuMs() };
}

function figures(scenario, { produced, consumed, before, after }) {
  const operations = operationsOf(produced);
  if (operations === 0) throw new Error(`no operation succeeded: ${failuresText(produced)}`);
  const startMs = Math.min(...produced.map((report) => report.startMs));
  const enders = consumed.length === 0 ? produced : consumed;
  // M2
  const seconds = (Math.max(...enders.map(({ endedAtMs }) => endedAtMs)) - startMs) / 1000;
  const cpuMs = {
    server: after.cpuMs - before.cpuMs,
    producers: sum(produced.map((report) => report.cpuMs)),
    consumers: sum(consumed.map((report) => report.cpuMs)),
    relay: after.relayCpuMs - before.relayCpuMs,
  };
  return {
    rate: (operations * rateFactor(scenario)) / seconds,
    startMs,
    endMs: startMs + seconds * 1000,
    seconds,
    operations,
    acknowledged: merged(produced.map(({ latency }) => latency)).summary,
    handled: merged(consumed.map(({ latency }) => latency)).summary,
    lateness: merged(produced.map(({ lateness }) => lateness)).summary,
    failures: addedUp(produced.map(({ failures }) => failures)),
    redelivered: sum(consumed.map(({ redelivered }) => redelivered)),
    cpuMicrosecondsPerOperation: mapped(cpuMs, (ms) => (ms * 1000) / operations),
    otherCores:
      (after.machineCpuMs - before.machineCpuMs - sum(Object.values(cpuMs))) / (seconds * 1000),
    serverRssMb: after.rssBytes / 1e6,
    ...blockFigures({ before, after, seconds, messages: operations * scenario.messages }),
  };
}

/** A fan-out's figure is deliveries; everything else counts operations. */
const rateFactor = (scenario) =>
  scenario.unit === "deliveries/s" ? deliveriesPerOperation(scenario) : 1;

function blockFigures({ before, after, seconds, messages }) {
  if (after.blocks === undefined) return {};
  const blocks = after.blocks - before.blocks;
  const diskSeconds = after.diskSeconds - before.diskSeconds;
  return {
    messagesPerBlock: messages / blocks,
    blockMs: (diskSeconds / blocks) * 1000,
    diskShare: diskSeconds / seconds,
  };
}

function addedUp(failures) {
  const total = {};
  for (const one of failures)
    for (const [code, count] of Object.entries(one)) total[code] = (total[code] ?? 0) + count;
  return total;
}

const failuresText = (produced) =>
  JSON.stringify(addedUp(produced.map(({ failures }) => failures)));

const mapped = (object, change) =>
  Object.fromEntries(Object.entries(object).map(([key, value]) => [key, change(value)]));

const sum = (numbers) => numbers.reduce((total, number) => total + number, 0);
