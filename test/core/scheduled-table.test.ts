/** The table of what waits for its time, against a plain list that does the same. */
import { expect, test } from "vitest";
import { IdHash } from "../../broker/src/core/id-hash.ts";
import { NOWHERE } from "../../broker/src/core/places.ts";
import {
  readScheduled,
  Scheduled,
  type ScheduledMessage,
} from "../../broker/src/core/scheduled.ts";
import { Random } from "../sim/random.ts";

const LONG = "x".repeat(60);

function anyMessage(random: Random, block: number): ScheduledMessage {
  const id = random.chance(0.3) ? `twin-${random.below(3)}` : `m-${random.below(1_000_000)}`;
  return {
    id: random.chance(0.1) ? `${LONG}${id}`.slice(-64) : id,
    topicNo: random.between(1, 3),
    place: { block, slot: random.below(1_000_000) },
    bytes: random.below(100),
    dueAtMs: random.below(50),
    key: 0,
    position: 0,
  };
}

/** By time, then in the order in which they were scheduled. */
const firstOf = (list: readonly ScheduledMessage[]): ScheduledMessage | undefined =>
  list.reduce<ScheduledMessage | undefined>(
    (first, one) => (first === undefined || one.dueAtMs < first.dueAtMs ? one : first),
    undefined,
  );

function reloaded(table: Scheduled): Scheduled {
  const again = new Scheduled(new IdHash([1, 2]));
  const parts = [...table.save(7)];
  table.thaw();
  for (const part of parts) for (const one of readScheduled(structuredClone(part))) again.add(one);
  return again;
}

function same(table: Scheduled, list: readonly ScheduledMessage[]): void {
  expect(table.size).toBe(list.length);
  expect(table.totalBytes).toBe(list.reduce((sum, { bytes }) => sum + bytes, 0));
  const first = firstOf(list);
  expect(table.first === NOWHERE ? undefined : table.at(table.first)).toEqual(first);
  expect(table.nextAtMs).toBe(first?.dueAtMs ?? Number.POSITIVE_INFINITY);
  expect(table.lowestBlock).toBe(
    Math.min(Number.POSITIVE_INFINITY, ...list.map(({ place }) => place.block)),
  );
}

test.each([1, 2, 3, 4])(
  "does what a list does, whatever comes, goes and moves (seed %i)",
  (seed) => {
    const random = new Random(seed);
    let table = new Scheduled(new IdHash());
    let list: ScheduledMessage[] = [];
    for (let block = 1; block < 2_500; block++) {
      const act = random.weighted({ add: 50, due: 30, recall: 8, move: 10, reload: 2 });
      if (act === "add" || list.length === 0) {
        const one = anyMessage(random, block);
        table.add(one);
        list.push(one);
      } else if (act === "due") {
        const first = firstOf(list);
        table.remove(table.first);
        list = list.filter((one) => one !== first);
      } else if (act === "recall") {
        const { id, topicNo } = random.pick(list);
        const rows = table.find(topicNo, id);
        const gone = list.filter((one) => one.id === id && one.topicNo === topicNo);
        expect(rows).toHaveLength(gone.length);
        for (const row of rows) table.remove(row);
        list = list.filter((one) => !gone.includes(one));
      } else if (act === "move") {
        const one = random.pick(list);
        const place = { block, slot: random.below(1_000_000) };
        table.move(table.findAt(one.id, one.place), place);
        expect(table.findAt(one.id, one.place)).toBe(NOWHERE);
        list = list.map((each) => (each === one ? { ...one, place } : each));
      } else table = reloaded(table);
      if (block % 50 === 0) same(table, list);
    }
    const before = 2_000;
    const told = [...table.rowsBefore(before)].filter((row) => row !== null);
    expect(told).toHaveLength(list.filter(({ place }) => place.block < before).length);
    while (list.length > 0) {
      const first = firstOf(list);
      expect(table.at(table.first)).toEqual(first);
      table.remove(table.first);
      list = list.filter((one) => one !== first);
    }
    same(table, []);
  },
);
