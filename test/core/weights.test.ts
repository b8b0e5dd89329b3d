/** Topics of a consumer that are not worth the same: turns by weight, and none starves (D12, Y1, Y2). */
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { fill, release, tokensOf } from "../support/sim-billing.ts";
import { Driver, deliveriesOf, type Effects, message } from "../support/sim-driver.ts";

const WEIGHTS = { urgent: 4, orders: 2, bulk: 1 } as const;
type TopicName = keyof typeof WEIGHTS;
const TOPICS = Object.keys(WEIGHTS) as TopicName[];

function subscribe(
  driver: Driver,
  weights: Readonly<Record<string, number>> = WEIGHTS,
  group = "billing",
): number {
  const consumer = driver.connect();
  const topics = Object.entries(weights).map(([topic, weight]) => ({ topic, weight }));
  driver.request(consumer, { type: "subscribe", subscription: 1, group, topics });
  return consumer;
}

function stage(weights: Readonly<Record<string, number>> = WEIGHTS) {
  const driver = new Driver();
  driver.topic(...Object.keys(weights));
  return { driver, consumer: subscribe(driver, weights) };
}

const credit = (driver: Driver, from: number, messages: number, bytes = 1_000_000): Effects =>
  driver.step({ kind: "frame", from, frame: { type: "credit", subscription: 1, messages, bytes } });

/** The topics of what was delivered, one for each message, in order. */
const topicsOf = ({ sends }: Effects): string[] =>
  sends.flatMap((send) => (send.kind === "deliver" ? send.deliveries.map(() => send.topic) : []));

/** Consumers that have nothing in hand, and credit for the next message of one of their topics. */
function waitingInVain(driver: Driver): string[] {
  const { connections } = driver.engine.core;
  return [...connections.all()].flatMap(({ id, isCongested, subscriptions }) =>
    [...subscriptions.values()]
      .filter(
        ({ creditMessages, leased }) => !isCongested && creditMessages > 0 && leased.size === 0,
      )
      .flatMap(({ feeds, creditBytes }) =>
        feeds.flatMap(({ cursor, topic }) => {
          const isThere = cursor.nextOffset < topic.nextOffset;
          const isFitting = isThere && topic.bytesOf(cursor.nextOffset) <= creditBytes;
          return isFitting ? [`${topic.name}/${cursor.nextOffset} for ${id}`] : [];
        }),
      ),
  );
}

/** At most 100. */
function ticksToRest(driver: Driver): number {
  let ticks = 0;
  for (; driver.hasMore && ticks < 100; ticks++) driver.step({ kind: "tick" });
  return ticks;
}

const countsOf = (topics: readonly string[]): Record<string, number> => {
  const counts: Record<string, number> = {};
  for (const topic of topics) counts[topic] = (counts[topic] ?? 0) + 1;
  return counts;
};

describe("the topics of a consumer take turns by their weights", () => {
  test("when credit comes one by one", () => {
    const { driver, consumer } = stage();
    for (const topic of TOPICS) fill(driver, topic, 100);
    const topics = Array.from({ length: 70 }, () => topicsOf(credit(driver, consumer, 1))).flat();
    expect(countsOf(topics)).toEqual({ urgent: 40, orders: 20, bulk: 10 });
  });

  test("when there is much credit: each round of seven has its four, two and one", () => {
    const { driver, consumer } = stage();
    for (const topic of TOPICS) fill(driver, topic, 100);
    const topics = topicsOf(credit(driver, consumer, 70));
    for (let at = 0; at < 70; at += 7)
      expect(countsOf(topics.slice(at, at + 7))).toEqual({ urgent: 4, orders: 2, bulk: 1 });
  });

  test("when messages come in before each credit, in an order that favours the light one", () => {
    const { driver, consumer } = stage();
    for (const topic of TOPICS) fill(driver, topic, 100);
    const topics = Array.from({ length: 70 }, () => {
      for (const topic of [...TOPICS].reverse()) fill(driver, topic, 1);
      return topicsOf(credit(driver, consumer, 1));
    }).flat();
    expect(countsOf(topics)).toEqual({ urgent: 40, orders: 20, bulk: 10 });
  });

  test("when messages and credit come in one batch, the light one's first", () => {
    const { driver, consumer } = stage();
    for (const topic of TOPICS) fill(driver, topic, 100);
    const from = driver.connect();
    const frame = { type: "credit", subscription: 1, messages: 1, bytes: 100 } as const;
    const topics = Array.from({ length: 70 }, (_, at) => {
      for (const topic of ["bulk", "orders", "urgent"]) {
        const send = { type: "send", id: 1, sendId: `${topic}-${at}`, messages: [] } as const;
        const messages = [message(topic)];
        const input = { kind: "send", from, frame: send, messages, digest: at } as const;
        driver.engine.step(input, driver.nowMs, true);
      }
      return topicsOf(driver.step({ kind: "frame", from: consumer, frame }));
    }).flat();
    expect(countsOf(topics)).toEqual({ urgent: 40, orders: 20, bulk: 10 });
  });

  test("when each message is acked before the next is asked for, and others come in meanwhile", () => {
    const { driver, consumer } = stage();
    for (const topic of TOPICS) fill(driver, topic, 100);
    const topics = Array.from({ length: 70 }, () => {
      const effects = credit(driver, consumer, 1);
      driver.ack(consumer, ...tokensOf(deliveriesOf(effects)));
      for (const topic of TOPICS) fill(driver, topic, 1);
      return topicsOf(effects);
    }).flat();
    expect(countsOf(topics)).toEqual({ urgent: 40, orders: 20, bulk: 10 });
  });

  test("when what is granted are bytes", () => {
    const { driver, consumer } = stage();
    for (const topic of TOPICS) fill(driver, topic, 100);
    credit(driver, consumer, 1_000, 0);
    // Each message has four bytes: a byte is left over each time, and one time in four it makes a second message.
    const topics = Array.from({ length: 56 }, () =>
      topicsOf(credit(driver, consumer, 0, 5)),
    ).flat();
    expect(countsOf(topics)).toEqual({ urgent: 40, orders: 20, bulk: 10 });
  });

  test("in each of the group's consumers, each by its own weights", () => {
    const { driver, consumer } = stage({ urgent: 4, bulk: 1 });
    const other = subscribe(driver, { urgent: 1, bulk: 1 });
    for (const topic of ["urgent", "bulk"]) fill(driver, topic, 400);
    const turns = Array.from({ length: 100 }, () => [
      topicsOf(credit(driver, consumer, 1)),
      topicsOf(credit(driver, other, 1)),
    ]);
    expect(countsOf(turns.flatMap(([first]) => first ?? []))).toEqual({ urgent: 80, bulk: 20 });
    expect(countsOf(turns.flatMap(([, second]) => second ?? []))).toEqual({ urgent: 50, bulk: 50 });
  });

  test("and so do redeliveries: a retry keeps its level", () => {
    const { driver, consumer } = stage({ urgent: 4, bulk: 1 });
    for (const topic of ["urgent", "bulk"]) fill(driver, topic, 50);
    const all = deliveriesOf(credit(driver, consumer, 100));
    release(driver, consumer, ...tokensOf(all));
    const topics = Array.from({ length: 50 }, () => topicsOf(credit(driver, consumer, 1))).flat();
    expect(countsOf(topics)).toEqual({ urgent: 40, bulk: 10 });
  });
});

describe("no topic keeps another waiting", () => {
  test("that has something while the heavy one has nothing", () => {
    const { driver, consumer } = stage();
    fill(driver, "bulk", 20);
    expect(countsOf(topicsOf(credit(driver, consumer, 20)))).toEqual({ bulk: 20 });
  });

  test("a heavy one that runs dry within its turn gives the rest of it away", () => {
    const { driver, consumer } = stage({ urgent: 16, bulk: 1 });
    fill(driver, "urgent", 3);
    fill(driver, "bulk", 20);
    expect(countsOf(topicsOf(credit(driver, consumer, 23)))).toEqual({ urgent: 3, bulk: 20 });
  });

  test("a message comes at once while there is credit, whatever its weight", () => {
    const { driver, consumer } = stage();
    credit(driver, consumer, 100);
    const producer = driver.connect();
    for (const [at, topic] of ["bulk", "urgent", "bulk", "orders", "bulk"].entries())
      expect(topicsOf(driver.send(producer, `weights-${at}`, message(topic)))).toEqual([topic]);
  });

  test("one whose message is too large for the credit holds nobody up when nothing is under way", () => {
    const { driver, consumer } = stage({ urgent: 16, bulk: 1 });
    fill(driver, "urgent", 1);
    fill(driver, "urgent", 1, "x".repeat(500));
    fill(driver, "bulk", 2);
    // It is the turn of what is too large, and it may fit when the first one ends.
    const first = deliveriesOf(credit(driver, consumer, 10, 400));
    expect(first).toHaveLength(1);
    expect(topicsOf(credit(driver, consumer, 1, 4))).toEqual([]);
    expect(topicsOf(driver.ack(consumer, ...tokensOf(first)))).toEqual(["bulk", "bulk"]);
    expect(topicsOf(credit(driver, consumer, 1, 1_000))).toEqual(["urgent"]);
  });

  test("consumers that have nothing in hand, and cannot be served, leave the broker at rest", () => {
    const { driver, consumer } = stage({ a: 1, c: 2 });
    driver.topic("b");
    const other = subscribe(driver, { a: 1, b: 2 });
    fill(driver, "b", 1, "x".repeat(50));
    fill(driver, "c", 1, "xx");
    credit(driver, other, 1, 1);
    credit(driver, consumer, 1, 0);
    fill(driver, "a", 1, "x".repeat(50));
    expect(ticksToRest(driver)).toBeLessThan(5);
    expect(topicsOf(credit(driver, consumer, 0, 2))).toEqual(["c"]);
    expect(topicsOf(credit(driver, other, 0, 50))).toHaveLength(1);
  });

  test("nor do consumers whose connections are congested keep it busy", () => {
    const { driver, consumer } = stage({ a: 2, b: 1 });
    driver.topic("c");
    const other = subscribe(driver, { b: 2, c: 1 });
    const congested = (connection: number, isCongested: boolean) =>
      driver.step({ kind: "congested", connection, isCongested });
    fill(driver, "a", 1);
    congested(consumer, true);
    credit(driver, other, 5);
    congested(other, true);
    fill(driver, "c", 1);
    credit(driver, consumer, 5);
    fill(driver, "b", 1);
    expect(ticksToRest(driver)).toBeLessThan(5);
    expect(countsOf(topicsOf(congested(consumer, false)))).toEqual({ a: 1, b: 1 });
    expect(topicsOf(congested(other, false))).toEqual(["c"]);
  });

  test("consumers of a group that are short of bytes do not send each other round in circles", () => {
    const { driver, consumer } = stage({ urgent: 1, bulk: 2 });
    const other = subscribe(driver, { urgent: 2, bulk: 1 });
    for (const topic of ["urgent", "bulk"]) fill(driver, topic, 10);
    // Each gets one message, and no bytes are left for the topic whose turn it is: one waits for bulk, one for urgent.
    expect(topicsOf(credit(driver, consumer, 10, 4))).toEqual(["urgent"]);
    expect(topicsOf(credit(driver, other, 10, 4))).toEqual(["urgent"]);
    expect(driver.hasMore).toBe(false);
    expect(countsOf(topicsOf(credit(driver, consumer, 0, 12)))).toEqual({ bulk: 2, urgent: 1 });
    expect(countsOf(topicsOf(credit(driver, other, 0, 8)))).toEqual({ bulk: 1, urgent: 1 });
    expect(driver.hasMore).toBe(false);
  });

  test("an ordinary subscription of the same topics is as it was", () => {
    const { driver, consumer } = stage({ urgent: 3, bulk: 3 });
    const subscription = driver.engine.core.connections.get(consumer).subscriptions.get(1);
    expect(subscription?.weights).toBeNull();
  });

  test("whatever comes when: with credit enough all is delivered, and never more than was granted", () => {
    const weight = fc.constantFrom(1, 2, 5, 16);
    const topic = fc.constantFrom("a", "b", "c");
    const event = fc.oneof(
      fc.record({ send: topic, size: fc.constantFrom(1, 30, 200) }),
      fc.record({
        credit: fc.integer({ min: 0, max: 6 }),
        bytes: fc.constantFrom(0, 1, 30, 200, 400),
        to: fc.nat(),
      }),
      fc.record({ ack: fc.constantFrom(1, 2, 60) }),
      fc.record({ congests: fc.nat(), isCongested: fc.boolean() }),
    );
    const weights = fc
      .record({ a: weight, b: weight, c: weight }, { requiredKeys: [] })
      .filter((one) => Object.keys(one).length > 0);
    fc.assert(
      fc.property(
        fc.array(weights, { minLength: 1, maxLength: 3 }),
        fc.array(event, { maxLength: 60 }),
        fc.integer({ min: 1, max: 8 }),
        (weightsOfEach, events, deliveriesPerStepMax) => {
          const driver = new Driver({ deliveriesPerStepMax });
          driver.topic("a", "b", "c");
          const consumers = weightsOfEach.map((one) => subscribe(driver, one));
          const [first = 0] = consumers;
          const producer = driver.connect();
          let [sent, granted] = [0, 0];
          const got: string[] = [];
          const hear = (effects: Effects) => got.push(...tokensOf(deliveriesOf(effects)));
          const settle = () => {
            // A broker that has nothing to give comes to rest (Y2).
            for (let steps = 0; driver.hasMore; steps++) {
              expect(steps).toBeLessThan(1_000);
              hear(driver.step({ kind: "tick" }));
            }
          };
          for (const one of events) {
            if ("send" in one)
              hear(driver.send(producer, `s-${sent++}`, message(one.send, "x".repeat(one.size))));
            else if ("credit" in one) {
              granted += one.credit;
              const to = consumers[one.to % consumers.length] ?? first;
              hear(credit(driver, to, one.credit, one.bytes));
            } else if ("congests" in one) {
              const connection = consumers[one.congests % consumers.length] ?? first;
              hear(driver.step({ kind: "congested", connection, isCongested: one.isCongested }));
            } else {
              if (got.length > 0) hear(driver.ack(first, ...got.slice(-one.ack)));
            }
            settle();
            expect(got.length).toBeLessThanOrEqual(granted);
            expect(waitingInVain(driver)).toEqual([]);
          }
          hear(credit(driver, subscribe(driver, { a: 1, b: 1, c: 1 }), 1_000));
          settle();
          expect(got).toHaveLength(sent);
          expect(new Set(got).size).toBe(sent);
        },
      ),
      { numRuns: 600 },
    );
  });
});
