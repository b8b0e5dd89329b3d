/** A memory store some of whose methods are others. */
import { openMemoryStore } from "../../../broker/src/store/memory-store.ts";
import type { BlockStore } from "../../../broker/src/store/store.ts";
import type { WorldOptions } from "../world.ts";

export const storeWith = (change: (store: BlockStore) => Partial<BlockStore>): WorldOptions => ({
  openStore: async (disk) => {
    const store: BlockStore = await openMemoryStore(disk);
    const original: BlockStore = new Proxy(store, {
      get: (target, name) => {
        const value: unknown = Reflect.get(target, name, target);
        return typeof value === "function" ? value.bind(target) : value;
      },
    });
    const changed = change(original);
    return new Proxy(original, {
      get: (target, name) => Reflect.get(name in changed ? changed : target, name),
    });
  },
});
