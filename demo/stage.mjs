/**
 * Where the demo plays: a fresh temporary folder, a broker started by the CLI, the services, and the
 * CLI itself for all that an operator would type. `clear` leaves no process and no folder behind.
 */
import { spawn } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import { createAdmin } from "@escrowmq/protocol/client";
import { Actor } from "./actor.mjs";
import { command } from "./narrate.mjs";

const fileOf = (path) => fileURLToPath(new URL(path, import.meta.url));
const CLI = fileOf("../cli/dist/main.js");

export class Stage {
  #reportCrash;
  folder = mkdtempSync(join(tmpdir(), "escrowmq-demo-"));
  dataFolder = join(this.folder, "broker");
  ordersFolder = join(this.folder, "orders");
  stockFolder = join(this.folder, "stock");
  url = "";
  /** The process that runs now. */
  broker = null;
  #port = 0;
  /** Rejects when a process ends that nobody has stopped or killed. */
  crash = new Promise((_, reject) => {
    this.#reportCrash = reject;
  });
  #admin = null;
  #isCleared = false;
  #actors = [];
  #commands = new Set();

  /** On a free port the first time, and on the same one ever after: clients know its address. */
  async startBroker() {
    const args = ["broker", "start", "--json", "--log-level", "warn"];
    const broker = Actor.program(
      "broker",
      CLI,
      [...args, "--data", this.dataFolder, "--port", String(this.#port)],
      process.env,
    );
    this.#enter(broker);
    this.broker = broker;
    // An operator's connection does not redial: it ended with the broker before.
    this.#admin = null;
    const { line } = await broker.hear("line");
    this.url = JSON.parse(line).url;
    this.#port = Number(new URL(this.url).port);
  }

  startOrderService(name) {
    return this.#startService(name, "./order-service.mjs", [this.url, this.ordersFolder]);
  }

  startStockService(name, ...flags) {
    return this.#startService(name, "./stock-service.mjs", [this.url, this.stockFolder, ...flags]);
  }

  /** Runs the CLI as an operator would, with its output as it is. Throws when it does not exit with 0. */
  async escrow(...args) {
    command(`escrow ${args.map(shellWord).join(" ")}`);
    const code = await this.escrowCode(...args);
    if (code !== 0) throw new Error(`escrow ${args.join(" ")} exited with ${code}`);
  }

  /** The same without a word; resolves with the exit code. */
  escrowCode(...args) {
    const child = spawn(process.execPath, [CLI, ...args], {
      stdio: ["ignore", "inherit", "inherit"],
      env: { ...process.env, ESCROW_URL: this.url, ESCROW_OPERATOR: "demo" },
    });
    this.#commands.add(child);
    return new Promise((resolve, reject) => {
      child.on("error", reject);
      child.on("exit", (code) => {
        this.#commands.delete(child);
        resolve(code);
      });
    });
  }

  /** Asks the broker what the CLI would ask, where the demo itself wants to know. */
  async inspect(type, fields = {}) {
    this.#admin ??= createAdmin({ url: this.url });
    return (await this.#admin).request(type, fields);
  }

  /** Asks again until it is as it should be. */
  async until(what, isSo, ms = 15_000) {
    const endsAtMs = performance.now() + ms;
    while (!(await isSo())) {
      if (performance.now() > endsAtMs) throw new Error(`${what}: not within ${ms / 1_000} s`);
      await delay(50);
    }
  }

  /** Until a group has acked or buried all that it can see. */
  async allSettled(group) {
    await this.until(`${group} to be done`, async () => {
      const { topics } = await this.inspect("group.describe", { group });
      return topics.every(({ lag }) => lag === 0);
    });
  }

  async clear() {
    this.#isCleared = true;
    await this.#admin?.then((admin) => admin.close()).catch(() => undefined);
    await Promise.all(this.#actors.map((actor) => actor.kill()));
    this.clearNow();
  }

  /** The last resort, for when nothing can be awaited any more. */
  clearNow() {
    for (const child of this.#commands) child.kill("SIGKILL");
    for (const actor of this.#actors) actor.killNow();
    // Retries: a process that was killed this instant may still be writing.
    rmSync(this.folder, { recursive: true, force: true, maxRetries: 10, retryDelay: 50 });
  }

  /** Who comes while the stage is being cleared must not stay behind. */
  #enter(actor) {
    this.#actors.push(actor);
    actor.crashed.then(this.#reportCrash);
    if (this.#isCleared) actor.killNow();
  }

  async #startService(name, file, args) {
    const service = Actor.service(name, fileOf(file), args);
    this.#enter(service);
    await service.hear("ready");
    return service;
  }
}

const shellWord = (word) => (/^[\w@%+=:,./-]+$/.test(word) ? word : JSON.stringify(word));
