/** The program as a whole: usage, help, exit codes, options of every command, errors. */
import { rmSync } from "node:fs";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { EscrowError } from "@escrowmq/protocol";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { run } from "./fake-io.ts";
import { stats, topic } from "./samples.ts";

const ESC = "\u001b";
let directory = "";
beforeAll(async () => {
  directory = await mkdtemp(join(tmpdir(), "escrow-cli-"));
});
afterAll(() => rm(directory, { recursive: true }));

const refusing = (error: unknown) => ({
  services: { createAdmin: () => Promise.reject(error) },
});

const COMMANDS = [
  "broker start",
  "topic create",
  "topic list",
  "topic describe",
  "topic update",
  "topic delete",
  "group list",
  "group describe",
  "group update",
  "group reset",
  "group pause",
  "group resume",
  "group skip",
  "group delete",
  "producer list",
  "producer set-endpoint",
  "tx list",
  "tx show",
  "tx check",
  "tx commit",
  "tx rollback",
  "tx resume",
  "message show",
  "message find",
  "message trace",
  "dlq list",
  "dlq show",
  "dlq replay",
  "dlq purge",
  "message recall",
  "send",
  "consume",
  "stats",
  "verify",
  "doctor",
];

describe("help", () => {
  test("the program's help lists the exit codes and goes to stdout", async () => {
    const { io, code } = await run("--help");
    expect(code).toBe(0);
    expect(io.out).toContain("69   the broker could not be reached");
    expect(io.err).toBe("");
  });

  test.each(COMMANDS)(
    "escrow %s --help has an example that begins with the command",
    async (line) => {
      const { io, code } = await run(`${line} --help`);
      expect(code).toBe(0);
      expect(io.out).toMatch(new RegExp(`Examples?:\\n(.*\\n)*?.*escrow ${line}`));
    },
  );

  test("times of defaults are said as people write them, once", async () => {
    const { io } = await run("request --help");
    expect(io.out).toContain("how long the reply may take (30s)\n");
  });

  test("the version is the package's", async () => {
    const { io, code } = await run("--version");
    expect(code).toBe(0);
    expect(io.out).toMatch(/^\d+\.\d+\.\d+\n$/);
  });
});

describe("bad usage ends with 2, says so on stderr and asks nothing of the broker", () => {
  test.each([
    ["topic", /Usage: escrow topic/],
    ["tx foo", /BAD_USAGE: unknown command 'foo'\n {2}See: escrow tx --help/],
    ["topic create", /BAD_USAGE: missing required argument 'topic'/],
    ["topic list extra", /BAD_USAGE: too many arguments/],
    ["tx commit abc", /BAD_USAGE: required option '--reason <text>'/],
    ["topic list --limit 0", /BAD_USAGE: .*Expected an integer from 1 to 1000/],
    ["topic list --no-such", /BAD_USAGE: unknown option/],
    ["tx list --state done", /BAD_USAGE: .*undecided, parked/],
    ["topic update orders", /BAD_USAGE: Nothing to change/],
    ["topic update orders --pause --resume", /BAD_USAGE: Either --pause or --resume/],
    ["group update billing", /BAD_USAGE: Nothing to change/],
    ["producer set-endpoint g --reason x", /BAD_USAGE: Give either the endpoint's URL or --remove/],
    ["stats --url http://broker", /BAD_USAGE: The broker's address must begin with ws/],
    ["dlq show billing first", /BAD_USAGE: The offset must be a number/],
    ["verify /no/such/directory", /BAD_USAGE: There is no data directory/],
    ["send --topic orders --body a --body-file b", /BAD_USAGE: .*cannot be used with/],
  ])("escrow %s", async (line, says) => {
    const { io, code } = await run(line);
    expect(io.err).toMatch(says);
    expect(code).toBe(2);
    expect(io.requests).toEqual([]);
    expect(io.out).toBe("");
  });

  test("an empty reason is none", async () => {
    const { io, code } = await run("tx commit abc --reason", {}, [" "]);
    expect(code).toBe(2);
    expect(io.err).toContain("recorded with a reason");
  });
});

describe("exit codes of refusals", () => {
  test.each([
    ["UNREACHABLE", 69],
    ["OVERLOADED", 75],
    ["DISK_FULL", 75],
    ["OUTCOME_UNKNOWN", 75],
    ["TOPIC_NOT_FOUND", 1],
    ["INTERNAL", 1],
  ] as const)("%s ends with %i", async (code, exitCode) => {
    const ended = await run("stats", refusing(new EscrowError(code)));
    expect(ended.code).toBe(exitCode);
    expect(ended.io.err).toMatch(new RegExp(`^escrow: ${code}: `));
    expect(ended.io.out).toBe("");
  });

  test("an error that is none of EscrowMQ's is told, not thrown", async () => {
    const { io, code } = await run("stats", refusing(new Error(`bad${ESC}[2J`)));
    expect(code).toBe(1);
    expect(io.err).toBe("escrow: FAILED: bad\\x1b[2J\n");
  });

  test("a refusal shows its detail and the next step, escaped", async () => {
    const detail = { decidedBy: `mallory${ESC}[2J`, decidedAtMs: 5 };
    const error = new EscrowError("TX_ALREADY_COMMITTED", "It was\ncommitted.", { detail });
    const { io } = await run("tx rollback abc --reason mine", refusing(error));
    expect(io.err).toBe(
      [
        "escrow: TX_ALREADY_COMMITTED: It was\\ncommitted.",
        "  decidedBy: mallory\\x1b[2J",
        "  decidedAtMs: 1970-01-01T01:00:00+01:00",
        "  See by whom and when: escrow tx show <id>",
        "",
      ].join("\n"),
    );
  });
});

describe("the connection", () => {
  const answers = { "topic.describe": topic() };

  test("goes to this machine when nothing else is said, and is closed at the end", async () => {
    const { io } = await run("topic describe orders", { answers });
    expect(io.connectedWith).toEqual([{ url: "ws://127.0.0.1:7654", requestTimeoutMs: 10_000 }]);
    expect(io.isClosed).toBe(true);
  });

  test("is closed after a refusal, too", async () => {
    const refused = await run("topic list", { answers });
    expect(refused.code).toBe(1);
    expect(refused.io.isClosed).toBe(true);
  });

  test("takes the address from the environment, and the option before it", async () => {
    const env = { ESCROW_URL: "ws://env:1" };
    const fromEnv = await run("topic describe orders", { answers, env });
    const fromOption = await run("topic describe orders --url wss://option:2", { answers, env });
    expect(fromEnv.io.connectedWith).toMatchObject([{ url: "ws://env:1" }]);
    expect(fromOption.io.connectedWith).toMatchObject([{ url: "wss://option:2" }]);
  });

  test("takes the token from a file or the environment; there is no option for it", async () => {
    const path = join(directory, "token");
    await writeFile(path, "from-file\n");
    const env = { ESCROW_TOKEN: "from-env" };
    const fromEnv = await run("topic describe orders", { answers, env });
    const fromFile = await run(`topic describe orders --token-file ${path}`, { answers, env });
    const fromArgv = await run("topic describe orders --token secret", { answers });
    expect(fromEnv.io.connectedWith).toMatchObject([{ token: "from-env" }]);
    expect(fromFile.io.connectedWith).toMatchObject([{ token: "from-file" }]);
    expect(fromArgv.code).toBe(2);
  });

  test("reads the token file once: it may be a pipe", async () => {
    const path = join(directory, "read-once");
    await writeFile(path, "from-pipe\n");
    const { io, code } = await run(`stats --token-file ${path}`, {
      answers: {
        stats: () => {
          rmSync(path);
          return stats;
        },
      },
    });
    expect([code, io.connectedWith]).toMatchObject([0, [{ token: "from-pipe" }]]);
  });

  test("waits as long as it is told", async () => {
    const { io } = await run("--wait 2s topic describe orders", { answers });
    expect(io.connectedWith).toMatchObject([{ requestTimeoutMs: 2_000 }]);
  });

  test("is not tried with a token file that is empty or missing", async () => {
    const path = join(directory, "empty");
    await writeFile(path, "\n");
    const empty = await run(`stats --token-file ${path}`);
    const missing = await run(`stats --token-file ${path}-not`);
    expect([empty.code, missing.code]).toEqual([2, 2]);
    expect([...empty.io.connectedWith, ...missing.io.connectedWith]).toEqual([]);
  });
});

describe("the audit", () => {
  const answers = { "topic.delete": { topic: "orders", scheduled: 0 } };
  const line = "topic delete orders --yes orders --reason old";

  test.each([
    ["the user of the operating system", "", {}, "os-user"],
    ["the environment", "", { ESCROW_OPERATOR: "env" }, "env"],
    ["the option", "--operator alice", { ESCROW_OPERATOR: "env" }, "alice"],
  ])("names %s", async (_who, option, env, operator) => {
    const { io } = await run(`${line} ${option}`, { answers, env });
    expect(io.requests).toEqual([
      { type: "topic.delete", fields: { topic: "orders", operator, reason: "old" } },
    ]);
  });
});

describe("colour", () => {
  const answers = { "topic.describe": topic() };

  test("is used on a terminal", async () => {
    const { io } = await run("topic describe orders", { answers, isTty: true });
    expect(io.out).toContain(ESC);
  });

  test.each([
    ["in a pipe", { answers }, ""],
    ["with NO_COLOR", { answers, isTty: true, env: { NO_COLOR: "1" } }, ""],
    ["on a dumb terminal", { answers, isTty: true, env: { TERM: "dumb" } }, ""],
    ["in JSON", { answers, isTty: true }, "--json"],
  ])("is not used %s", async (_where, world, option) => {
    const { io } = await run(`topic describe orders ${option}`, world);
    expect(io.out).not.toContain(ESC);
  });
});
