/** Servers that peers.sh runs, on free ports of the loopback and in folders of their own. */
import { execFileSync, spawn } from "node:child_process";
import { mkdirSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { connect as connectSocket, createServer } from "node:net";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { paused } from "./clock.mjs";

const SCRIPT = fileURLToPath(new URL("peers.sh", import.meta.url));
const READY_WITHIN_MS = 40_000;
const TICKS_PER_SECOND = 100;
const PAGE_BYTES = 4096;

/** `{ version }`, or `{ reason }` why it cannot run here. */
export function lookFor(name) {
  try {
    const version = execFileSync("bash", [SCRIPT, "version", name], {
      encoding: "utf8",
      stdio: ["ignore", "pipe", "pipe"],
    });
    return { version: version.trim() };
  } catch (error) {
    return { reason: String(error.stderr ?? error.message).trim() };
  }
}

/** Resolves when it answers on its port. */
export async function startPeer(name, folder) {
  const directory = join(folder, name);
  mkdirSync(directory, { mode: 0o755 });
  const ports = await freePorts(3);
  const child = spawn("bash", [SCRIPT, "run", name, directory, ...ports.map(String)], {
    stdio: ["pipe", "ignore", "inherit"],
  });
  const server = {
    address: { port: ports[0] },
    usage: () => Promise.resolve(usageOf(child.pid)),
    async stop() {
      await ended(child);
      rmSync(directory, { recursive: true, force: true });
    },
  };
  try {
    await answering(child, ports[0]);
    return server;
  } catch (error) {
    const log = tailOf(join(directory, "log.txt"));
    await server.stop();
    throw new Error(`${name}: ${error.message}${log}`);
  }
}

function ended(child) {
  if (child.exitCode !== null || child.signalCode !== null) return;
  return new Promise((resolve) => {
    child.once("exit", resolve);
    child.stdin.end();
  });
}

async function answering(child, port) {
  const untilMs = performance.now() + READY_WITHIN_MS;
  while (performance.now() < untilMs) {
    if (child.exitCode !== null) throw new Error(`ended with ${child.exitCode}`);
    if (await isOpen(port)) return;
    await paused(50);
  }
  throw new Error(`did not answer within ${READY_WITHIN_MS} ms`);
}

function isOpen(port) {
  return new Promise((resolve) => {
    const socket = connectSocket(port, "127.0.0.1");
    socket.once("connect", () => {
      socket.destroy();
      resolve(true);
    });
    socket.once("error", () => resolve(false));
  });
}

function tailOf(path) {
  try {
    return `\n${readFileSync(path, "utf8").slice(-800)}`;
  } catch {
    // It ended before it wrote anything.
    return "";
  }
}

async function freePorts(count) {
  const servers = Array.from({ length: count }, () => createServer());
  const ports = await Promise.all(
    servers.map(
      (server) =>
        new Promise((resolve) =>
          server.listen(0, "127.0.0.1", () => resolve(server.address().port)),
        ),
    ),
  );
  await Promise.all(servers.map((server) => new Promise((resolve) => server.close(resolve))));
  return ports;
}

/** CPU time and memory of a process and all that it started; Linux only, else unknown. */
function usageOf(rootPid) {
  const processes = processTable();
  const family = [];
  for (const pids = [rootPid]; pids.length > 0; ) {
    const pid = pids.pop();
    const one = processes.get(pid);
    if (one !== undefined) family.push(one);
    for (const [child, { parent }] of processes) if (parent === pid) pids.push(child);
  }
  const sum = (read) => family.reduce((total, one) => total + read(one), 0);
  return {
    cpuMs: sum(({ ticks }) => ticks) * (1000 / TICKS_PER_SECOND),
    rssBytes: sum(({ pages }) => pages) * PAGE_BYTES,
  };
}

function processTable() {
  const processes = new Map();
  let names = [];
  try {
    names = readdirSync("/proc").filter((name) => /^\d+$/.test(name));
  } catch {
    // Not Linux: nothing is known, and the table shows a dash.
  }
  for (const name of names) {
    try {
      processes.set(Number(name), statOf(readFileSync(`/proc/${name}/stat`, "utf8")));
    } catch {
      // It ended meanwhile.
    }
  }
  return processes;
}

/** See proc(5): the command's name, in brackets, may hold anything. */
function statOf(text) {
  const fields = text.slice(text.lastIndexOf(")") + 2).split(" ");
  const [parent, user, system, childrenUser, childrenSystem, pages] = [1, 11, 12, 13, 14, 21].map(
    (at) => Number(fields[at]),
  );
  return { parent, ticks: user + system + childrenUser + childrenSystem, pages };
}
