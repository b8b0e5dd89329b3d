/**
 * A broker as others ask for it: from options to one that serves. Most of a start is the loading of modules, and
 * LevelDB opens a store on another thread, so the two go side by side.
 */
import type { Broker } from "./broker.ts";
import { type BrokerOptions, resolveOptions } from "./options.ts";
import { surroundingsOf } from "./surroundings.ts";

/** Opens the data directory, recovers, and serves. Rejects with STORE_LOCKED, STORE_VERSION, STORE_CORRUPT, … */
export async function createBroker(options: BrokerOptions = {}): Promise<Broker> {
  const resolved = resolveOptions(options);
  const surroundings = surroundingsOf(resolved);
  const opening = surroundings.openStore();
  // Here, and not above: what only a broker that serves needs is loaded while the store is being opened.
  const [{ startBroker }] = await Promise.all([import("./broker.ts"), opening]);
  return startBroker(resolved, surroundings, opening);
}
