import { afterEach } from "vitest";
import { openLevelStore } from "../../broker/src/store/level-store.ts";
import { MemoryDisk } from "../../broker/src/store/memory-disk.ts";
import { openMemoryStore } from "../../broker/src/store/memory-store.ts";
import type { BlockStore } from "../../broker/src/store/store.ts";
import { promisesOfAStore } from "./contract.ts";
import { useScratch } from "./scratch.ts";

promisesOfAStore("in memory", () => {
  const disk = new MemoryDisk();
  return { open: () => openMemoryStore(disk), crash: async () => disk.crash() };
});

const scratch = useScratch();
const stores: BlockStore[] = [];
afterEach(async () => {
  for (const store of stores.splice(0)) await store.close();
});

for (const [name, options] of [
  ["on LevelDB", {}],
  ["on LevelDB with a segment a block and no cache", { segmentBytesMax: 1, cacheBytesMax: 0 }],
] as const)
  promisesOfAStore(name, () => {
    let directory = scratch.newDirectory();
    return {
      open: async () => {
        const store = await openLevelStore(directory, options);
        stores.push(store);
        return store;
      },
      crash: async () => {
        directory = scratch.crashed(directory);
      },
    };
  });
