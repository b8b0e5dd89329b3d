/**
 * A process of the demo as the runner sees it: asked by verb, heard by event, stopped or killed.
 * A process that ends without having been told to makes everything that waits for it fail.
 */
import { fork, spawn } from "node:child_process";

const PATIENCE_MS = 20_000;
const STDERR_KEPT = 4_000;

/** Waits for a promise, but not for ever; `what` says what did not happen. */
export function within(promise, what, ms = PATIENCE_MS) {
  let timer;
  const late = new Promise((_, reject) => {
    timer = setTimeout(() => reject(new Error(`${what}: not within ${ms / 1_000} s`)), ms);
  });
  return Promise.race([promise, late]).finally(() => clearTimeout(timer));
}

export class Actor {
  name;
  #child;
  #requests = new Map();
  #events = [];
  #listeners = new Set();
  #nextRequest = 1;
  #stderr = "";
  #isExpectedToEnd = false;
  #exited;
  #fail;
  /** Rejects when the process ends: nobody needs to wait for it any longer. */
  #trouble = new Promise((_, reject) => {
    this.#fail = reject;
  });

  /** A service of this folder, with an IPC channel. */
  static service(name, file, args) {
    const stdio = ["ignore", "ignore", "pipe", "ipc"];
    return new Actor(name, fork(file, [name, ...args], { stdio }));
  }

  /** Any other program; what it says on stdout becomes "line" events. */
  static program(name, file, args, env) {
    const actor = new Actor(
      name,
      spawn(process.execPath, [file, ...args], { stdio: ["ignore", "pipe", "pipe"], env }),
    );
    let rest = "";
    actor.#child.stdout.setEncoding("utf8").on("data", (text) => {
      const lines = (rest + text).split("\n");
      rest = lines.pop();
      for (const line of lines) actor.#heard({ event: "line", line });
    });
    return actor;
  }

  /** Resolves with an error if the process ends without having been told to. */
  crashed;

  constructor(name, child) {
    this.name = name;
    this.#child = child;
    // Only those who wait for this process hear of its trouble.
    this.#trouble.catch(() => undefined);
    child.stderr.setEncoding("utf8").on("data", (text) => {
      this.#stderr = (this.#stderr + text).slice(-STDERR_KEPT);
    });
    child.on("message", (message) => {
      if (message.answer === undefined) this.#heard(message);
      else this.#answered(message);
    });
    this.#exited = new Promise((resolve) => {
      child.on("error", resolve);
      child.on("close", (code, signal) => resolve(code ?? signal));
    });
    this.crashed = new Promise((resolve) => {
      this.#exited.then((end) => {
        const crash = new Error(`${name} ended by itself (${end})\n${this.#stderr}`);
        this.#fail(crash);
        if (!this.#isExpectedToEnd) resolve(crash);
      });
    });
  }

  get pid() {
    return this.#child.pid;
  }

  get events() {
    return this.#events;
  }

  async ask(verb, argument) {
    const request = this.#nextRequest++;
    const answered = new Promise((resolve, reject) => {
      this.#requests.set(request, { resolve, reject });
    });
    this.#child.send({ request, verb, argument });
    return within(Promise.race([answered, this.#trouble]), `${this.name}: ${verb}`);
  }

  /** The first event of that name that fits, from now or from before. */
  hear(event, fits = () => true, ms = PATIENCE_MS) {
    const isWanted = (heard) => heard.event === event && fits(heard);
    const before = this.#events.find(isWanted);
    if (before !== undefined) return Promise.resolve(before);
    const heard = new Promise((resolve) => {
      const listener = (candidate) => {
        if (!isWanted(candidate)) return;
        this.#listeners.delete(listener);
        resolve(candidate);
      };
      this.#listeners.add(listener);
    });
    return within(Promise.race([heard, this.#trouble]), `${this.name} to tell "${event}"`, ms);
  }

  /** Ends in order: a service by its own verb, a program by SIGTERM. Resolves with the exit code. */
  async stop() {
    this.#isExpectedToEnd = true;
    if (this.#child.connected) await this.ask("stop");
    else this.#child.kill("SIGTERM");
    return within(this.#exited, `${this.name} to stop`);
  }

  /** Ends without warning. Resolves when the kernel has let go of its files. */
  async kill() {
    this.killNow();
    await this.#exited;
  }

  killNow() {
    this.#isExpectedToEnd = true;
    this.#child.kill("SIGKILL");
  }

  #heard(event) {
    this.#events.push(event);
    for (const listener of this.#listeners) listener(event);
  }

  #answered({ answer, value, error }) {
    const request = this.#requests.get(answer);
    this.#requests.delete(answer);
    if (error === undefined) request?.resolve(value);
    else request?.reject(new Error(`${this.name}: ${error}`));
  }
}
