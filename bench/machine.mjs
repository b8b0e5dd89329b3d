/** What the figures were measured on: they mean nothing without it. */
import { randomBytes } from "node:crypto";
import { closeSync, fdatasyncSync, openSync, rmSync, writeSync } from "node:fs";
import { cpus, totalmem } from "node:os";
import { join } from "node:path";
import { spread } from "./statistics.mjs";

const SYNCS = 200;

export function machineOf(folder) {
  return {
    cores: cpus().length,
    cpu: cpus()[0]?.model ?? "unknown",
    memoryGb: Math.round(totalmem() / 1e9),
    node: process.version,
    sync: syncLatency(folder),
    atIso: new Date().toISOString(),
  };
}

/** How long one 4 KiB write with fdatasync takes, in ms. */
export function syncLatency(folder) {
  const path = join(folder, "sync");
  const file = openSync(path, "w");
  const data = randomBytes(4096);
  const times = [];
  for (let at = 0; at < SYNCS; at++) {
    const startMs = performance.now();
    writeSync(file, data);
    fdatasyncSync(file);
    times.push(performance.now() - startMs);
  }
  closeSync(file);
  rmSync(path);
  return spread(times);
}

export function machineLine({ cores, cpu, memoryGb, node, sync }) {
  const latency = `${sync.median.toFixed(2)} ms (median; ${sync.min.toFixed(2)} – ${sync.max.toFixed(2)})`;
  return `${cores} cores (${cpu}), ${memoryGb} GB, Node ${node}; one 4 KiB write + fdatasync takes ${latency}`;
}
