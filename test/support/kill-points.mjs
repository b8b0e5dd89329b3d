/**
 * Named points at which a broker process kills itself: between two calls to the disk that belong together. The
 * product knows nothing of it: the calls of `node:fs/promises` and of LevelDB are wrapped from outside.
 *
 *   KILL_AT="seal written, not renamed"
 *
 * A point of a start is meant from the beginning on; any other one once the process was sent SIGHUP.
 */
import files from "node:fs/promises";
import { syncBuiltinESMExports } from "node:module";
import { Level } from "level";
import { SealedBlock } from "../../broker/dist/store/block.js";

const MARK = /acked-mark(\.new)?$/;
const CHECKPOINT = /checkpoints\/\d+(\.new)?$/;
const PACK = /packs\/\d+(\.new)?$/;
const PACK_COPY = /packs\/\d+\.copy$/;
const SEGMENT = /segments\/\d{16}$/;
const SEAL = /sealed\.json$/;
const LOG_START = /log-start$/;
const RETIRED = /\.retired$/;

/** What is called, on which path, and on which side of it; `record`: a block with such a record in it. */
const POINTS = {
  "append asked for": { call: "put", side: "before" },
  "append under way": { call: "put", side: "during" },
  "append on disk, not answered": { call: "put", side: "after" },
  "mark written, not synced": { call: "sync", path: MARK, side: "before" },
  "mark synced, not renamed": { call: "rename", path: MARK, side: "before" },
  "mark renamed": { call: "rename", path: MARK, side: "after" },
  "checkpoint begun": { call: "open", path: /checkpoints\/\d+\.new$/, side: "after" },
  "checkpoint written, not synced": { call: "sync", path: CHECKPOINT, side: "before" },
  "checkpoint synced, not renamed": { call: "rename", path: CHECKPOINT, side: "before" },
  "checkpoint renamed, directory not synced": { call: "rename", path: CHECKPOINT, side: "after" },
  "checkpoint final, older ones still there": { call: "rm", path: CHECKPOINT, side: "before" },
  "pack written, not synced": { call: "sync", path: PACK, side: "before" },
  "pack synced, not renamed": { call: "rename", path: PACK, side: "before" },
  "pack renamed, its copy not": { call: "rename", path: PACK, side: "after" },
  "pack renamed, no checkpoint names it": { call: "rename", path: PACK_COPY, side: "after" },
  "segment made, directory not synced": { call: "mkdir", path: SEGMENT, side: "after" },
  "segment's name on disk, not opened": { call: "level.open", side: "before" },
  "segment opened, nothing in it": { call: "level.open", side: "after" },
  "segment full, not flushed": { call: "flush", side: "before" },
  "segment being flushed": { call: "flush", side: "during" },
  "segment flushed, not sealed": { call: "flush", side: "after" },
  "seal written, not renamed": { call: "rename", path: SEAL, side: "before" },
  "seal renamed": { call: "rename", path: SEAL, side: "after" },
  "start: log being replayed": { call: "level.open", side: "during" },
  "start: store locked, nothing read": { call: "level.open", side: "after" },
  "start: checkpoint opened": { call: "open", path: /checkpoints\/\d+$/, side: "after" },
  "start: recovered, mark not written": { call: "open", path: /acked-mark\.new$/, side: "before" },
  "start: opened, not on disk": { call: "put", side: "before", record: "opened" },
  "start: opened, not serving": { call: "put", side: "after", record: "opened" },
  "retirement decided, not on disk": { call: "put", side: "before", record: "retired" },
  "retirement on disk, nothing freed": { call: "put", side: "after", record: "retired" },
  "log's start written, not renamed": { call: "rename", path: LOG_START, side: "before" },
  "log's start renamed, directory not synced": { call: "rename", path: LOG_START, side: "after" },
  "segment not set aside": { call: "rename", path: RETIRED, side: "before" },
  "segment set aside, directory not synced": { call: "rename", path: RETIRED, side: "after" },
  "segment half removed": { call: "rm", path: /\.retired\/[^/]+$/, side: "after" },
  "copy forward not on disk": { call: "put", side: "before", record: "moved" },
  "copy forward on disk, old place still there": { call: "put", side: "after", record: "moved" },
};

const name = process.env.KILL_AT ?? "";
const point = POINTS[name];
let isArmed = name.startsWith("start: ");

if (name !== "" && point === undefined) throw new Error(`There is no point "${name}".`);

function die() {
  process.kill(process.pid, "SIGKILL");
  // The signal is on its way: nothing more may happen in between.
  for (;;);
}

const isMeant = (call, path, bytes) =>
  isArmed &&
  point.call === call &&
  (point.path === undefined || point.path.test(path)) &&
  (point.record === undefined ||
    new SealedBlock(bytes).decode().records.some(({ kind }) => kind === point.record));

/** Calls `work` and dies before, while or after it is done, if this is the point. */
async function around(call, path, work, bytes) {
  const isHere = isMeant(call, path, bytes);
  if (isHere && point.side === "before") die();
  const working = work();
  if (isHere && point.side === "during") setImmediate(die);
  const result = await working;
  if (isHere && point.side === "after") die();
  return result;
}

function wrapFiles() {
  const { rename, rm, mkdir, open } = files;
  files.rename = (from, to) => around("rename", to, () => rename(from, to));
  files.rm = (path, options) => around("rm", path, () => rm(path, options));
  files.mkdir = (path, options) => around("mkdir", path, () => mkdir(path, options));
  files.open = async (path, ...rest) => {
    const file = await around("open", path, () => open(path, ...rest));
    const sync = file.sync.bind(file);
    file.sync = () => around("sync", path, sync);
    return file;
  };
  syncBuiltinESMExports();
}

function wrapLevel() {
  const { open, put, compactRange } = Level.prototype;
  const opened = new WeakSet();
  Level.prototype.open = function (...all) {
    // A database opens itself as well: once is enough.
    if (opened.has(this)) return open.apply(this, all);
    opened.add(this);
    return around("level.open", this.location, () => open.apply(this, all));
  };
  Level.prototype.put = function (key, bytes, options) {
    return around("put", this.location, () => put.call(this, key, bytes, options), bytes);
  };
  Level.prototype.compactRange = function (...all) {
    return around("flush", this.location, () => compactRange.apply(this, all));
  };
}

if (point !== undefined) {
  wrapFiles();
  wrapLevel();
  process.once("SIGHUP", () => {
    isArmed = true;
  });
}
