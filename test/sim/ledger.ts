/**
 * The oracle's own reading of the log: the same records folded by other code, which refuses what the
 * promises forbid. It knows nothing of the engine but what a record means.
 */
import type { LogRecord, Place, RecordOf } from "../../broker/src/core/records.ts";
import {
  type LedgerCursor,
  type LedgerEntry,
  type LedgerGroup,
  type LedgerTopic,
  type LedgerTransaction,
  type Limits,
  newCursor,
  newTopic,
  placeKey,
} from "./ledger-facts.ts";
import { applyInstance, isPaused, leaveAll, updateGroup } from "./ledger-groups.ts";
import { LedgerSchedule } from "./ledger-scheduled.ts";
import { isFirst, isOrdered, readyEntry, taken, takesIn } from "./ledger-windows.ts";
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
  #openedAtMs = 0;
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
        this.#openedAtMs = record.atMs;
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
        return this.#retired(record, nowMs);
      case "moved":
        return this.#moved(record);
      case "due":
        return this.#due(record, nowMs);
      case "recalled":
        return this.schedule.recall(record);
      case "lapsed":
        return this.#lapsed(record);
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
        for (const { topicNo, bytes, timing } of record.messages) {
          const place = this.#takeSlot(bytes);
          if (!this.schedule.add(timing, topicNo, place, this.atMs)) this.#append(topicNo, place);
        }
        return;
      case "prepared":
        return this.#prepared(record);
      case "decided":
        return this.#decided(record);
      case "checked": {
        const transaction = this.#undecidedOne(record.transactionId, "C2");
        if (record.isCounted) transaction.checks++;
        transaction.nextCheckAtMs = record.nextCheckAtMs;
        return;
      }
      case "parked":
        return this.#parked(record, nowMs);
      case "resumed": {
        const transaction = this.#undecidedOne(record.transactionId, "T2");
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
        return this.#delivered(record, nowMs);
      case "acked":
        for (const offset of record.offsets) {
          this.#leased(record.cursorNo, offset, "D3");
          this.cursor(record.cursorNo).entries.delete(offset);
        }
        return;
      case "returned":
        return this.#returned(record);
      case "skipped":
        return this.#skipped(record);
      case "buried":
        return this.#buried(record);
      case "replayed":
      case "purged":
        return this.#deadLetterEnded(record);
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

  /** What a consumer of the group could get now. */
  ready(cursor: LedgerCursor, nowMs: number): number[] {
    const ready: number[] = [];
    for (const [offset, { kind, number }] of cursor.entries)
      if (kind === "ready" || (kind === "waiting" && number <= nowMs)) ready.push(offset);
    if (takesIn(this, cursor)) return ready.filter((offset) => isFirst(cursor, offset));
    const fresh = this.nextFresh(cursor);
    if (fresh < this.topic(cursor.topicNo).places.length) ready.push(fresh);
    return ready;
  }

  /** In a dead-letter topic what was replayed or purged is passed over. */
  nextFresh(cursor: LedgerCursor): number {
    const { isDeadLetters, origins, places } = this.topic(cursor.topicNo);
    let offset = cursor.nextOffset;
    while (isDeadLetters && offset < places.length && !origins.has(offset)) offset++;
    return offset;
  }

  #opened(pausedMs: number): void {
    for (const cursor of this.cursors.values()) {
      for (const [offset, entry] of cursor.entries) {
        if (entry.kind === "leased") entry.kind = "ready";
        if (entry.kind === "waiting") entry.number += pausedMs;
        this.#passOver(cursor, offset);
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
    const messages = record.messages.map(({ topicNo, bytes, timing }) => ({
      topicNo,
      place: this.#takeSlot(bytes),
      timing,
    }));
    for (const { cursorNo, offset } of acks) this.#leased(cursorNo, offset, "T9").kind = "pending";
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
    const transaction = this.#undecidedOne(transactionId, "T2");
    transaction.state = verdict === "commit" ? "committed" : "rolledBack";
    transaction.by = by;
    transaction.who = who;
    transaction.decidedAtMs = this.atMs;
    this.undecided.delete(transactionId);
    if (verdict === "commit")
      for (const [at, { topicNo, place, timing }] of transaction.messages.entries()) {
        const moved = transaction.movedTo;
        const now = moved === null ? null : { ...moved, slot: moved.slot + at };
        const isLater = this.schedule.add(timing, topicNo, place, fromAtMs ?? this.atMs);
        if (!isLater) this.#append(topicNo, place, now);
        else if (now !== null && timing !== undefined)
          this.schedule.move({ messageId: timing.id, from: place }, now);
      }
    for (const { cursorNo, offset } of transaction.acks) {
      const cursor = this.cursor(cursorNo);
      const entry = cursor.entries.get(offset);
      demand(entry?.kind === "pending", "T9", () => `an ack that joined ${transactionId} is lost`);
      if (verdict === "commit") cursor.entries.delete(offset);
      else entry.kind = "ready";
      this.#passOver(cursor, offset);
    }
  }

  group(no: number): LedgerGroup {
    const group = this.groups.get(no);
    demand(group !== undefined, "I3", () => `a record names group ${no}, which does not exist`);
    return group;
  }

  /** D17: only what is unsettled; what is fresh before it becomes ready. */
  #skipped({ cursorNo, offsets }: RecordOf<"skipped">): void {
    const cursor = this.cursor(cursorNo);
    const { places } = this.topic(cursor.topicNo);
    for (const offset of offsets) {
      for (let fresh = this.nextFresh(cursor); fresh <= offset; fresh = this.nextFresh(cursor)) {
        demand(fresh < places.length, "D17", () => `${offset} is skipped, and not visible yet`);
        cursor.nextOffset = fresh + 1;
        cursor.entries.set(fresh, readyEntry(0));
      }
      const kind = cursor.entries.get(offset)?.kind;
      demand(kind !== undefined, "D17", () => `cursor ${cursorNo}/${offset} is skipped, settled`);
      demand(kind !== "pending", "T9", () => `cursor ${cursorNo}/${offset} is skipped, pending`);
      cursor.entries.delete(offset);
    }
  }

  #parked({ transactionId, cause }: RecordOf<"parked">, nowMs: number): void {
    const transaction = this.#undecidedOne(transactionId, "T2");
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

  #delivered(record: RecordOf<"delivered">, nowMs: number): void {
    const cursor = this.cursor(record.cursorNo);
    const where = `cursor ${record.cursorNo}`;
    demand(
      !isPaused(this, cursor.groupNo),
      "D16",
      () => `${where} is given something, and is paused`,
    );
    demand(record.firstDeliveryNo >= cursor.nextDeliveryNo, "D3", () => "a number comes again");
    for (const [at, offset] of record.offsets.entries()) {
      const deliveryNo = record.firstDeliveryNo + at;
      cursor.nextDeliveryNo = deliveryNo + 1;
      const entry = cursor.entries.get(offset);
      if (entry === undefined) {
        demand(offset === this.nextFresh(cursor), "D4", () => `${where}/${offset} was settled`);
        demand(!takesIn(this, cursor), "V6", () => `${where}/${offset} was not taken in`);
        const size = this.topic(cursor.topicNo).places.length;
        demand(offset < size, "T1", () => `${where}/${offset} is not visible yet`);
        cursor.nextOffset = offset + 1;
        cursor.entries.set(offset, {
          kind: "leased",
          number: deliveryNo,
          deliveries: 1,
          failures: 0,
          key: 0,
        });
        continue;
      }
      demand(isFirst(cursor, offset), "D9", () => `${where}/${offset} overtakes one of its key`);
      demand(entry.kind !== "pending", "T9", () => `${where}/${offset} has a pending ack`);
      demand(entry.kind !== "leased", "D3", () => `${where}/${offset} is leased already`);
      demand(
        entry.kind === "ready" || entry.number <= nowMs + this.slackMs,
        "D7",
        () => `${where}/${offset} comes ${entry.number - nowMs} ms before its time`,
      );
      entry.kind = "leased";
      entry.number = deliveryNo;
      entry.deliveries++;
    }
  }

  #returned(record: RecordOf<"returned">): void {
    const entry = this.#leased(record.cursorNo, record.offset, "D5");
    if (record.isCounted) entry.failures++;
    entry.kind = record.readyAtMs > 0 ? "waiting" : "ready";
    entry.number = record.readyAtMs;
    this.#passOver(this.cursor(record.cursorNo), record.offset);
  }

  #buried({ cursorNo, offset, deadTopicNo }: RecordOf<"buried">): void {
    this.#leased(cursorNo, offset, "D8");
    const cursor = this.cursor(cursorNo);
    const key = cursor.entries.get(offset)?.key ?? 0;
    cursor.entries.delete(offset);
    const dead = this.topic(deadTopicNo);
    demand(dead.name === `%DLQ%${this.groupName(cursor)}`, "D11", () => `buried in ${dead.name}`);
    const place = this.topic(cursor.topicNo).places[offset];
    demand(place !== undefined, "D8", () => "what is buried was never visible");
    dead.moved.set(dead.places.length, this.where(this.topic(cursor.topicNo), offset));
    dead.origins.set(dead.places.length, { topicNo: cursor.topicNo, offset, key });
    dead.places.push(place);
    dead.bytes.push(this.bytesAt.get(placeKey(place)) ?? 0);
    dead.atMs.push(this.atMs);
  }

  #deadLetterEnded({ kind, deadTopicNo, offset }: RecordOf<"replayed" | "purged">): void {
    const dead = this.topic(deadTopicNo);
    const origin = dead.origins.get(offset);
    demand(origin !== undefined, "D8", () => `${dead.name}/${offset} is ${kind}, but not there`);
    const topic = this.topic(origin.topicNo);
    // What its own topic has let go of is read where the dead letter stands.
    const isGone = !this.isLive(topic, origin.offset);
    if (kind === "replayed" && isGone) topic.moved.set(origin.offset, this.where(dead, offset));
    dead.origins.delete(offset);
    for (const cursor of this.cursors.values()) {
      if (cursor.topicNo === deadTopicNo) this.#passOver(cursor, offset);
      if (kind === "purged" || cursor.topicNo !== origin.topicNo) continue;
      if (`%DLQ%${this.groupName(cursor)}` !== dead.name) continue;
      if (cursor.entries.has(origin.offset) || origin.offset >= cursor.nextOffset) continue;
      const key = isOrdered(this, cursor) ? origin.key : 0;
      cursor.entries.set(origin.offset, readyEntry(key));
    }
  }

  /** E1 to E3: what may be retired, and what each group loses by it. `nowMs`: as in `apply`. */
  #retired({ topicNo, beforeOffset }: RecordOf<"retired">, nowMs: number): void {
    const topic = this.topic(topicNo);
    const { firstOffset: first, places, name, settings } = topic;
    demand(beforeOffset > first && beforeOffset <= places.length, "E1", () => `${name} is retired`);
    const isKept =
      settings.unsettled === "keep" || nowMs < this.#openedAtMs + this.limits.dropAfterStartMs;
    let bytes = this.bytesOf(topic);
    for (let offset = first; offset < beforeOffset; offset++) {
      const where = (): string => `${name}/${offset}`;
      const isDue =
        nowMs - (topic.atMs[offset] ?? 0) > settings.retentionMs ||
        (settings.retentionBytes > 0 && bytes > settings.retentionBytes);
      demand(isDue || !this.isLive(topic, offset), "E0", () => `${where()} is still in its time`);
      if (this.isLive(topic, offset)) bytes -= topic.bytes[offset] ?? 0;
      for (const cursor of this.cursors.values())
        if (cursor.topicNo === topicNo)
          this.#expire(topic, cursor, offset, isKept && !this.isInstance(cursor));
      const origin = topic.origins.get(offset);
      if (origin !== undefined) {
        topic.origins.delete(offset);
        const group = name.slice("%DLQ%".length);
        this.gone.add(`${group} ${this.topic(origin.topicNo).name}@${origin.offset}`);
        demand(!isKept, "E2", () => `the dead letter ${where()} is retired`);
        topic.expired++;
      }
    }
    topic.firstOffset = beforeOffset;
  }

  #expire(topic: LedgerTopic, cursor: LedgerCursor, offset: number, isKept: boolean): void {
    const where = (): string => `${this.groupName(cursor)} in ${topic.name}/${offset}`;
    const kind = cursor.entries.get(offset)?.kind;
    demand(kind !== "leased" && kind !== "pending", "E1", () => `${where()} is retired, ${kind}`);
    const isFresh = offset >= cursor.nextOffset && this.isLive(topic, offset);
    cursor.nextOffset = Math.max(cursor.nextOffset, offset + 1);
    if (kind === undefined && !isFresh) return;
    demand(!isKept, "E2", () => `${where()} is retired unsettled`);
    this.gone.add(`${this.groupName(cursor)} ${topic.name}@${offset}`);
    cursor.entries.delete(offset);
    cursor.expired++;
    topic.expired++;
  }

  /** Due by its age, settled by every group, and in no instance's hands. */
  mayGo({ no, atMs, settings, places }: LedgerTopic, offset: number, nowMs: number): boolean {
    if (offset >= places.length || this.topic(no).isDeadLetters) return false;
    if (nowMs - (atMs[offset] ?? 0) <= settings.retentionMs) return false;
    for (const cursor of this.cursors.values()) {
      const kind = cursor.topicNo === no ? cursor.entries.get(offset)?.kind : undefined;
      if (kind === "leased" || kind === "pending") return false;
      if (cursor.topicNo !== no || this.isInstance(cursor)) continue;
      if (offset >= cursor.nextOffset || kind !== undefined) return false;
    }
    return true;
  }

  /** Not retired, and not a dead letter that was replayed or purged. */
  isLive({ isDeadLetters, origins, firstOffset }: LedgerTopic, offset: number): boolean {
    return offset >= firstOffset && (!isDeadLetters || origins.has(offset));
  }

  /** Of what is live, or revived and not settled yet. */
  bytesOf(topic: LedgerTopic): number {
    let bytes = 0;
    const { firstOffset, places } = topic;
    const cursors = this.#cursorsOf(topic);
    for (let offset = firstOffset; offset < places.length; offset++)
      if (this.#isNeeded(topic, cursors, offset)) bytes += topic.bytes[offset] ?? 0;
    return bytes;
  }

  /** Where the bytes of an offset are read. */
  where(topic: LedgerTopic, offset: number): Place {
    const place = topic.moved.get(offset) ?? topic.places[offset];
    demand(place !== undefined, "T1", () => `${topic.name}/${offset} is not visible`);
    return place;
  }

  /** F1: what is copied forward is there, and nothing but its place changes. */
  #moved({ messages, entries, transactions, scheduled }: RecordOf<"moved">): void {
    const { block } = this;
    const first = this.#slot;
    for (const { bytes } of messages) this.#takeSlot(bytes);
    for (const { topicNo, offset, at, from } of entries) {
      const topic = this.topic(topicNo);
      const isNeeded = this.#isNeeded(topic, this.#cursorsOf(topic), offset);
      demand(isNeeded, "F2", () => `${topic.name}/${offset} is moved, and nobody needs it`);
      const isThere = placeKey(this.where(topic, offset)) === placeKey(from);
      demand(isThere, "F2", () => `${topic.name}/${offset} is moved from where it is not`);
      topic.moved.set(offset, { block, slot: first + at });
    }
    for (const { transactionId, at } of transactions)
      this.#undecidedOne(transactionId, "F2").movedTo = { block, slot: first + at };
    for (const one of scheduled) this.schedule.move(one, { block, slot: first + one.at });
  }

  /** Somebody may still read its bytes. */
  #isNeeded(topic: LedgerTopic, cursors: readonly LedgerCursor[], offset: number): boolean {
    const isThere = offset < topic.places.length && this.isLive(topic, offset);
    return isThere || cursors.some(({ entries }) => entries.has(offset));
  }

  #cursorsOf({ no }: LedgerTopic): LedgerCursor[] {
    return [...this.cursors.values()].filter(({ topicNo }) => topicNo === no);
  }

  /** No block before it is read again (A3). */
  get neededBlock(): number {
    let needed = Math.min(this.block + 1, this.schedule.neededBlock);
    for (const topic of this.topics.values()) {
      for (let offset = topic.firstOffset; offset < topic.places.length; offset++)
        if (this.isLive(topic, offset)) needed = Math.min(needed, this.where(topic, offset).block);
      for (const { entries } of this.#cursorsOf(topic))
        for (const offset of entries.keys())
          needed = Math.min(needed, this.where(topic, offset).block);
    }
    for (const { messages, movedTo } of this.undecided.values())
      for (const { place } of messages) needed = Math.min(needed, (movedTo ?? place).block);
    return needed;
  }

  #passOver(cursor: LedgerCursor, offset: number): void {
    const { isDeadLetters, origins } = this.topic(cursor.topicNo);
    if (!isDeadLetters || origins.has(offset)) return;
    const kind = cursor.entries.get(offset)?.kind;
    if (kind === "ready" || kind === "waiting") cursor.entries.delete(offset);
  }

  demandLeased(cursorNo: number, offset: number, invariant: string): void {
    this.#leased(cursorNo, offset, invariant);
  }

  #leased(cursorNo: number, offset: number, invariant: string): LedgerEntry {
    const entry = this.cursor(cursorNo).entries.get(offset);
    demand(entry?.kind === "leased", invariant, () => `cursor ${cursorNo}/${offset} is not leased`);
    return entry;
  }

  #undecidedOne(id: string, invariant: string): LedgerTransaction {
    const transaction = this.undecided.get(id);
    demand(transaction !== undefined, invariant, () => `${id} is not undecided`);
    return transaction;
  }

  #due(record: RecordOf<"due">, nowMs: number): void {
    const { topicNo, place, movedTo } = this.schedule.due(record, nowMs);
    this.#append(topicNo, place, movedTo);
  }

  /** That it really was too old is judged where it would have been sent. */
  #lapsed({ cursorNo, offsets }: RecordOf<"lapsed">): void {
    const cursor = this.cursor(cursorNo);
    for (const offset of offsets) {
      this.#leased(cursorNo, offset, "D15");
      cursor.entries.delete(offset);
      cursor.lapsed++;
      this.gone.add(`${this.groupName(cursor)} ${this.topic(cursor.topicNo).name}@${offset}`);
    }
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

  #takeSlot(bytes: number): Place {
    const place = { block: this.block, slot: this.#slot++ };
    this.bytesAt.set(placeKey(place), bytes);
    return place;
  }
}
