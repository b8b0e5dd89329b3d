/** `escrow broker start` and `escrow verify`: the commands that hold a data directory. */
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { EscrowError } from "@escrowmq/protocol";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import type { BrokerOptions } from "../../cli/src/connect.ts";
import { runCli } from "../../cli/src/run.ts";
import { FakeIo, run, type World } from "./fake-io.ts";

class FakeBroker {
  readonly options: BrokerOptions[] = [];
  isClosed = false;
  fail: (error: Error) => void = () => undefined;
  readonly world: World = {
    services: {
      createBroker: async (options) => {
        this.options.push(options);
        return {
          url: `ws://${options.host}:${options.port}`,
          storeId: "s1",
          close: async () => {
            this.isClosed = true;
          },
          failed: new Promise<Error>((resolve) => {
            this.fail = resolve;
          }),
        };
      },
    },
  };
}

const start = (broker: FakeBroker, options = "") => {
  const io = new FakeIo(broker.world);
  const ended = runCli(["broker", "start", ...options.split(" ").filter(Boolean)], io);
  return { io, ended };
};

describe("broker start", () => {
  test("prints one ready line, and closes in order on a signal", async () => {
    const broker = new FakeBroker();
    const { io, ended } = start(broker);
    await io.firstOutput;
    expect(broker.isClosed).toBe(false);
    io.signal();
    expect(await ended).toBe(0);
    expect(broker.isClosed).toBe(true);
    expect(io.out).toMatch(/^EscrowMQ \S+ ready on ws:\/\/127\.0\.0\.1:7654, data in \.\/data\n$/);
    expect(io.err).toBe("");
  });

  test("passes its options on", async () => {
    const broker = new FakeBroker();
    const { io, ended } = start(
      broker,
      "--data /d --port 0 --allow-origin https://a https://b --allow-endpoint-range 10.0.0.0/8 --log-level warn --accept-loss --send-free-min 2MiB --settle-free-min 1MiB --memory-max 512MiB",
    );
    io.signal();
    await ended;
    expect(broker.options).toEqual([
      {
        dataDir: "/d",
        host: "127.0.0.1",
        port: 0,
        isInsecureBindAllowed: false,
        allowedOrigins: ["https://a", "https://b"],
        endpointRanges: ["10.0.0.0/8"],
        logLevel: "warn",
        acceptLoss: true,
        sendFreeBytesMin: 2_097_152,
        settleFreeBytesMin: 1_048_576,
        memoryBytesMax: 536_870_912,
      },
    ]);
  });

  test("a signal before it is ready stops it when it is", async () => {
    const broker = new FakeBroker();
    const { io, ended } = start(broker);
    io.signal();
    expect(await ended).toBe(0);
    expect(broker.isClosed).toBe(true);
  });

  test("a second signal ends the process at once", async () => {
    const broker = new FakeBroker();
    const { io, ended } = start(broker);
    io.signal();
    io.signal();
    expect(io.exits).toEqual([130]);
    await ended;
  });

  test("a store that cannot be reopened ends it with 75", async () => {
    const broker = new FakeBroker();
    const { io, ended } = start(broker);
    await io.firstOutput;
    broker.fail(new Error("disk\ngone"));
    expect(await ended).toBe(75);
    expect(io.err).toBe("escrow: STORE_FAILED: disk\\ngone\n");
  });

  test.each([
    ["STORE_FAILED", 75],
    ["STORE_LOCKED", 1],
    ["STORE_CORRUPT", 1],
  ] as const)("a store that is %s at the start ends it with %i", async (code, exitCode) => {
    const services = { createBroker: () => Promise.reject(new EscrowError(code)) };
    const ended = await run("broker start", { services });
    expect(ended.code).toBe(exitCode);
    expect(ended.io.out).toBe("");
  });

  test.each(["0.0.0.0", "192.168.1.5", "::", "broker.example"])(
    "refuses to listen on %s, which others may reach, without --insecure-bind",
    async (host) => {
      const broker = new FakeBroker();
      const { io, ended } = start(broker, `--host ${host}`);
      expect(await ended).toBe(2);
      expect(io.err).toContain("--insecure-bind");
      expect(broker.options).toEqual([]);
    },
  );

  test("with --insecure-bind warns and starts", async () => {
    const broker = new FakeBroker();
    const { io, ended } = start(broker, "--host 0.0.0.0 --insecure-bind");
    io.signal();
    expect(await ended).toBe(0);
    expect(io.err).toMatch(/^Warning: whoever reaches 0\.0\.0\.0 /);
    expect(broker.options).toMatchObject([{ isInsecureBindAllowed: true }]);
  });

  test.each(["127.0.0.1", "127.8.8.8", "::1", "localhost"])("%s is this machine", async (host) => {
    const broker = new FakeBroker();
    const { io, ended } = start(broker, `--host ${host}`);
    io.signal();
    expect(await ended).toBe(0);
    expect(io.err).toBe("");
  });

  test.each(["--port 65536", "--allow-endpoint-range 10.0.0.0/33", "--log-level loud"])(
    "%s is bad usage",
    async (option) => {
      expect((await run(`broker start ${option}`)).code).toBe(2);
    },
  );
});

describe("verify", () => {
  let directory = "";
  beforeAll(async () => {
    directory = await mkdtemp(join(tmpdir(), "escrow-cli-"));
  });
  afterAll(() => rm(directory, { recursive: true }));

  const verifying = (problems: readonly string[], first = 1): World => ({
    services: {
      verifyStore: async (_directory, onProgress) => {
        onProgress({ blocks: 1, blocksMax: 2 });
        return { blocks: 2, records: 30, messages: 20, bytes: 2_048, first, problems };
      },
    },
  });

  test("of a whole store ends with 0 and says what it read", async () => {
    const { io, code } = await run("verify", verifying([]), [directory]);
    expect(code).toBe(0);
    expect(io.out).toBe(`Whole: ${directory} holds 2 blocks, 30 records, 20 messages, 2.0 KiB.\n`);
    expect(io.progress).toEqual(["1/2"]);
  });

  test("of a store that retention has shortened says where it begins", async () => {
    const { io } = await run("verify", verifying([], 1_200), [directory]);
    expect(io.out).toMatch(/^Whole: .* Blocks before 1.200 were retired\.\n$/);
  });

  test("of a damaged store lists each problem and ends with 1", async () => {
    const { io, code } = await run("verify", verifying(["Block 7: bad\u001b[2J checksum."]), [
      directory,
    ]);
    expect(code).toBe(1);
    expect(io.out).toContain("\n  Block 7: bad\\x1b[2J checksum.\n");
  });

  test("in JSON is the raw result", async () => {
    const { io, code } = await run("verify --json", verifying(["x"]), [directory]);
    expect(io.json).toMatchObject({ blocks: 2, problems: ["x"] });
    expect(code).toBe(1);
  });
});
