/** Points in time for rows: order, cancelling, and what is next, in the ring and in the heap. */
import { expect, test, vi } from "vitest";
import { Alarms, NEVER } from "../../broker/src/core/alarms.ts";
import { Column } from "../../broker/src/core/columns.ts";
import { NOWHERE } from "../../broker/src/core/places.ts";
import { Random } from "../sim/random.ts";

/** More than the ring holds. */
const MANY = 10_000;

function drain(alarms: Alarms, nowMs: number): number[] {
  const due: number[] = [];
  for (let place = alarms.takeDue(nowMs); place !== NOWHERE; place = alarms.takeDue(nowMs))
    due.push(place);
  return due;
}

const upTo = (count: number): number[] => Array.from({ length: count }, (_, at) => at);

test("alarms come out in the order of their times", () => {
  const alarms = new Alarms();
  for (const [place, atMs] of [
    [7, 30],
    [8, 10],
    [9, 20],
  ] as const)
    alarms.set(place, atMs);
  expect(drain(alarms, 100)).toEqual([8, 9, 7]);
});

test("equal times come out in the order in which they were set, however many there are", () => {
  const alarms = new Alarms();
  for (const place of upTo(MANY)) alarms.set(MANY - 1 - place, 5);
  expect(drain(alarms, 5)).toEqual(upTo(MANY).reverse());
});

test("the first one stays where it is until it is taken, however many there are", () => {
  const alarms = new Alarms();
  expect(alarms.first).toBe(NOWHERE);
  for (const place of upTo(MANY)) alarms.set(place, (place * 7_919) % 100);
  const seen: number[] = [];
  for (; alarms.size > 0; alarms.cancel(alarms.first)) seen.push(alarms.first);
  for (const place of upTo(MANY)) alarms.set(place, (place * 7_919) % 100);
  expect(seen).toEqual(drain(alarms, 100));
});

test("one that is set again stands behind those of the same time", () => {
  const alarms = new Alarms();
  for (const place of [1, 2, 3]) alarms.set(place, 5);
  alarms.set(1, 5);
  expect(drain(alarms, 5)).toEqual([2, 3, 1]);
});

test("what was set later comes out earlier if its time is earlier, also long after", () => {
  const alarms = new Alarms();
  for (const place of upTo(MANY)) alarms.set(place, 1_000_000 - place);
  expect(drain(alarms, 1_000_000)).toEqual(upTo(MANY).reverse());
});

test("nothing is due before its time, and it is told when that is", () => {
  const alarms = new Alarms();
  alarms.set(3, 10);
  expect(alarms.takeDue(9)).toBe(NOWHERE);
  expect(alarms.nextAtMs).toBe(10);
  expect(alarms.takeDue(10)).toBe(3);
  expect(alarms.nextAtMs).toBe(NEVER);
});

test("a time is told to the fraction of a millisecond, and kept to it", () => {
  const alarms = new Alarms();
  const atMs = 1_763_700_000_000.25;
  alarms.set(0, atMs + 0.5);
  alarms.set(1, atMs);
  expect(alarms.takeDue(atMs - 0.25)).toBe(NOWHERE);
  expect(alarms.takeDue(atMs + 0.25)).toBe(1);
  expect(alarms.takeDue(atMs + 0.25)).toBe(NOWHERE);
  expect(alarms.nextAtMs).toBe(atMs + 0.5);
});

test("a cancelled alarm never goes off, and cancelling it again does nothing", () => {
  const alarms = new Alarms();
  for (const place of upTo(MANY)) alarms.set(place, 1);
  for (const place of upTo(MANY)) if (place % 3 > 0) alarms.cancel(place);
  for (const place of upTo(MANY)) if (place % 3 > 0) alarms.cancel(place);
  expect(alarms.size).toBe(Math.ceil(MANY / 3));
  expect(drain(alarms, 1)).toEqual(upTo(MANY).filter((place) => place % 3 === 0));
});

test("nobody is woken for what was cancelled", () => {
  const alarms = new Alarms();
  for (const place of upTo(MANY)) alarms.set(place, place);
  for (const place of upTo(MANY - 1)) {
    alarms.cancel(place);
    expect(alarms.nextAtMs).toBe(place + 1);
  }
});

test("without any alarm nobody is woken", () => {
  const alarms = new Alarms();
  alarms.set(0, 10);
  alarms.cancel(0);
  expect(alarms.nextAtMs).toBe(NEVER);
});

test("a burst leaves nothing behind", () => {
  const alarms = new Alarms();
  for (const place of upTo(MANY)) alarms.set(place, place);
  for (const place of upTo(MANY)) alarms.cancel(place);
  expect([alarms.size, alarms.nextAtMs]).toEqual([0, NEVER]);
  alarms.set(MANY, 7);
  expect(drain(alarms, 7)).toEqual([MANY]);
});

/** What a list says that is searched for everything. */
class Model {
  #alarms: { readonly place: number; readonly atMs: number }[] = [];

  get size(): number {
    return this.#alarms.length;
  }

  get nextAtMs(): number {
    return this.#alarms.reduce((next, { atMs }) => Math.min(next, atMs), NEVER);
  }

  set(place: number, atMs: number): void {
    this.cancel(place);
    this.#alarms.push({ place, atMs });
  }

  cancel(place: number): void {
    this.#alarms = this.#alarms.filter((one) => one.place !== place);
  }

  takeDue(nowMs: number): number {
    const { nextAtMs } = this;
    const found = this.#alarms.find(({ atMs }) => atMs === nextAtMs);
    if (found === undefined || nextAtMs > nowMs) return NOWHERE;
    this.cancel(found.place);
    return found.place;
  }
}

/** Waits as they are: mostly the same few, some of any length, some over already, some for days. */
function waitMs(random: Random): number {
  if (random.chance(0.6)) return random.pick([30, 30, 60]);
  if (random.chance(0.1)) return 259_200_000;
  return random.below(100) - 10 + random.pick([0, 0.25, 0.5]);
}

test.each([
  ["few rows, most of them cancelled soon", 40, 0.2, 12_000],
  ["as many rows as the ring holds", 4_096, 0.002, 14_000],
  ["more rows than the ring holds", 6_000, 0.002, 20_000],
])("any mix of setting, cancelling and taking agrees with a list: %s", (_, rows, taking, steps) => {
  const random = new Random(rows);
  const alarms = new Alarms();
  const model = new Model();
  let nowMs = 0;
  for (let step = 0; step < steps; step++) {
    const place = random.below(rows);
    if (random.chance(0.7)) {
      const atMs = nowMs + waitMs(random);
      alarms.set(place, atMs);
      model.set(place, atMs);
    } else {
      alarms.cancel(place);
      model.cancel(place);
    }
    expect(alarms.size).toBe(model.size);
    if (!random.chance(taking)) continue;
    expect(alarms.nextAtMs).toBe(model.nextAtMs);
    // Now and then time jumps: a broker that stood still.
    nowMs += random.chance(0.05) ? random.below(100_000) : random.below(5);
    for (let left = random.below(20); left > 0; left--)
      expect(alarms.takeDue(nowMs)).toBe(model.takeDue(nowMs));
  }
  while (model.size > 0) expect(alarms.takeDue(NEVER)).toBe(model.takeDue(NEVER));
  expect(alarms.takeDue(NEVER)).toBe(NOWHERE);
});

test("one that comes and goes alone costs the same in a high row, and after a burst nothing is kept", () => {
  const alarms = new Alarms();
  const filled = vi.spyOn(Column.prototype, "push");
  const fills = (work: () => void): number => {
    filled.mockClear();
    work();
    return filled.mock.calls.length;
  };
  alarms.set(MANY, 5);
  alarms.cancel(MANY);
  const alone = fills(() => {
    for (let at = 0; at < 1_000; at++) {
      alarms.set(MANY, at);
      alarms.cancel(MANY);
    }
  });
  expect(alone).toBe(0);
  for (const place of upTo(MANY)) alarms.set(place, 5);
  drain(alarms, 5);
  // Filled anew: it had been given back.
  expect(fills(() => alarms.set(MANY, 5))).toBeGreaterThan(MANY);
  filled.mockRestore();
});
