/**
 * A broker in a process of its own on a disk that takes so many bytes a second and no more: what it can do
 * is then set by the disk, and not by how much of the processor the test's load leaves it.
 */
import { setTimeout as delay } from "node:timers/promises";
import { createBroker } from "@escrowmq/broker";
import { openLevelStore } from "../../broker/dist/store/level-store.js";

const { diskBytesPerSecond, ...options } = JSON.parse(process.argv[2]);

async function openSlowStore() {
  const store = await openLevelStore(options.dataDir, {
    acceptLoss: false,
    onWarning: console.error,
  });
  const append = store.append.bind(store);
  store.append = async (block) => {
    const before = store.bytes;
    await append(block);
    await delay(((store.bytes - before) / diskBytesPerSecond) * 1_000);
  };
  return store;
}

const broker = await createBroker({ ...options, openStore: openSlowStore });
process.once("SIGTERM", async () => {
  await broker.close();
  process.exit(0);
});
// Last: who reads it may send a signal at once.
process.stdout.write(`ready ${broker.url}\n`);
