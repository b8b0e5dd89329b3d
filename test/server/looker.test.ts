/** Looks at messages: which match, by what they are ordered, and what becomes of those that cannot be read. */
import { EscrowError, encodeMessage } from "@escrowmq/protocol";
import { expect, it } from "vitest";
import { orderOf } from "../../broker/src/core/order-of.ts";
import type { Input, Look } from "../../broker/src/core/types.ts";
import type { Log } from "../../broker/src/server/log.ts";
import { Looker } from "../../broker/src/server/looker.ts";
import { Reading } from "../../broker/src/server/reading.ts";

type Answer = Extract<Input, { readonly kind: "looked" }>;

const encoded = (key: string | undefined, tag: string | undefined): Uint8Array =>
  encodeMessage({ id: "m-1", topic: "orders", key, tag, body: new Uint8Array(10) });

/** Its CRC-32 is 0, which would mean that there is no key. */
const KEY_OF_ZERO = "order363-3ta1";

/** A block of four: paid and open in turn, of the keys a, b, none and one that looks like none. */
const BLOCK = [
  encoded("a", "paid"),
  encoded("b", "open"),
  encoded(undefined, "paid"),
  encoded(KEY_OF_ZERO, "open"),
];

function stage({ cachedBefore = 0, failsAt = 0, error = new EscrowError("STORE_CORRUPT") } = {}) {
  const answers: Answer[] = [];
  const complaints: unknown[] = [];
  const reads: number[] = [];
  const soon: (() => void)[] = [];
  const looker = new Looker({
    store: {
      cached: (block, slot) => (block < cachedBefore ? (BLOCK[slot] ?? null) : null),
      readMessages: async (block, slots) => {
        reads.push(block);
        if (block === failsAt) throw error;
        return slots.map((slot) => BLOCK[slot] ?? new Uint8Array());
      },
    },
    reading: new Reading(1_000),
    blockBytesMax: 1_000,
    clock: { soon: (work) => soon.push(work) },
    log: { error: () => complaints.push("log") } as unknown as Log,
    unreadable: (cause) => complaints.push(cause),
    take: (input) => answers.push(input as Answer),
  });
  const settled = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));
  return { looker, answers, complaints, reads, soon, settled };
}

const question = (blocks: readonly number[], more: Partial<Look> = {}): Look => ({
  cursorNo: 3,
  questionNo: 7,
  filter: "paid",
  isOrdered: false,
  places: blocks.flatMap((block) => BLOCK.map((_, slot) => ({ block, slot }))),
  ...more,
});

it("what is in the cache is judged at once", () => {
  const { looker, answers, reads } = stage({ cachedBefore: 9 });
  looker.look(question([1, 2]));
  const looked = { kind: "looked", cursorNo: 3, questionNo: 7, count: 8 };
  expect(answers).toEqual([{ ...looked, matches: [0, 2, 4, 6], keys: [] }]);
  expect(reads).toEqual([]);
});

it("an ordered group is told by what each match is ordered: no key is 0, and none else is", () => {
  const { looker, answers } = stage({ cachedBefore: 9 });
  looker.look(question([1], { filter: "", isOrdered: true }));
  expect(answers[0]?.matches).toEqual([0, 1, 2, 3]);
  expect(answers[0]?.keys).toEqual([orderOf("a"), orderOf("b"), 0, 1]);
  // It stands in records: it must never be another one.
  expect(orderOf("a")).toBe(0xe8b7_be43);
});

it("what is not in the cache is read block by block, each once", async () => {
  const { looker, answers, reads, settled } = stage({ cachedBefore: 2 });
  looker.look(question([1, 2, 3]));
  expect(answers).toEqual([]);
  await settled();
  expect(reads).toEqual([2, 3]);
  expect(answers[0]).toMatchObject({ count: 12, matches: [0, 2, 4, 6, 8, 10] });
});

it("a question that waits for the disk delays no other", async () => {
  const { looker, answers, settled } = stage({ cachedBefore: 2 });
  looker.look(question([5]));
  looker.look(question([1], { questionNo: 8 }));
  expect(answers.map(({ questionNo }) => questionNo)).toEqual([8]);
  await settled();
  expect(answers.map(({ questionNo }) => questionNo)).toEqual([8, 7]);
});

it("what cannot be read ends the answer there, and is told and logged", async () => {
  const { looker, answers, complaints, settled } = stage({ cachedBefore: 2, failsAt: 3 });
  looker.look(question([1, 2, 3, 4]));
  await settled();
  expect(answers[0]).toMatchObject({ count: 8, matches: [0, 2, 4, 6] });
  expect(complaints).toHaveLength(2);
});

it("what was retired meanwhile is no fault", async () => {
  const error = new EscrowError("MESSAGE_RETIRED");
  const { looker, answers, complaints, settled } = stage({ failsAt: 1, error });
  looker.look(question([1]));
  await settled();
  expect(answers[0]).toMatchObject({ count: 0 });
  expect(complaints).toEqual([]);
});

it("a filter that cannot be read any more stops its group, and nothing else", () => {
  const { looker, answers, complaints } = stage({ cachedBefore: 9 });
  looker.look(question([1], { filter: "sql: what is this" }));
  looker.look(question([1]));
  expect(answers.map(({ count }) => count)).toEqual([0, 4]);
  expect(complaints).toHaveLength(2);
});

it("so much is judged at once, and the rest when others had their turn", () => {
  const { looker, answers, soon } = stage({ cachedBefore: 1_000 });
  const blocks = Array.from({ length: 128 }, (_, at) => at);
  for (let at = 0; at < 5; at++) looker.look(question(blocks));
  expect([answers.length, soon.length]).toEqual([2, 1]);
  soon.shift()?.();
  expect([answers.length, soon.length]).toEqual([4, 1]);
  soon.shift()?.();
  expect([answers.length, soon.length]).toEqual([5, 1]);
});
