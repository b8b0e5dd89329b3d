/** `escrow send` and `escrow consume`, with stand-ins for the SDKs. */
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { EscrowError } from "@escrowmq/protocol";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import type {
  AckableMessage,
  OutgoingMessage,
  Receiver,
  ReceiverOptions,
  SenderOptions,
} from "../../cli/src/connect.ts";
import { runCli } from "../../cli/src/run.ts";
import { FakeIo, run, type World } from "./fake-io.ts";

let directory = "";
beforeAll(async () => {
  directory = await mkdtemp(join(tmpdir(), "escrow-cli-"));
});
afterAll(() => rm(directory, { recursive: true }));

class FakeSender {
  readonly sent: OutgoingMessage[] = [];
  readonly recalled: object[] = [];
  readonly options: SenderOptions[] = [];
  refuseAfter = Number.POSITIVE_INFINITY;
  isClosed = false;
  get world(): World {
    return {
      services: {
        createSender: async (options) => {
          this.options.push(options);
          return {
            send: async (message) => {
              if (this.sent.length >= this.refuseAfter) throw new EscrowError("TOPIC_PAUSED");
              this.sent.push(message);
              return { id: `m${this.sent.length}`, duplicate: false };
            },
            recall: async (message) => {
              this.recalled.push(message);
              return { duplicate: this.recalled.length > 1 };
            },
            request: async ({ timeoutMs, ...message }) => {
              this.sent.push(message);
              if (timeoutMs < 1_000) throw new EscrowError("NO_REPLY");
              return { id: "m1", raw: Buffer.from("the \u001breply") };
            },
            close: async () => {
              this.isClosed = true;
            },
          };
        },
      },
    };
  }
  get bodies(): readonly string[] {
    return this.sent.map(({ body }) => Buffer.from(body).toString());
  }
}

describe("send", () => {
  const line = "send --topic orders";

  test("sends body, key, tag and headers, and says how to read it", async () => {
    const sender = new FakeSender();
    const options = "--key 42 --tag paid --header a=1 b=2 --header c=x=y --body hello";
    const { io, code } = await run(`${line} ${options}`, sender.world);
    expect(code).toBe(0);
    expect(sender.sent).toEqual([
      {
        topic: "orders",
        key: "42",
        tag: "paid",
        headers: { a: "1", b: "2", c: "x=y" },
        body: new TextEncoder().encode("hello"),
      },
    ]);
    expect(sender.options).toMatchObject([{ group: "escrow-cli", url: "ws://127.0.0.1:7654" }]);
    expect(io.out).toContain("Sent m1 to orders. Read it: escrow consume");
    expect(sender.isClosed).toBe(true);
  });

  test("takes the body from a pipe or a file", async () => {
    const path = join(directory, "body");
    await writeFile(path, "from file");
    const sender = new FakeSender();
    await run(line, { ...sender.world, stdin: ["from ", Buffer.from("pipe")] });
    await run(`${line} --body-file ${path}`, sender.world);
    await run(`${line} --body-file -`, { ...sender.world, isTty: true, stdin: ["typed"] });
    expect(sender.bodies).toEqual(["from pipe", "from file", "typed"]);
  });

  test("on a terminal without a body is bad usage, and so is a body beyond the limit", async () => {
    const sender = new FakeSender();
    const none = await run(line, { ...sender.world, isTty: true });
    const huge = await run(line, { ...sender.world, stdin: [new Uint8Array(1_048_577)] });
    expect([none.code, huge.code]).toEqual([2, 2]);
    expect(sender.options).toEqual([]);
  });

  test("with a delay or a time says when it comes, and how to call it back", async () => {
    const sender = new FakeSender();
    const { io } = await run(`${line} --body x --delay 10m --ttl 1h`, sender.world);
    const { code } = await run(`${line} --body x --at 2026-12-24T18:00Z`, sender.world);
    expect(code).toBe(0);
    expect(sender.sent).toMatchObject([
      { delayMs: 600_000, ttlMs: 3_600_000 },
      { deliverAt: new Date(Date.UTC(2026, 11, 24, 18)) },
    ]);
    expect(io.out).toBe("Scheduled m1 for orders. Call it back: escrow message recall orders m1\n");
  });

  test.each(["--delay 1h --at 2026-12-24", "--at tomorrow", "--delay soon", "--ttl 5"])(
    "%s is bad usage",
    async (words) => {
      const sender = new FakeSender();
      expect((await run(`${line} --body x ${words}`, sender.world)).code).toBe(2);
      expect(sender.options).toEqual([]);
    },
  );

  test("--count sends so many, and tells the rate", async () => {
    const sender = new FakeSender();
    const { io, code } = await run(`${line} --body x --count 1000 --json`, sender.world);
    expect(code).toBe(0);
    expect(sender.sent).toHaveLength(1_000);
    expect(io.json).toMatchObject({ sent: 1_000 });
    expect(io.progress.at(-1)).toBe("1000/1000");
  });

  test("--count stops at the first refusal, and tells how many went before", async () => {
    const sender = new FakeSender();
    sender.refuseAfter = 300;
    const { io, code } = await run(`${line} --body x --count 100000`, sender.world);
    expect(code).toBe(75);
    expect(io.err).toContain("300 messages of 100000 were sent before the refusal.");
    expect(io.err).toContain("escrow: TOPIC_PAUSED: ");
    expect(sender.isClosed).toBe(true);
  });

  test("--count ends in order on a signal, and tells how many were sent", async () => {
    const sender = new FakeSender();
    const io = new FakeIo(sender.world);
    const ends = runCli(`${line} --body x --count 1000000`.split(" "), io);
    while (sender.sent.length < 500) await Promise.resolve();
    io.signal();
    expect(await ends).toBe(130);
    const count = sender.sent.length;
    expect(count).toBeLessThan(1_000);
    expect(io.err).toBe(`Stopped on the way: ${count} of 1\u202f000\u202f000 were sent.\n`);
    expect(io.out).toContain(`${count} messages sent to orders`);
  });
});

test("message recall takes a delayed message back", async () => {
  const sender = new FakeSender();
  const first = await run("message recall orders m1", sender.world);
  const again = await run("message recall orders m1 --json", sender.world);
  expect([first.code, again.code]).toEqual([0, 0]);
  expect(sender.recalled).toEqual(Array(2).fill({ topic: "orders", id: "m1" }));
  expect(first.io.out).toBe("Recalled m1: it never comes to orders.\n");
  expect(again.io.json).toEqual({ topic: "orders", id: "m1", duplicate: true });
  expect(sender.isClosed).toBe(true);
});

describe("request", () => {
  test("sends the message as send does, prints the reply, and closes", async () => {
    const sender = new FakeSender();
    const { io, code } = await run("request --topic prices --key 7 --body hello", sender.world);
    expect(code).toBe(0);
    expect(sender.sent).toMatchObject([{ topic: "prices", key: "7" }]);
    expect(io.out).toBe("the \\x1breply\n");
    expect(sender.isClosed).toBe(true);
  });

  test("without a reply in time exits 75: later it may succeed", async () => {
    const sender = new FakeSender();
    const { io, code } = await run("request --topic p --body x --timeout 500ms", sender.world);
    expect(code).toBe(75);
    expect(io.err).toContain("escrow: NO_REPLY:");
    expect(sender.isClosed).toBe(true);
  });
});

class FakeReceiver implements Receiver {
  readonly options: ReceiverOptions[] = [];
  readonly acked: number[] = [];
  readonly drained: number[] = [];
  /** Offsets, and how often it had been drained by then. */
  readonly givenBack: [number, number][] = [];
  readonly replies: string[] = [];
  nobodyWaits: EscrowError | null = null;
  readonly #lent: Promise<void>[] = [];
  readonly firstAck: Promise<void>;
  readonly #messages: readonly AckableMessage[];
  #end: () => void = () => undefined;
  readonly #ended = new Promise<void>((resolve) => {
    this.#end = resolve;
  });

  constructor(bodies: readonly (string | Uint8Array)[]) {
    let acked: () => void = () => undefined;
    this.firstAck = new Promise((resolve) => {
      acked = resolve;
    });
    this.#messages = bodies.map((body, offset) => ({
      id: `m${offset}`,
      topic: "orders",
      offset,
      attempt: offset + 1,
      atMs: Date.UTC(2025, 0, 31, 8),
      key: offset === 0 ? "42" : undefined,
      tag: undefined,
      headers: offset === 0 ? { trace: "abc" } : {},
      body: typeof body === "string" ? Buffer.from(body) : body,
      isRequest: offset === 0,
      reply: async (reply) => {
        if (this.nobodyWaits !== null) throw this.nobodyWaits;
        this.replies.push(`${offset}: ${Buffer.from(reply)}`);
      },
      ack: async () => {
        this.acked.push(offset);
        acked();
      },
    }));
  }

  get world(): World {
    return {
      services: {
        createReceiver: async (options) => {
          this.options.push(options);
          return this;
        },
      },
    };
  }

  async *[Symbol.asyncIterator](): AsyncGenerator<AckableMessage> {
    yield* this.#messages;
    await this.#ended;
  }

  async lend(handler: (message: AckableMessage) => Promise<void>): Promise<void> {
    const [options] = this.options;
    for (const message of this.#messages.slice(0, options?.concurrency ?? 0))
      this.#lent.push(
        handler(message).then(() => {
          this.givenBack.push([message.offset, this.drained.length]);
        }),
      );
    await this.#ended;
  }

  async drain({ timeoutMs }: { timeoutMs: number }): Promise<void> {
    this.drained.push(timeoutMs);
    await Promise.all(this.#lent);
    this.#end();
  }
}

describe("consume", () => {
  const line = "consume --topic orders --group billing";

  test("prints one line a message, escaped, and acks what it printed", async () => {
    const receiver = new FakeReceiver(["{}\n\u001b[2J", Uint8Array.of(0xff), "never"]);
    const { io, code } = await run(`${line} --max 2`, receiver.world);
    expect(code).toBe(0);
    expect(io.lines).toEqual([
      "2025-01-31T09:00:00+01:00  orders@0  key=42  trace=abc  {}\\n\\x1b[2J",
      "2025-01-31T09:00:00+01:00  orders@1  attempt=2  <1 bytes, not UTF-8: ff>",
    ]);
    expect(receiver.acked).toEqual([0, 1]);
    expect(io.err).toBe("2 messages acked.\n");
  });

  test("--json prints one document a line", async () => {
    const receiver = new FakeReceiver(["a", Uint8Array.of(0xff)]);
    const { io } = await run(`${line} --max 2 --json`, receiver.world);
    expect(io.lines.map((text) => JSON.parse(text).body)).toEqual([
      { base64: "YQ==", text: "a" },
      { base64: "/w==" },
    ]);
  });

  test("--from says where a new group begins", async () => {
    const receiver = new FakeReceiver(["a"]);
    await run(`${line} --max 1 --from offset:7`, receiver.world);
    expect(receiver.options).toMatchObject([
      { group: "billing", subscribe: [{ topic: "orders", from: "offset", at: 7 }], concurrency: 1 },
    ]);
  });

  test("--topic may be given again, each with its weight", async () => {
    const receiver = new FakeReceiver(["a"]);
    await run(`consume --topic urgent=4 --topic orders --group billing --max 1`, receiver.world);
    expect(receiver.options).toMatchObject([
      { subscribe: [{ topic: "urgent", weight: 4 }, { topic: "orders" }] },
    ]);
  });

  test.each(["urgent=0", "urgent=17", "urgent=", "urgent=x", "urgent=1=2"])(
    "--topic %s is a bad usage",
    async (topic) => {
      const { io, code } = await run(`consume --topic ${topic} --group billing`);
      expect(code).toBe(2);
      expect(io.err).toContain("weight from 1 to 16");
    },
  );

  test("--filter says which messages", async () => {
    const receiver = new FakeReceiver(["a"]);
    const argv = [...line.split(" "), "--max", "1", "--filter", "sql: amount > 100"];
    await runCli(argv, new FakeIo(receiver.world));
    expect(receiver.options).toMatchObject([
      { subscribe: [{ topic: "orders", filter: "sql: amount > 100" }] },
    ]);
  });

  test("--idle ends it when nothing comes any more", async () => {
    const receiver = new FakeReceiver([]);
    const { io, code } = await run(`${line} --idle 5s`, receiver.world);
    expect(code).toBe(0);
    expect(io.slept).toEqual([5_000]);
    expect(io.err).toBe("0 messages acked.\n");
  });

  test("--no-ack prints every message once, acks none and gives all back at once", async () => {
    const receiver = new FakeReceiver(["a", "b", "c"]);
    const { io } = await run(`${line} --no-ack --max 2`, receiver.world);
    expect(io.lines).toHaveLength(2);
    expect(receiver.acked).toEqual([]);
    expect(receiver.givenBack).toEqual([
      [0, 1],
      [1, 1],
    ]);
    expect(io.err).toBe("2 messages given back.\n");
  });

  test("--reply answers what is a request, then acks it", async () => {
    const receiver = new FakeReceiver(["price?", "no request"]);
    const { io, code } = await run(`${line} --reply 7 --max 2`, receiver.world);
    expect(code).toBe(0);
    expect(receiver.replies).toEqual(["0: 7"]);
    expect(receiver.acked).toEqual([0, 1]);
    expect(io.err).toBe("2 messages acked.\n");
  });

  const gone = new EscrowError("INBOX_NOT_FOUND");
  test.each([
    ["", gone],
    [", over a lost connection, too", new EscrowError("OUTCOME_UNKNOWN", "", { cause: gone })],
  ])("--reply says when nobody waits any more, and acks all the same%s", async (_, refusal) => {
    const receiver = new FakeReceiver(["price?"]);
    receiver.nobodyWaits = refusal;
    const { io, code } = await run(`${line} --reply 7 --max 1`, receiver.world);
    expect(code).toBe(0);
    expect(receiver.acked).toEqual([0]);
    expect(io.err).toContain("Nobody waits for the reply to m0 any more.");
  });

  test("ends in order on a signal", async () => {
    const receiver = new FakeReceiver(["a"]);
    const io = new FakeIo(receiver.world);
    const ended = runCli(line.split(" "), io);
    await receiver.firstAck;
    expect(receiver.acked).toEqual([0]);
    io.signal();
    expect(await ended).toBe(0);
    expect(receiver.drained).toHaveLength(1);
  });

  test("does not ack what could not be written", async () => {
    const receiver = new FakeReceiver(["a"]);
    const io = new FakeIo(receiver.world);
    const broken = {
      write: (_text: string, done?: (error: Error) => void) => done?.(new Error("EPIPE")),
    };
    const code = await runCli(line.split(" "), Object.assign(io, { stdout: broken }));
    expect(code).toBe(1);
    expect(receiver.acked).toEqual([]);
    expect(receiver.drained).toHaveLength(1);
  });
});

describe("consume --broadcast", () => {
  test("reads as the instance, and says on stderr what it has lost; that it is new is no loss", async () => {
    const receiver = new FakeReceiver(["a"]);
    const line = "consume --topic orders --group cache --broadcast node-1 --max 1";
    const { io, code } = await run(line, receiver.world);
    expect([code, receiver.options[0]?.broadcast]).toEqual([0, { instance: "node-1" }]);
    receiver.options[0]?.onGap?.({ topic: "orders", lost: null });
    receiver.options[0]?.onGap?.({ topic: "orders", lost: 3 });
    expect(io.err).toContain("3 messages of orders were lost to this instance.");
    expect(io.err).not.toContain("null");
  });

  test("whose place is taken ends with the refusal", async () => {
    const refused: World = {
      services: { createReceiver: () => Promise.reject(new EscrowError("INSTANCE_REPLACED")) },
    };
    const { io, code } = await run("consume --topic t --group g --broadcast n", refused);
    expect(code).toBe(1);
    expect(io.err).toContain("Give each process an instance name of its own.");
  });
});

describe("a message that cannot be sent", () => {
  test.each(["INVALID_KEY", "INVALID_TAG", "INVALID_HEADER", "INVALID_TOPIC"] as const)(
    "is refused with %s and exit code 1",
    async (refusal) => {
      const world: World = {
        services: { createSender: () => Promise.reject(new EscrowError(refusal)) },
      };
      const { io, code } = await run("send --topic orders --body x", world);
      expect([code, io.err.includes(`escrow: ${refusal}: `)]).toEqual([1, true]);
    },
  );
});
