/**
 * Opens damaged copies of a store and says what is left, in a process of its own: LevelDB maps tables into
 * memory, and some damage kills who reads them. Each line of the input is `{ open, verify }`, two copies with
 * the same damage; each line of the output is what was found.
 */
import { createHash } from "node:crypto";
import { createInterface } from "node:readline";
import { Engine } from "../../../broker/dist/core/engine.js";
import { wholePart } from "../../../broker/dist/core/lasting-part.js";
import { createLog } from "../../../broker/dist/server/log.js";
import { recover } from "../../../broker/dist/server/recovery.js";
import { packPart } from "../../../broker/dist/store/checkpoint-format.js";
import { openLevelStore, verifyStore } from "../../../broker/dist/store/level-store.js";

const log = createLog("silent");

/** One digest of the state, and one for each message, by block and slot; null for those that are refused. */
async function whatIsLeft(directory) {
  const store = await openLevelStore(directory);
  try {
    const { engine } = await recover(store, new Engine(), log);
    const state = createHash("sha256");
    for (const part of engine.save()) state.update(packPart(wholePart(part)));
    const blocks = [];
    for (let block = 1; block <= store.tail; block++) blocks.push(await blockOf(store, block));
    return { kind: "opened", tail: store.tail, state: state.digest("hex"), blocks };
  } finally {
    await store.close();
  }
}

/** What a consumer would be given, and what an inspector would read. */
async function blockOf(store, block) {
  try {
    const { records } = await store.readBlock(block);
    const count = records.reduce((total, record) => total + (record.messages?.length ?? 0), 0);
    const slots = Array.from({ length: count }, (_, slot) => slot);
    const digest = createHash("sha256").update(JSON.stringify(records));
    for (const message of await store.readMessages(block, slots)) digest.update(message);
    return digest.digest("base64");
  } catch (error) {
    if (error.code !== "STORE_CORRUPT" && error.code !== "STORE_FAILED") throw error;
    return null;
  }
}

for await (const line of createInterface({ input: process.stdin })) {
  const { open, verify } = JSON.parse(line);
  const left = await whatIsLeft(open).catch(({ code, message }) => ({
    kind: "refused",
    code: code ?? "none",
    message,
  }));
  const problems = await verifyStore(verify).then(
    (report) => report.problems,
    ({ code, message }) => [`${code}: ${message}`],
  );
  process.stdout.write(`${JSON.stringify({ ...left, problems })}\n`);
}
