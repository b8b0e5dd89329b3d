/**
 * The core: told things, it answers with work. `step(input, nowMs) -> { records, sends, wakeAtMs }`.
 * No await, clock, randomness or I/O; the same inputs at the same times give the same outputs.
 *
 * Driving it:
 *   const engine = new Engine(policy);
 *   recover: engine.load(checkpoint parts), then engine.replay(block) for each block after it
 *   engine.step({ kind: "open" }, nowMs)
 *   loop: ready = engine.step(input, nowMs, true); …; a tick at last; block = engine.sealBlock(); write it,
 *   synced; do the sends
 *
 * Invariants
 * - P4 Records of a step are in the open block when it returns; its sends wait for that block.
 * - P8 `replay` of what `sealBlock` gave leads to the state that the engine had.
 */
import * as administer from "./administer.ts";
import * as administerGroup from "./administer-group.ts";
import { Alarms, NEVER } from "./alarms.ts";
import { loadState, type PartSizes, saveState } from "./checkpoint.ts";
import { Checks } from "./checks.ts";
import { Connections } from "./connections.ts";
import { Consumers } from "./consumers.ts";
import { copied } from "./copy-forward.ts";
import type { Core } from "./core.ts";
import type { HashKey } from "./id-hash.ts";
import { Inboxes, inbox, reply } from "./inboxes.ts";
import * as inspect from "./inspect.ts";
import { Instances } from "./instances.ts";
import { invariant } from "./invariant.ts";
import { lapsed } from "./lapse.ts";
import * as messageQueries from "./message-queries.ts";
import { NOWHERE } from "./places.ts";
import { DEFAULT_POLICY, type Policy } from "./policy.ts";
import { pushAll } from "./push-all.ts";
import { QUERIES } from "./queries.ts";
import type { LogRecord } from "./records.ts";
import { Retention } from "./retention.ts";
import * as schedule from "./schedule.ts";
import * as settle from "./settle.ts";
import { State } from "./state.ts";
import * as transact from "./transact.ts";
import { Turn } from "./turn.ts";
import type { ConnectionId, Input, Ready } from "./types.ts";
import { Windows } from "./windows.ts";

type PlainFrame = Extract<Input, { readonly kind: "frame" }>["frame"];

/** A block that is ready to be written. */
export interface SealedBlock {
  readonly number: number;
  readonly atMs: number;
  readonly records: readonly LogRecord[];
}

export class Engine {
  readonly #core: Core;
  #openRecords: LogRecord[] = [];
  #isBlockOpen = false;
  #lastNowMs = 0;

  /** `hashKey`: random bits that no client knows (id-hash.ts). Nothing that is seen depends on them. */
  constructor(policy: Policy = DEFAULT_POLICY, hashKey?: HashKey) {
    const core = (): Core => this.#core;
    this.#core = {
      state: new State(policy, hashKey),
      policy,
      alarms: new Alarms(),
      connections: new Connections(),
      consumers: new Consumers(core),
      windows: new Windows(core),
      checks: new Checks(core, transact.decide),
      retention: new Retention(core),
      instances: new Instances(core),
      inboxes: new Inboxes(),
      admission: "all",
    };
  }

  /** For tests and metrics; not to be changed. */
  get core(): Readonly<Core> {
    return this.#core;
  }

  /** Parts of a checkpoint, in their order. False: it is of another version; replay everything instead. */
  load(parts: readonly unknown[]): boolean {
    return loadState(this.#core.state, parts);
  }

  /** Those that last among them as LastingPart. */
  save(sizes?: PartSizes): Iterable<unknown> {
    return saveState(this.#core.state, sizes);
  }

  replay(block: SealedBlock): void {
    this.#core.state.beginBlock(block.number, block.atMs);
    for (const record of block.records) this.#core.state.apply(record);
  }

  /**
   * One input and all that follows from it. With `isMoreComing` what may wait for the other inputs does:
   * checks and deliveries, so that many of them share a record and a frame. Then the caller must come
   * back with a tick before it seals the block.
   */
  step(input: Input, nowMs: number, isMoreComing = false): Ready {
    invariant(nowMs >= this.#lastNowMs, "time does not go back");
    this.#lastNowMs = nowMs;
    const turn = new Turn(this.#core.state, nowMs, this.#openBlock);
    this.#take(input, turn);
    if (isMoreComing) this.#stirRetention(turn);
    else this.#workOff(turn);
    const { records, sends } = turn;
    pushAll(this.#openRecords, records);
    return { records, sends, wakeAtMs: isMoreComing ? nowMs : this.#wakeAtMs(nowMs) };
  }

  /** What became due, and what can be asked and delivered now. */
  #workOff(turn: Turn): void {
    const { admission, checks, consumers, windows, instances } = this.#core;
    schedule.ripen(this.#core, turn);
    this.#ripen(turn);
    windows.ripen(turn.nowMs);
    // A delivery is a record, and so is the answer to a check; what frees space goes on.
    if (admission !== "none") {
      checks.pump(turn);
      consumers.pump(turn);
    }
    if (turn.nowMs >= instances.nextAtMs) instances.look(turn);
    this.#retire(turn);
    if (this.#isClockDue(turn.nowMs)) turn.log({ kind: "clock" });
  }

  #wakeAtMs(nowMs: number): number | null {
    const { admission, consumers } = this.#core;
    return admission !== "none" && consumers.hasMore ? nowMs : this.#nextWakeAtMs();
  }

  /**
   * While something waits, time must not pass unrecorded: a restart would take it for downtime (C5, D7).
   * Scheduled messages do not care: downtime is no pause for them.
   */
  #isClockDue(nowMs: number): boolean {
    return !this.#isBlockOpen && nowMs >= this.#clockAtMs();
  }

  /** Infinite: nothing waits, or nothing may be written. */
  #clockAtMs(): number {
    const { state, alarms, checks, admission } = this.#core;
    const isNeeded = alarms.size + checks.waiting > 0 && admission !== "none";
    return isNeeded ? state.atMs + CLOCK_EVERY_MS : NEVER;
  }

  #nextWakeAtMs(): number | null {
    const { alarms, checks, retention, windows, instances } = this.#core;
    const nextAtMs = Math.min(
      windows.nextAtMs,
      alarms.nextAtMs,
      checks.nextAtMs,
      retention.nextAtMs,
      schedule.nextDueAtMs(this.#core),
      instances.nextAtMs,
      this.#clockAtMs(),
    );
    return nextAtMs === NEVER ? null : nextAtMs;
  }

  /** At the end of a step: what it settled may go, what it delivered may not. */
  #retire(turn: Turn): void {
    const { retention } = this.#core;
    this.#stirRetention(turn);
    if (turn.nowMs >= retention.nextAtMs) retention.look(turn);
  }

  #stirRetention({ records }: Turn): void {
    if (records.length > 0) this.#core.retention.stir();
  }

  /** There are records that stand in no sealed block yet. */
  get isBlockOpen(): boolean {
    return this.#isBlockOpen;
  }

  /** The records since the last seal, or null if there are none. The next record opens the next block. */
  sealBlock(): SealedBlock | null {
    if (!this.#isBlockOpen) return null;
    const { block, atMs } = this.#core.state;
    const records = this.#openRecords;
    this.#openRecords = [];
    this.#isBlockOpen = false;
    return { number: block, atMs, records };
  }

  readonly #openBlock = (nowMs: number): void => {
    if (this.#isBlockOpen) return;
    this.#isBlockOpen = true;
    const { state } = this.#core;
    state.beginBlock(state.block + 1, Math.max(nowMs, state.atMs));
  };

  #take(input: Input, turn: Turn): void {
    const core = this.#core;
    switch (input.kind) {
      case "open":
        return this.#open(turn);
      case "connected":
        return core.connections.add(input.connection, input.client);
      case "disconnected":
        return this.#disconnect(input.connection, turn);
      case "congested":
        return this.#congest(input.connection, input.isCongested);
      case "admission":
        core.admission = input.admission;
        return;
      case "tick":
        return;
      case "frame":
        return this.#frame(input.from, input.frame, turn);
      case "send":
        return transact.send(core, turn, input);
      case "prepare":
        return transact.prepare(core, turn, input);
      case "setEndpoint":
        return administer.setEndpoint(core, turn, input);
      case "refused":
        return turn.refuse(
          input.from,
          input.re,
          input.error.code,
          input.error.message,
          input.error.detail,
        );
      case "endpointAnswered": {
        const transaction = core.state.transactions.get(input.transactionId);
        if (transaction !== undefined) core.checks.endpointAnswered(transaction, input, turn);
        return;
      }
      case "notAsked": {
        const transaction = core.state.transactions.get(input.transactionId);
        if (transaction !== undefined) core.checks.notAsked(transaction, input.attempt, turn);
        return;
      }
      case "copied":
        // Where the disk is short, its rest is for those who cannot wait.
        if (core.admission === "all") copied(core.state, turn, input.messages);
        return;
      case "looked":
        return core.windows.looked(input, turn);
      case "unreadable":
        return settle.unreadable(core, turn, input);
      case "lapsed":
        return lapsed(core, turn, input);
      default:
        input satisfies never;
    }
  }

  #frame(from: ConnectionId, frame: PlainFrame, turn: Turn): void {
    if (this.#core.admission !== "none" || WRITE_NOTHING.has(frame.type))
      return this.#dispatch(from, frame, turn);
    if ("id" in frame) transact.refuseFull(this.#core, turn, from, frame.id);
  }

  #dispatch(from: ConnectionId, frame: PlainFrame, turn: Turn): void {
    const core = this.#core;
    switch (frame.type) {
      case "announce":
        return transact.announce(core, turn, from, frame);
      case "verdict":
        return transact.verdict(core, turn, from, frame);
      case "answer":
        return transact.answer(core, turn, from, frame);
      case "recall":
        return schedule.recall(core, turn, from, frame);
      case "subscribe":
        return settle.subscribe(core, turn, from, frame);
      case "unsubscribe":
        return settle.unsubscribe(core, turn, from, frame);
      case "credit":
        return settle.credit(core, turn, from, frame);
      case "ack":
        return settle.ack(core, turn, from, frame);
      case "release":
        return settle.release(core, turn, from, frame);
      case "extend":
        return settle.extend(core, turn, from, frame);
      case "retry":
        return settle.retry(core, turn, from, frame);
      case "bury":
        return settle.bury(core, turn, from, frame);
      case "inbox":
        return inbox(core, turn, from, frame);
      case "reply":
        return reply(core, turn, from, frame);
      case "topic.create":
        return administer.createTopic(core, turn, from, frame);
      case "topic.update":
        return administer.updateTopic(core, turn, from, frame);
      case "topic.delete":
        return administer.deleteTopic(core, turn, from, frame);
      case "topic.list":
        return inspect.listTopics(core, turn, from, frame);
      case "topic.describe":
        return inspect.describeTopic(core, turn, from, frame);
      case "group.list":
        return inspect.listGroups(core, turn, from, frame);
      case "group.describe":
        return inspect.describeGroup(core, turn, from, frame);
      case "group.update":
        return administer.updateGroup(core, turn, from, frame);
      case "group.reset":
        return administerGroup.reset(core, turn, from, frame);
      case "group.pause":
        return administerGroup.pause(core, turn, from, frame);
      case "group.resume":
        return administerGroup.resume(core, turn, from, frame);
      case "group.skip":
        return administerGroup.skip(core, turn, from, frame);
      case "group.delete":
        return administer.deleteGroup(core, turn, from, frame);
      case "producer.list":
        return inspect.listProducers(core, turn, from, frame);
      case "tx.list":
        return inspect.listTransactions(core, turn, from, frame);
      case "tx.show":
        return inspect.showTransaction(core, turn, from, frame);
      case "tx.check":
        return administer.checkNow(core, turn, from, frame);
      case "tx.decide":
        return administer.decideByOperator(core, turn, from, frame);
      case "tx.resume":
        return administer.resume(core, turn, from, frame);
      case "message.show":
        return messageQueries.show(core, turn, from, frame);
      case "message.find":
        return messageQueries.find(core, turn, from, frame);
      case "message.trace":
        return messageQueries.trace(core, turn, from, frame);
      case "dlq.list":
        return inspect.listDeadLetters(core, turn, from, frame);
      case "dlq.show":
        return inspect.showDeadLetter(core, turn, from, frame);
      case "dlq.replay":
        return administer.replay(core, turn, from, frame);
      case "dlq.purge":
        return administer.purge(core, turn, from, frame);
      case "stats":
      case "doctor":
        return inspect.figures(core, turn, from, frame);
      default:
        frame satisfies never;
    }
  }

  /** C5: broker time stood still while the broker was down; what is left of each wait is left still. */
  #open(turn: Turn): void {
    const { state, alarms, checks, instances, inboxes } = this.#core;
    const pausedMs = state.block === 0 ? 0 : Math.max(0, turn.nowMs - state.atMs);
    turn.log({ kind: "opened", atMs: turn.nowMs, pausedMs });
    for (const transaction of state.transactions.values())
      if (transaction.parked === null) checks.schedule(transaction);
    for (const cursor of state.cursors.values()) {
      for (const { place } of cursor.waiting()) alarms.set(place, state.entries.number.at(place));
    }
    instances.look(turn);
    inboxes.open(state.block);
  }

  #disconnect(id: ConnectionId, turn: Turn): void {
    const { connections, checks, inboxes } = this.#core;
    const connection = connections.find(id);
    if (connection === undefined) return;
    for (const subscription of [...connection.subscriptions.values()])
      settle.endSubscription(this.#core, turn, subscription, "disconnected");
    for (const group of [...connection.producerOf.keys()]) checks.retract(connection, group);
    checks.disconnected(connection, turn);
    inboxes.close(id);
    connections.remove(id);
  }

  #congest(id: ConnectionId, isCongested: boolean): void {
    const connection = this.#core.connections.find(id);
    if (connection === undefined) return;
    connection.isCongested = isCongested;
    if (isCongested) return;
    for (const subscription of connection.subscriptions.values())
      this.#core.consumers.stirSubscription(subscription);
  }

  /** The one place where time becomes work. */
  #ripen(turn: Turn): void {
    for (let left = DUE_PER_STEP_MAX; left > 0; left--) if (!this.#ripenNext(turn)) return;
  }

  /** What is due first; of equal times deliveries before checks. False: nothing is due. */
  #ripenNext(turn: Turn): boolean {
    const { alarms, checks } = this.#core;
    const { nextAtMs } = alarms;
    if (checks.nextAtMs < nextAtMs) return checks.workOffDue(turn);
    const place = alarms.takeDue(turn.nowMs);
    if (place === NOWHERE) return false;
    settle.ripen(this.#core, turn, place, nextAtMs);
    return true;
  }
}

/** What a restart may add to a wait at most, besides the downtime. */
const CLOCK_EVERY_MS = 60_000;

/**
 * What is answered even when nothing may be written any more. Those below QUERIES refuse by themselves what needs
 * writing, and answer the rest: who repeats one would take a refusal for "it did not happen".
 */
const WRITE_NOTHING: ReadonlySet<PlainFrame["type"]> = new Set([
  "announce",
  "credit",
  "extend",
  "inbox",
  "reply",
  ...QUERIES,
  "recall",
  "verdict",
  "topic.create",
  "topic.delete",
  "group.pause",
  "group.resume",
  "group.delete",
  "tx.decide",
  "tx.resume",
]);

/** A million timers that fall due at once are worked off in steps; the loop stays free in between. */
const DUE_PER_STEP_MAX = 4_096;
