/**
 * What a broker needs of the machine that it runs on. Everything that is not a function of what it was told
 * comes in here: time, turns of the event loop, the disk, chance, HTTP, the log. With others than these
 * whole lives of a broker run from a seed (test/sim).
 */
import { randomBytes } from "node:crypto";
import { Engine } from "../core/engine.ts";
import type { HashKey } from "../core/id-hash.ts";
import type { Policy } from "../core/policy.ts";
import { openLevelStore } from "../store/level-store.ts";
import type { BlockStore } from "../store/store.ts";
import { type CheckEndpointClient, createCheckEndpointClient } from "./check-endpoint.ts";
import { type Clock, systemClock } from "./clock.ts";
import { createLog, type Log } from "./log.ts";
import type { ResolvedOptions } from "./options.ts";

export interface Surroundings {
  readonly clock: Clock;
  readonly log: Log;
  /** At the start, and after each failure of the store. */
  readonly openStore: () => Promise<BlockStore>;
  /** A new one, to be recovered. */
  readonly newEngine: (policy: Policy) => Engine;
  readonly endpoints: CheckEndpointClient;
  /** A signing key (hex) for an endpoint. */
  readonly newSecret: () => string;
}

export function surroundingsOf(options: ResolvedOptions): Surroundings {
  const clock = options.clock ?? systemClock();
  const log = createLog(options.logLevel);
  return {
    clock,
    log,
    openStore: options.openStore ?? (() => levelStore(options, log)),
    newEngine: (policy) => new Engine(policy, newHashKey()),
    endpoints: createCheckEndpointClient({
      allowedRanges: [...options.endpointRanges],
      nowMs: () => clock.nowMs(),
      wallMs: () => clock.wallMs(),
      randomNonce: () => randomBytes(16).toString("hex"),
      log,
    }),
    newSecret: () => randomBytes(32).toString("hex"),
  };
}

function levelStore(options: ResolvedOptions, log: Log): Promise<BlockStore> {
  const { dataDir, acceptLoss, segmentBytesMax } = options;
  return openLevelStore(dataDir, {
    acceptLoss,
    onWarning: (text) => log.warn({ text }, "the store found something odd"),
    ...(segmentBytesMax === undefined ? {} : { segmentBytesMax }),
  });
}

/** Drawn at each start and told nobody: clients choose ids, and must not choose where they collide. */
function newHashKey(): HashKey {
  const bytes = randomBytes(8);
  return [bytes.readUInt32LE(0), bytes.readUInt32LE(4)];
}
