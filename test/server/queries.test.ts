/** Questions that read much: two at a time, in their order, and not more than can wait (Q3). */
import { expect, it } from "vitest";
import { Queries } from "../../broker/src/server/queries.ts";

const turn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));

it("two run at a time, the others in their order, and one that fails holds nobody up", async () => {
  const queries = new Queries();
  const begun: number[] = [];
  const ends: (() => void)[] = [];
  const all = [0, 1, 2, 3].map((no) =>
    queries.run(async () => {
      begun.push(no);
      await new Promise<void>((resolve) => ends.push(resolve));
      if (no === 0) throw new Error("no");
    }),
  );
  all[0]?.catch(() => undefined);
  await turn();
  expect(begun).toEqual([0, 1]);
  ends[0]?.();
  await turn();
  expect(begun).toEqual([0, 1, 2]);
  ends[2]?.();
  await turn();
  expect(begun).toEqual([0, 1, 2, 3]);
  for (const end of ends) end();
  await Promise.allSettled(all);
});

it("one too many is refused, and says so", async () => {
  const queries = new Queries();
  let end: () => void = () => undefined;
  const ended = new Promise<void>((resolve) => {
    end = resolve;
  });
  const all = Array.from({ length: 34 }, () => queries.run(() => ended));
  await expect(queries.run(() => ended)).rejects.toMatchObject({ code: "OVERLOADED" });
  end();
  await Promise.all(all);
  await expect(queries.run(async () => 7)).resolves.toBe(7);
});
