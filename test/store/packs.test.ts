/** What checkpoints have in common stands in packs: twice, once for all, and no longer than it is named. */
import { readdirSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { LastingPart } from "../../broker/src/core/lasting-part.ts";
import { openLevelStore, verifyStore } from "../../broker/src/store/level-store.ts";
import { fill, recovered } from "./sample.ts";
import { checkpointPath, damage, flipBitAt, useScratch } from "./scratch.ts";

const scratch = useScratch();
const listing = (directory: string): string[] => readdirSync(directory).sort();
const lasting = (name: string, bytes = 20_000) =>
  new LastingPart(name, () => ({ name, bytes: new Uint8Array(bytes).fill(name.length) }));
const packsOf = (directory: string) => listing(join(directory, "packs"));
const pathOf = (directory: string, name: string) => join(directory, "packs", name);
const [pack1 = "", pack2 = "", pack3 = ""] = ["1", "2", "3"].map((no) => no.padStart(16, "0"));
const open = async (directory: string) => {
  const warnings: string[] = [];
  const store = await openLevelStore(directory, { onWarning: (text) => warnings.push(text) });
  return { store, all: await recovered(store), warnings };
};
const withTwo = async () => {
  const directory = scratch.newDirectory();
  const store = await scratch.open(directory);
  await fill(store, 5);
  await store.saveCheckpoint(2, [lasting("a"), lasting("bb")]);
  await store.saveCheckpoint(4, [lasting("a"), lasting("bb"), lasting("ccc")]);
  await store.close();
  return directory;
};

describe("packs", () => {
  it.each([1_000, 1_000_000])(
    "give back checkpoints of parts of %i bytes each, however many",
    async (bytes) => {
      const directory = scratch.newDirectory();
      const store = await scratch.open(directory);
      await fill(store, 2);
      const names = Array.from({ length: 12 }, (_, no) => "x".repeat(no + 1));
      await store.saveCheckpoint(2, [
        "first",
        ...names.map((name) => lasting(name, bytes)),
        "last",
      ]);
      await store.close();
      const { store: again, all } = await open(directory);
      await again.close();
      const parts = all[0]?.kind === "checkpoint" ? [...all[0].parts] : [];
      expect(parts).toHaveLength(14);
      expect([parts[0], parts[13]]).toEqual(["first", "last"]);
      for (const [no, name] of names.entries()) {
        const part = parts[no + 1] as { readonly name: string; readonly bytes: Uint8Array };
        expect(part.name).toBe(name);
        expect(Buffer.alloc(bytes, name.length).equals(part.bytes)).toBe(true);
      }
    },
  );

  it("hold what checkpoints have in common, twice", async () => {
    const directory = await withTwo();
    expect(packsOf(directory)).toEqual([pack1, `${pack1}.copy`, pack2, `${pack2}.copy`]);
    for (const pack of [pack1, pack2])
      expect(readFileSync(pathOf(directory, pack))).toEqual(
        readFileSync(pathOf(directory, `${pack}.copy`)),
      );
    expect(statSync(checkpointPath(directory, 4)).size).toBeLessThan(500);
  });

  it.each<[string, (path: string) => void]>([
    ["a flipped bit", (path) => damage(path, flipBitAt(0.5))],
    ["a missing end", (path) => damage(path, (bytes) => bytes.subarray(0, bytes.length - 1))],
    ["no such file", (path) => rmSync(path)],
  ])("of which one copy has %s are read from the other, and written again", async (_, harm) => {
    const directory = await withTwo();
    harm(pathOf(directory, pack1));
    expect((await verifyStore(directory)).problems).toEqual([expect.stringMatching(/pack .*1 is/)]);
    const { store, all, warnings } = await open(directory);
    expect(all[0]).toMatchObject({
      block: 4,
      parts: [{ name: "a" }, { name: "bb" }, { name: "ccc" }],
    });
    expect(warnings).toEqual([expect.stringMatching(/The pack 0+1 is damaged or missing/)]);
    // Two checkpoints later nobody refers to the damaged one any more.
    for (const block of [4, 5])
      await store.saveCheckpoint(block, [lasting("a"), lasting("bb"), lasting("ccc")]);
    expect(packsOf(directory)).not.toContain(pack1);
    await store.close();
    const again = await open(directory);
    expect(again.all[0]).toMatchObject({
      block: 5,
      parts: [{ name: "a" }, { name: "bb" }, { name: "ccc" }],
    });
    expect(again.warnings).toEqual([]);
    await again.store.close();
  });

  it("that are damaged twice cost the checkpoints that name them, and no more", async () => {
    const directory = await withTwo();
    for (const name of [pack2, `${pack2}.copy`]) damage(pathOf(directory, name), flipBitAt(0.5));
    const { store, all, warnings } = await open(directory);
    expect(all[0]).toMatchObject({ block: 2, parts: [{ name: "a" }, { name: "bb" }] });
    expect(warnings.at(-1)).toMatch(/checkpoint of block 4 is not used/);
    await store.close();
    for (const name of [pack1, `${pack1}.copy`]) rmSync(pathOf(directory, name));
    const full = await open(directory);
    expect(full.all.map(({ kind }) => kind)).toEqual(Array(5).fill("block"));
    await full.store.close();
  });

  it("go when no checkpoint names them, and when little of them is left", async () => {
    const directory = await withTwo();
    const { store } = await open(directory);
    const big = (block: number) => lasting(`of ${block}`, 90_000);
    // Half of pack 1 and half of what there is are not in use: what is left of it is written again.
    await store.saveCheckpoint(5, [lasting("a"), lasting("ccc"), big(1)]);
    await fill(store, 8);
    await store.saveCheckpoint(6, [lasting("a"), lasting("ccc"), big(2)]);
    await store.saveCheckpoint(7, [lasting("a"), lasting("ccc"), big(2)]);
    await store.saveCheckpoint(8, [lasting("a"), lasting("ccc"), big(2)]);
    expect(packsOf(directory)).not.toContain(pack3);
    const bytes = packsOf(directory)
      .filter((name) => !name.includes("."))
      .reduce((total, name) => total + statSync(pathOf(directory, name)).size, 0);
    expect(bytes).toBeLessThan(2 * (20_000 + 20_000 + 90_000) + 1_000);
    await store.close();
  });

  it("that were being written at a crash do not exist", async () => {
    const directory = await withTwo();
    writeFileSync(pathOf(directory, `${pack3}.new`), "half");
    writeFileSync(pathOf(directory, `${pack3}.copy`), "an older try, named by nobody");
    const { store, all, warnings } = await open(directory);
    expect(all[0]).toMatchObject({ block: 4 });
    expect(warnings).toEqual([]);
    await store.saveCheckpoint(5, [lasting("a"), lasting("bb"), lasting("ccc")]);
    expect(packsOf(directory)).toEqual([pack1, `${pack1}.copy`, pack2, `${pack2}.copy`]);
    await store.close();
  });
});
