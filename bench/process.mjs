/** The runner's side of the processes that it forks; theirs is processes/parent.mjs. */
import { fork } from "node:child_process";

/** Nothing that a process is asked for takes longer, save what names its own patience. */
const PATIENCE_MS = 60_000;
const STOP_WITHIN_MS = 15_000;

const running = new Set();

export class Process {
  #child;
  #file;
  #fault = null;
  #waiting = new Set();

  constructor(file, task, execArgv = []) {
    this.#file = file;
    this.#child = fork(new URL(`processes/${file}.mjs`, import.meta.url), [JSON.stringify(task)], {
      serialization: "advanced",
      execArgv,
      // What a client library prints would stand in the middle of JSON.
      stdio: ["ignore", "ignore", "inherit", "ipc"],
    });
    running.add(this);
    this.#child.on("message", (message) => this.#onMessage(message));
    this.#child.once("exit", (code, signal) => {
      running.delete(this);
      this.#fail(new Error(`the ${file} process ended early (${signal ?? code})`));
    });
  }

  get pid() {
    return this.#child.pid;
  }

  tell(kind, fields = {}) {
    if (this.#child.connected) this.#child.send({ kind, ...fields });
  }

  /** The next message of this kind; rejects when the process reports a fault, ends, or is silent. */
  answer(kind, patienceMs = PATIENCE_MS) {
    return new Promise((resolve, reject) => {
      const waiter = { kind, resolve, reject };
      this.#waiting.add(waiter);
      const timer = setTimeout(() => {
        this.#waiting.delete(waiter);
        reject(new Error(`the ${this.#file} process did not say "${kind}" in ${patienceMs} ms`));
      }, patienceMs);
      waiter.done = () => clearTimeout(timer);
      if (this.#fault !== null) this.#fail(this.#fault);
    });
  }

  ask(kind, fields = {}) {
    const answered = this.answer(kind);
    this.tell(kind, fields);
    return answered;
  }

  /** Lets it end by itself, so that it can write a profile; kills it when it does not. */
  async stop() {
    if (this.#child.exitCode !== null || this.#child.signalCode !== null) return;
    const ended = new Promise((resolve) => this.#child.once("exit", resolve));
    const timer = setTimeout(() => this.#child.kill("SIGKILL"), STOP_WITHIN_MS);
    this.tell("stop");
    await ended;
    clearTimeout(timer);
  }

  kill() {
    this.#child.kill("SIGKILL");
  }

  #onMessage(message) {
    if (message.kind === "fault") return this.#fail(new Error(message.text));
    for (const waiter of this.#waiting) {
      if (waiter.kind !== message.kind) continue;
      this.#waiting.delete(waiter);
      waiter.done();
      waiter.resolve(message);
    }
  }

  #fail(error) {
    this.#fault = error;
    for (const waiter of this.#waiting) {
      waiter.done();
      waiter.reject(error);
    }
    this.#waiting.clear();
  }
}

/** For the runner's own untimely end. */
export function killAll() {
  for (const child of running) child.kill();
}
