/** A dead or slow endpoint costs its own group only: circuit, caps, and the end of the client. */
import { afterEach, describe, expect, test } from "vitest";
import type { CheckEndpointClient } from "../../broker/src/server/check-endpoint.ts";
import { createCircuitBreaker } from "../../broker/src/server/circuit-breaker.ts";
import {
  closeServers,
  endpointWorld,
  httpServer,
  question,
  rawServer,
} from "./check-endpoint-fixture.ts";

afterEach(closeServers);

describe("the circuit of an endpoint", () => {
  /** A name that resolves to nothing permitted until the test says so. */
  async function revivable() {
    const port = await httpServer((_request, response) => response.end('{"verdict":"commit"}'));
    const state = { isDead: true };
    const world = endpointWorld({
      names: { "app.test": () => (state.isDead ? ["10.0.0.1"] : ["127.0.0.1"]) },
    });
    const ask = () => world.client.ask(question(`http://app.test:${port}/secret-path`));
    return { ...world, state, ask };
  }

  test("opens after five checks in a row that reached nobody", async () => {
    const { ask, lookups, logged } = await revivable();
    for (let check = 0; check < 7; check++) expect((await ask()).outcome).toBe("unreachable");
    expect(lookups.length).toBe(5);
    expect(logged.length).toBe(1);
    expect(JSON.stringify(logged)).not.toContain("secret-path");
  });

  test("lets one check through after 30 s, and stays open if that reaches nobody", async () => {
    const { ask, lookups, clock } = await revivable();
    for (let check = 0; check < 5; check++) await ask();
    clock.nowMs += 29_999;
    await ask();
    expect(lookups.length).toBe(5);
    clock.nowMs += 1;
    await Promise.all([ask(), ask(), ask()]);
    expect(lookups.length).toBe(6);
    await ask();
    expect(lookups.length).toBe(6);
  });

  test("closes when somebody answers again, and says so", async () => {
    const { ask, state, clock, logged } = await revivable();
    for (let check = 0; check < 5; check++) await ask();
    state.isDead = false;
    expect((await ask()).note).toBe("not asked: it could not be reached lately");
    clock.nowMs += 30_000;
    expect((await ask()).outcome).toBe("commit");
    expect((await ask()).outcome).toBe("commit");
    expect(logged.length).toBe(2);
  });

  test("stays closed as long as somebody answers in between, whatever they say", async () => {
    const { ask, state, lookups } = await revivable();
    for (let check = 0; check < 20; check++) {
      state.isDead = check % 5 !== 4;
      await ask();
    }
    expect(lookups.length).toBe(20);
  });

  test("is its own: another endpoint of the same broker is asked", async () => {
    const { ask, client, state } = await revivable();
    for (let check = 0; check < 6; check++) await ask();
    state.isDead = false;
    const port = await httpServer((_request, response) => response.end('{"verdict":"rollback"}'));
    expect((await client.ask(question(`http://127.0.0.1:${port}/`))).outcome).toBe("rollback");
  });

  test("is forgotten, the oldest first, when there are too many", () => {
    const breaker = createCircuitBreaker({
      failuresMax: 1,
      pauseMs: 10,
      endpointsMax: 2,
      nowMs: () => 0,
    });
    for (const endpoint of ["a", "b", "c"]) breaker.report(endpoint, false);
    expect(["a", "b", "c"].map(breaker.admits)).toEqual([true, false, false]);
  });

  test("is not held open longer by checks that were under way when it opened", () => {
    const clock = { nowMs: 0 };
    const breaker = createCircuitBreaker({
      failuresMax: 1,
      pauseMs: 10,
      endpointsMax: 2,
      nowMs: () => clock.nowMs,
    });
    expect(breaker.report("a", false)).toBe("opened");
    clock.nowMs = 9;
    expect(breaker.report("a", false)).toBe("same");
    clock.nowMs = 10;
    expect(breaker.admits("a")).toBe(true);
  });
});

describe("checks at the same time", () => {
  /** A server that answers when told. */
  async function holding() {
    const held: (() => void)[] = [];
    let arrived: () => void = () => undefined;
    const port = await httpServer((_request, response) => {
      held.push(() => response.end('{"verdict":"commit"}'));
      arrived();
    });
    const heldAtLeast = async (count: number) => {
      while (held.length < count)
        await new Promise<void>((resolve) => {
          arrived = resolve;
        });
    };
    return { port, heldAtLeast, letGo: () => held.splice(0).map((answer) => answer()) };
  }
  const outcomes = async (asked: ReturnType<CheckEndpointClient["ask"]>[]) =>
    (await Promise.all(asked)).map((answer) => answer.outcome);

  test("at one endpoint are no more than allowed; the next one is told at once that it is busy", async () => {
    const { port, heldAtLeast, letGo } = await holding();
    const { client } = endpointWorld({ perEndpointMax: 2 });
    const ask = () => client.ask(question(`http://127.0.0.1:${port}/`));
    const first = [ask(), ask()];
    expect((await ask()).outcome).toBe("busy");
    await heldAtLeast(2);
    letGo();
    expect(await outcomes(first)).toEqual(["commit", "commit"]);
    const later = ask();
    await heldAtLeast(1);
    letGo();
    expect((await later).outcome).toBe("commit");
  });

  test("at all endpoints are no more than allowed", async () => {
    const { port, heldAtLeast, letGo } = await holding();
    const { client } = endpointWorld({ totalMax: 2 });
    const ask = (path: string) => client.ask(question(`http://127.0.0.1:${port}/${path}`));
    const first = [ask("a"), ask("b")];
    expect((await ask("c")).outcome).toBe("busy");
    await heldAtLeast(2);
    letGo();
    expect(await outcomes(first)).toEqual(["commit", "commit"]);
  });
});

describe("closing", () => {
  test("ends what is under way and refuses what comes later, without an attempt counted", async () => {
    const { client, logged } = endpointWorld();
    const arrived = deferred();
    const port = await rawServer(() => arrived.resolve());
    const underWay = client.ask(question(`http://127.0.0.1:${port}/`));
    await arrived.promise;
    client.close();
    expect((await underWay).outcome).toBe("unreachable");
    expect((await client.ask(question(`http://127.0.0.1:${port}/`))).outcome).toBe("unreachable");
    expect(logged).toEqual([]);
  });
});

function deferred(): { promise: Promise<void>; resolve: () => void } {
  let resolve: () => void = () => undefined;
  const promise = new Promise<void>((settle) => {
    resolve = settle;
  });
  return { promise, resolve };
}
