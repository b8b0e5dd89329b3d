/**
 * Runs scenarios on systems, again and again, and gathers what came out.
 *
 * Invariants
 * - U1 Runs are interleaved: each run goes through the ceilings and all systems before the next begins,
 *   so that a noisy minute of the machine hits everybody.
 * - U2 A system that cannot run is skipped by name and with the reason; a measurement that fails is a
 *   row that says so. Neither ends the suite.
 * - U3 Only what is being measured is up; everything else has been stopped.
 */
import { mkdirSync, rmSync } from "node:fs";
import { join } from "node:path";
import { CEILINGS } from "./ceilings.mjs";
import { syncMs } from "./machine.mjs";
import { measure } from "./measure.mjs";
import { lookFor, startPeer } from "./peers.mjs";
import { profileFlags, profileText } from "./profile.mjs";
import { spread } from "./statistics.mjs";
import { SYSTEMS } from "./systems.mjs";

export class Suite {
  #options;
  #folder;
  #scenarios;
  #say;
  #profiles = [];
  #cells = new Map();
  #ceilings = new Map();
  #skipped = new Map();

  /** `say(text)` tells a person how far it is. */
  constructor({ options, folder, scenarios, say }) {
    this.#options = options;
    this.#folder = folder;
    this.#scenarios = scenarios;
    this.#say = say;
  }

  async run() {
    const systems = await this.#present();
    await this.#dropImpossible();
    for (let run = 1; run <= this.#options.runs; run++) {
      // U1
      if (this.#options.ceilings) await this.#measureCeilings(run);
      for (const system of systems) await this.#measureSystem(system, run);
    }
    return {
      ceilings: [...this.#ceilings.values()].map(summed),
      cells: [...this.#cells.values()].map(summed),
      skipped: [...this.#skipped].map(([name, reason]) => ({ name, reason })),
      profiles: this.#profiles,
    };
  }

  /** The systems that can run, with adapter and versions. U2 */
  async #present() {
    const present = [];
    for (const system of SYSTEMS) {
      if (!this.#isWanted(system)) continue;
      const { reason, ...found } = await this.#look(system);
      if (reason === undefined) present.push({ ...system, ...found });
      else this.#skip(system.name, reason);
    }
    return present;
  }

  #isWanted({ name }) {
    const { systems, peers } = this.#options;
    const isAsked = systems.length === 0 ? peers || name === "escrowmq" : systems.includes(name);
    return isAsked && this.#scenarios.some((scenario) => isFor(scenario, name));
  }

  async #look({ adapter, servers }) {
    const found = servers.map(lookFor);
    const missing = found.find(({ reason }) => reason !== undefined);
    if (missing !== undefined) return missing;
    try {
      const loaded = await import(`./adapters/${adapter}.mjs`);
      return { loaded, version: found.map(({ version }) => version).join(", ") };
    } catch (error) {
      return { reason: clientMissing(error) };
    }
  }

  /** Scenarios that need a server or client of their own which is not here. U2 */
  async #dropImpossible() {
    for (const scenario of this.#scenarios) {
      const reason = await missingFor(scenario);
      if (reason !== undefined) this.#skip(scenario.name, reason);
    }
    this.#scenarios = this.#scenarios.filter(({ name }) => !this.#skipped.has(name));
  }

  #skip(name, reason) {
    if (this.#skipped.has(name)) return;
    this.#skipped.set(name, reason);
    this.#say(`skipped: ${name}: ${reason}`);
  }

  async #measureCeilings(run) {
    const sizes = new Set(this.#scenarios.map(({ bytes }) => bytes));
    for (const bytes of sizes)
      for (const ceiling of CEILINGS) {
        const sync = syncMs(this.#folder);
        const rate = await ceiling.measure({
          folder: this.#folder,
          bytes,
          inFlight: this.#options.inFlight,
          seconds: this.#options.seconds / 2,
        });
        const { name, title } = ceiling;
        this.#note(
          this.#ceilings,
          `${name} ${bytes}`,
          { name, title, bytes },
          { rate, syncMs: sync },
        );
        this.#say(`run ${run}: ${title}, ${bytes} B: ${Math.round(rate)} messages/s`);
      }
  }

  async #measureSystem(system, run) {
    const scenarios = this.#scenarios.filter((scenario) => isFor(scenario, system.name));
    if (scenarios.length === 0) return;
    const shared = new Servers(this.#folder);
    try {
      for (const scenario of scenarios) {
        const base = describe(system, scenario);
        const sync = syncMs(this.#folder);
        const figures = { ...(await this.#attempt(system, scenario, shared)), syncMs: sync };
        this.#note(this.#cells, `${scenario.name} ${system.name}`, base, figures);
        this.#say(`run ${run}: ${scenario.name}, ${system.name}: ${outcome(figures, scenario)}`);
      }
    } finally {
      await shared.stop();
    }
  }

  /** Figures, or `{ error }`. U2 */
  async #attempt(system, scenario, shared) {
    const own = new Servers(this.#folder);
    try {
      return await this.#measureOne(system, scenario, shared, own);
    } catch (error) {
      // A half-measured server may be in any state: the next scenario gets a new one.
      await shared.stop();
      return { error: error.message };
    } finally {
      await own.stop();
    }
  }

  async #measureOne(system, scenario, shared, own) {
    const { loaded, adapter, variant, servers } = system;
    for (const name of servers) await shared.start(name);
    for (const name of needs(scenario)) if (!shared.has(name)) await own.start(name);
    const profiles = join(this.#folder, "profiles", scenario.name);
    const execArgvOf = this.#options.profile ? (role) => profileFlags(profiles, role) : () => [];
    if (loaded.startServer !== undefined)
      await own.add(system.name, () =>
        loaded.startServer({
          folder: this.#folder,
          scenario,
          execArgvOf,
          store: this.#options.store,
        }),
      );
    const addresses = { ...shared.addresses, ...own.addresses };
    const hasRelay = loaded.openRelay !== undefined;
    const place = { adapter, variant, addresses, scenario, hasRelay };
    await loaded.setUp?.(place);
    const { seconds, warmUpSeconds } = this.#options;
    const usage = async () => added(await shared.usage(), await own.usage());
    const figures = await measure({ place, usage, seconds, warmUpSeconds, execArgvOf });
    await loaded.tearDown?.(place);
    await own.stop();
    if (this.#options.profile) this.#profiles.push(profileText(profiles, scenario, figures));
    return figures;
  }

  #note(table, key, base, figures) {
    const entry = table.get(key) ?? { ...base, runs: [] };
    entry.runs.push(figures);
    table.set(key, entry);
  }
}

/** Servers that are up, by name. */
class Servers {
  #folder;
  #up = new Map();

  constructor(folder) {
    this.#folder = folder;
  }

  has(name) {
    return this.#up.has(name);
  }

  async start(name) {
    if (!this.has(name)) await this.add(name, () => startPeer(name, this.#folder));
  }

  async add(name, start) {
    this.#up.set(name, await start());
  }

  get addresses() {
    return Object.fromEntries([...this.#up].map(([name, { address }]) => [name, address]));
  }

  async usage() {
    const all = await Promise.all([...this.#up.values()].map((server) => server.usage()));
    return all.reduce(added, { cpuMs: 0, rssBytes: 0 });
  }

  async stop() {
    const servers = [...this.#up.values()];
    this.#up.clear();
    for (const server of servers) await server.stop();
  }
}

const added = (one, other) => ({
  ...one,
  ...other,
  cpuMs: one.cpuMs + other.cpuMs,
  rssBytes: one.rssBytes + other.rssBytes,
});

const isFor = ({ systems }, name) => systems === "all" || systems.includes(name);

/** Servers that the scenario itself needs, whatever the system. */
const needs = ({ operation }) => (operation === "transact-postgres" ? ["postgresql"] : []);

function describe(system, scenario) {
  const { name, title, durability, version } = system;
  return { scenario, system: { name, title, durability, version } };
}

async function missingFor(scenario) {
  const missing = needs(scenario)
    .map(lookFor)
    .find(({ reason }) => reason !== undefined);
  if (missing !== undefined) return missing.reason;
  if (needs(scenario).length === 0) return undefined;
  try {
    await import("./local-database.mjs");
    return undefined;
  } catch (error) {
    return clientMissing(error);
  }
}

const clientMissing = (error) =>
  error.code === "ERR_MODULE_NOT_FOUND"
    ? `its client is not installed (npm ci --prefix bench): ${error.message.split(" imported")[0]}`
    : error.message;

function outcome({ error, rate }, { unit }) {
  return error === undefined ? `${Math.round(rate)} ${unit}` : `failed: ${error.split("\n")[0]}`;
}

function summed(entry) {
  return { ...entry, rate: spread(entry.runs.map(({ rate }) => rate)) };
}

/** A folder for all data of one bench, gone at the end. */
export function scratch(parent, name) {
  const folder = join(parent, `${name}-${process.pid}`);
  mkdirSync(folder, { mode: 0o755, recursive: true });
  return { folder, remove: () => rmSync(folder, { recursive: true, force: true }) };
}
