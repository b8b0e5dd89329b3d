/**
 * A broker's life: open, recover, serve; after a failure of the store stop answering, reopen, verify,
 * serve again (fail-stop); close.
 *
 *   opening --recovered--> serving --store failed--> reopening --recovered--> serving
 *                          serving --close--> closed      reopening --gave up--> failed
 *
 * Invariants
 * - I5 From the first storage error to the end of recovery nothing is answered; memory is thrown away.
 */

import { type DoctorView, EscrowError, type StatsView } from "@escrowmq/protocol";
import type { Engine } from "../core/engine.ts";
import { groupsAboutToLose, heldBytes } from "../core/retention-views.ts";
import type { Admission, ConnectionId, CoreFigures, Input, Inspection } from "../core/types.ts";
import { stats } from "../core/views.ts";
import type { BlockStore } from "../store/store.ts";
import type { CheckEndpointClient } from "./check-endpoint.ts";
import { Checkpointer } from "./checkpointer.ts";
import type { Clock, Timer } from "./clock.ts";
import { CopyForward } from "./copy-forward.ts";
import { Dispatch, sizeOfPlan } from "./dispatch.ts";
import { examine, type Unreadable } from "./doctor.ts";
import { Flow } from "./flow.ts";
import { type Listener, listen } from "./listener.ts";
import type { Log } from "./log.ts";
import { LogReader } from "./log-reader.ts";
import { Looker } from "./looker.ts";
import { Loop } from "./loop.ts";
import { blockBytesMax, openBytesMax } from "./memory-budget.ts";
import { type Figures, Metrics, NO_FIGURES } from "./metrics.ts";
import type { ResolvedOptions } from "./options.ts";
import { recover } from "./recovery.ts";
import { Retirer } from "./retirer.ts";
import { CLOSE_GOING_AWAY, Session, type SessionHost, type Socket } from "./session.ts";
import type { Surroundings } from "./surroundings.ts";
import { timelineSource } from "./timeline-source.ts";
import { VERSION } from "./version.ts";

export interface Broker {
  /** Where clients connect; "" without a socket. */
  readonly url: string;
  readonly storeId: string;
  /** Attaches a connection of any transport; what it returns is to be told what happens on it. */
  accept(socket: Socket): Session;
  /** Takes nothing more, answers what it took, writes a checkpoint, closes the store. */
  close(): Promise<void>;
  /** Resolves when the broker has given up: the store could not be reopened. */
  readonly failed: Promise<Error>;
}

/** What exists only while the broker serves. */
interface Serving {
  readonly kind: "serving";
  readonly engine: Engine;
  readonly store: BlockStore;
  readonly loop: Loop;
  readonly looker: Looker;
  readonly checkpointer: Checkpointer;
  readonly retirer: Retirer;
  readonly copyForward: CopyForward;
}

type Life = Serving | { readonly kind: "reopening" } | { readonly kind: "closed" };

/** Waits before each attempt to reopen; then the broker gives up. */
const REOPEN_DELAYS_MS = [0, 500, 1_000, 2_000, 5_000, 10_000];
const ADMISSION_EVERY_MS = 2_000;
const TRY_AGAIN_LATER = 1013;

/** Recovers and serves; `opening` is the store that it begins with. What `options` name of the surroundings counts no more. */
export async function startBroker(
  options: ResolvedOptions,
  surroundings: Surroundings,
  opening: Promise<BlockStore> = surroundings.openStore(),
): Promise<Broker> {
  const broker = new RunningBroker(options, surroundings);
  await broker.start(opening);
  return broker;
}

class RunningBroker implements Broker, SessionHost {
  readonly broker = `EscrowMQ ${VERSION}`;
  readonly failed: Promise<Error>;
  readonly #options: ResolvedOptions;
  readonly #surroundings: Surroundings;
  readonly #log: Log;
  readonly #clock: Clock;
  readonly #metrics: Metrics;
  readonly #endpoints: CheckEndpointClient;
  readonly #sessions = new Map<ConnectionId, Session>();
  readonly flow: Flow;
  #life: Life = { kind: "reopening" };
  #listener: Listener | null = null;
  #nextConnection = 1;
  #startedAtMs = 0;
  #freeBytes = Number.POSITIVE_INFINITY;
  #storeFailures = 0;
  #unreadable: Unreadable = { reads: 0, last: "" };
  #storeId = "";
  #admissionTimer: Timer | null = null;
  #closing: Promise<void> | null = null;
  #giveUp: (error: Error) => void = () => undefined;

  constructor(options: ResolvedOptions, surroundings: Surroundings) {
    this.#options = options;
    this.#surroundings = surroundings;
    this.#log = surroundings.log;
    this.#clock = surroundings.clock;
    this.#endpoints = surroundings.endpoints;
    this.flow = new Flow(options.memoryBytesMax, this.#clock, {
      openBytes: () =>
        this.#life.kind === "serving" ? this.#life.loop.fullAtBytes : Number.POSITIVE_INFINITY,
      hasRoom: (kind) => this.#life.kind !== "serving" || this.#life.loop.hasRoom(kind),
      working: (bytes) => {
        if (this.#life.kind === "serving") this.#life.loop.hold(bytes);
      },
    });
    this.#metrics = new Metrics(() => this.#figures());
    this.failed = new Promise((resolve) => {
      this.#giveUp = resolve;
    });
  }

  get url(): string {
    return this.#listener?.url ?? "";
  }

  get storeId(): string {
    return this.#storeId;
  }

  async start(opening: Promise<BlockStore>): Promise<void> {
    this.#life = await this.#open(await opening);
    this.#startedAtMs = this.#clock.nowMs();
    await this.#admit();
    this.#admissionTimer = this.#clock.repeat(() => {
      this.#tidy();
      void this.#admit();
    }, ADMISSION_EVERY_MS);
    if (this.#options.port === null) return;
    const { host, port, allowedOrigins, connectionsMax } = this.#options;
    try {
      this.#listener = await listen({
        host,
        port,
        allowedOrigins,
        connectionsMax,
        opened: (socket) => this.accept(socket),
        health: () => ({ isReady: this.#life.kind === "serving", text: this.#life.kind }),
        metrics: async () => ({
          contentType: this.#metrics.contentType,
          text: await this.#metrics.text(),
        }),
      });
    } catch (error) {
      await this.close();
      throw error;
    }
    if (this.#options.isExposed)
      this.#log.warn({ host }, "listening beyond loopback without authentication");
  }

  accept(socket: Socket): Session {
    const session = new Session(this.#nextConnection++, socket, this);
    if (this.#life.kind !== "serving")
      session.refuse("STORE_FAILED", "The broker is not ready.", TRY_AGAIN_LATER);
    else this.#sessions.set(session.id, session);
    return session;
  }

  close(): Promise<void> {
    this.#closing ??= this.#close();
    return this.#closing;
  }

  // What sessions ask of their host.

  get pages(): number {
    return this.#life.kind === "serving" ? this.#life.loop.pages : 0;
  }

  wasTooSlow(): void {
    this.#metrics.tooSlow();
  }

  take(input: Input): void {
    if (this.#life.kind === "serving") this.#life.loop.take(input);
  }

  parseEndpoint(url: string): string {
    return this.#endpoints.parseUrl(url);
  }

  newSecret(): string {
    return this.#surroundings.newSecret();
  }

  closed(session: Session): void {
    this.#sessions.delete(session.id);
  }

  async #close(): Promise<void> {
    const life = this.#life;
    this.#admissionTimer?.cancel();
    if (life.kind === "serving") {
      life.retirer.stop();
      life.copyForward.stop();
      await life.loop.stop();
      life.looker.stop();
    }
    this.#life = { kind: "closed" };
    for (const session of [...this.#sessions.values()])
      session.refuse("SHUTTING_DOWN", "The broker is stopping.", CLOSE_GOING_AWAY);
    await this.#listener?.close();
    this.flow.stop();
    this.#endpoints.close();
    if (life.kind !== "serving") return;
    await life.checkpointer.finish();
    await life.store.close();
  }

  async #open(store: BlockStore): Promise<Serving> {
    const { policy, acceptLoss, checkpointEveryBytes } = this.#options;
    const { newEngine } = this.#surroundings;
    try {
      const recovery = await recover(store, newEngine(policy), this.#log, acceptLoss);
      // Closed meanwhile: a store that nobody would close again must not stay open.
      if (this.#life.kind === "closed") throw new EscrowError("SHUTTING_DOWN");
      this.#storeId = store.storeId;
      this.#clock.startAfter(recovery.engine.core.state.atMs);
      const retirer = new Retirer(recovery.engine, store, this.#clock, this.#log);
      const saved = (): void => retirer.retire();
      const checkpointer = new Checkpointer(
        recovery,
        store,
        checkpointEveryBytes,
        this.#log,
        saved,
      );
      return this.#serve(recovery.engine, store, checkpointer, retirer);
    } catch (error) {
      await store.close();
      throw error;
    }
  }

  #serve(engine: Engine, store: BlockStore, checkpointer: Checkpointer, retirer: Retirer): Serving {
    const { reading, shares } = this.flow;
    const looker = new Looker({
      store,
      reading,
      blockBytesMax: blockBytesMax(shares),
      clock: this.#clock,
      log: this.#log,
      unreadable: (error) => this.#noteUnreadable(error),
      // Of this engine only: the next one numbers its questions anew.
      take: (input) => loop.take(input),
    });
    const reader = new LogReader({
      store,
      reading,
      blockBytesMax: blockBytesMax(shares),
      clock: this.#clock,
    });
    const dispatch = new Dispatch({
      store,
      sessions: this.#sessions,
      reading,
      blockBytesMax: blockBytesMax(shares),
      asking: this.flow.asking,
      endpoints: this.#endpoints,
      timeline: timelineSource(engine, store, reader),
      reader,
      metrics: this.#metrics,
      log: this.#log,
      unreadable: (error) => this.#noteUnreadable(error),
      take: (input) => this.take(input),
      nowMs: () => this.#clock.nowMs(),
      stats: (figures) => this.#stats(figures, store),
      doctor: (inspection) => this.#doctor(inspection, store),
      looker,
    });
    const loop = new Loop({
      engine,
      store,
      clock: this.#clock,
      deliver: (sends) => dispatch.send(sends),
      failed: (cause) => void this.#failStop(cause),
      openBytesMax: openBytesMax(this.flow.shares),
      roomy: () => this.flow.inbox.wake(),
      planned: (send) => this.#sessions.get(send.to)?.plan(sizeOfPlan(send)),
      sealed: (block) => {
        checkpointer.sealed(block);
        retirer.sealed(block);
      },
      written: (block, seconds) => {
        this.#metrics.wrote(block.records, seconds);
        checkpointer.written(block);
        retirer.written(block);
      },
    });
    const copyForward = new CopyForward({
      engine,
      store: {
        front: () => store.front(),
        readMessages: (block, slots) =>
          this.flow.reading.run(blockBytesMax(this.flow.shares), () =>
            store.readMessages(block, slots),
          ),
      },
      clock: this.#clock,
      log: this.#log,
      afterMs: this.#options.copyForwardAfterMs,
      take: (input, bytes) => {
        loop.hold(bytes);
        loop.take(input);
      },
    });
    const parts = { engine, store, loop, looker, checkpointer, retirer, copyForward };
    const serving: Serving = { kind: "serving", ...parts };
    this.#life = serving;
    loop.take({ kind: "open" });
    retirer.retire();
    return serving;
  }

  /** I5: stop answering, throw memory away, reopen, verify, serve again; or give up. */
  async #failStop(cause: unknown): Promise<void> {
    const life = this.#life;
    if (life.kind !== "serving") return;
    this.#life = { kind: "reopening" };
    life.retirer.stop();
    life.copyForward.stop();
    life.looker.stop();
    this.#storeFailures++;
    this.#metrics.storeFailed();
    this.#log.error(
      { err: cause },
      "stopped answering: the store failed, or the broker met a fault of its own",
    );
    const code = EscrowError.is(cause) ? cause.code : "INTERNAL";
    for (const session of [...this.#sessions.values()])
      session.refuse(code, "What was not answered may or may not have happened.", CLOSE_GOING_AWAY);
    await life.store
      .close()
      .catch((error: unknown) =>
        this.#log.warn({ err: error }, "closing the failed store failed, too"),
      );
    this.#reopen(cause);
  }

  #reopen(cause: unknown): void {
    const attempt = async (at: number, last: unknown): Promise<void> => {
      if (this.#life.kind !== "reopening") return;
      const delayMs = REOPEN_DELAYS_MS[at];
      if (delayMs === undefined) return this.#giveUp(toError(last));
      await new Promise<void>((resolve) => this.#clock.setTimer(resolve, delayMs));
      if (this.#life.kind !== "reopening") return;
      try {
        this.#life = await this.#open(await this.#surroundings.openStore());
        this.#log.info({}, "the store was reopened and verified; serving again");
      } catch (error) {
        this.#log.error({ err: error, attempt: at + 1 }, "reopening failed");
        return attempt(at + 1, error);
      }
    };
    void attempt(0, cause);
  }

  /** Gives the disk back what has become free, and frees what nearly is. */
  #tidy(): void {
    if (this.#life.kind !== "serving") return;
    this.#life.retirer.look();
    this.#life.copyForward.look();
  }

  /** Head-room: sends are refused before the disk is full, verdicts and acks last. */
  async #admit(): Promise<void> {
    const life = this.#life;
    if (life.kind !== "serving") return;
    try {
      this.#freeBytes = await life.store.freeBytes();
    } catch (error) {
      this.#log.warn({ err: error }, "the free disk space could not be read");
      return;
    }
    const { sendFreeBytesMin, settleFreeBytesMin } = this.#options;
    const admission: Admission =
      this.#freeBytes < settleFreeBytesMin
        ? "none"
        : this.#freeBytes < sendFreeBytesMin
          ? "settle"
          : "all";
    if (admission === life.engine.core.admission) return;
    this.#log.warn(
      { admission, freeBytes: this.#freeBytes },
      "free disk space decides what is taken",
    );
    this.take({ kind: "admission", admission });
  }

  #figures(): Figures {
    const life = this.#life;
    if (life.kind !== "serving") return NO_FIGURES;
    const { core } = life.engine;
    const nowMs = this.#clock.nowMs();
    const { known: instances, connected: instancesConnected } = core.instances;
    const retention = {
      heldBytes: heldBytes(core, nowMs),
      aboutToLose: groupsAboutToLose(core, nowMs),
    };
    const figures = { ...stats(core, nowMs), ...retention, instances, instancesConnected };
    const { bytes, retiredBytes } = life.store;
    const storeBytes = bytes - retiredBytes;
    const { liveBytes: frontLiveBytes, copiedBytes } = life.copyForward;
    const store = { storeBytes, retiredBytes, frontLiveBytes, copiedBytes };
    const pausedConnections = this.flow.inbox.paused;
    const memory = this.flow.figures(life.loop.blockBytes);
    return { ...figures, ...store, freeBytes: this.#freeBytes, pausedConnections, memory };
  }

  #stats(figures: CoreFigures, store: BlockStore): StatsView {
    const uptimeMs = Math.round(this.#clock.nowMs() - this.#startedAtMs);
    return {
      version: VERSION,
      uptimeMs,
      ...figures,
      storeBytes: store.bytes - store.retiredBytes,
      rssBytes: process.memoryUsage.rss(),
    };
  }

  #noteUnreadable(error: unknown): void {
    this.#metrics.unreadable();
    const last = error instanceof Error ? error.message : String(error);
    this.#unreadable = { reads: this.#unreadable.reads + 1, last };
  }

  #doctor(
    { value, groups, paused, standing, reserving }: DoctorInspection,
    store: BlockStore,
  ): DoctorView {
    const { policy, sendFreeBytesMin, memoryBytesMax, isExposed, host } = this.#options;
    const { allowedOrigins, endpointRanges } = this.#options;
    const { memory, pausedConnections } = this.#figures();
    return examine({
      stats: this.#stats(value, store),
      groups,
      pausedGroups: paused,
      standing,
      reserving,
      policy,
      freeBytes: this.#freeBytes,
      sendFreeBytesMin,
      isExposed,
      host,
      allowedOrigins,
      endpointRanges,
      storeFailures: this.#storeFailures,
      unreadable: this.#unreadable,
      memory,
      memoryBytesMax,
      pausedConnections,
      clockBehindMs: this.#clock.wallMs() - this.#clock.nowMs(),
    });
  }
}

type DoctorInspection = Extract<Inspection, { readonly kind: "doctor" }>;

const toError = (cause: unknown): Error =>
  cause instanceof Error ? cause : new Error(String(cause));
