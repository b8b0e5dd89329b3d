/** What the store itself could do: synced puts of blocks under growing keys, one at a time. */
import { randomBytes } from "node:crypto";
import { mkdirSync, rmSync } from "node:fs";
import { join } from "node:path";
import { Level } from "level";

const BLOCK_BYTES = 102_400;
const MIB = 1_048_576;
/** As the broker opens it. */
const OPTIONS = {
  keyEncoding: "view",
  valueEncoding: "view",
  compression: false,
  writeBufferSize: 32 * MIB,
  maxFileSize: 16 * MIB,
};

export async function levelRate({ folder, bytes, seconds }) {
  const directory = join(folder, "level");
  mkdirSync(directory);
  const database = new Level(directory, OPTIONS);
  await database.open();
  const messages = Math.max(1, Math.floor(BLOCK_BYTES / bytes));
  const block = randomBytes(messages * bytes);
  const startMs = performance.now();
  let blocks = 0;
  while (performance.now() - startMs < seconds * 1000)
    await database.put(keyOf(++blocks), block, { sync: true });
  const rate = (blocks * messages * 1000) / (performance.now() - startMs);
  await database.close();
  rmSync(directory, { recursive: true });
  return rate;
}

function keyOf(number) {
  const key = new Uint8Array(8);
  new DataView(key.buffer).setBigUint64(0, BigInt(number));
  return key;
}
