/** The queues of reserved keys, by themselves: rows are any numbers. */
import { expect, test } from "vitest";
import { KeyQueues, NOTHING } from "../../broker/src/core/key-queues.ts";
import { NOWHERE } from "../../broker/src/core/places.ts";

const [TOPIC, KEY] = [1, 0xffff_ffff];

test("nothing is reserved at first, nor any more when all is decided and visible", () => {
  const queues = new KeyQueues();
  expect(queues.positionFor(TOPIC, KEY)).toBe(NOTHING);
  queues.reserve(TOPIC, KEY, 1, "t1");
  queues.reserve(TOPIC, KEY, 1, "t1");
  expect([queues.isEmpty, queues.isUsedIn(TOPIC), queues.isUsedIn(2)]).toEqual([
    false,
    true,
    false,
  ]);
  expect(queues.reserved).toBe(1);
  queues.enter(TOPIC, KEY, 1, 10, false);
  queues.end(TOPIC, KEY, 1);
  queues.end(TOPIC, KEY, 1);
  expect([queues.reserved, queues.isEmpty]).toEqual([0, false]);
  queues.leave(TOPIC, KEY, 1, 10);
  expect(queues.isEmpty).toBe(true);
});

test("the head is the first message that stands behind no reservation", () => {
  const queues = new KeyQueues();
  queues.reserve(TOPIC, KEY, 1, "t1");
  queues.reserve(TOPIC, KEY, 2, "t2");
  queues.enter(TOPIC, KEY, 1, 10, false);
  queues.enter(TOPIC, KEY, 2, 20, false);
  expect(queues.headOf(TOPIC, KEY)).toBe(NOWHERE);
  queues.end(TOPIC, KEY, 1);
  expect(queues.headOf(TOPIC, KEY)).toBe(10);
  queues.leave(TOPIC, KEY, 1, 10);
  expect(queues.headOf(TOPIC, KEY)).toBe(NOWHERE);
  expect(queues.countBehind(TOPIC, KEY, 2)).toBe(1);
});

test("the head that a checkpoint tells of is the head again, though the table has it last", () => {
  const queues = new KeyQueues();
  for (const row of [11, 12]) queues.enter(TOPIC, KEY, 3, row, false);
  queues.enter(TOPIC, KEY, 3, 10, true);
  expect(queues.headOf(TOPIC, KEY)).toBe(10);
  queues.leave(TOPIC, KEY, 3, 12);
  queues.leave(TOPIC, KEY, 3, 10);
  expect(queues.headOf(TOPIC, KEY)).toBe(11);
});

test("of those who reserve and have others behind them the oldest is told", () => {
  const queues = new KeyQueues();
  queues.reserve(TOPIC, KEY, 1, "t1");
  queues.reserve(TOPIC, KEY, 2, "t2");
  queues.reserve(TOPIC, 7, 3, "t3");
  queues.enter(TOPIC, 7, 3, 30, false);
  expect(queues.oldestBlocking).toBe("t3");
  queues.enter(TOPIC, KEY, 2, 20, false);
  expect(queues.oldestBlocking).toBe("t2");
  // Its own messages stand behind the one before it.
  queues.enter(TOPIC, KEY, queues.positionFor(TOPIC, KEY, 2), 15, false);
  queues.end(TOPIC, KEY, 2);
  expect(queues.oldestBlocking).toBe("t1");
  expect(queues.countBehind(TOPIC, KEY, 1)).toBe(2);
});
