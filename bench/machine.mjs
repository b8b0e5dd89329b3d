/** What the figures were measured on: they mean nothing without it. */
import { randomBytes } from "node:crypto";
import { closeSync, fdatasyncSync, openSync, rmSync, writeSync } from "node:fs";
import { cpus, totalmem } from "node:os";
import { join } from "node:path";
import { spread } from "./statistics.mjs";

const SYNCS = 200;

export function machineOf() {
  return {
    cores: cpus().length,
    cpu: cpus()[0]?.model ?? "unknown",
    memoryGb: Math.round(totalmem() / 1e9),
    node: process.version,
    atIso: new Date().toISOString(),
  };
}

/** How long one 4 KiB write with fdatasync takes: the median in ms. */
export function syncMs(folder) {
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
  return spread(times).median;
}

/** CPU time in ms that all processes of the machine have used. */
export function machineCpuMs() {
  const busy = ({ times: { user, nice, sys, irq } }) => user + nice + sys + irq;
  return cpus().reduce((total, core) => total + busy(core), 0);
}

/** `syncs`: medians taken before each measurement of what the line stands above. */
export function machineLine({ cores, cpu, memoryGb, node }, syncs) {
  const { median, min, max } = spread(syncs);
  const latency = `${median.toFixed(2)} ms (${min.toFixed(2)} – ${max.toFixed(2)} in between)`;
  return `${cores} cores (${cpu}), ${memoryGb} GB, Node ${node}; one 4 KiB write + fdatasync takes ${latency}`;
}
