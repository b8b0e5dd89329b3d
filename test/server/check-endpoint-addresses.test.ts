/** Where the broker never connects to, whatever a URL or a name server says. */
import net from "node:net";
import { createSecureContext } from "node:tls";
import { EscrowError } from "@escrowmq/protocol";
import { afterEach, describe, expect, test } from "vitest";
import { createAddressGuard } from "../../broker/src/server/address-guard.ts";
import { exchange } from "../../broker/src/server/check-exchange.ts";
import {
  anyServer,
  closeServers,
  endpointWorld,
  httpServer,
  question,
} from "./check-endpoint-fixture.ts";

afterEach(closeServers);

const refusalOf = (run: () => unknown): string => {
  try {
    run();
  } catch (error) {
    if (EscrowError.is(error)) return error.code;
    throw error;
  }
  return "allowed";
};

describe("the URL of an endpoint", () => {
  const { client } = endpointWorld({ allowedRanges: [] });

  test.each([
    "",
    "orders",
    "//host/path",
    "https://",
    "http://example.com/",
    "ftp://example.com/",
    "file:///etc/passwd",
    "data:,x",
    "ws://example.com/",
    "https://user@example.com/",
    "https://user:password@example.com/",
    "https://:password@example.com/",
    "https://example.com/#fragment",
    "https://example.com/#",
    `https://example.com/${"a".repeat(2_048)}`,
    "https://127.0.0.1/",
    "https://127.1/",
    "https://127.0.0.1./",
    "https://2130706433/",
    "https://0x7f.1/",
    "https://0x7f000001/",
    "https://0177.0.0.1/",
    "https://0/",
    "https://１２７.0.0.1/",
    "https://%31%32%37.0.0.1/",
    "https://10.0.0.1/",
    "https://10.255.255.255/",
    "https://100.64.0.1/",
    "https://169.254.169.254/latest/meta-data/",
    "https://172.16.0.1/",
    "https://172.31.255.255/",
    "https://192.168.1.1/",
    "https://192.0.0.192/",
    "https://198.18.0.1/",
    "https://224.0.0.1/",
    "https://240.0.0.1/",
    "https://255.255.255.255/",
    "https://[::]/",
    "https://[::1]/",
    "https://[0:0:0:0:0:0:0:1]/",
    "https://[::ffff:127.0.0.1]/",
    "https://[::ffff:7f00:1]/",
    "https://[::ffff:a9fe:a9fe]/",
    "https://[::127.0.0.1]/",
    "https://[64:ff9b::127.0.0.1]/",
    "https://[64:ff9b:1::1]/",
    "https://[2002:7f00:1::]/",
    "https://[2001::1]/",
    "https://[2001:db8::1]/",
    "https://[fe80::1]/",
    "https://[fe80::1%25eth0]/",
    "https://[fc00::1]/",
    "https://[fd00:ec2::254]/",
    "https://[fec0::1]/",
    "https://[ff02::1]/",
    "https://[4000::1]/",
    "https://[100::1]/",
  ])("%s is refused", (url) => {
    expect(refusalOf(() => client.parseUrl(url))).toBe("ENDPOINT_REFUSED");
  });

  test.each([
    ["https://EXAMPLE.com", "https://example.com/"],
    ["https://example.com:443/a/../b?x", "https://example.com/b?x"],
    ["https://8.8.8.8/", "https://8.8.8.8/"],
    ["https://[2606:4700::1111]:8443/", "https://[2606:4700::1111]:8443/"],
    ["https://[::ffff:8.8.8.8]/", "https://[::ffff:808:808]/"],
    ["https://172.32.0.1/", "https://172.32.0.1/"],
  ])("%s is stored as %s", (url, stored) => {
    expect(client.parseUrl(url)).toBe(stored);
  });

  test("is never repeated by its refusal", () => {
    expect(() => client.parseUrl("https://user:hunter2@example.com/")).toThrow(
      expect.not.objectContaining({ message: expect.stringContaining("hunter2") }),
    );
  });

  test("may be plain http only to an address in a permitted range", () => {
    const { client: permissive } = endpointWorld({ allowedRanges: ["10.1.0.0/16"] });
    expect(permissive.parseUrl("http://10.1.2.3:8080/")).toBe("http://10.1.2.3:8080/");
    for (const url of ["http://8.8.8.8/", "http://10.2.0.1/", "http://[2606:4700::1111]/"])
      expect(refusalOf(() => permissive.parseUrl(url))).toBe("ENDPOINT_REFUSED");
  });
});

describe("the permitted ranges", () => {
  test("open what is private, and nothing next to it", () => {
    const guard = createAddressGuard(["10.1.0.0/16", "fd00:1::/32"]);
    expect(guard.admits("10.1.255.255")).toBe("named");
    expect(guard.admits("::ffff:10.1.0.1")).toBe("named");
    expect(guard.admits("10.2.0.0")).toBe("refused");
    expect(guard.admits("fd00:1::5")).toBe("named");
    expect(guard.admits("fd00:2::5")).toBe("refused");
  });

  test("never open link-local, multicast and cloud metadata", () => {
    const guard = createAddressGuard(["0.0.0.0/0", "::/0"]);
    for (const address of [
      "169.254.169.254",
      "224.0.0.1",
      "239.1.1.1",
      "255.255.255.255",
      "100.100.100.200",
      "fe80::1",
      "ff02::1",
      "fd00:ec2::254",
      "::ffff:169.254.169.254",
      "64:ff9b::169.254.169.254",
      "2002:a9fe:a9fe::1",
      "::169.254.169.254",
    ])
      expect([address, guard.admits(address)]).toEqual([address, "refused"]);
    expect(guard.admits("10.0.0.1")).toBe("named");
    expect(guard.admits("::1")).toBe("named");
  });

  test("of IPv6 open no IPv4 address", () => {
    expect(createAddressGuard(["::/0"]).admits("10.0.0.1")).toBe("refused");
  });

  test("of a NAT64 translator open only what it may be asked for directly", () => {
    const guard = createAddressGuard(["64:ff9b::/96"]);
    expect(guard.admits("64:ff9b::808:808")).toBe("named");
    expect(guard.admits("64:ff9b::a00:1")).toBe("refused");
  });

  test.each(["", "10.0.0.0", "10.0.0.0/33", "10.0.0/8", "x/8", "::/129", "::ffff:10.0.0.0/104"])(
    "are refused when the broker starts if one is %j",
    (range) => {
      expect(refusalOf(() => createAddressGuard([range]))).toBe("INVALID_ARGUMENT");
    },
  );

  test("do not let through what is no address", () => {
    const guard = createAddressGuard(["0.0.0.0/0", "::/0"]);
    for (const text of ["", "localhost", "10.0.0.256", "fe80::1%eth0", "010.0.0.1", "127.1"])
      expect(guard.admits(text)).toBe("refused");
  });
});

describe("a name", () => {
  const commits = () => httpServer((_request, response) => response.end('{"verdict":"commit"}'));

  test("is asked at the address that it resolves to", async () => {
    const port = await commits();
    const { client, lookups } = endpointWorld({ names: { "inner.test": ["127.0.0.1"] } });
    const answer = await client.ask(question(`http://inner.test:${port}/`));
    expect(answer.outcome).toBe("commit");
    expect(lookups).toEqual(["inner.test"]);
  });

  test.each([
    ["a private address", ["10.0.0.1"]],
    ["the metadata address", ["169.254.169.254"]],
    ["a permitted and a private address", ["127.0.0.1", "10.0.0.1"]],
    ["a private address after public ones", ["127.0.0.1", "::1", "192.168.0.1"]],
    ["a mapped private address", ["::ffff:10.0.0.1"]],
    ["a translated private address", ["64:ff9b::a00:1"]],
    ["no address", []],
    ["what is no address", ["localhost"]],
    ["a public address, for plain http", ["127.0.0.1", "8.8.8.8"]],
  ])("that resolves to %s is not asked", async (_what, addresses) => {
    const port = await commits();
    const { client } = endpointWorld({ names: { "mixed.test": addresses } });
    const answer = await client.ask(question(`http://mixed.test:${port}/`));
    expect(answer).toMatchObject({ outcome: "unreachable", note: "the address is not permitted" });
  });

  test("that resolves to loopback is not asked by https either, unless loopback is permitted", async () => {
    const port = await commits();
    const { client } = endpointWorld({
      allowedRanges: [],
      names: { "rebind.test": ["127.0.0.1"] },
    });
    const answer = await client.ask(question(`https://rebind.test:${port}/`));
    expect(answer).toMatchObject({ outcome: "unreachable", note: "the address is not permitted" });
  });

  test("that is bound to another address between two checks is judged by the later one", async () => {
    const port = await commits();
    const answers = [["127.0.0.1"], ["10.0.0.1"], ["127.0.0.1"]];
    const { client, lookups } = endpointWorld({
      names: { "rebind.test": () => answers.shift() ?? [] },
    });
    const outcomes: string[] = [];
    for (let check = 0; check < 3; check++)
      outcomes.push((await client.ask(question(`http://rebind.test:${port}/`))).outcome);
    expect(outcomes).toEqual(["commit", "unreachable", "commit"]);
    // One resolution for each check: there is no second one that could answer something else.
    expect(lookups.length).toBe(3);
  });

  test("that does not exist, or whose name server is silent, is unreachable", async () => {
    const { client } = endpointWorld();
    const answer = await client.ask(question("https://nowhere.test/"));
    expect(answer).toMatchObject({ outcome: "unreachable", note: "no connection (ENOTFOUND)" });
    const silent = endpointWorld({ lookup: () => undefined, requestTimeoutMs: 20 });
    expect(await silent.client.ask(question("https://nowhere.test/"))).toMatchObject({
      outcome: "unreachable",
      note: "no connection after 20 ms",
    });
  });
});

test("an endpoint that was set under other permitted ranges is refused, not asked", async () => {
  const asked: string[] = [];
  const port = await httpServer((request, response) => {
    asked.push(request.url ?? "");
    response.end('{"verdict":"commit"}');
  });
  const { client } = endpointWorld({ allowedRanges: ["10.0.0.0/8"] });
  const answer = await client.ask(question(`http://127.0.0.1:${port}/`));
  expect(answer).toMatchObject({ outcome: "unreachable", note: "not asked: ENDPOINT_REFUSED" });
  expect(asked).toEqual([]);
});

test("proxy variables of the environment change nothing", async () => {
  const before = process.env.HTTP_PROXY;
  process.env.HTTP_PROXY = "http://127.0.0.1:1/";
  try {
    const port = await httpServer((_request, response) => response.end('{"verdict":"commit"}'));
    const answer = await endpointWorld().client.ask(question(`http://127.0.0.1:${port}/`));
    expect(answer.outcome).toBe("commit");
  } finally {
    if (before === undefined) delete process.env.HTTP_PROXY;
    else process.env.HTTP_PROXY = before;
  }
});

test("a peer whose address is not permitted gets no byte, even if it was resolved to another", async () => {
  let received = "";
  const server = net.createServer((socket) => {
    socket.on("data", (data) => {
      received += data.toString("latin1");
    });
  });
  const gone = new Promise((resolve) =>
    server.once("connection", (socket) => socket.once("close", resolve)),
  );
  const port = await anyServer(server);
  const judgements = ["named", "refused"] as const;
  let judged = 0;
  const answer = await exchange(
    { url: new URL(`http://swapped.test:${port}/`), headers: {}, body: Buffer.from("body") },
    {
      guard: { admits: () => judgements[judged++] ?? "refused" },
      lookup: (_host, _options, done) => done(null, [{ address: "127.0.0.1", family: 4 }]),
      secureContext: () => createSecureContext(),
      requestTimeoutMs: 2_000,
      answerBytesMax: 65_536,
      signal: new AbortController().signal,
    },
  );
  expect(answer).toEqual({ outcome: "unreachable", note: "the address is not permitted" });
  await gone;
  expect([judged, received]).toEqual([2, ""]);
});
