/** Reads of blocks, and questions to endpoints, within their shares. */
import { expect, it } from "vitest";
import { Asking, Reading } from "../../broker/src/server/reading.ts";

it("reads hold the share at most, in their order, and one alone always runs", async () => {
  const reading = new Reading(100);
  const log: string[] = [];
  const ends = new Map<string, () => void>();
  const start = (name: string, bytes: number): Promise<void> =>
    reading.run(bytes, async () => {
      log.push(name);
      await new Promise<void>((end) => ends.set(name, end));
    });
  const settled = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));
  const all = [start("a", 60), start("b", 40), start("c", 500), start("d", 10)];
  await settled();
  expect(log).toEqual(["a", "b"]);
  expect(reading.bytes).toBe(100);
  ends.get("a")?.();
  await settled();
  expect(log).toEqual(["a", "b"]);
  ends.get("b")?.();
  await settled();
  expect(log).toEqual(["a", "b", "c"]);
  ends.get("c")?.();
  await settled();
  ends.get("d")?.();
  await Promise.all(all);
  expect(log).toEqual(["a", "b", "c", "d"]);
  expect(reading.bytes).toBe(0);
});

it("a read that fails frees its bytes", async () => {
  const reading = new Reading(100);
  await expect(reading.run(60, () => Promise.reject(new Error("no")))).rejects.toThrow("no");
  expect(reading.bytes).toBe(0);
});

it("questions beyond the share are not put, and a large one alone is", () => {
  const asking = new Asking(100);
  expect(asking.hold(500)).toBe(true);
  expect(asking.hold(1)).toBe(false);
  asking.release(500);
  expect([asking.hold(60), asking.hold(40), asking.hold(1)]).toEqual([true, true, false]);
  expect(asking.bytes).toBe(100);
});
