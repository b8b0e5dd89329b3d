/** The heap of points in time: order, cancelling, and what is next. */
import { expect, test } from "vitest";
import { type Deadline, Deadlines } from "../../broker/src/core/deadlines.ts";
import { Random } from "../sim/random.ts";

function drain(deadlines: Deadlines<string>, nowMs: number): string[] {
  const due: string[] = [];
  for (let one = deadlines.takeDue(nowMs); one !== null; one = deadlines.takeDue(nowMs))
    due.push(one);
  return due;
}

test("deadlines come out in the order of their times", () => {
  const deadlines = new Deadlines<string>();
  for (const [atMs, what] of [
    [30, "c"],
    [10, "a"],
    [20, "b"],
  ] as const)
    deadlines.add(atMs, what);
  expect(drain(deadlines, 100)).toEqual(["a", "b", "c"]);
});

test("equal times come out in the order in which they were put in", () => {
  const deadlines = new Deadlines<string>();
  for (const what of ["a", "b", "c", "d", "e"]) deadlines.add(5, what);
  expect(drain(deadlines, 5)).toEqual(["a", "b", "c", "d", "e"]);
});

test("nothing is due before its time", () => {
  const deadlines = new Deadlines<string>();
  deadlines.add(10, "a");
  expect(deadlines.takeDue(9)).toBeNull();
  expect(deadlines.nextAtMs).toBe(10);
  expect(deadlines.takeDue(10)).toBe("a");
  expect(deadlines.nextAtMs).toBeNull();
});

test("a cancelled deadline never comes out, and cancelling it again does nothing", () => {
  const deadlines = new Deadlines<string>();
  const first = deadlines.add(1, "a");
  deadlines.add(2, "b");
  deadlines.cancel(first);
  deadlines.cancel(first);
  expect(deadlines.nextAtMs).toBe(2);
  expect(drain(deadlines, 9)).toEqual(["b"]);
});

test("cancelling a deadline that was taken removes no other", () => {
  const deadlines = new Deadlines<string>();
  const first = deadlines.add(1, "a");
  deadlines.add(2, "b");
  deadlines.takeDue(1);
  deadlines.cancel(first);
  expect(deadlines.size).toBe(1);
});

test("any mix of adding, cancelling and taking agrees with a sorted list", () => {
  const random = new Random(7);
  const deadlines = new Deadlines<number>();
  let model: Deadline<number>[] = [];
  for (let step = 0; step < 5_000; step++) {
    const kind = random.below(3);
    if (kind < 2) model.push(deadlines.add(random.below(50), step));
    else {
      const gone = model[random.below(Math.max(1, model.length))];
      if (gone !== undefined) deadlines.cancel(gone);
      model = model.filter((one) => one !== gone);
    }
    if (random.below(5) > 0) continue;
    model.sort((one, other) => one.atMs - other.atMs || one.order - other.order);
    const next = model[0];
    expect(deadlines.nextAtMs).toBe(next?.atMs ?? null);
    if (next === undefined) continue;
    expect(deadlines.takeDue(next.atMs)).toBe(next.what);
    model.shift();
  }
  expect(deadlines.size).toBe(model.length);
});
