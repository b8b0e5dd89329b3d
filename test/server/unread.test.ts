/** Who gets no more deliveries and who is closed, by what peers have not read. */
import { expect, it } from "vitest";
import { type Shelf, Unread } from "../../broker/src/server/unread.ts";

const MIB = 1_048_576;

function peers(unread: Unread, count: number) {
  const log: string[] = [];
  const shelves: Shelf[] = [];
  for (let at = 0; at < count; at++) {
    const shelf: Shelf = unread.open({
      congested: (isCongested) => void log.push(`${at} ${isCongested ? "stop" : "go on"}`),
      tooSlow: () => {
        log.push(`${at} closed`);
        unread.close(shelf);
      },
    });
    shelves.push(shelf);
  }
  const weigh = (at: number, bytes: number): void => {
    const shelf = shelves[at];
    if (shelf !== undefined) unread.weigh(shelf, bytes);
  };
  return { log, weigh, shelves };
}

it("a peer above 1 MiB gets no more deliveries until it has read half of it", () => {
  const unread = new Unread(64 * MIB);
  const { log, weigh } = peers(unread, 1);
  weigh(0, MIB);
  expect(log).toEqual([]);
  weigh(0, 1.5 * MIB);
  weigh(0, 0.9 * MIB);
  expect(log).toEqual(["0 stop"]);
  weigh(0, 0.4 * MIB);
  expect(log).toEqual(["0 stop", "0 go on"]);
});

it("the allowance of each shrinks as all together come near the share", () => {
  const unread = new Unread(16 * MIB);
  const { log, weigh } = peers(unread, 5);
  for (const at of [0, 1, 2, 3]) weigh(at, 3.5 * MIB);
  log.length = 0;
  weigh(4, 0.5 * MIB);
  expect(log).toEqual(["4 stop"]);
});

it("beyond the share those who hold most are closed, and what they held counts no more", () => {
  const unread = new Unread(16 * MIB);
  const { log, weigh } = peers(unread, 6);
  for (const [at, mib] of [1, 3, 3.5, 2, 3].entries()) weigh(at, mib * MIB);
  log.length = 0;
  weigh(5, 3.875 * MIB);
  expect(log).toEqual(["5 closed"]);
  expect(unread.bytes).toBe(12.5 * MIB);
});

it("a peer above a quarter of the share is closed, whatever the others hold", () => {
  const unread = new Unread(16 * MIB);
  const { log, weigh } = peers(unread, 2);
  weigh(1, 4.1 * MIB);
  expect(log).toEqual(["1 closed"]);
  expect(unread.bytes).toBe(0);
});

it("with any number of stalled peers that get deliveries only, nobody is closed and a reader goes on", () => {
  const unread = new Unread(96 * MIB);
  const { log, weigh, shelves } = peers(unread, 1_000);
  for (let round = 0; round < 200; round++)
    for (const [at, shelf] of shelves.entries())
      if (at > 0 && !shelf.isCongested) weigh(at, shelf.bytes + 16_384);
  weigh(0, 60_000);
  expect(log.filter((line) => line.endsWith("closed"))).toEqual([]);
  expect(shelves[0]?.isCongested).toBe(false);
  expect(unread.bytes).toBeLessThanOrEqual(96 * MIB);
});
