/**
 * Looks at the heads of messages for cursors with a filter or an order, and tells the core which match.
 *
 * Invariants
 * - J1 Every question is answered, by this engine's own answers: of what cannot be read as far as it could be.
 * - J2 So much is judged in one turn of the event loop; what is in the cache without waiting, what is not
 *   within the share for reading. A question that waits for the disk delays no other.
 */
import { decodeMessage, EscrowError } from "@escrowmq/protocol";
import { orderOf } from "../core/order-of.ts";
import type { Place } from "../core/records.ts";
import type { Input, Look } from "../core/types.ts";
import { type Filter, type MessageHead, parseFilter } from "../filter/filter.ts";
import type { BlockStore } from "../store/store.ts";
import type { Clock } from "./clock.ts";
import type { Log } from "./log.ts";
import type { Reading } from "./reading.ts";

export interface LookerOptions {
  readonly store: Pick<BlockStore, "cached" | "readMessages">;
  readonly reading: Reading;
  /** What a block has at most. */
  readonly blockBytesMax: number;
  readonly clock: Pick<Clock, "soon">;
  readonly log: Log;
  /** Told of each read that found damage or a disk that did not answer. */
  readonly unreadable: (error: unknown) => void;
  readonly take: (input: Input) => void;
}

/** About two milliseconds. */
const MESSAGES_AT_ONCE = 1_024;
/** More than anybody has; each is made anew at little cost. */
const FILTERS_KEPT = 1_024;

export class Looker {
  readonly #options: LookerOptions;
  readonly #filters = new Map<string, Filter>();
  readonly #waiting: Look[] = [];
  /** In this turn of the event loop. */
  #judged = 0;
  #isTurnEnding = false;
  #isStopped = false;

  constructor(options: LookerOptions) {
    this.#options = options;
  }

  /** The store is about to be closed: what cannot be read then is no news. */
  stop(): void {
    this.#isStopped = true;
  }

  look(question: Look): void {
    this.#waiting.push(question);
    this.#workOff();
  }

  /** J2 */
  #workOff(): void {
    while (this.#judged < MESSAGES_AT_ONCE) {
      const question = this.#waiting.shift();
      if (question === undefined) break;
      this.#judged += question.places.length;
      this.#answer(question);
    }
    if (this.#isTurnEnding) return;
    this.#isTurnEnding = true;
    this.#options.clock.soon(() => this.#nextTurn());
  }

  #nextTurn(): void {
    this.#isTurnEnding = false;
    this.#judged = 0;
    if (this.#waiting.length > 0) this.#workOff();
  }

  #answer(question: Look): void {
    const verdict = new Verdict(question);
    try {
      verdict.filter = this.#filterOf(question.filter);
      if (!this.#judgeCached(question, verdict)) return void this.#answerCold(question, verdict);
    } catch (error) {
      // A filter or a message that an earlier version took: the cursor stands still, and says so.
      this.#failed(error, question, verdict);
    }
    this.#options.take(verdict.answer);
  }

  /** False: the next one is not in the cache. */
  #judgeCached({ places }: Look, verdict: Verdict): boolean {
    for (const { block, slot } of places) {
      const message = this.#options.store.cached(block, slot);
      if (message === null) return false;
      verdict.judge(message);
    }
    return true;
  }

  async #answerCold(question: Look, verdict: Verdict): Promise<void> {
    const { reading, blockBytesMax, store } = this.#options;
    try {
      while (verdict.count < question.places.length) {
        const { block, slots } = nextBlock(question.places, verdict.count);
        await reading.run(blockBytesMax, async () => {
          for (const message of await store.readMessages(block, slots)) verdict.judge(message);
        });
      }
    } catch (error) {
      this.#failed(error, question, verdict);
    }
    this.#options.take(verdict.answer);
  }

  /** Retired or copied forward meanwhile is no damage: it is not asked for again, or from its new place. */
  #failed(error: unknown, { places }: Look, { count }: Verdict): void {
    if (this.#isStopped || EscrowError.is(error, "MESSAGE_RETIRED")) return;
    const block = places[count]?.block;
    this.#options.unreadable(error);
    this.#options.log.error({ err: error, block }, "messages could not be looked at");
  }

  #filterOf(text: string): Filter | null {
    if (text === "") return null;
    const known = this.#filters.get(text);
    if (known !== undefined) return known;
    if (this.#filters.size >= FILTERS_KEPT) this.#filters.clear();
    const filter = parseFilter(text);
    this.#filters.set(text, filter);
    return filter;
  }
}

/** What came of a question so far. */
class Verdict {
  readonly #question: Look;
  /** Null: all match. */
  filter: Filter | null = null;
  readonly #matches: number[] = [];
  readonly #keys: number[] = [];
  #count = 0;

  constructor(question: Look) {
    this.#question = question;
  }

  /** Messages that were judged. */
  get count(): number {
    return this.#count;
  }

  get answer(): Input {
    const { cursorNo, questionNo } = this.#question;
    const { count } = this;
    return {
      kind: "looked",
      cursorNo,
      questionNo,
      count,
      matches: this.#matches,
      keys: this.#keys,
    };
  }

  judge(data: Uint8Array): void {
    const head = headOf(data);
    if (this.filter === null || this.filter.matches(head)) {
      this.#matches.push(this.#count);
      if (this.#question.isOrdered) this.#keys.push(orderOf(head.key));
    }
    this.#count++;
  }
}

function headOf(data: Uint8Array): MessageHead {
  const { id, topic, key, tag, headers } = decodeMessage(data);
  return {
    id,
    topic,
    ...(key === undefined ? {} : { key }),
    ...(tag === undefined ? {} : { tag }),
    ...(headers === undefined ? {} : { headers }),
  };
}

/** What stands in the block of the place at `from` and directly follows it. */
function nextBlock(places: readonly Place[], from: number): { block: number; slots: number[] } {
  const block = places[from]?.block ?? 0;
  const slots: number[] = [];
  for (let at = from; places[at]?.block === block; at++) slots.push(places[at]?.slot ?? 0);
  return { block, slots };
}
