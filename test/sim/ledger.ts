/**
 * The oracle's own reading of the log: the same records folded by other code, which refuses what the
 * promises forbid. It knows nothing of the engine but what a record means.
 */
import { decodeMessage } from "@escrowmq/protocol";
import type { LoggedMessage, LogRecord, Place, RecordOf } from "../../broker/src/core/records.ts";
import {
  buried,
  deadLetterEnded,
  delivered,
  lapsed,
  passOver,
  returned,
  skipped,
} from "./ledger-deliveries.ts";
import {
  type LedgerCursor,
  type LedgerGroup,
  type LedgerMessage,
  type LedgerTopic,
  type LedgerTransaction,
  type Limits,
  leased,
  newCursor,
  newTopic,
  placeKey,
} from "./ledger-facts.ts";
import { applyInstance, leaveAll, updateGroup } from "./ledger-groups.ts";
import { moved, retired } from "./ledger-retention.ts";
import { LedgerSchedule } from "./ledger-scheduled.ts";
import { taken } from "./ledger-windows.ts";
import { demand } from "./violation.ts";

export class Ledger {
  readonly topics = new Map<number, LedgerTopic>();
  readonly topicNos = new Map<string, number>();
  readonly groups = new Map<number, LedgerGroup>();
  readonly cursors = new Map<number, LedgerCursor>();
  readonly transactions = new Map<string, LedgerTransaction>();
  readonly undecided = new Map<string, LedgerTransaction>();
  readonly sends = new Map<string, number>();
  readonly endpoints = new Set<string>();
  readonly schedule = new LedgerSchedule();
  readonly bytesAt = new Map<string, number>();
  /** By `group topic@offset`: what retention took from a group. */
  readonly gone = new Set<string>();
  /** By the same: what an instance goes on without. */
  readonly abandoned = new Set<string>();
  block = 0;
  atMs = 0;
  /** A checkpoint keeps what ripened after its block began; reading the log alone does not tell. */
  slackMs = 0;
  readonly limits: Limits;
  /** One visible place for each message, in one topic (T3); dead letters aside. */
  readonly #visible = new Set<string>();
  openedAtMs = 0;
  #slot = 0;

  constructor(limits: Limits) {
    this.limits = limits;
  }

  /** `nowMs`: the time of the step, Infinity when a log is only read again. */
  apply(record: LogRecord, block: number, atMs: number, nowMs: number): void {
    if (block !== this.block) {
      demand(block === this.block + 1, "I4", () => `block ${block} follows ${this.block}`);
      demand(atMs >= this.atMs, "C5", () => "the time of a block is before the one before it");
      this.block = block;
      this.atMs = atMs;
      this.#slot = 0;
    }
    switch (record.kind) {
      case "opened":
        this.openedAtMs = record.atMs;
        leaveAll(this, record.atMs, record.pausedMs);
        return this.#opened(record.pausedMs);
      case "clock":
        return;
      case "topicCreated":
        return this.#topicCreated(record);
      case "topicUpdated":
        this.topic(record.topicNo).settings = record.settings;
        return;
      case "retired":
        return retired(this, record, nowMs);
      case "moved":
        return moved(this, record);
      case "due":
        return this.#due(record, nowMs);
      case "queued":
        return this.schedule.queued(record, nowMs, this.atMs);
      case "recalled":
        return this.schedule.recall(record, this.atMs);
      case "lapsed":
        return lapsed(this, record);
      case "groupUpdated":
        return updateGroup(this, record);
      case "groupPaused": {
        const group = this.group(record.groupNo);
        demand(group.isPaused !== record.isPaused, "D16", () => `${group.name} is so already`);
        group.isPaused = record.isPaused;
        return;
      }
      case "cursorFiltered":
        this.cursor(record.cursorNo).filter = record.filter;
        return;
      case "taken":
        return taken(this, record);
      case "instanceOpened":
      case "instanceSeen":
      case "instanceForgotten":
      case "abandoned":
      case "gapTold":
        return applyInstance(this, record, nowMs);
      case "cursorOpened":
        this.cursors.set(record.cursorNo, newCursor(record));
        return;
      case "cursorReset": {
        const cursor = this.cursor(record.cursorNo);
        for (const { kind } of cursor.entries.values())
          demand(kind !== "pending", "T9", () => "a group is reset while an ack of it is pending");
        cursor.entries.clear();
        cursor.nextOffset = record.nextOffset;
        return;
      }
      case "sent":
        demand(!this.sends.has(record.sendId), "T3", () => `${record.sendId} is sent twice`);
        this.sends.set(record.sendId, record.digest);
        for (const one of record.messages) {
          const message = this.#newMessage(one);
          this.#show(message, this.atMs, null);
        }
        return;
      case "prepared":
        return this.#prepared(record);
      case "decided":
        return this.#decided(record);
      case "checked": {
        const transaction = this.undecidedOne(record.transactionId, "C2");
        if (record.isCounted) transaction.checks++;
        transaction.nextCheckAtMs = record.nextCheckAtMs;
        return;
      }
      case "parked":
        return this.#parked(record, nowMs);
      case "resumed": {
        const transaction = this.undecidedOne(record.transactionId, "T2");
        demand(transaction.state === "parked", "C3", () => `${transaction.id} was not parked`);
        transaction.state = "undecided";
        transaction.checks = 0;
        transaction.nextCheckAtMs = record.checkAtMs;
        transaction.ageFromMs = this.atMs;
        return;
      }
      case "endpointSet":
        if (record.endpoint === null) this.endpoints.delete(record.group);
        else this.endpoints.add(record.group);
        return;
      case "delivered":
        return delivered(this, record, nowMs);
      case "acked":
        for (const offset of record.offsets) {
          leased(this.cursor(record.cursorNo), offset, "D3");
          this.cursor(record.cursorNo).entries.delete(offset);
        }
        return;
      case "returned":
        return returned(this, record);
      case "skipped":
        return skipped(this, record);
      case "buried":
        return buried(this, record);
      case "replayed":
      case "purged":
        return deadLetterEnded(this, record);
      case "topicDeleted":
      case "groupDeleted":
        throw new Error("The simulation deletes no topics and no groups.");
    }
  }

  topic(no: number): LedgerTopic {
    const topic = this.topics.get(no);
    demand(topic !== undefined, "I3", () => `a record names topic ${no}, which does not exist`);
    return topic;
  }

  cursor(no: number): LedgerCursor {
    const cursor = this.cursors.get(no);
    demand(cursor !== undefined, "I3", () => `a record names cursor ${no}, which does not exist`);
    return cursor;
  }

  cursorOf(group: string, topicNo: number): LedgerCursor | undefined {
    for (const cursor of this.cursors.values())
      if (cursor.topicNo === topicNo && this.groupName(cursor) === group) return cursor;
    return undefined;
  }

  isInstance({ groupNo }: LedgerCursor): boolean {
    return this.groups.get(groupNo)?.instance != null;
  }

  groupName(cursor: LedgerCursor): string {
    return this.groups.get(cursor.groupNo)?.name ?? "";
  }

  #opened(pausedMs: number): void {
    for (const cursor of this.cursors.values()) {
      for (const [offset, entry] of cursor.entries) {
        if (entry.kind === "leased") entry.kind = "ready";
        if (entry.kind === "waiting") entry.number += pausedMs;
        passOver(this, cursor, offset);
      }
    }
    for (const transaction of this.undecided.values()) {
      transaction.nextCheckAtMs += pausedMs;
      transaction.ageFromMs += pausedMs;
    }
  }

  #topicCreated(record: RecordOf<"topicCreated">): void {
    const { topicNo, topic } = record;
    demand(!this.topicNos.has(topic), "I3", () => `${topic} is created twice`);
    this.topicNos.set(topic, topicNo);
    this.topics.set(topicNo, newTopic(record));
  }

  #prepared(record: RecordOf<"prepared">): void {
    const { transactionId: id, group, digest, onUndecided, checkAtMs, acks } = record;
    demand(!this.transactions.has(id), "T7", () => `${id} is prepared twice`);
    const isReserving = record.reservesKeys === true;
    const messages = record.messages.map((one) => this.#newMessage(one, isReserving));
    if (isReserving) this.schedule.keys.reserve(id, messages);
    for (const { cursorNo, offset } of acks)
      leased(this.cursor(cursorNo), offset, "T9").kind = "pending";
    const transaction: LedgerTransaction = {
      id,
      group,
      digest,
      onUndecided,
      messages,
      acks,
      preparedAtMs: this.atMs,
      movedTo: null,
      state: "undecided",
      by: "",
      who: "",
      decidedAtMs: 0,
      checks: 0,
      nextCheckAtMs: checkAtMs,
      ageFromMs: this.atMs,
    };
    this.transactions.set(id, transaction);
    this.undecided.set(id, transaction);
  }

  #decided({ transactionId, verdict, by, who, fromAtMs }: RecordOf<"decided">): void {
    const transaction = this.undecidedOne(transactionId, "T2");
    transaction.state = verdict === "commit" ? "committed" : "rolledBack";
    transaction.by = by;
    transaction.who = who;
    transaction.decidedAtMs = this.atMs;
    this.undecided.delete(transactionId);
    const { messages, movedTo: moved } = transaction;
    if (verdict === "commit")
      for (const [at, message] of messages.entries()) {
        const movedTo = moved === null ? null : { ...moved, slot: moved.slot + at };
        this.#show(message, fromAtMs ?? this.atMs, { by: transactionId, movedTo });
      }
    this.schedule.keys.end(transactionId, messages, this.atMs);
    for (const { cursorNo, offset } of transaction.acks) {
      const cursor = this.cursor(cursorNo);
      const entry = cursor.entries.get(offset);
      demand(entry?.kind === "pending", "T9", () => `an ack that joined ${transactionId} is lost`);
      if (verdict === "commit") cursor.entries.delete(offset);
      else entry.kind = "ready";
      passOver(this, cursor, offset);
    }
  }

  group(no: number): LedgerGroup {
    const group = this.groups.get(no);
    demand(group !== undefined, "I3", () => `a record names group ${no}, which does not exist`);
    return group;
  }

  #parked({ transactionId, cause }: RecordOf<"parked">, nowMs: number): void {
    const transaction = this.undecidedOne(transactionId, "T2");
    demand(transaction.state === "undecided", "C3", () => `${transactionId} is parked twice`);
    demand(transaction.onUndecided === "park", "C3", () => `${transactionId} asked for rollback`);
    demand(
      cause === "attempts"
        ? transaction.checks >= this.limits.checkAttemptsMax
        : nowMs - transaction.ageFromMs >= this.limits.undecidedAgeMaxMs,
      "C3",
      () => `${transactionId} is parked for ${cause} after ${transaction.checks} checks`,
    );
    transaction.state = "parked";
  }

  undecidedOne(id: string, invariant: string): LedgerTransaction {
    const transaction = this.undecided.get(id);
    demand(transaction !== undefined, invariant, () => `${id} is not undecided`);
    return transaction;
  }

  #newMessage({ topicNo, bytes, data, timing }: LoggedMessage, isReserving = false): LedgerMessage {
    const place = this.takeSlot(bytes);
    const { id, key } = wordsOf(data);
    const isDelayed = timing !== undefined && timing.delayMs + timing.deliverAtMs > 0;
    const isBehind = isReserving || this.schedule.keys.isTaken({ topicNo, key });
    return { id, key, topicNo, place, timing, isDelayed, isBehind };
  }

  /** Visible now, or when its time has come and those who reserved its key before are decided. */
  #show(message: LedgerMessage, fromMs: number, committed: Committed | null): void {
    const { id, topicNo, place } = message;
    const { by, movedTo } = committed ?? { by: null, movedTo: null };
    const isLater = this.schedule.add(message, { fromMs, atMs: this.atMs, by });
    if (!isLater) this.#append(topicNo, place, movedTo);
    else if (movedTo !== null) this.schedule.move({ messageId: id, from: place }, movedTo);
  }

  #due(record: RecordOf<"due">, nowMs: number): void {
    const { topicNo, place, movedTo } = this.schedule.due(record, nowMs, this.atMs);
    this.#append(topicNo, place, movedTo);
  }

  #append(topicNo: number, place: Place, movedTo: Place | null = null): void {
    const key = placeKey(place);
    demand(!this.#visible.has(key), "T3", () => `the message at ${key} becomes visible twice`);
    this.#visible.add(key);
    const topic = this.topic(topicNo);
    if (movedTo !== null) topic.moved.set(topic.places.length, movedTo);
    topic.places.push(place);
    topic.bytes.push(this.bytesAt.get(key) ?? 0);
    topic.atMs.push(this.atMs);
  }

  takeSlot(bytes: number): Place {
    const place = { block: this.block, slot: this.#slot++ };
    this.bytesAt.set(placeKey(place), bytes);
    return place;
  }
}

/** By whom a message is committed, and where it stands now if it was copied forward before. */
interface Committed {
  readonly by: string;
  readonly movedTo: Place | null;
}

/** What the messages say themselves: a log is read many times. */
const words = new WeakMap<Uint8Array, { readonly id: string; readonly key: string | undefined }>();

function wordsOf(data: Uint8Array | null): {
  readonly id: string;
  readonly key: string | undefined;
} {
  demand(data !== null, "D1", () => "a message is logged without its bytes");
  const known = words.get(data);
  if (known !== undefined) return known;
  const { id, key } = decodeMessage(data);
  words.set(data, { id, key });
  return { id, key };
}
