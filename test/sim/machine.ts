/**
 * The machine on which the broker runs, as broker/src/server/broker.ts has it, without sockets: its processes,
 * one after the other, its disk, its wall clock, and somebody who starts it again.
 */

import { EscrowError } from "@escrowmq/protocol";
import type { Engine } from "../../broker/src/core/engine.ts";
import type { Policy } from "../../broker/src/core/policy.ts";
import { type Broker, startBroker } from "../../broker/src/server/broker.ts";
import type { CheckEndpointClient } from "../../broker/src/server/check-endpoint.ts";
import type { Log } from "../../broker/src/server/log.ts";
import { type ResolvedOptions, resolveOptions } from "../../broker/src/server/options.ts";
import type { Session, Socket } from "../../broker/src/server/session.ts";
import type { Surroundings } from "../../broker/src/server/surroundings.ts";
import { MemoryStore } from "../../broker/src/store/memory-store.ts";
import type { BlockStore } from "../../broker/src/store/store.ts";
import { FaultyDisk } from "./faulty-disk.ts";
import { Process } from "./process.ts";
import type { Random } from "./random.ts";
import { sameStates } from "./same-states.ts";
import type { Time } from "./time.ts";
import { Violation } from "./violation.ts";
import type { Witness } from "./witness.ts";

export interface MachineOptions {
  readonly time: Time;
  readonly random: Random;
  readonly witness: Witness;
  readonly policy: Policy;
  readonly newEngine: (policy: Policy) => Engine;
  /** Planted bugs of the store. */
  readonly openStore: (disk: FaultyDisk["disk"]) => Promise<BlockStore>;
  /** What the endpoints are asked. */
  readonly ask: CheckEndpointClient["ask"];
}

export const openStore = (disk: FaultyDisk["disk"]): Promise<BlockStore> => MemoryStore.open(disk);

const HOUR = 3_600_000;

export class Machine {
  readonly disk: FaultyDisk;
  readonly #options: MachineOptions;
  readonly #brokerOptions: ResolvedOptions;
  #process: Process;
  #broker: Broker | null = null;
  /** What the wall clock is off by. */
  #skewMs = 0;
  #starts = 0;
  /** Starts that were refused, because of what the disk showed. */
  refusals = 0;
  failStops = 0;

  constructor(options: MachineOptions) {
    const { random, time, policy } = options;
    this.#options = options;
    this.#process = new Process(time, random, time.nowMs);
    this.#process.kill();
    this.disk = new FaultyDisk(random, () => this.#process);
    this.#brokerOptions = resolveOptions({
      port: null,
      policy,
      checkpointEveryBytes: random.pick([2_000, 20_000, 100_000]),
      copyForwardAfterMs: random.pick([0, 5_000]),
    });
  }

  /** It takes connections. */
  get isServing(): boolean {
    return this.#broker !== null;
  }

  get process(): Process {
    return this.#process;
  }

  /** Null: there is nobody to connect to. */
  accept(socket: Socket): Session | null {
    return this.#broker?.accept(socket) ?? null;
  }

  start(): void {
    const { time, random } = this.#options;
    if (this.#process.isAlive) return;
    const process = new Process(time, random, time.nowMs + this.#skewMs);
    this.#process = process;
    const start = ++this.#starts;
    const isMine = (): boolean => start === this.#starts && process.isAlive;
    time.touch();
    startBroker(this.#brokerOptions, this.#surroundings(process)).then(
      (broker) => {
        if (!isMine()) return;
        this.#broker = broker;
        void broker.failed.then(() => {
          if (isMine()) this.#exit();
        });
      },
      (error: unknown) => {
        if (!isMine()) return;
        this.#refused(error);
        this.#exit();
      },
    );
  }

  /** The power goes, or the process is killed: to the store it is the same. */
  crash(): void {
    if (!this.#process.isAlive) return;
    const { witness } = this.#options;
    this.#process.kill();
    const wasServing = this.#broker !== null;
    this.#broker = null;
    const fate = this.disk.crash();
    if (wasServing && fate !== "torn" && witness.isAtRest) this.#demandSameAsReplay();
    witness.crashed();
  }

  freeze(ms: number): void {
    this.#process.stop(ms);
  }

  /** The wall clock jumps. The broker reads it when it starts, and never again. */
  jump(): void {
    this.#skewMs += this.#options.random.between(-2 * HOUR, 2 * HOUR);
  }

  /** Ends as on SIGTERM, with everything said that was taken. */
  async close(): Promise<void> {
    this.#options.time.touch();
    await this.#broker?.close();
    this.#broker = null;
    this.#process.kill();
  }

  /** It ended by itself; somebody will start it again, having looked at the disk. */
  #exit(): void {
    const { time, random } = this.#options;
    this.crash();
    time.after(random.between(100, 20_000), () => {
      this.disk.mend();
      this.start();
    });
  }

  /** I6, I7: a start is refused for damage, and for nothing else. */
  #refused(error: unknown): void {
    const { time } = this.#options;
    this.refusals++;
    if (!(error instanceof EscrowError)) return time.fail(error);
    const { isDamaged, hasFailed } = this.disk;
    const isRight = error.code === "STORE_CORRUPT" ? isDamaged : hasFailed;
    if (!isRight)
      time.fail(new Violation("I7", `a start is refused: ${error.code} ${error.message}`));
  }

  #surroundings(process: Process): Surroundings {
    const { witness, newEngine, openStore, ask, random } = this.#options;
    const { disk } = this.disk;
    return {
      clock: process,
      log: this.#log(),
      openStore: () => openStore(disk),
      newEngine: (policy) => witness.watched(newEngine(policy)),
      endpoints: { parseUrl: (url) => url, ask, close: () => undefined },
      newSecret: () => random.next().toString(16).padEnd(64, "0"),
    };
  }

  /** I5: the broker complains of what the disk did, and of nothing else. */
  #log(): Log {
    const quiet = (): void => undefined;
    const error = (fields: { readonly err?: unknown }, text: string): void => {
      if (text.startsWith("stopped answering")) this.failStops++;
      if (this.disk.hasFailed && fields.err instanceof EscrowError) return;
      this.#options.time.fail(fields.err ?? new Violation("I5", text));
    };
    return { debug: quiet, info: quiet, warn: quiet, error } as unknown as Log;
  }

  /** P8: what a replay of the log gives is what the live engine had. */
  #demandSameAsReplay(): void {
    const { witness, newEngine, policy } = this.#options;
    const replayed = newEngine(policy);
    for (const block of witness.durable) replayed.replay(block);
    sameStates(witness.parts(), [...replayed.save()], this.#process.nowMs());
  }
}
