/** Rows in columns: frozen views, chains, and the table of undecided transactions. */
import { describe, expect, test } from "vitest";
import { Chain, Links } from "../../broker/src/core/chain.ts";
import { Column, Values } from "../../broker/src/core/columns.ts";
import { IdHash } from "../../broker/src/core/id-hash.ts";
import { readPart, Transactions } from "../../broker/src/core/transactions.ts";
import { Random } from "../sim/random.ts";

describe("columns", () => {
  test("a frozen column stays as it was, whatever is set, added or cleared", () => {
    const column = new Column(Float64Array);
    for (let at = 0; at < 10_000; at++) column.push(at);
    const frozen = column.freeze();
    for (let at = 0; at < 10_000; at += 3) column.set(at, -1);
    for (let at = 0; at < 5_000; at++) column.push(-2);
    const seen = Array.from({ length: 10_000 }, (_, at) => frozen.at(at));
    expect(seen).toEqual(Array.from({ length: 10_000 }, (_, at) => at));
    column.clear();
    expect([column.length, column.at(0), frozen.at(9_999)]).toEqual([0, 0, 9_999]);
  });

  test("frozen values stay as they were; a place that nothing was set for holds none", () => {
    const values = new Values("");
    values.set(5_000, "far");
    values.set(1, "near");
    const frozen = values.freeze();
    values.set(1, "");
    values.set(5_001, "new");
    expect([frozen.at(0), frozen.at(1), frozen.at(5_000)]).toEqual(["", "near", "far"]);
    expect([values.at(0), values.at(1), values.at(5_001)]).toEqual(["", "", "new"]);
  });
});

test("a chain keeps the order in which places were put in, whatever is taken out", () => {
  const random = new Random(3);
  const links = new Links();
  const chains = [new Chain(links), new Chain(links)];
  const model: number[][] = [[], []];
  for (let step = 0; step < 4_000; step++) {
    const place = random.below(200);
    const at = model.findIndex((one) => one.includes(place));
    if (at < 0) {
      const to = random.below(2);
      chains[to]?.append(place);
      model[to]?.push(place);
    } else {
      chains[at]?.remove(place);
      model[at] = (model[at] ?? []).filter((one) => one !== place);
    }
    if (step % 50 === 0) expect(chains.map((chain) => [...chain.places()])).toEqual(model);
  }
  expect(chains.map(({ size }) => size)).toEqual(model.map(({ length }) => length));
});

test("a walk goes on, whatever is taken out or put in between two of its steps", () => {
  const random = new Random(5);
  for (let round = 0; round < 300; round++) {
    const chain = new Chain(new Links());
    const model = new Set<number>();
    for (let place = 0; place < 20; place++) {
      chain.append(place);
      model.add(place);
    }
    // A Set's iterator makes the same promise.
    const expected = model.values();
    const seen: number[] = [];
    for (const place of chain.walk()) {
      seen.push(place);
      expect(expected.next().value).toBe(place);
      if (seen.length > 60) break;
      for (let count = random.below(4); count > 0 && model.size > 1; count--) {
        const other = random.below(20);
        // What it stands at when it has come to the end, it does not look for again.
        if (model.has(other)) {
          chain.remove(other);
          model.delete(other);
        }
        if (!random.chance(0.4) || chain.last === place) continue;
        chain.append(other);
        model.add(other);
      }
    }
  }
});

describe("the table of undecided transactions", () => {
  const factsOf = (number: number) => ({
    id: number % 7 === 0 ? `${"x".repeat(54)}${number}`.slice(0, 64) : `tx-${number}`,
    group: number % 2 === 0 ? "shop" : "depot",
    digest: number,
    preparedAtMs: 1_000 + number,
    ageFromMs: 2_000 + number,
    nextCheckAtMs: 3_000.5 + number,
    block: 2 ** 40 + number,
    place: { block: 2 ** 40 + number, slot: number % 5 },
    messages: Array.from({ length: number % 3 }, (_, at) => ({ topicNo: at + 1, bytes: 10 })),
    acks: number % 4 === 0 ? [{ cursorNo: 1, offset: number }] : [],
    checks: number % 3,
    onUndecided: number % 2 === 0 ? ("park" as const) : ("rollback" as const),
    // One message without acks stands in its row alone, and reserves nothing.
    reservationNo: number % 3 === 2 ? number : 0,
    parked: ([null, "attempts", "age"] as const)[number % 3] ?? null,
  });
  const bytesOf = (number: number) => (number % 3) * 10;
  const savedOf = (parts: Iterable<Parameters<typeof readPart>[0]>) =>
    [...parts].flatMap((part) => [...readPart(structuredClone(part))]);

  test("agrees with a Map, in the order of prepares, while rows are used again", () => {
    const random = new Random(11);
    const table = new Transactions(new IdHash());
    const model = new Map<string, ReturnType<typeof factsOf>>();
    for (let step = 0; step < 12_000; step++) {
      const facts = factsOf(random.below(900));
      const known = table.get(facts.id);
      expect(known !== undefined).toBe(model.has(facts.id));
      if (known === undefined) {
        table.add(facts, bytesOf(facts.digest));
        model.set(facts.id, facts);
      } else {
        expect(known).toMatchObject(facts);
        table.remove(known);
        model.delete(facts.id);
      }
    }
    expect(savedOf(table.save(64))).toEqual([...model.values()]);
    expect([...table.values()].map(({ id }) => id)).toEqual([...model.keys()]);
  });

  test("parts that are taken late say what there was when they were asked for", () => {
    const table = new Transactions(new IdHash());
    for (let number = 0; number < 500; number++) table.add(factsOf(number), bytesOf(number));
    const parts = table.save(64);
    for (let number = 0; number < 500; number += 2) {
      const one = table.get(factsOf(number).id);
      if (one !== undefined) table.remove(one);
    }
    for (const one of table.values()) one.checks = 99;
    for (let number = 500; number < 900; number++) table.add(factsOf(number), bytesOf(number));
    expect(savedOf(parts)).toEqual(Array.from({ length: 500 }, (_, number) => factsOf(number)));
  });

  test("those with messages stand in the order of their places, moved ones and loaded ones, too", () => {
    const random = new Random(13);
    let table = new Transactions(new IdHash());
    let block = 2 ** 41;
    const placesOf = (one: Transactions) => [...one.halves()].map(({ place }) => place.block);
    for (let number = 0; number < 300; number++) table.add(factsOf(number), bytesOf(number));
    for (let round = 0; round < 40; round++) {
      const one = table.get(factsOf(random.below(300)).id);
      if (one === undefined) continue;
      if (random.chance(0.3)) table.remove(one);
      else if (one.messages.length > 0) table.move(one, { block: block++, slot: 7 });
      const places = placesOf(table);
      const expected = [...table.values()]
        .filter(({ messages }) => messages.length > 0)
        .map(({ place }) => place.block)
        .sort((a, b) => a - b);
      expect(places).toEqual(expected);
      expect(table.lowestBlock).toBe(expected[0]);
      if (round % 10 > 0) continue;
      const loaded = new Transactions(new IdHash());
      const saved = savedOf(table.save(64));
      for (const facts of saved) loaded.add(facts, bytesOf(facts.digest));
      expect(placesOf(loaded)).toEqual(places);
      expect(savedOf(loaded.save(64))).toEqual(saved);
      table = loaded;
    }
  });

  test("after a burst nothing of it is left behind", () => {
    const table = new Transactions(new IdHash());
    for (let round = 0; round < 2; round++) {
      for (let number = 0; number < 5_000; number++) table.add(factsOf(number), bytesOf(number));
      for (const one of table.values()) table.remove(one);
      expect([table.size, table.has("tx-1"), [...table.values()]]).toEqual([0, false, []]);
      expect([[...table.halves()], table.lowestBlock]).toEqual([[], Number.POSITIVE_INFINITY]);
    }
  });
});
