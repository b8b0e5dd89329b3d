/** What is read for a question is read beside the cache: what consumers want stays in it (Q1). */
import { expect, it } from "vitest";
import { fill, messageOf } from "./sample.ts";
import { useScratch } from "./scratch.ts";

const scratch = useScratch();

it("reads for questions push nothing out of memory, and keep nothing in it", async () => {
  const directory = scratch.newDirectory();
  const first = await scratch.open(directory);
  await fill(first, 20, 1_000);
  await first.close();
  // Room for about three of these blocks.
  const store = await scratch.open(directory, { cacheBytesMax: 10_000 });
  await store.readMessages(3, [0]);
  for (let block = 4; block <= 20; block++) {
    expect(await store.readMessages(block, [1], "once")).toEqual([messageOf(block, 1, 1_000)]);
    await store.readBlock(block);
    expect(store.cached(block, 1)).toBeNull();
  }
  expect(store.cached(3, 0)).toEqual(messageOf(3, 0, 1_000));
});
