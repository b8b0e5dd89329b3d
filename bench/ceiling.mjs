/** What the store itself could do: the limit that every figure is a share of. */

import { randomBytes } from "node:crypto";
import { closeSync, fdatasyncSync, mkdirSync, openSync, rmSync, writeSync } from "node:fs";
import { join } from "node:path";
import { Level } from "level";

/** Synced puts of blocks of 100 messages under growing keys, one at a time. */
export async function levelCeiling(folder, bytes, seconds) {
  const directory = join(folder, "ceiling");
  mkdirSync(directory);
  const database = new Level(directory, {
    keyEncoding: "view",
    valueEncoding: "view",
    compression: false,
    writeBufferSize: 32 * 1_048_576,
    maxFileSize: 16 * 1_048_576,
  });
  await database.open();
  const block = randomBytes(bytes * 100);
  const startMs = performance.now();
  let count = 0;
  while (performance.now() - startMs < seconds * 1000) {
    const key = new Uint8Array(8);
    new DataView(key.buffer).setBigUint64(0, BigInt(++count));
    await database.put(key, block, { sync: true });
  }
  const rate = (count * 100) / ((performance.now() - startMs) / 1000);
  await database.close();
  rmSync(directory, { recursive: true });
  return { rate, count: count * 100 };
}

/** Median of 200 small synced writes, in ms. */
export async function syncLatency(folder) {
  const file = openSync(join(folder, "sync"), "w");
  const data = randomBytes(4096);
  const times = [];
  for (let at = 0; at < 200; at++) {
    const startMs = performance.now();
    writeSync(file, data);
    fdatasyncSync(file);
    times.push(performance.now() - startMs);
  }
  closeSync(file);
  return times.sort((a, b) => a - b)[100];
}
