/**
 * Everything durable, and `apply`: the only way it changes. The live engine and recovery go through the
 * same function, record by record, so they cannot disagree (P8).
 *
 * Invariants
 * - A1 `apply` never refuses: what may be refused was refused before the record was made.
 * - A2 Nothing here knows of connections, credit, leases' holders or timers; those hang on as opaque fields.
 * - A3 A place that somebody may still read is in a topic's index, in an undecided transaction or among the
 *   scheduled messages, and `neededBlock` is not after it: what is before may be removed from the store.
 */
import { Cursor } from "./cursor.ts";
import { bury, endDeadLetter, ended, passOver, replay } from "./dead-letters.ts";
import { DecisionColumns, DigestColumns } from "./decisions.ts";
import { Entries } from "./entries.ts";
import {
  type Group,
  leaveAll,
  noteChange,
  openInstance,
  pauseGroup,
  removeGroup,
  seeInstance,
  setOrder,
  updateGroup,
} from "./group.ts";
import { type HashKey, IdHash } from "./id-hash.ts";
import { invariant } from "./invariant.ts";
import { KeyQueues, NOTHING } from "./key-queues.ts";
import type { Policy } from "./policy.ts";
import type { Endpoint, LogRecord, Place, RecordOf } from "./records.ts";
import { Remembered } from "./remembered.ts";
import {
  dropScheduled,
  due,
  endReservations,
  queued,
  RECALL_KEY_WORDS_MAX,
  recalled,
  reserveKeys,
  show,
} from "./schedule-records.ts";
import { Scheduled } from "./scheduled.ts";
import { moved, retired } from "./space-records.ts";
import { Topic } from "./topic.ts";
import {
  type Decision,
  type Transaction,
  type TransactionFacts,
  type TransactionProgress,
  totalBytes,
  type UndecidedTotals,
} from "./transaction.ts";
import { Transactions } from "./transactions.ts";

export type { Group } from "./group.ts";

export class State {
  readonly topics = new Map<number, Topic>();
  readonly topicsByName = new Map<string, Topic>();
  readonly groups = new Map<number, Group>();
  readonly groupsByName = new Map<string, Group>();
  readonly cursors = new Map<number, Cursor>();
  /** Of all cursors. */
  readonly entries = new Entries();
  /** The cursors that read a topic, by topic number. */
  readonly readers = new Map<number, Cursor[]>();
  readonly transactions: Transactions;
  readonly totals: UndecidedTotals = { count: 0, bytes: 0, parked: 0 };
  readonly totalsByGroup = new Map<string, UndecidedTotals>();
  readonly decisions: Remembered<Decision>;
  readonly sends: Remembered<number>;
  readonly scheduled: Scheduled;
  readonly keyQueues = new KeyQueues();
  /** Messages that were recalled, by topic and id (recallKey). */
  readonly recalls: Remembered<number>;
  readonly endpoints = new Map<string, Endpoint>();
  nextTopicNo = 1;
  nextGroupNo = 1;
  nextCursorNo = 1;
  nextReservationNo = 1;
  /** The block that is being written or recovered. */
  block = 0;
  atMs = 0;
  /**
   * Cursors in which an end may have made others ready, or room for more, or let a message come first that fits
   * somebody's credit; the consumers take them out.
   */
  readonly loosened = new Set<Cursor>();
  /** When the broker was started. */
  openedAtMs = 0;
  /** Which save of the state is the last one (P9). */
  saveNo = 0;
  #slot = 0;

  constructor(policy: Policy, hashKey?: HashKey) {
    const { decisionsKeptMs, decisionsKeptMax, sendsKeptMs, sendsKeptMax } = policy;
    const hash = new IdHash(hashKey);
    this.transactions = new Transactions(hash);
    this.decisions = new Remembered(
      () => new DecisionColumns(),
      decisionsKeptMs,
      decisionsKeptMax,
      hash,
    );
    const newColumns = (): DigestColumns => new DigestColumns();
    this.sends = new Remembered(newColumns, sendsKeptMs, sendsKeptMax, hash);
    this.scheduled = new Scheduled(hash);
    const recallHash = new IdHash(hashKey, RECALL_KEY_WORDS_MAX);
    this.recalls = new Remembered(newColumns, sendsKeptMs, sendsKeptMax, recallHash);
  }

  beginBlock(block: number, atMs: number): void {
    invariant(block === this.block + 1, "blocks follow each other without a gap");
    invariant(atMs >= this.atMs, "broker time never goes back");
    this.block = block;
    this.atMs = atMs;
    this.#slot = 0;
  }

  apply(record: LogRecord): void {
    switch (record.kind) {
      case "opened":
        return this.#opened(record);
      case "clock":
        return;
      case "topicCreated":
        return this.#topicCreated(record);
      case "topicUpdated":
        this.topic(record.topicNo).settings = record.settings;
        return;
      case "topicDeleted":
        return this.#topicDeleted(record);
      case "groupUpdated":
        return updateGroup(this, record);
      case "groupPaused":
        return pauseGroup(this, record);
      case "groupDeleted":
      case "instanceForgotten":
        return this.#groupDeleted(record);
      case "instanceOpened":
        return openInstance(this, record);
      case "instanceSeen":
        return seeInstance(this, record);
      case "cursorOpened":
        return this.#cursorOpened(record);
      case "cursorReset":
        return this.#cursorReset(record);
      case "cursorFiltered":
        return this.cursor(record.cursorNo).setFilter(record.filter);
      case "taken": {
        const { cursorNo, nextOffset, offsets, keys, filtered } = record;
        return this.cursor(cursorNo).take(nextOffset, offsets, keys, filtered);
      }
      case "sent":
        return this.#sent(record);
      case "prepared":
        return this.#prepared(record);
      case "decided":
        return this.#decided(record);
      case "checked":
        return this.#checked(record);
      case "parked":
        return this.#parked(record);
      case "resumed":
        return this.#resumed(record);
      case "endpointSet":
        return this.#endpointSet(record);
      case "delivered":
        return this.#delivered(record);
      case "acked": {
        const cursor = this.cursor(record.cursorNo);
        for (const offset of record.offsets) cursor.settle(offset);
        return ended(this, cursor, record.offsets);
      }
      case "returned": {
        const { offset, cause, readyAtMs, isCounted, reason } = record;
        const cursor = this.cursor(record.cursorNo);
        cursor.giveBack(offset, cause, readyAtMs, isCounted, reason);
        return passOver(this, cursor, offset);
      }
      case "skipped":
        return this.#skipped(record);
      case "buried":
        return bury(this, record);
      case "abandoned":
        this.cursor(record.cursorNo).abandon(record.offset);
        return ended(this, this.cursor(record.cursorNo), [record.offset]);
      case "gapTold":
        this.cursor(record.cursorNo).told = record.lost;
        return;
      case "replayed":
        return replay(this, record);
      case "purged":
        return endDeadLetter(this, this.topic(record.deadTopicNo), record.offset);
      case "retired":
        return retired(this, record);
      case "moved":
        return moved(this, record, this.#takeSlots(record.messages.length));
      case "due":
        return due(this, record);
      case "queued":
        return queued(this, record);
      case "recalled":
        return recalled(this, record);
      case "lapsed": {
        const cursor = this.cursor(record.cursorNo);
        cursor.lapse(record.offsets);
        return ended(this, cursor, record.offsets);
      }
      default:
        record satisfies never;
    }
  }

  topic(no: number): Topic {
    const topic = this.topics.get(no);
    invariant(topic !== undefined, "a record names a topic that exists");
    return topic;
  }

  group(no: number): Group {
    const group = this.groups.get(no);
    invariant(group !== undefined, "a record names a group that exists");
    return group;
  }

  cursor(no: number): Cursor {
    const cursor = this.cursors.get(no);
    invariant(cursor !== undefined, "a record names a cursor that exists");
    return cursor;
  }

  transaction(id: string): Transaction {
    const transaction = this.transactions.get(id);
    invariant(transaction !== undefined, "a record names a transaction that is undecided");
    return transaction;
  }

  /** No block before it is read again, neither for a delivery nor for a check (A3). */
  get neededBlock(): number {
    let needed = this.block + 1;
    for (const topic of this.topics.values()) needed = Math.min(needed, topic.lowestBlock);
    return Math.min(needed, this.transactions.lowestBlock, this.scheduled.lowestBlock);
  }

  totalsOf(group: string): UndecidedTotals {
    const known = this.totalsByGroup.get(group);
    if (known !== undefined) return known;
    const totals = { count: 0, bytes: 0, parked: 0 };
    this.totalsByGroup.set(group, totals);
    return totals;
  }

  /** Puts a transaction among the undecided ones: its messages are half, its acks pending (T9). */
  hold(facts: TransactionFacts & TransactionProgress): void {
    const bytes = totalBytes(facts.messages);
    this.transactions.add(facts, bytes);
    const isParked = facts.parked !== null;
    count(this.totals, 1, bytes, isParked);
    count(this.totalsOf(facts.group), 1, bytes, isParked);
    for (const { topicNo } of facts.messages) this.topic(topicNo).halfMessages++;
    reserveKeys(this, facts);
  }

  #opened({ atMs, pausedMs }: RecordOf<"opened">): void {
    this.openedAtMs = atMs;
    leaveAll(this, atMs, pausedMs);
    for (const cursor of this.cursors.values()) {
      cursor.restart(pausedMs);
      if (!this.topic(cursor.topicNo).isDeadLetters) continue;
      for (const { offset } of [...cursor.entries()]) passOver(this, cursor, offset);
    }
    for (const transaction of this.transactions.values()) {
      transaction.nextCheckAtMs += pausedMs;
      transaction.ageFromMs += pausedMs;
    }
  }

  #topicCreated({ topicNo, topic, settings }: RecordOf<"topicCreated">): void {
    const created = new Topic(topicNo, topic, settings);
    this.topics.set(topicNo, created);
    this.topicsByName.set(topic, created);
    this.readers.set(topicNo, []);
    this.nextTopicNo = topicNo + 1;
  }

  #topicDeleted({ topicNo }: RecordOf<"topicDeleted">): void {
    for (const cursor of this.readers.get(topicNo) ?? []) {
      cursor.clear();
      this.cursors.delete(cursor.no);
      this.group(cursor.groupNo).cursors.delete(topicNo);
    }
    this.readers.delete(topicNo);
    dropScheduled(this, topicNo);
    this.topicsByName.delete(this.topic(topicNo).name);
    this.topics.delete(topicNo);
    // A dead letter whose message is gone cannot be replayed.
    for (const topic of this.topics.values()) {
      for (const [offset, origin] of topic.origins)
        if (origin.topicNo === topicNo) endDeadLetter(this, topic, offset);
    }
  }

  #groupDeleted({ groupNo }: { readonly groupNo: number }): void {
    const group = this.group(groupNo);
    for (const cursor of group.cursors.values()) {
      const offsets = offsetsOf(cursor);
      cursor.clear();
      this.cursors.delete(cursor.no);
      const readers = this.readers.get(cursor.topicNo) ?? [];
      this.readers.set(
        cursor.topicNo,
        readers.filter((reader) => reader !== cursor),
      );
      ended(this, cursor, offsets);
    }
    removeGroup(this, group);
  }

  #cursorReset({ cursorNo, nextOffset, operator, reason }: RecordOf<"cursorReset">): void {
    const cursor = this.cursor(cursorNo);
    const offsets = offsetsOf(cursor);
    cursor.reset(nextOffset);
    cursor.revisit(this.block);
    ended(this, cursor, offsets);
    const topic = this.topic(cursor.topicNo).name;
    const change = { topic, offset: nextOffset, count: 1, operator, reason };
    noteChange(this, this.group(cursor.groupNo), { what: "reset", ...change });
  }

  /** What stands before a fresh one that is skipped is fresh no more, but ready: V1 knows no holes. */
  #skipped({ cursorNo, offsets, operator, reason }: RecordOf<"skipped">): void {
    const cursor = this.cursor(cursorNo);
    const topic = this.topic(cursor.topicNo);
    const last = Math.max(...offsets);
    for (;;) {
      const fresh = topic.nextLive(Math.max(cursor.nextOffset, topic.firstOffset));
      if (fresh > last || fresh >= topic.nextOffset) break;
      cursor.takeIn(fresh);
    }
    for (const offset of offsets) cursor.settle(offset);
    ended(this, cursor, offsets);
    const [offset = 0] = offsets;
    const change = { topic: topic.name, offset, count: offsets.length, operator, reason };
    noteChange(this, this.group(cursor.groupNo), { what: "skipped", ...change });
  }

  #cursorOpened({ cursorNo, groupNo, topicNo, nextOffset }: RecordOf<"cursorOpened">): void {
    this.addCursor(new Cursor(cursorNo, groupNo, topicNo, nextOffset, this.entries));
  }

  addCursor(cursor: Cursor): void {
    this.cursors.set(cursor.no, cursor);
    setOrder(this, cursor);
    this.group(cursor.groupNo).cursors.set(cursor.topicNo, cursor);
    this.readers.get(cursor.topicNo)?.push(cursor);
    this.nextCursorNo = Math.max(this.nextCursorNo, cursor.no + 1);
  }

  #sent({ sendId, digest, messages }: RecordOf<"sent">): void {
    this.sends.set(sendId, digest, this.atMs);
    for (const message of messages) show(this, message, this.#takeSlots(1), this.atMs);
  }

  #prepared(record: RecordOf<"prepared">): void {
    const { transactionId: id, group, digest, messages, acks, checkAtMs, onUndecided } = record;
    const place = this.#takeSlots(messages.length);
    for (const { cursorNo, offset } of acks) this.cursor(cursorNo).join(offset);
    this.hold({
      id,
      group,
      digest,
      preparedAtMs: this.atMs,
      ageFromMs: this.atMs,
      block: this.block,
      place,
      messages: messages.map(({ topicNo, bytes, timing }) =>
        timing === undefined ? { topicNo, bytes } : { topicNo, bytes, timing },
      ),
      acks,
      onUndecided,
      reservationNo: record.reservesKeys === true ? this.nextReservationNo++ : NOTHING,
      checks: 0,
      nextCheckAtMs: checkAtMs,
      parked: null,
    });
  }

  /** T4, T5: visibility, joined acks and the decision in one record. */
  #decided({ transactionId, verdict, by, who, fromAtMs }: RecordOf<"decided">): void {
    const transaction = this.transaction(transactionId);
    const { group, digest, preparedAtMs, block: preparedBlock, acks } = transaction;
    if (verdict === "commit") this.#makeVisible(transaction, fromAtMs ?? this.atMs);
    endReservations(this, transaction);
    this.#release(transaction);
    this.decisions.set(
      transactionId,
      {
        state: verdict === "commit" ? "committed" : "rolledBack",
        group,
        digest,
        by,
        who,
        atMs: this.atMs,
        preparedAtMs,
        preparedBlock,
        decidedBlock: this.block,
      },
      this.atMs,
    );
    for (const { cursorNo, offset } of acks) {
      const cursor = this.cursor(cursorNo);
      if (verdict === "commit") {
        cursor.settle(offset);
        ended(this, cursor, [offset]);
      } else {
        cursor.giveBack(offset, "rolledBack", 0, false, "");
        passOver(this, cursor, offset);
      }
    }
  }

  #makeVisible({ messages, place, reservationNo }: Transaction, fromAtMs: number): void {
    const { block } = place;
    let at = place.slot;
    for (const message of messages)
      show(this, message, { block, slot: at++ }, fromAtMs, reservationNo);
  }

  #release(transaction: Transaction): void {
    const { group, bytes, parked, messages } = transaction;
    this.transactions.remove(transaction);
    const ofGroup = this.totalsOf(group);
    count(this.totals, -1, bytes, parked !== null);
    count(ofGroup, -1, bytes, parked !== null);
    if (ofGroup.count === 0) this.totalsByGroup.delete(group);
    for (const { topicNo } of messages) this.topic(topicNo).halfMessages--;
  }

  #checked({ transactionId, isCounted, nextCheckAtMs }: RecordOf<"checked">): void {
    const transaction = this.transaction(transactionId);
    if (isCounted) transaction.checks++;
    transaction.nextCheckAtMs = nextCheckAtMs;
  }

  #parked({ transactionId, cause }: RecordOf<"parked">): void {
    const transaction = this.transaction(transactionId);
    transaction.parked = cause;
    this.totals.parked++;
    this.totalsOf(transaction.group).parked++;
  }

  #resumed({ transactionId, checkAtMs }: RecordOf<"resumed">): void {
    const transaction = this.transaction(transactionId);
    transaction.parked = null;
    transaction.checks = 0;
    transaction.ageFromMs = this.atMs;
    transaction.nextCheckAtMs = checkAtMs;
    this.totals.parked--;
    this.totalsOf(transaction.group).parked--;
  }

  #endpointSet({ group, endpoint }: RecordOf<"endpointSet">): void {
    if (endpoint === null) this.endpoints.delete(group);
    else this.endpoints.set(group, endpoint);
  }

  #delivered({ cursorNo, firstDeliveryNo, offsets }: RecordOf<"delivered">): void {
    const cursor = this.cursor(cursorNo);
    for (let at = 0; at < offsets.length; at++)
      cursor.deliver(offsets[at] ?? 0, firstDeliveryNo + at);
  }

  /** The first of the next `count`. */
  #takeSlots(count: number): Place {
    const slot = this.#slot;
    this.#slot += count;
    return { block: this.block, slot };
  }
}

const offsetsOf = (cursor: Cursor): readonly number[] =>
  Array.from(cursor.entries(), ({ offset }) => offset);

function count(totals: UndecidedTotals, by: 1 | -1, bytes: number, isParked: boolean): void {
  totals.count += by;
  totals.bytes += by * bytes;
  if (isParked) totals.parked += by;
}
