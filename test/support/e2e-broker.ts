/**
 * Brokers for end-to-end tests, embedded or in a process, their clients, and the end of all of them:
 * what a test has begun is undone after it, the last first.
 */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type Broker, type BrokerOptions, createBroker } from "@escrowmq/broker";
import {
  type Consumer,
  type ConsumerOptions,
  createConsumer,
  type Message,
} from "@escrowmq/consumer";
import { createProducer, type Producer, type ProducerOptions } from "@escrowmq/producer";
import { type AdminClient, createAdmin } from "@escrowmq/protocol/client";
import { afterEach } from "vitest";
import { type Exit, freePort, Program } from "./e2e-process.ts";

/** The operator of every audited request. */
export const AUDIT = { operator: "ada", reason: "a test" } as const;

export interface BrokerProcess {
  readonly url: string;
  readonly dataDir: string;
  /** Of the running process. */
  readonly program: Program;
  kill(signal?: NodeJS.Signals): Promise<Exit>;
  /** On the same directory and port; resolves when it is ready. */
  restart(env?: Environment): Promise<void>;
}

/** Variables of a process, besides those of this one. */
export type Environment = Readonly<Record<string, string>>;

export interface Bench {
  /** A path that does not exist yet. */
  newDirectory(): string;
  /** Undoes something after the test. */
  later(undo: () => unknown): void;
  broker(options?: BrokerOptions): Promise<Broker>;
  brokerProcess(options?: BrokerOptions, env?: Environment): Promise<BrokerProcess>;
  program(file: string, args: readonly string[]): Program;
  /** Before what they stand on goes away, a mount for one. */
  killAll(): Promise<void>;
  producer(options: ProducerOptions): Promise<Producer>;
  consumer(options: ConsumerOptions): Promise<Consumer<unknown>>;
  /** With the topics made that are named. */
  admin(url: string, ...topics: readonly string[]): Promise<AdminClient>;
}

export function useBench(): Bench {
  const undos: (() => unknown)[] = [];
  const processes: BrokerProcess[] = [];
  afterEach(async () => {
    for (const undo of undos.splice(0).reverse()) await undo();
  });
  const later = (undo: () => unknown): void => {
    undos.push(undo);
  };
  const kept = <T extends { close(): Promise<void> }>(closeable: T): T => {
    later(() => closeable.close());
    return closeable;
  };
  const newDirectory = (): string => {
    const root = mkdtempSync(join(tmpdir(), "escrowmq-e2e-"));
    later(() => rmSync(root, { recursive: true, force: true }));
    return join(root, "data");
  };
  const program = (file: string, args: readonly string[]): Program => {
    const started = new Program(file, args);
    later(() => started.kill());
    return started;
  };
  return {
    newDirectory,
    later,
    program,
    broker: async (options = {}) => {
      const dataDir = options.dataDir ?? newDirectory();
      return kept(await createBroker({ port: 0, logLevel: "silent", ...options, dataDir }));
    },
    brokerProcess: async (options = {}, env = {}) => {
      const dataDir = options.dataDir ?? newDirectory();
      const port = await freePort();
      const all: BrokerOptions = { logLevel: "silent", ...options, dataDir, port };
      const process = new RestartedBroker(all, dataDir, env);
      later(() => process.kill());
      processes.push(process);
      await process.restart();
      return process;
    },
    killAll: async () => {
      await Promise.all(processes.splice(0).map((process) => process.kill()));
    },
    producer: async (options) => kept(await createProducer(options)),
    consumer: async (options) => kept(await createConsumer(options)),
    admin: async (url, ...topics) => {
      const admin = kept(await createAdmin({ url }));
      for (const topic of topics) await admin.request("topic.create", { topic });
      return admin;
    },
  };
}

class RestartedBroker implements BrokerProcess {
  readonly dataDir: string;
  readonly #options: BrokerOptions;
  readonly #env: Environment;
  #program: Program | null = null;
  #url = "";

  constructor(options: BrokerOptions, dataDir: string, env: Environment) {
    this.#options = options;
    this.#env = env;
    this.dataDir = dataDir;
  }

  get url(): string {
    return this.#url;
  }

  get program(): Program {
    if (this.#program === null) throw new Error("it was not started");
    return this.#program;
  }

  async restart(env: Environment = this.#env): Promise<void> {
    this.#program = new Program("e2e-broker-process.mjs", [JSON.stringify(this.#options)], env);
    this.#url = await this.#program.line("ready", 60_000);
  }

  async kill(signal: NodeJS.Signals = "SIGKILL"): Promise<Exit> {
    return this.#program === null ? { code: null, signal: null } : this.#program.kill(signal);
  }
}

/** Runs a consumer that acks everything, and keeps what came, in order. */
export function gather<Body>(consumer: Consumer<Body>): readonly Message<Body>[] {
  const messages: Message<Body>[] = [];
  void consumer.run(async (message) => {
    messages.push(message);
  });
  return messages;
}

/** A producer of plain JSON bodies: what the messages say. */
export const said = (messages: readonly { text(): string }[]): unknown[] =>
  messages.map((message) => JSON.parse(message.text()));
