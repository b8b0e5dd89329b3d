/** The pure pieces under the state machines: memory that forgets, the topic index, tokens, the retry ladder. */
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { DecisionColumns, DigestColumns } from "../../broker/src/core/decisions.ts";
import { type HashKey, IdHash } from "../../broker/src/core/id-hash.ts";
import { Ids } from "../../broker/src/core/ids.ts";
import type { Piece } from "../../broker/src/core/lasting-part.ts";
import { NOWHERE, Places } from "../../broker/src/core/places.ts";
import { DEFAULT_POLICY, retryDelayMs } from "../../broker/src/core/policy.ts";
import type { GroupPolicy } from "../../broker/src/core/records.ts";
import { Remembered } from "../../broker/src/core/remembered.ts";
import { readToken, tokenOf } from "../../broker/src/core/token.ts";
import { Topic } from "../../broker/src/core/topic.ts";
import type { Decision } from "../../broker/src/core/transaction.ts";
import { Random } from "../sim/random.ts";

interface Taken {
  readonly name: string | null;
  readonly part: unknown;
}

const takenOf = (pieces: Iterable<Piece<unknown>>): Taken[] =>
  Array.from(pieces, (piece) => ({ name: piece.name, part: piece.take() }));

const savedOf = <V>(remembered: Remembered<V>, entriesMax: number): readonly unknown[] => [
  remembered.save(),
  ...takenOf(remembered.savePieces(entriesMax)),
];

function reload<V>(live: Remembered<V>, loaded: Remembered<V>, entriesMax: number): void {
  loaded.load(structuredClone(live.save()));
  for (const piece of live.savePieces(entriesMax)) loaded.loadPart(structuredClone(piece.take()));
}

describe("remembered", () => {
  test("an entry is kept for its time, whatever comes meanwhile", () => {
    const remembered = new Remembered(() => new DigestColumns(), 100, 1_000);
    for (let atMs = 1_000; atMs < 2_000; atMs += 7) {
      remembered.set(`at ${atMs}`, atMs, atMs);
      for (let keptMs = 1_000; keptMs <= atMs; keptMs += 7)
        if (atMs - keptMs < 100) expect(remembered.get(`at ${keptMs}`)).toBe(keptMs);
    }
  });

  test("an entry is forgotten at last, and never more is held than allowed", () => {
    const remembered = new Remembered(() => new DigestColumns(), 100, 10);
    for (let at = 0; at < 1_000; at++) {
      remembered.set(`key ${at}`, at, 1_000 + at);
      expect(remembered.size).toBeLessThanOrEqual(10);
      expect(remembered.get(`key ${at}`)).toBe(at);
    }
    expect(remembered.get("key 0")).toBeUndefined();
  });

  test("one that is made anew is kept for its time from then on, and stands once in a generation", () => {
    const random = new Random(5);
    const remembered = new Remembered(() => new DigestColumns(), 100, 1_000);
    const madeAtMs = new Map<string, number>();
    for (let atMs = 1_000; atMs < 5_000; atMs += 7) {
      const id = `id-${random.below(12)}`;
      if (!remembered.isYoung(id)) remembered.set(id, 0, atMs);
      madeAtMs.set(id, atMs);
      for (const [made, sinceMs] of madeAtMs)
        if (atMs - sinceMs < 100) expect(remembered.get(made)).toBe(0);
      expect(remembered.size).toBeLessThanOrEqual(24);
    }
  });

  test("zero and other falsy values are remembered, too", () => {
    const remembered = new Remembered(() => new DigestColumns(), 100, 10);
    remembered.set("zero", 0, 1);
    expect(remembered.get("zero")).toBe(0);
  });

  test("what is loaded forgets exactly when what was saved would have", () => {
    const live = new Remembered(() => new DigestColumns(), 100, 6);
    for (let at = 0; at < 40; at++) live.set(`key ${at}`, at, 1_000 + at * 13);
    const loaded = new Remembered(() => new DigestColumns(), 100, 6);
    reload(live, loaded, 7);
    for (let at = 40; at < 60; at++)
      for (const one of [live, loaded]) one.set(`key ${at}`, at, 1_000 + at * 13);
    expect(savedOf(loaded, 7)).toEqual(savedOf(live, 7));
  });

  test("a save that is taken later holds what was there when it was asked for", () => {
    const live = new Remembered(() => new DigestColumns(), 1_000, 10);
    for (let at = 0; at < 4; at++) live.set(`key ${at}`, at, at);
    const state = live.save();
    const later = live.savePieces(2);
    for (let at = 4; at < 30; at++) live.set(`key ${at}`, at, at);
    const loaded = new Remembered(() => new DigestColumns(), 1_000, 10);
    loaded.load(state);
    for (const piece of later) loaded.loadPart(piece.take());
    expect(loaded.size).toBe(4);
    for (let at = 0; at < 4; at++) expect(loaded.get(`key ${at}`)).toBe(at);
  });

  test("what is saved does not depend on the key of the hash", () => {
    const [one, other] = [1, 0xdead_beef].map((word) => {
      const hash = new IdHash([word, word + 1]);
      const remembered = new Remembered(() => new DigestColumns(), 1_000, 10_000, hash);
      for (let at = 0; at < 3_000; at++) remembered.set(`key-${at}`, at, at % 7);
      return savedOf(remembered, 100);
    });
    expect(one).toEqual(other);
  });
});

describe("ids", () => {
  const idsOf = (all: readonly string[], hash = new IdHash()): Ids => {
    const ids = new Ids(hash);
    for (const id of all) ids.add(id);
    return ids;
  };

  test("of any length are found where they were added, and neighbours are not mistaken for them", () => {
    const all = Array.from({ length: 64 }, (_, at) => "x".repeat(at + 1));
    const ids = idsOf(all);
    for (const [place, id] of all.entries()) {
      expect(ids.find(id)).toBe(place);
      expect(ids.find(`${id.slice(0, -1)}y`)).toBe(-1);
    }
  });

  test.each(["", "x".repeat(65), "a\0", "\0", "abc\0", "\0bcde", "é", "a\u{1f600}"])(
    "%j is no id",
    (text) => {
      expect(idsOf(["a", "e", "x".repeat(64)]).find(text)).toBe(-1);
      expect(() => idsOf([]).add(text)).toThrow("an id is 1 to 64 ASCII characters");
    },
  );

  test("are told apart even if all their hashes are the same", () => {
    const hash = new IdHash();
    Object.defineProperty(hash, "hash", { value: 0x1234_5678 });
    const all = Array.from({ length: 500 }, (_, at) => `id-${at}`);
    const ids = idsOf(all, hash);
    for (const [place, id] of all.entries()) expect(ids.find(id)).toBe(place);
    expect(ids.find("id-500")).toBe(-1);
  });

  test("hash differently under another key, and spread over all bits", () => {
    const hashes = (key: HashKey): number[] => {
      const hash = new IdHash(key);
      return Array.from({ length: 4_096 }, (_, at) => {
        hash.read(`order-${at}`);
        return hash.hash;
      });
    };
    const one = hashes([1, 2]);
    const other = hashes([1, 3]);
    expect(one.filter((hash, at) => hash === other[at])).toEqual([]);
    for (let bit = 0; bit < 32; bit++) {
      const set = one.filter((hash) => (hash >>> bit) & 1).length;
      expect(set).toBeGreaterThan(1_800);
      expect(set).toBeLessThan(2_300);
    }
  });
});

describe("places", () => {
  test("any mix of adding and removing agrees with a Map, through splits and back to nothing", () => {
    const random = new Random(11);
    const places = new Places();
    const model = new Map<number, number>();
    const find = (hash: number, wanted: number): boolean => {
      for (let place = places.first(hash); place !== NOWHERE; place = places.next())
        if (place === wanted) return true;
      return false;
    };
    let next = 0;
    for (const share of [0.8, 0.5, 0.2, 0.7]) {
      for (let step = 0; step < 12_000; step++) {
        const known = model.keys().next().value;
        if (random.chance(share) || known === undefined) {
          // Some hashes are shared, and many begin or end alike.
          const hash = random.chance(0.1) ? 7 : (random.below(2 ** 16) << random.below(17)) >>> 0;
          places.add(hash, next);
          model.set(next++, hash);
        } else {
          places.remove(model.get(known) ?? 0, known);
          model.delete(known);
        }
      }
      expect(places.size).toBe(model.size);
      for (const [place, hash] of model) expect(find(hash, place)).toBe(true);
      expect(find(7, next)).toBe(false);
    }
    for (const [place, hash] of model) places.remove(hash, place);
    expect(places.size).toBe(0);
    expect(places.first(7)).toBe(NOWHERE);
  });
});

describe("remembered decisions", () => {
  const decision = (at: number): Decision => ({
    state: at % 3 === 0 ? "rolledBack" : "committed",
    group: `group ${at % 7}`,
    digest: (at * 2_654_435_761) % 2 ** 32,
    by: (["producer", "check", "operator", "policy"] as const)[at % 4] ?? "producer",
    who: at % 5 === 0 ? `somebody new ${at}` : "host-1",
    atMs: 1_763_700_000_000.25 + at,
    preparedAtMs: 1_763_699_999_000.5 + at,
    preparedBlock: 2 ** 40 + at,
    decidedBlock: 2 ** 40 + at + 1,
  });

  test("come back as they were, live and from parts of any size, and go on from there", () => {
    const live = new Remembered(() => new DecisionColumns(), 1_000_000, 2_000);
    for (let at = 0; at < 1_500; at++) live.set(`tx ${at}`, decision(at), at);
    const loaded = new Remembered(() => new DecisionColumns(), 1_000_000, 2_000);
    reload(live, loaded, 64);
    for (const one of [live, loaded]) one.set("tx 1500", decision(1_500), 1_500);
    for (const one of [live, loaded])
      for (let at = 0; at <= 1_500; at++) expect(one.get(`tx ${at}`)).toEqual(decision(at));
    expect(savedOf(loaded, 100)).toEqual(savedOf(live, 100));
  });
});

describe("topic index", () => {
  const topicOf = (times: readonly number[], name = "orders"): Topic => {
    const topic = new Topic(1, name, {
      bodyBytesMax: 1_000,
      isPaused: false,
      retentionMs: 1_000,
      retentionBytes: 0,
      unsettled: "keep",
    });
    for (const [at, atMs] of times.entries())
      topic.append({ block: at + 1, slot: at % 3 }, 10, atMs);
    return topic;
  };

  test.each([
    { at: 0, offset: 0 },
    { at: 10, offset: 0 },
    { at: 11, offset: 1 },
    { at: 20, offset: 1 },
    { at: 21, offset: 3 },
    { at: 30, offset: 3 },
    { at: 31, offset: 4 },
  ])("the first message at or after $at stands at offset $offset", ({ at, offset }) => {
    expect(topicOf([10, 20, 20, 30]).offsetAt(at)).toBe(offset);
  });

  test("an offset names the same place after thousands of others came", () => {
    const topic = topicOf(Array.from({ length: 2_000 }, (_, at) => at));
    expect(topic.placeOf(0)).toEqual({ block: 1, slot: 0 });
    expect(topic.placeOf(1_500)).toEqual({ block: 1_501, slot: 0 });
    expect(topic.offsetAt(1_500)).toBe(1_500);
    expect(topic.bytes).toBe(20_000);
  });

  test("a message is found again by its place and time, and a stranger is not", () => {
    const topic = topicOf([10, 20, 20, 30]);
    expect(topic.offsetOf({ block: 3, slot: 2 }, 20)).toBe(2);
    expect(topic.offsetOf({ block: 3, slot: 0 }, 20)).toBeNull();
    expect(topic.offsetOf({ block: 3, slot: 2 }, 30)).toBeNull();
  });

  test.each([0, 1, 511, 512, 513, 1_300])(
    "an index of %i messages survives save and load",
    (size) => {
      const live = topicOf(Array.from({ length: size }, (_, at) => at * 2));
      const loaded = new Topic(1, "orders", live.settings);
      loaded.load(live.save());
      for (const piece of live.saveIndex(2)) loaded.loadIndex(structuredClone(piece.take()));
      for (const topic of [live, loaded]) topic.append({ block: 9_999, slot: 7 }, 3, 9_999);
      expect(loaded.save()).toEqual(live.save());
      expect(takenOf(loaded.saveIndex(2))).toEqual(takenOf(live.saveIndex(2)));
      expect(loaded.placeOf(size)).toEqual({ block: 9_999, slot: 7 });
    },
  );

  test("dead letters that were replayed or purged are passed over", () => {
    const dead = topicOf([10, 20, 30], "%DLQ%billing");
    const origin = { topicNo: 1, offset: 5, attempts: 2, reason: "", atMs: 20, visibleAtMs: 1 };
    dead.origins.set(1, origin);
    expect(dead.nextLive(0)).toBe(1);
    expect(dead.nextLive(2)).toBe(3);
  });
});

describe("retired messages in the topic index", () => {
  const settings = { bodyBytesMax: 1_000, isPaused: false, retentionMs: 1, retentionBytes: 0 };
  const message = fc.record({
    block: fc.integer({ min: 1, max: 50 }),
    bytes: fc.integer({ min: 0, max: 9 }),
  });
  const messages = fc.array(message, { minLength: 1, maxLength: 1_400, size: "max" });
  const build = (all: readonly { readonly block: number; readonly bytes: number }[]): Topic => {
    const topic = new Topic(1, "orders", { ...settings, unsettled: "keep" });
    for (const [at, { block, bytes }] of all.entries())
      topic.append({ block, slot: at }, bytes, at);
    return topic;
  };
  const sum = (all: readonly { readonly bytes: number }[]): number =>
    all.reduce((total, { bytes }) => total + bytes, 0);

  test("are gone, and everything is counted without them", () => {
    fc.assert(
      fc.property(messages, fc.nat(), fc.nat(), fc.nat(), (all, one, two, three) => {
        const topic = build(all);
        const at = [one, two, three]
          .map((number) => number % (all.length + 1))
          .sort((a, b) => a - b);
        const [first = 0, second = 0, third = 0] = at;
        topic.retire(first);
        topic.retire(second);
        const left = all.slice(second);
        expect([topic.firstOffset, topic.bytes]).toEqual([second, sum(left)]);
        expect(topic.bytesBetween(second, third)).toBe(sum(all.slice(second, third)));
        expect(topic.lowestBlock).toBe(Math.min(...left.map(({ block }) => block)));
        const bytesMax = sum(all.slice(third));
        const within = topic.offsetWithin(bytesMax);
        expect(sum(all.slice(within))).toBeLessThanOrEqual(bytesMax);
        if (within > second) expect(sum(all.slice(within - 1))).toBeGreaterThan(bytesMax);
        expect(topic.offsetAt(0)).toBe(second);
        for (const offset of [second, third, all.length - 1])
          if (offset >= second && offset < all.length)
            expect([topic.placeOf(offset), topic.bytesOf(offset)]).toEqual([
              { block: all[offset]?.block, slot: offset },
              all[offset]?.bytes,
            ]);
        topic.append({ block: 7, slot: 3 }, 5, 9_999);
        expect(topic.placeOf(all.length)).toEqual({ block: 7, slot: 3 });
      }),
      { numRuns: 60 },
    );
  });

  test("are gone from a checkpoint, too, whatever comes while it is written", () => {
    fc.assert(
      fc.property(messages, fc.nat(), fc.nat(), (all, one, two) => {
        const topic = build(all);
        topic.retire(one % (all.length + 1));
        const saved = topic.save();
        const expected = takenOf(topic.saveIndex(1));
        const pieces = topic.saveIndex(1);
        const lowest = topic.lowestBlock;
        topic.append({ block: 0, slot: 0 }, 1, 9_999);
        topic.forget(all.length);
        const loaded = new Topic(1, "orders", { ...settings, unsettled: "keep" });
        loaded.load(saved);
        const seen: unknown[] = [];
        for (const piece of pieces) {
          const part = piece.take();
          seen.push({ name: piece.name, part });
          loaded.loadIndex(part);
          const moved = Math.max(topic.firstOffset, (one + two + seen.length) % all.length);
          topic.move(moved, { block: 9_000, slot: 1 });
          topic.forget(Math.max(topic.firstOffset, all.length - 1));
          topic.retire(Math.max(topic.firstOffset, two % (all.length + 1)));
          topic.append({ block: 9_001, slot: 0 }, 1, 9_999);
        }
        expect(seen).toEqual(expected);
        expect(loaded.save()).toEqual(saved);
        expect(loaded.lowestBlock).toBe(lowest);
        expect(loaded.bytesBetween(loaded.firstOffset, loaded.nextOffset)).toBe(saved.index.bytes);
      }),
      { numRuns: 60 },
    );
  });
});

describe("tokens", () => {
  test.each([
    [1, 0, 1],
    [12, 4_000_000_000, 900_719_925_474],
  ])("a token says which delivery it is: %i %i %i", (cursorNo, offset, deliveryNo) => {
    const token = tokenOf(cursorNo, offset, deliveryNo);
    expect(readToken(token)).toEqual({ cursorNo, offset, deliveryNo });
  });

  test.each(["", "1", "1.2", "."])("%j is no token", (text) => {
    expect(readToken(text)).toBeNull();
  });
});

describe("the retry ladder", () => {
  const policy: GroupPolicy = {
    leaseMs: 1_000,
    attemptsMax: 5,
    retryDelaysMs: [10, 30, 60],
    jitterPercent: 0,
    isOrdered: false,
  };

  test.each([
    { failures: 1, delayMs: 10 },
    { failures: 2, delayMs: 30 },
    { failures: 3, delayMs: 60 },
    { failures: 4, delayMs: 60 },
    { failures: 99, delayMs: 60 },
  ])("failure $failures waits $delayMs ms; the last step repeats", ({ failures, delayMs }) => {
    expect(retryDelayMs(policy, failures, 42)).toBe(delayMs);
  });

  test("jitter lengthens a delay by at most its share, and spreads neighbours", () => {
    const jittered = { ...policy, retryDelaysMs: [100_000], jitterPercent: 10 };
    const delays = Array.from({ length: 200 }, (_, spread) => retryDelayMs(jittered, 1, spread));
    for (const delayMs of delays) {
      expect(delayMs).toBeGreaterThanOrEqual(100_000);
      expect(delayMs).toBeLessThanOrEqual(110_000);
    }
    expect(new Set(delays).size).toBeGreaterThan(190);
    expect(retryDelayMs(jittered, 1, 7)).toBe(retryDelayMs(jittered, 1, 7));
  });

  test("the default ladder only grows: 10 s, 30 s, 1 m … 2 h", () => {
    const { retryDelaysMs } = DEFAULT_POLICY.group;
    expect([...retryDelaysMs].sort((one, other) => one - other)).toEqual(retryDelaysMs);
    expect(retryDelaysMs.at(0)).toBe(10_000);
    expect(retryDelaysMs.at(-1)).toBe(7_200_000);
  });
});
