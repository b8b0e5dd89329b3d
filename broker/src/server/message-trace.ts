/**
 * What became of one message, read from the records that exist anyway: how it became visible, each delivery to each
 * group, and how each of them ended. No index is kept for it. The log is read from where the message became visible
 * on, and no further than somebody has it in hand.
 *
 * Invariants
 * - Z1 The reading ends early only where no group has more to tell: each has settled the message in a block that was
 *   read, or was not given it yet, nothing was given back since (cursor.ts, V7), and its dead letter, if it is one, is
 *   still there. A group that began behind the message has nothing to tell (V8).
 * - Z2 What is known halfway is said in `next`, so that an answer that goes on from there is the same as if it had
 *   been one.
 */
import { LIMITS, type MessageTrace, type TimelineEvent } from "@escrowmq/protocol";
import type { Trace } from "../core/message-queries.ts";
import type { LogRecord, Place, RecordOf } from "../core/records.ts";
import { keyToReserve } from "../core/transaction.ts";
import type { Block } from "../store/store.ts";
import type { LogReader } from "./log-reader.ts";
import {
  because,
  checkedText,
  decidedText,
  dueText,
  type Elsewhere,
  FILTERED_TEXT,
  operatorText,
  parkedText,
  plural,
  QUEUED_TEXT,
  returnedText,
  slotOf,
} from "./log-texts.ts";
import { readUnlessRetired, type TimelineSource } from "./timeline.ts";
import { newThread, readThread, type Thread, threadText } from "./trace-thread.ts";

/** One request reads this many blocks at most, and for this long: well below what a client waits. */
const BLOCKS_MAX = 20_000;
const MS_MAX = 3_000;
const EVENTS_MAX = 500;

export async function traceMessage(
  source: TimelineSource,
  reader: Pick<LogReader, "nowMs">,
  trace: Trace,
): Promise<MessageTrace> {
  const begin = await beginningOf(source, trace);
  const startedAtMs = reader.nowMs();
  const tracer = new Tracer(source, trace, begin.thread, begin.place);
  const first = Math.max(begin.block, source.firstBlock());
  let number = first;
  let isHistoryRetired = begin.isHistoryRetired || number > begin.block;
  // One at least: each answer is a step on the way, and what begins in the first block is known from then on.
  const hasRoom = (): boolean =>
    number === first ||
    (number - first < BLOCKS_MAX &&
      tracer.events.length < EVENTS_MAX &&
      reader.nowMs() - startedAtMs < MS_MAX);
  while (number <= trace.toBlock && hasRoom() && !tracer.isComplete) {
    const block = await readUnlessRetired(source, number);
    if (block === null) isHistoryRetired = true;
    else tracer.read(block);
    number = block === null ? Math.max(number + 1, source.firstBlock()) : number + 1;
  }
  const isThrough = number > trace.toBlock || tracer.isComplete;
  return {
    topic: trace.topic,
    offset: trace.offset,
    timeline: tracer.events,
    isHistoryRetired,
    blocks: number - first,
    blocksLeft: isThrough ? 0 : trace.toBlock - number + 1,
    ...(isThrough ? {} : { next: threadText(number, tracer.thread, LIMITS.traceAfterBytesMax) }),
  };
}

interface Beginning {
  readonly block: number;
  /** Where it stood when it became visible; null: not known, or of no more interest. */
  readonly place: Place | null;
  readonly thread: Thread;
  readonly isHistoryRetired: boolean;
}

async function beginningOf(source: TimelineSource, trace: Trace): Promise<Beginning> {
  const goesOn = trace.after === null ? null : readThread(trace.after);
  if (goesOn !== null) return { ...goesOn, place: goesOn.thread.place, isHistoryRetired: false };
  const thread = newThread();
  // A dead letter begins with its burial; its bytes are much older.
  const place = trace.origin === null ? await originalPlace(source, trace) : null;
  if (place !== null) return { block: place.block, place, thread, isHistoryRetired: false };
  const block = await firstBlockAt(source, trace.visibleAtMs, trace.toBlock);
  return { block, place, thread, isHistoryRetired: trace.origin === null };
}

/** Back through the records that copied it forward; null: they were retired. */
async function originalPlace(source: TimelineSource, trace: Trace): Promise<Place | null> {
  let { place } = trace;
  for (;;) {
    const block = await readUnlessRetired(source, place.block);
    if (block === null) return null;
    const from = movedFrom(block, trace, place);
    if (from === null || from.block >= place.block)
      return block.atMs <= trace.visibleAtMs ? place : null;
    place = from;
  }
}

/** `place`: where the block has it. Before it was due it was known by its place alone. */
function movedFrom(block: Block, { topicNo, offset }: Trace, { slot }: Place): Place | null {
  for (const record of block.records) {
    if (record.kind !== "moved") continue;
    const entry = record.entries.find((one) => one.topicNo === topicNo && one.offset === offset);
    if (entry !== undefined) return entry.from;
    const first = slotOf(record, block);
    const scheduled = record.scheduled.find(({ at }) => first + at === slot);
    if (scheduled !== undefined) return scheduled.from;
  }
  return null;
}

/** The first block of that time or later: times of blocks never fall. */
async function firstBlockAt(
  source: TimelineSource,
  atMs: number,
  toBlock: number,
): Promise<number> {
  let low = source.firstBlock();
  let high = toBlock;
  while (low < high) {
    const middle = Math.floor((low + high) / 2);
    const block = await readUnlessRetired(source, middle);
    if (block === null || block.atMs < atMs) low = middle + 1;
    else high = middle;
  }
  return low;
}

class Tracer {
  readonly events: TimelineEvent[] = [];
  readonly #source: TimelineSource;
  readonly #trace: Trace;
  /** Where it stood when it was sent or prepared, and since, until it became visible. */
  #place: Place | null;
  readonly #groups: ReadonlyMap<number, string>;
  readonly #settled: Map<number, number>;
  readonly #leased: Set<number>;
  /** Cursors that have looked at it, or were given it: what they take in later is behind it. */
  readonly #given: Set<number>;
  #transactionId: string | null;
  #checks: number;
  #joins: Thread["joins"];
  #deadLetters: Thread["deadLetters"];
  #isVisible = false;
  /** The last one that was read. */
  #block = 0;
  /** Burials in blocks of this time so far, by dead-letter topic: they tell their offsets. */
  #buriedAtMs = 0;
  readonly #buried = new Map<number, number>();

  constructor(source: TimelineSource, trace: Trace, thread: Thread, place: Place | null) {
    this.#source = source;
    this.#trace = trace;
    this.#place = place;
    this.#settled = new Map(thread.settled);
    this.#leased = new Set(thread.leased);
    this.#given = new Set([...thread.given, ...thread.leased, ...thread.settled.keys()]);
    this.#transactionId = thread.transactionId;
    this.#checks = thread.checks;
    this.#joins = thread.joins;
    this.#deadLetters = thread.deadLetters;
    this.#groups = new Map(trace.groups.map(({ cursorNo, group }) => [cursorNo, group]));
  }

  get thread(): Thread {
    return {
      transactionId: this.#transactionId,
      checks: this.#checks,
      joins: this.#joins,
      deadLetters: this.#deadLetters,
      leased: this.#leased,
      settled: this.#settled,
      given: this.#given,
      place: this.#isVisible ? null : this.#place,
    };
  }

  /** Z1 */
  get isComplete(): boolean {
    return (
      this.#isVisible &&
      this.#trace.groups.every(
        ({ cursorNo, standing, revisitedBlock }) =>
          (standing === "settled" && (this.#settled.get(cursorNo) ?? -1) >= revisitedBlock) ||
          (standing === "fresh" && this.#block >= revisitedBlock),
      ) &&
      this.#deadLetters.every(({ topicNo, offset }) => this.#source.isDeadLetter(topicNo, offset))
    );
  }

  read(block: Block): void {
    this.#block = block.number;
    if (block.atMs > this.#trace.visibleAtMs) this.#isVisible = true;
    if (block.atMs !== this.#buriedAtMs) this.#buried.clear();
    this.#buriedAtMs = block.atMs;
    for (const record of block.records) this.#read(record, block);
  }

  #read(record: LogRecord, block: Block): void {
    switch (record.kind) {
      case "opened":
        return this.#opened(block);
      case "sent":
        if (this.#holds(record, block)) this.#sent(record, block);
        return;
      case "prepared":
        return this.#prepared(record, block);
      case "checked":
      case "parked":
      case "resumed":
        if (record.transactionId === this.#transactionId) this.#waited(record, block);
        return;
      case "decided":
        return this.#decided(record, block);
      case "cursorOpened":
        return this.#cursorOpened(record, block);
      case "moved":
        return this.#moved(record, block);
      case "due":
      case "queued":
        return this.#due(record, block);
      case "taken":
        return this.#taken(record, block);
      case "delivered":
      case "acked":
      case "returned":
      case "buried":
      case "abandoned":
      case "lapsed":
      case "skipped":
      case "cursorReset":
        return this.#ofGroup(record, block);
      case "replayed":
      case "purged":
        return this.#deadLetterEnded(record, block);
      // It would never have become visible.
      case "recalled":
        return;
      default:
        record satisfies Elsewhere;
    }
  }

  /** What was leased when the broker stopped went back: the cause of the repeat that follows (D5). */
  #opened(block: Block): void {
    for (const cursorNo of this.#leased)
      this.#add(block, "returned", `${this.#groups.get(cursorNo) ?? ""}, restart of the broker`);
    this.#leased.clear();
  }

  #holds(record: RecordOf<"sent" | "prepared">, block: Block): boolean {
    const place = this.#place;
    if (place === null || place.block !== block.number) return false;
    const first = slotOf(record, block);
    return place.slot >= first && place.slot < first + record.messages.length;
  }

  #sent(record: RecordOf<"sent">, block: Block): void {
    const { sendId, messages } = record;
    const others = messages.length > 1 ? `, with ${plural(messages.length - 1, "other")}` : "";
    const own = messages[(this.#place?.slot ?? 0) - slotOf(record, block)];
    const isQueued = own !== undefined && keyToReserve(own) !== 0;
    this.#add(block, "sent", `as ${sendId}${others}${isQueued ? `, ${QUEUED_TEXT}` : ""}`);
  }

  #prepared(record: RecordOf<"prepared">, block: Block): void {
    const { transactionId, group, acks } = record;
    if (this.#holds(record, block)) {
      this.#transactionId = transactionId;
      this.#add(block, "prepared", `by ${group}, transaction ${transactionId}`);
    }
    for (const { cursorNo, offset } of acks) {
      const reader = this.#groups.get(cursorNo);
      if (offset !== this.#trace.offset || reader === undefined) continue;
      this.#joins = [...this.#joins, { transactionId, cursorNo }];
      this.#leased.delete(cursorNo);
      this.#add(block, "joined", `the ack of ${reader} joined transaction ${transactionId}`);
    }
  }

  #waited(record: RecordOf<"checked" | "parked" | "resumed">, block: Block): void {
    if (record.kind === "parked") return this.#add(block, "parked", parkedText(record));
    if (record.kind === "resumed") return this.#add(block, "resumed", operatorText(record));
    if (record.isCounted) this.#checks++;
    this.#add(block, "checked", checkedText(record, this.#checks));
  }

  #decided(record: RecordOf<"decided">, block: Block): void {
    const { transactionId, verdict } = record;
    if (transactionId === this.#transactionId) this.#add(block, "committed", decidedText(record));
    for (const { cursorNo, transactionId: joined } of this.#joins) {
      if (joined !== transactionId) continue;
      const group = this.#groups.get(cursorNo) ?? "";
      if (verdict === "commit") this.#settle(cursorNo, block);
      const event = verdict === "commit" ? "acked" : "returned";
      const word = verdict === "commit" ? "committed" : "rolled back";
      this.#add(block, event, `${group}, transaction ${transactionId} was ${word}`);
    }
    this.#joins = this.#joins.filter((one) => one.transactionId !== transactionId);
  }

  /** It waits for its time, or its transaction for its verdict, somewhere else from now on. */
  #moved(record: RecordOf<"moved">, block: Block): void {
    const place = this.#place;
    if (place === null) return;
    const first = slotOf(record, block);
    const next = record.scheduled.find(({ from }) => isSame(from, place));
    if (next !== undefined) this.#place = { block: block.number, slot: first + next.at };
    if (place.block !== block.number || this.#transactionId !== null) return;
    // It was half when it was copied: its transaction is known from here on.
    const isScheduled = record.scheduled.some(({ at }) => first + at === place.slot);
    const half = record.transactions.filter(({ at }) => first + at <= place.slot).at(-1);
    if (half !== undefined && !isScheduled) this.#transactionId = half.transactionId;
  }

  #due({ kind, topicNo, place }: RecordOf<"due" | "queued">, block: Block): void {
    if (topicNo !== this.#trace.topicNo || this.#place === null || !isSame(place, this.#place))
      return;
    this.#add(block, kind, dueText(kind, this.#source.topicName(topicNo)));
  }

  /** A group with a filter or an order has looked at everything before `nextOffset`. */
  #taken({ cursorNo, nextOffset, offsets }: RecordOf<"taken">, block: Block): void {
    const group = this.#groups.get(cursorNo);
    const { offset } = this.#trace;
    if (group === undefined || nextOffset <= offset || this.#given.has(cursorNo)) return;
    this.#given.add(cursorNo);
    if (offsets.includes(offset)) return;
    this.#settle(cursorNo, block);
    this.#add(block, "filtered", `${group}, ${FILTERED_TEXT}`);
  }

  /** A group that began behind the message never had it to settle. */
  #cursorOpened({ cursorNo, nextOffset }: RecordOf<"cursorOpened">, block: Block): void {
    if (this.#groups.has(cursorNo) && nextOffset > this.#trace.offset)
      this.#settle(cursorNo, block);
  }

  #ofGroup(record: OfGroup | RecordOf<"cursorReset">, block: Block): void {
    const { cursorNo } = record;
    const group = this.#groups.get(cursorNo);
    const buried = record.kind === "buried" ? this.#countBurial(record) : 0;
    if (group === undefined) {
      if (record.kind === "buried") this.#becameDeadLetter(record, block);
      return;
    }
    if (record.kind === "cursorReset") return this.#reset(record, group, block);
    const isAbout =
      "offsets" in record
        ? record.offsets.includes(this.#trace.offset)
        : record.offset === this.#trace.offset;
    // A skip of what stands behind it finds it taken in.
    if (record.kind === "skipped" && record.offsets.some((one) => one > this.#trace.offset))
      this.#given.add(cursorNo);
    if (!isAbout) return;
    this.#given.add(cursorNo);
    if (record.kind === "delivered") this.#leased.add(cursorNo);
    else this.#leased.delete(cursorNo);
    if (record.kind !== "delivered" && record.kind !== "returned") this.#settle(cursorNo, block);
    this.#add(block, record.kind, `${group}${textOf(record, block)}`);
    if (record.kind === "buried") this.#follow(record, block, buried);
  }

  #reset(record: RecordOf<"cursorReset">, group: string, block: Block): void {
    const { cursorNo, nextOffset } = record;
    this.#leased.delete(cursorNo);
    if (nextOffset > this.#trace.offset) this.#settle(cursorNo, block);
    else {
      this.#settled.delete(cursorNo);
      this.#given.delete(cursorNo);
    }
    this.#add(block, "reset", `${group} to offset ${nextOffset}, ${operatorText(record)}`);
  }

  /** How many went there before it, in this block and others of its time. */
  #countBurial({ deadTopicNo }: RecordOf<"buried">): number {
    const before = this.#buried.get(deadTopicNo) ?? 0;
    this.#buried.set(deadTopicNo, before + 1);
    return before;
  }

  /** What becomes of it among the dead letters is its story, too. Offsets there are given in the order of burials. */
  #follow(
    { cursorNo, deadTopicNo: topicNo }: RecordOf<"buried">,
    { atMs }: Block,
    before: number,
  ): void {
    const offset = this.#source.offsetAt(topicNo, atMs) + before;
    this.#deadLetters = [...this.#deadLetters, { topicNo, offset, cursorNo }];
  }

  /** The message that is traced is a dead letter itself. */
  #becameDeadLetter(
    { cursorNo, offset, deadTopicNo, reason }: RecordOf<"buried">,
    block: Block,
  ): void {
    const { origin, topicNo, visibleAtMs } = this.#trace;
    if (origin === null || deadTopicNo !== topicNo || block.atMs !== visibleAtMs) return;
    const cursor = this.#source.cursor(cursorNo);
    if (cursor?.topicNo !== origin.topicNo || offset !== origin.offset) return;
    const from = `${this.#source.topicName(origin.topicNo)}@${offset} of ${cursor.group}`;
    this.#add(block, "buried", because(from, reason));
  }

  #deadLetterEnded(record: RecordOf<"replayed" | "purged">, block: Block): void {
    const { deadTopicNo, offset } = record;
    const found = this.#deadLetters.find(
      (one) => one.topicNo === deadTopicNo && one.offset === offset,
    );
    if (found === undefined) return;
    this.#deadLetters = this.#deadLetters.filter((one) => one !== found);
    if (record.kind === "replayed") this.#settled.delete(found.cursorNo);
    const group = this.#groups.get(found.cursorNo) ?? "";
    this.#add(block, record.kind, `${group}, ${operatorText(record)}`);
  }

  #settle(cursorNo: number, { number }: Block): void {
    this.#settled.set(cursorNo, number);
    this.#given.add(cursorNo);
  }

  #add(block: Block, event: TimelineEvent["event"], text: string): void {
    this.events.push({ atMs: Math.round(block.atMs), event, text });
  }
}

const isSame = (one: Place, other: Place): boolean =>
  one.block === other.block && one.slot === other.slot;

/** What may happen to a message in one group. */
type OfGroup = RecordOf<
  "delivered" | "acked" | "returned" | "buried" | "abandoned" | "lapsed" | "skipped"
>;

function textOf(record: OfGroup, block: Block): string {
  switch (record.kind) {
    case "delivered":
      return `, on connection ${record.connection}`;
    case "acked":
      return "";
    case "returned":
      return `, ${returnedText(record, block.atMs)}`;
    case "buried":
      return `, ${because("to the dead letters", record.reason)}`;
    case "abandoned":
      return `, ${because("without it", record.reason)}`;
    case "lapsed":
      return ", its time to live was over";
    case "skipped":
      return `, ${operatorText(record)}`;
  }
}
