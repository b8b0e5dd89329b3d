/**
 * Looks through visible messages for those that an operator means, block by block, until the page is full, the
 * offsets that the core named are through, or the time is up. What was found so far is the answer then, with where
 * to go on.
 */
import {
  decodeMessage,
  EscrowError,
  type FindView,
  type FoundMessageView,
  type WireMessage,
} from "@escrowmq/protocol";
import { type Find, type Look, nextOf, type Wanted } from "../core/message-queries.ts";
import type { Place } from "../core/records.ts";
import type { LogReader } from "./log-reader.ts";

export interface FindSource {
  readonly reader: Pick<LogReader, "messages" | "nowMs">;
  /** Where its bytes are now; null: nowhere any more. */
  placeOf(topicNo: number, offset: number): Place | null;
  /** Damage was found, or the disk did not answer. */
  unreadable(error: unknown): void;
}

/** Well below what a client waits for an answer. */
const FIND_MS_MAX = 1_000;

export async function findMessages(source: FindSource, find: Find): Promise<FindView> {
  const finder = new Finder(source, find);
  const startedAtMs = source.reader.nowMs();
  for (const looks of byBlock(find.looks)) {
    if (finder.isFull || source.reader.nowMs() - startedAtMs > FIND_MS_MAX) break;
    await finder.look(looks);
  }
  return finder.view();
}

/** Neighbours that stand in one block are read together. */
function* byBlock(looks: readonly Look[]): Generator<readonly Look[]> {
  let first = 0;
  for (let at = 1; at <= looks.length; at++) {
    if (looks[at]?.place.block === looks[first]?.place.block) continue;
    yield looks.slice(first, at);
    first = at;
  }
}

class Finder {
  readonly #source: FindSource;
  readonly #find: Find;
  readonly #items: FoundMessageView[] = [];
  readonly #unreadable: number[] = [];
  #retired = 0;
  /** Everything before it was looked at. */
  #offset: number;

  constructor(source: FindSource, find: Find) {
    this.#source = source;
    this.#find = find;
    this.#offset = find.fromOffset;
  }

  get isFull(): boolean {
    return this.#items.length >= this.#find.limit;
  }

  /** Some of one block. */
  async look(looks: readonly Look[]): Promise<void> {
    const [first] = looks;
    if (first === undefined) return;
    const messages = await this.#read(
      first.place.block,
      looks.map(({ place }) => place.slot),
    );
    for (const [at, look] of looks.entries()) {
      if (this.isFull) return;
      if (messages === "damaged") this.#unreadable.push(look.offset);
      else if (messages === "retired") await this.#lookAgain(look);
      else this.#judge(look, messages[at]);
      this.#offset = look.offset + 1;
    }
  }

  view(): FindView {
    const { fromOffset, endOffset, looks } = this.#find;
    const wasLast = this.#offset > (looks.at(-1)?.offset ?? -1);
    const toOffset = wasLast ? this.#find.toOffset : this.#offset;
    const view = {
      items: this.#items,
      fromOffset,
      toOffset,
      endOffset,
      unreadable: this.#unreadable,
      retired: this.#retired,
    };
    return toOffset < endOffset ? { ...view, next: nextOf(toOffset, endOffset) } : view;
  }

  /** Its block is gone: retention took it, or it was copied forward since the core looked. */
  async #lookAgain(look: Look): Promise<void> {
    const place = this.#source.placeOf(this.#find.topicNo, look.offset);
    const isElsewhere = place !== null && place.block !== look.place.block;
    const messages = isElsewhere ? await this.#read(place.block, [place.slot]) : "retired";
    if (messages === "damaged") this.#unreadable.push(look.offset);
    else if (messages === "retired") this.#retired++;
    else this.#judge(look, messages[0]);
  }

  async #read(
    block: number,
    slots: readonly number[],
  ): Promise<readonly Uint8Array[] | "retired" | "damaged"> {
    try {
      return await this.#source.reader.messages(block, slots);
    } catch (error) {
      if (EscrowError.is(error, "MESSAGE_RETIRED")) return "retired";
      if (!EscrowError.is(error, "STORE_CORRUPT")) throw error;
      this.#source.unreadable(error);
      return "damaged";
    }
  }

  #judge({ offset, atMs, bytes }: Look, data: Uint8Array | undefined): void {
    if (data === undefined) return;
    const message = decodeMessage(data);
    if (!isWanted(message, this.#find.wanted)) return;
    const { id, key, tag } = message;
    this.#items.push({
      offset,
      atMs: Math.round(atMs),
      bytes,
      id,
      ...(key === undefined ? {} : { key }),
      ...(tag === undefined ? {} : { tag }),
    });
  }
}

const isWanted = (message: WireMessage, { id, key, tag }: Wanted): boolean =>
  (id === undefined || message.id === id) &&
  (key === undefined || message.key === key) &&
  (tag === undefined || message.tag === tag);
