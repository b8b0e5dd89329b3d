/** The outside world of `runCli` in a test: text in, text out, an admin client that answers by table. */
import type { AdminType, AdminValues } from "@escrowmq/protocol";
import type { AdminFields, Services } from "../../cli/src/connect.ts";
import type { Io, Sink } from "../../cli/src/io.ts";
import { runCli } from "../../cli/src/run.ts";

export interface Request {
  readonly type: AdminType;
  readonly fields: Readonly<Record<string, unknown>>;
}

export type Answers = {
  readonly [Type in AdminType]?:
    | AdminValues[Type]
    | ((fields: AdminFields<Type>) => AdminValues[Type]);
};

export interface World {
  readonly answers?: Answers;
  readonly env?: Readonly<Record<string, string>>;
  readonly isTty?: boolean;
  /** The width of the terminal. */
  readonly columns?: number;
  /** What the operator types, question by question. */
  readonly typed?: readonly (string | null)[];
  readonly stdin?: readonly (string | Uint8Array)[];
  readonly services?: Partial<Services>;
  /** Called when the clock sleeps, after it has moved on. */
  readonly onSleep?: (ms: number, self: FakeIo) => void;
}

export class FakeIo implements Io {
  out = "";
  err = "";
  nowMs = 1_000_000;
  readonly requests: Request[] = [];
  readonly questions: string[] = [];
  readonly connectedWith: unknown[] = [];
  readonly exits: number[] = [];
  readonly slept: number[] = [];
  /** What the last progress bar was told, as "done/total". */
  readonly progress: string[] = [];
  isClosed = false;
  /** Resolves when stdout gets its first text. */
  readonly firstOutput: Promise<void>;
  #tellOutput: () => void = () => undefined;
  readonly #listeners = new Set<() => void>();
  readonly #typed: (string | null)[];
  readonly #world: World;
  readonly stdout: Sink = { write: (text, done) => this.#write("out", text, done) };
  readonly stderr: Sink = { write: (text, done) => this.#write("err", text, done) };
  readonly env: Readonly<Record<string, string>>;
  readonly isTty: Io["isTty"];
  readonly columns: number;
  readonly services: Services;
  readonly stdin: Io["stdin"];
  readonly clock: Io["clock"] = {
    now: () => this.nowMs,
    sleep: async (ms) => {
      this.nowMs += ms;
      this.slept.push(ms);
      this.#world.onSleep?.(ms, this);
    },
    utcOffsetMinutes: () => 60,
  };

  constructor(world: World = {}) {
    const isTty = world.isTty === true;
    this.#world = world;
    this.firstOutput = new Promise((resolve) => {
      this.#tellOutput = resolve;
    });
    this.#typed = [...(world.typed ?? [])];
    this.env = world.env ?? {};
    this.isTty = { stdin: isTty, stdout: isTty, stderr: isTty };
    this.columns = world.columns ?? 100;
    this.stdin = chunks(world.stdin ?? []);
    this.services = { ...this.#services(), ...world.services };
  }

  get lines(): readonly string[] {
    return this.out.trimEnd().split("\n");
  }

  get json(): unknown {
    return JSON.parse(this.out);
  }

  signal(): void {
    for (const listener of this.#listeners) listener();
  }

  userName(): string {
    return "os-user";
  }

  async ask(question: string): Promise<string | null> {
    this.questions.push(question);
    const answer = this.#typed.shift();
    if (answer === undefined) throw new Error(`nobody answers: ${question}`);
    return answer;
  }

  onSignal(listener: () => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  exitNow(code: number): void {
    this.exits.push(code);
  }

  startProgress(_label: string, total: number) {
    return {
      update: (done: number, newTotal = total) => this.progress.push(`${done}/${newTotal}`),
      stop: () => undefined,
    };
  }

  #write(to: "out" | "err", text: string, done?: (error?: Error | null) => void): void {
    this[to] += text;
    if (to === "out") this.#tellOutput();
    done?.();
  }

  #services(): Services {
    const missing = (name: string) => () => Promise.reject(new Error(`${name} is not faked`));
    return {
      createAdmin: async (options) => {
        this.connectedWith.push(options);
        return {
          request: async (type, fields) => this.#answer(type, fields),
          close: async () => {
            this.isClosed = true;
          },
        };
      },
      createSender: missing("createSender"),
      createReceiver: missing("createReceiver"),
      createBroker: missing("createBroker"),
      verifyStore: missing("verifyStore"),
    };
  }

  #answer<Type extends AdminType>(type: Type, fields: AdminFields<Type>): AdminValues[Type] {
    this.requests.push({ type, fields: { ...fields } });
    const answer = this.#world.answers?.[type] as
      | AdminValues[Type]
      | ((fields: AdminFields<Type>) => AdminValues[Type])
      | undefined;
    if (answer === undefined) throw new Error(`no answer to ${type}`);
    return typeof answer === "function" ? answer(fields) : answer;
  }
}

async function* chunks(
  parts: readonly (string | Uint8Array)[],
): AsyncGenerator<string | Uint8Array> {
  yield* parts;
}

export interface Run {
  readonly io: FakeIo;
  readonly code: number;
}

/** Runs one command line; words are separated by spaces, more words may follow as a list. */
export async function run(
  line: string,
  world: World = {},
  more: readonly string[] = [],
): Promise<Run> {
  const io = new FakeIo(world);
  const code = await runCli([...line.split(" ").filter((word) => word !== ""), ...more], io);
  return { io, code };
}
