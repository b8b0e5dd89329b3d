/**
 * The inspector: what happened to one transaction, read from the records that exist anyway. No index is
 * kept for it; the log is read from the prepare on, within bounds that are said when they are reached.
 */
import { EscrowError, type TimelineEvent } from "@escrowmq/protocol";
import type { LogRecord, Place, RecordOf } from "../core/records.ts";
import { type HalfMessage, isDelayed, keyToReserve } from "../core/transaction.ts";
import type { Block } from "../store/store.ts";
import {
  because,
  checkedText,
  decidedText,
  dueText,
  type Elsewhere,
  FILTERED_TEXT,
  operatorText,
  parkedText,
  placeKey,
  plural,
  returnedText,
  slotOf,
} from "./log-texts.ts";

export interface TimelineSource {
  /** For how long the reading takes. */
  nowMs(): number;
  readBlock(block: number): Promise<Block>;
  /** Blocks before it were retired; it may move forward while a timeline is read. */
  firstBlock(): number;
  /** Names by number; "" for what is gone. */
  topicName(topicNo: number): string;
  cursor(cursorNo: number): { readonly group: string; readonly topicNo: number } | null;
  /** Which offset the message at `place` got in a topic when it became visible there at `atMs`. */
  offsetOf(topicNo: number, place: Place, atMs: number): number | null;
  /** Where its bytes are now; null: nowhere any more. */
  placeOf(topicNo: number, offset: number): Place | null;
  /** The first offset of the topic that became visible at or after `atMs`. */
  offsetAt(topicNo: number, atMs: number): number;
  /** There is one at this offset of a dead-letter topic, neither replayed nor purged. */
  isDeadLetter(topicNo: number, offset: number): boolean;
}

export interface TimelineResult {
  readonly timeline: readonly TimelineEvent[];
  readonly isTruncated: boolean;
  /** What came before the first event was retired with its blocks. */
  readonly isHistoryRetired: boolean;
  /** What the prepare said; absent when it was retired. */
  readonly messages?: readonly { readonly topic: string; readonly bytes: number }[];
  readonly acks?: number;
  readonly checks?: number;
}

/** An inspection may read this many blocks, and take this long: it shares the disk with everybody. */
const BLOCKS_MAX = 50_000;
const EVENTS_MAX = 500;
/** What was copied forward is read about twice; a client waits 10 s. */
const MS_MAX = 4_000;

export async function readTimeline(
  source: TimelineSource,
  transactionId: string,
  fromBlock: number,
  toBlock: number,
): Promise<TimelineResult> {
  const moved = new Map<string, Offset>();
  const first = await readOnce(source, transactionId, fromBlock, toBlock, moved);
  // What was copied forward is known by its new place only; the log says where it was before.
  return moved.size === 0 ? first : readOnce(source, transactionId, fromBlock, toBlock, moved);
}

/** Where a message that was copied forward stands in its topic. */
interface Offset {
  readonly topicNo: number;
  readonly offset: number;
}

/** `moved`: by the place that the message had when it became visible; found here, and made use of. */
async function readOnce(
  source: TimelineSource,
  transactionId: string,
  fromBlock: number,
  toBlock: number,
  moved: Map<string, Offset>,
): Promise<TimelineResult> {
  const reader = new Reader(source, transactionId, moved);
  let number = Math.max(fromBlock, source.firstBlock());
  let isHistoryRetired = number > fromBlock;
  const last = Math.min(toBlock, number + BLOCKS_MAX - 1);
  const untilMs = source.nowMs() + MS_MAX;
  while (number <= last && reader.events.length < EVENTS_MAX && source.nowMs() < untilMs) {
    const block = await readUnlessRetired(source, number);
    if (block === null) {
      isHistoryRetired = true;
      number = Math.max(number + 1, source.firstBlock());
      continue;
    }
    for (const record of block.records) reader.read(record, block);
    number++;
  }
  return { ...reader.result(), isTruncated: number <= toBlock, isHistoryRetired };
}

/** Null: retention removed it since the reading began. */
export async function readUnlessRetired(
  source: Pick<TimelineSource, "readBlock">,
  number: number,
): Promise<Block | null> {
  try {
    return await source.readBlock(number);
  } catch (error) {
    if (EscrowError.is(error, "MESSAGE_RETIRED")) return null;
    throw error;
  }
}

class Reader {
  readonly events: TimelineEvent[] = [];
  readonly #source: TimelineSource;
  readonly #id: string;
  #hasPrepare = false;
  #messages: readonly HalfMessage[] = [];
  /** Its messages that may be in no topic yet: by topic and place, and their slots. */
  readonly #later = new Map<string, number>();
  /** Where those stood that became due since. */
  readonly #dueFrom = new Set<string>();
  #acks: readonly { readonly cursorNo: number; readonly offset: number }[] = [];
  #checks = 0;
  #block = 0;
  #firstSlot = 0;
  /** Deliveries under way: cursorNo:offset, and where. */
  readonly #leased = new Map<string, string>();
  /** topicNo:offset of its messages, once committed or buried, and their slots. */
  readonly #slots = new Map<string, number>();
  /** By cursor: where it stands, as far as what was read tells. Behind that it takes nothing in. */
  readonly #nextOffsets = new Map<number, number>();
  readonly #moved: Map<string, Offset>;

  constructor(source: TimelineSource, id: string, moved: Map<string, Offset>) {
    this.#source = source;
    this.#id = id;
    this.#moved = moved;
  }

  result(): Omit<TimelineResult, "isTruncated" | "isHistoryRetired"> {
    // The prepare was retired: the broker's memory knows more than is left of the log.
    if (!this.#hasPrepare) return { timeline: this.events };
    const messages = this.#messages.map(({ topicNo, bytes }) => ({
      topic: this.#source.topicName(topicNo),
      bytes,
    }));
    return { timeline: this.events, messages, acks: this.#acks.length, checks: this.#checks };
  }

  read(record: LogRecord, block: Block): void {
    switch (record.kind) {
      case "opened":
        return this.#opened(block);
      case "prepared":
        if (record.transactionId === this.#id) return this.#prepared(record, block);
        return this.#joined(record, block);
      case "checked":
        if (record.transactionId === this.#id) this.#checked(record, block);
        return;
      case "parked":
        if (record.transactionId === this.#id) this.#add(block, "parked", parkedText(record));
        return;
      case "resumed":
        if (record.transactionId === this.#id) this.#add(block, "resumed", operatorText(record));
        return;
      case "decided":
        if (record.transactionId === this.#id) this.#decided(record, block);
        return;
      case "moved":
        return this.#movedOn(record, block);
      case "due":
        return this.#due(record, block);
      case "queued":
        return this.#queued(record, block);
      case "recalled":
        return this.#recalled(record, block);
      case "delivered":
        return this.#delivered(record, block);
      case "acked":
        return this.#acked(record, block);
      case "returned":
        return this.#returned(record, block);
      case "cursorOpened":
        this.#nextOffsets.set(record.cursorNo, record.nextOffset);
        return;
      case "taken":
        return this.#taken(record, block);
      case "skipped":
        return this.#skipped(record, block);
      case "buried":
        return this.#buried(record, block);
      case "abandoned": {
        const text = because("without it", record.reason);
        this.#of(record.cursorNo, record.offset, block, "abandoned", text);
        return;
      }
      case "lapsed":
        for (const offset of record.offsets)
          this.#of(record.cursorNo, offset, block, "lapsed", "its time to live was over");
        return;
      case "cursorReset":
        return this.#reset(record, block);
      case "replayed":
      case "purged":
        if (this.#slots.has(`${record.deadTopicNo}:${record.offset}`))
          this.#add(block, record.kind, operatorText(record));
        return;
      // Other messages.
      case "sent":
        return;
      default:
        record satisfies Elsewhere;
    }
  }

  /** What was leased when the broker stopped went back: the cause of the repeat that follows (D5). */
  #opened(block: Block): void {
    for (const [key, where] of this.#leased) {
      this.#add(block, "returned", `${where}, restart of the broker`);
      this.#leased.delete(key);
    }
  }

  #prepared(record: RecordOf<"prepared">, block: Block): void {
    this.#hasPrepare = true;
    this.#messages = record.messages;
    this.#acks = record.acks;
    this.#block = block.number;
    this.#firstSlot = slotOf(record, block);
    const topics = [
      ...new Set(record.messages.map(({ topicNo }) => this.#source.topicName(topicNo))),
    ].join(", ");
    const acks = record.acks.length > 0 ? `, ${plural(record.acks.length, "joined ack")}` : "";
    const keys = record.reservesKeys === true ? ", its keys reserved" : "";
    this.#add(
      block,
      "prepared",
      `by ${record.group}: ${plural(record.messages.length, "message")} for ${topics}${acks}${keys}`,
    );
  }

  #checked(record: RecordOf<"checked">, block: Block): void {
    if (record.isCounted) this.#checks++;
    this.#add(block, "checked", checkedText(record, this.#checks));
  }

  #decided(record: RecordOf<"decided">, block: Block): void {
    const isCommit = record.verdict === "commit";
    this.#add(block, isCommit ? "committed" : "rolledBack", decidedText(record));
    if (!isCommit) return;
    for (const [at, message] of this.#messages.entries()) {
      const { topicNo } = message;
      const slot = this.#firstSlot + at;
      if (isDelayed(message) || keyToReserve(message) !== 0)
        this.#later.set(placeKey(topicNo, { block: this.#block, slot }), slot);
      this.#place(topicNo, slot, block.atMs);
    }
  }

  /** A delayed message of this transaction is due, and its key is reserved. */
  #queued({ topicNo, place }: RecordOf<"queued">, block: Block): void {
    if (this.#later.has(placeKey(topicNo, place)))
      this.#add(block, "queued", dueText("queued", this.#source.topicName(topicNo)));
  }

  /** A message of this transaction enters its topic later than with the commit. */
  #due({ topicNo, place }: RecordOf<"due">, block: Block): void {
    const slot = this.#later.get(placeKey(topicNo, place));
    if (slot === undefined) return;
    this.#dueFrom.add(placeKey(topicNo, place));
    this.#add(block, "due", dueText("due", this.#source.topicName(topicNo)));
    const offset =
      this.#source.offsetOf(topicNo, place, block.atMs) ??
      this.#moved.get(placeKey(topicNo, place))?.offset;
    if (offset !== undefined) this.#slots.set(`${topicNo}:${offset}`, slot);
  }

  #recalled({ topicNo, places, client }: RecordOf<"recalled">, block: Block): void {
    for (const place of places)
      if (this.#later.delete(placeKey(topicNo, place)))
        this.#add(block, "recalled", `out of ${this.#source.topicName(topicNo)} by ${client}`);
  }

  #delivered({ cursorNo, offsets, connection }: RecordOf<"delivered">, block: Block): void {
    for (const offset of offsets) {
      this.#reached(cursorNo, offset);
      this.#of(cursorNo, offset, block, "delivered", `on connection ${connection}`);
    }
  }

  /** Everything before `nextOffset` was looked at. */
  #taken({ cursorNo, nextOffset, offsets }: RecordOf<"taken">, block: Block): void {
    const topicNo = this.#source.cursor(cursorNo)?.topicNo;
    const from = this.#nextOffsets.get(cursorNo) ?? this.#firstOffset(topicNo);
    this.#nextOffsets.set(cursorNo, nextOffset);
    for (let offset = from; offset < nextOffset; offset++)
      if (this.#slots.has(`${topicNo}:${offset}`) && !offsets.includes(offset))
        this.#of(cursorNo, offset, block, "filtered", FILTERED_TEXT);
  }

  /** Of this transaction's messages there. A group of which nothing was read yet stands before all of them. */
  #firstOffset(topicNo: number | undefined): number {
    let first = Number.POSITIVE_INFINITY;
    for (const key of this.#slots.keys()) {
      const [of, offset = first] = key.split(":").map(Number);
      if (of === topicNo) first = Math.min(first, offset);
    }
    return first;
  }

  #reached(cursorNo: number, offset: number): void {
    const before = this.#nextOffsets.get(cursorNo) ?? 0;
    this.#nextOffsets.set(cursorNo, Math.max(before, offset + 1));
  }

  #skipped(record: RecordOf<"skipped">, block: Block): void {
    for (const offset of record.offsets) {
      this.#reached(record.cursorNo, offset);
      this.#of(record.cursorNo, offset, block, "skipped", operatorText(record));
    }
  }

  #acked({ cursorNo, offsets }: RecordOf<"acked">, block: Block): void {
    for (const offset of offsets) this.#of(cursorNo, offset, block, "acked", "");
  }

  #returned(record: RecordOf<"returned">, block: Block): void {
    const { cursorNo, offset } = record;
    this.#of(cursorNo, offset, block, "returned", returnedText(record, block.atMs));
  }

  /** Acks of its messages are part of another transaction from now on. */
  #joined({ transactionId, acks }: RecordOf<"prepared">, block: Block): void {
    for (const { cursorNo, offset } of acks)
      this.#of(cursorNo, offset, block, "joined", `the ack joined transaction ${transactionId}`);
  }

  /** Every delivery under way is over, and what was settled may come again. */
  #reset(record: RecordOf<"cursorReset">, block: Block): void {
    const { cursorNo, nextOffset } = record;
    this.#nextOffsets.set(cursorNo, nextOffset);
    const topicNo = this.#source.cursor(cursorNo)?.topicNo;
    for (const key of this.#slots.keys()) {
      const [of, offset] = key.split(":").map(Number);
      if (of !== topicNo || offset === undefined) continue;
      const text = `to offset ${nextOffset}, ${operatorText(record)}`;
      this.#of(cursorNo, offset, block, "reset", text);
    }
  }

  #buried({ cursorNo, offset, deadTopicNo, reason }: RecordOf<"buried">, block: Block): void {
    const slot = this.#of(
      cursorNo,
      offset,
      block,
      "buried",
      because("to the dead letters", reason),
    );
    if (slot !== null) this.#place(deadTopicNo, slot, block.atMs);
  }

  #movedOn(record: RecordOf<"moved">, block: Block): void {
    const first = slotOf(record, block);
    for (const { at, from } of record.scheduled) this.#movedLater(from, block, first + at);
    // Only the first move tells where it was when it became visible.
    for (const { topicNo, offset, from } of record.entries) {
      const key = placeKey(topicNo, from);
      const isOurs = from.block === this.#block || this.#dueFrom.has(key);
      if (isOurs && !this.#moved.has(key)) this.#moved.set(key, { topicNo, offset });
    }
    for (const { transactionId, at } of record.transactions) {
      if (transactionId !== this.#id) continue;
      this.#block = block.number;
      this.#firstSlot = first + at;
    }
  }

  #movedLater(from: Place, block: Block, to: number): void {
    for (const { topicNo } of this.#messages) {
      const slot = this.#later.get(placeKey(topicNo, from));
      if (slot === undefined) continue;
      this.#later.delete(placeKey(topicNo, from));
      this.#later.set(placeKey(topicNo, { block: block.number, slot: to }), slot);
    }
  }

  #place(topicNo: number, slot: number, atMs: number): void {
    const place = { block: this.#block, slot };
    const offset =
      this.#source.offsetOf(topicNo, place, atMs) ??
      this.#moved.get(placeKey(topicNo, place))?.offset ??
      null;
    if (offset !== null) this.#slots.set(`${topicNo}:${offset}`, slot);
  }

  /** Adds the event if the message is one of this transaction, and tells its slot; else null. */
  #of(
    cursorNo: number,
    offset: number,
    block: Block,
    event: TimelineEvent["event"],
    text: string,
  ): number | null {
    if (this.#slots.size === 0) return null;
    const cursor = this.#source.cursor(cursorNo);
    const slot = cursor === null ? undefined : this.#slots.get(`${cursor.topicNo}:${offset}`);
    if (cursor === null || slot === undefined) return null;
    const where = `${this.#source.topicName(cursor.topicNo)}@${offset} for ${cursor.group}`;
    if (event === "delivered") this.#leased.set(`${cursorNo}:${offset}`, where);
    else this.#leased.delete(`${cursorNo}:${offset}`);
    this.#add(block, event, text === "" ? where : `${where}, ${text}`);
    return slot;
  }

  #add(block: Block, event: TimelineEvent["event"], text: string): void {
    this.events.push({ atMs: block.atMs, event, text });
  }
}
