/** Looking through messages: what is found, what is said of the rest, and how much is done at once. */
import { EscrowError, encodeMessage, type FindView } from "@escrowmq/protocol";
import { describe, expect, it } from "vitest";
import type { Find } from "../../broker/src/core/message-queries.ts";
import { findMessages } from "../../broker/src/server/find-messages.ts";
import { adminValue, Driver, message, type Request } from "../support/sim-driver.ts";

type Fields = Partial<Extract<Request, { type: "message.find" }>>;

class Bench extends Driver {
  readonly shop: number;
  /** Blocks that are damaged, or were retired since the core looked. */
  readonly damaged = new Set<number>();
  readonly gone = new Set<number>();
  readonly reads: number[] = [];
  unreadable = 0;
  blockMs = 0;
  #nowMs = 0;

  constructor() {
    super();
    this.topic("orders");
    this.shop = this.producer("shop");
  }

  /** One block with these keys. */
  sends(...keys: string[]): void {
    const messages = keys.map((key) => {
      const id = `id-${key}`;
      const data = encodeMessage({
        id,
        topic: "orders",
        key,
        tag: "paid",
        body: new Uint8Array(9),
      });
      return { ...message("orders"), bodyBytes: 9, data };
    });
    this.send(this.shop, `send-${this.blocks.length}`, ...messages);
  }

  finding(fields: Fields = {}): Find {
    const { reply } = this.ask({ type: "message.find", topic: "orders", ...fields });
    return adminValue(reply) as unknown as Find;
  }

  finds(fields: Fields = {}): Promise<FindView> {
    return this.look(this.finding(fields));
  }

  look(find: Find): Promise<FindView> {
    const reader = {
      nowMs: () => this.#nowMs,
      messages: async (block: number, slots: readonly number[]) => {
        this.reads.push(block);
        this.#nowMs += this.blockMs;
        if (this.gone.has(block)) throw new EscrowError("MESSAGE_RETIRED");
        if (this.damaged.has(block)) throw new EscrowError("STORE_CORRUPT");
        const records = this.blocks[block - 1]?.records ?? [];
        const all = records.flatMap((one) => ("messages" in one ? one.messages : []));
        return slots.map((slot) => all[slot]?.data ?? new Uint8Array());
      },
    };
    const { state } = this.engine.core;
    return findMessages(
      {
        reader,
        placeOf: (topicNo, offset) => state.topic(topicNo).neededPlaceOf(offset),
        unreadable: () => this.unreadable++,
      },
      find,
    );
  }
}

const offsets = ({ items }: FindView) => items.map(({ offset }) => offset);

describe("a search", () => {
  it("finds by id, key and tag, and only what is all of it", async () => {
    const bench = new Bench();
    bench.sends("a", "b", "a");
    expect(offsets(await bench.finds({ key: "a" }))).toEqual([0, 2]);
    expect(offsets(await bench.finds({ key: "a", tag: "paid" }))).toEqual([0, 2]);
    expect(offsets(await bench.finds({ key: "a", tag: "open" }))).toEqual([]);
    expect((await bench.finds({ messageId: "id-b" })).items).toEqual([
      {
        offset: 1,
        atMs: bench.nowMs,
        bytes: expect.any(Number),
        id: "id-b",
        key: "b",
        tag: "paid",
      },
    ]);
  });

  it("reads a block once for all that stands in it", async () => {
    const bench = new Bench();
    bench.sends("a", "b", "c");
    bench.sends("d");
    expect((await bench.finds()).items).toHaveLength(4);
    expect(bench.reads).toHaveLength(2);
  });

  it("ends with a full page, and goes on behind its last item", async () => {
    const bench = new Bench();
    bench.sends("a", "x", "a", "a");
    const page = await bench.finds({ key: "a", limit: 2 });
    expect([offsets(page), page.toOffset, page.next]).toEqual([[0, 2], 3, "3.4"]);
    const last = await bench.finds({ key: "a", limit: 2, after: page.next ?? "" });
    expect([offsets(last), last.next]).toEqual([[3], undefined]);
  });

  it("ends when its time is up, and says how far it came", async () => {
    const bench = new Bench();
    for (const key of ["a", "b", "c"]) bench.sends(key);
    bench.blockMs = 1_500;
    const page = await bench.finds({ key: "c" });
    expect(page).toMatchObject({ items: [], fromOffset: 0, toOffset: 1, next: "1.3" });
  });

  it("that has nothing to look at is over", async () => {
    const bench = new Bench();
    const { items, next, endOffset } = await bench.finds();
    expect([items, next, endOffset]).toEqual([[], undefined, 0]);
  });

  it("names what cannot be read, reports it, and goes on", async () => {
    const bench = new Bench();
    bench.sends("a", "a");
    bench.damaged.add(bench.blocks.length);
    bench.sends("a");
    const page = await bench.finds({ key: "a" });
    expect([offsets(page), page.unreadable, bench.unreadable]).toEqual([[2], [0, 1], 1]);
  });

  it("counts what was retired meanwhile", async () => {
    const bench = new Bench();
    bench.sends("a");
    const find = bench.finding();
    bench.gone.add(bench.blocks.length);
    const at = { topic: "orders", retentionMs: 1_000 };
    bench.ask({ type: "topic.update", ...at });
    bench.advance(10_000);
    expect(await bench.look(find)).toMatchObject({ items: [], retired: 1, toOffset: 1 });
  });

  it("follows what was copied forward meanwhile", async () => {
    const bench = new Bench();
    bench.sends("a");
    const find = bench.finding();
    const topic = bench.engine.core.state.topicsByName.get("orders");
    const place = topic?.placeOf(0);
    const data = await bench.look(find).then(() => bench.blocks[(place?.block ?? 0) - 1]);
    const [sent] = data?.records ?? [];
    if (topic === undefined || place === undefined || sent?.kind !== "sent")
      throw new Error("It is there.");
    const bytes = sent.messages[0]?.data ?? new Uint8Array();
    const of = { kind: "entry", topicNo: topic.no, offset: 0, place, bytes: bytes.length } as const;
    bench.step({ kind: "copied", messages: [{ of, data: [bytes] }] });
    bench.gone.add(place.block);
    expect(offsets(await bench.look(find))).toEqual([0]);
  });

  it("fails when the store does", async () => {
    const bench = new Bench();
    bench.sends("a");
    const reader = {
      nowMs: () => 0,
      messages: () => Promise.reject(new EscrowError("STORE_FAILED")),
    };
    const source = { reader, placeOf: () => null, unreadable: () => undefined };
    await expect(findMessages(source, bench.finding())).rejects.toMatchObject({
      code: "STORE_FAILED",
    });
  });
});
