/** What an endpoint can do to the broker, by what it answers: real servers on loopback. */
import { createHmac } from "node:crypto";
import https from "node:https";
import { encodeMessage } from "@escrowmq/protocol";
import { afterEach, describe, expect, test } from "vitest";
import { CERTIFICATE, PRIVATE_KEY } from "./check-endpoint-certificate.ts";
import {
  anyServer,
  closeServers,
  endpointWorld,
  httpServer,
  ok,
  question,
  rawServer,
  SECRET,
  saying,
} from "./check-endpoint-fixture.ts";

afterEach(closeServers);

interface Asked {
  readonly method: string | undefined;
  readonly url: string | undefined;
  readonly headers: Readonly<Record<string, string | string[] | undefined>>;
  readonly body: string;
}

/** A server that notes what it is asked and says commit. */
async function notingServer() {
  const asked: Asked[] = [];
  const port = await httpServer((request, response) => {
    const chunks: Buffer[] = [];
    request.on("data", (chunk: Buffer) => chunks.push(chunk));
    request.on("end", () => {
      const { method, url, headers } = request;
      asked.push({ method, url, headers, body: Buffer.concat(chunks).toString() });
      response.end('{"verdict":"commit"}');
    });
  });
  return { asked, port };
}

const hmac = (secret: string, { method, url, headers, body }: Asked): string =>
  createHmac("sha256", Buffer.from(secret, "utf8"))
    .update(
      [method, url, headers["escrowmq-timestamp"], headers["escrowmq-nonce"], body].join("\n"),
    )
    .digest("hex");

describe("the question", () => {
  test("names the transaction and holds its messages, bodies in base64", async () => {
    const { asked, port } = await notingServer();
    const message = { id: "m1", topic: "t", key: "k", tag: "g", headers: { a: "ä" } };
    const body = Uint8Array.of(0, 255);
    const { client } = endpointWorld();
    const messages = [encodeMessage({ ...message, body })];
    const answer = await client.ask(question(`http://127.0.0.1:${port}/check`, { messages }));
    expect(answer).toEqual({ outcome: "commit", note: "status 200", latencyMs: 0 });
    expect(asked[0]?.method).toBe("POST");
    expect(JSON.parse(asked[0]?.body ?? "")).toEqual({
      transactionId: "AAAAAAAAAAAAAAAAAAAAAA",
      group: "orders",
      attempt: 1,
      ageMs: 6_000,
      messages: [{ ...message, body: "AP8=" }],
    });
  });

  test("holds no messages if the operator wants ids only", async () => {
    const { asked, port } = await notingServer();
    await endpointWorld().client.ask(question(`http://127.0.0.1:${port}/`));
    expect(Object.keys(JSON.parse(asked[0]?.body ?? ""))).not.toContain("messages");
  });

  test("is dated by the wall clock: broker time stands still in a pause, and receivers refuse old dates", async () => {
    const { asked, port } = await notingServer();
    const { client } = endpointWorld({ wallMs: () => 1_700_000_600_000 });
    await client.ask(question(`http://127.0.0.1:${port}/`));
    expect(asked[0]?.headers["escrowmq-timestamp"]).toBe("1700000600000");
  });

  test("is signed over method, path with query, timestamp, nonce and body", async () => {
    const { asked, port } = await notingServer();
    await endpointWorld().client.ask(question(`http://127.0.0.1:${port}/a%20b?x=1&y`));
    const [first] = asked;
    if (first === undefined) throw new Error("nothing was asked");
    expect(first.url).toBe("/a%20b?x=1&y");
    expect(first.headers["escrowmq-timestamp"]).toBe("1700000000000");
    expect(first.headers["escrowmq-nonce"]).toBe("00112233445566778899aabbccddeeff");
    expect(first.headers["escrowmq-signature"]).toBe(`v1=${hmac(SECRET, first)}`);
  });

  test("carries one signature for each key while keys are rotated, the newest first", async () => {
    const { asked, port } = await notingServer();
    const secrets = ["0a".repeat(32), SECRET];
    await endpointWorld().client.ask(question(`http://127.0.0.1:${port}/`, { secrets }));
    const [first] = asked;
    if (first === undefined) throw new Error("nothing was asked");
    const both = secrets.map((secret) => `v1=${hmac(secret, first)}`).join(", ");
    expect(first.headers["escrowmq-signature"]).toBe(both);
  });

  test("is not put without a signing key", async () => {
    const { asked, port } = await notingServer();
    const answer = await endpointWorld().client.ask(
      question(`http://127.0.0.1:${port}/`, { secrets: [] }),
    );
    expect([answer.outcome, asked.length]).toEqual(["unreachable", 0]);
  });

  test("is not put if a stored message is not a message", async () => {
    const { asked, port } = await notingServer();
    const answer = await endpointWorld().client.ask(
      question(`http://127.0.0.1:${port}/`, { messages: [Uint8Array.of(0xc1)] }),
    );
    expect([answer.outcome, asked.length]).toEqual(["unreachable", 0]);
  });
});

describe("the answer", () => {
  test.each([
    ["commit", '{"verdict":"commit"}'],
    ["rollback", '{"verdict":"rollback"}'],
    ["unknown", '{"verdict":"unknown"}'],
    ["rollback", ' {\n "verdict" : "rollback" }\r\n'],
  ])("is %s for %j", async (outcome, body) => {
    const port = await saying(ok(body));
    const answer = await endpointWorld().client.ask(question(`http://127.0.0.1:${port}/`));
    expect(answer).toMatchObject({ outcome, note: "status 200" });
  });

  const marker = "S3CRET";
  test.each([
    ["empty", ok("")],
    ["a bare word", ok("commit")],
    ["a JSON string", ok('"commit"')],
    ["another verdict", ok('{"verdict":"COMMIT"}')],
    ["a field too many", ok(`{"verdict":"commit","why":"${marker}"}`)],
    ["a verdict twice", ok('{"verdict":"rollback","verdict":"commit"}')],
    ["a list", ok('[{"verdict":"commit"}]')],
    ["escaped", ok('{"verdict":"\\u0063ommit"}')],
    ["junk after it", ok(`{"verdict":"commit"}${marker}`)],
    ["a byte order mark", ok('\ufeff{"verdict":"commit"}')],
    ["a prototype", ok('{"__proto__":{"verdict":"commit"}}')],
    ["status 201", ok('{"verdict":"commit"}').replace("200 OK", "201 Created")],
    ["status 204", "HTTP/1.1 204 No Content\r\n\r\n"],
    ["status 500", ok('{"verdict":"commit"}').replace("200 OK", `500 ${marker}`)],
    ["a redirect", `HTTP/1.1 307 Temporary Redirect\r\nlocation: http://${marker}/\r\n\r\n`],
    ["an upgrade", "HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: x\r\n\r\n"],
    ["cut off", 'HTTP/1.1 200 OK\r\ncontent-length: 99\r\n\r\n{"verdict":"commit"}'],
    ["compressed", ok("\x1f\x8b").replace("\r\n", "\r\ncontent-encoding: gzip\r\n")],
    ["no HTTP", `${marker}\r\n\r\n`],
    ["nothing", ""],
    [
      "two lengths",
      'HTTP/1.1 200 OK\r\ncontent-length: 20\r\ncontent-length: 2\r\n\r\n{"verdict":"commit"}',
    ],
    [
      "9 KiB of headers",
      ok('{"verdict":"commit"}').replace("\r\n", `\r\nx: ${marker.repeat(1_536)}\r\n`),
    ],
    ["65,537 bytes", ok(`{"verdict":"commit"}${" ".repeat(65_537 - 20)}`)],
  ])("is no verdict and is counted if it is %s; its text is kept nowhere", async (_what, bytes) => {
    const { client, logged } = endpointWorld();
    const port = await saying(bytes);
    const answer = await client.ask(question(`http://127.0.0.1:${port}/`));
    expect(answer.outcome).toBe("failed");
    expect(JSON.stringify([answer, logged])).not.toContain(marker);
  });

  test("may have 65,536 bytes", async () => {
    const port = await saying(ok(`{"verdict":"commit"}${" ".repeat(65_536 - 20)}`));
    const answer = await endpointWorld().client.ask(question(`http://127.0.0.1:${port}/`));
    expect(answer.outcome).toBe("commit");
  });

  test("is not waited for at the place that a redirect names", async () => {
    const { asked, port: target } = await notingServer();
    const port = await httpServer((_request, response) => {
      response.writeHead(302, { location: `http://127.0.0.1:${target}/` }).end();
    });
    const answer = await endpointWorld().client.ask(question(`http://127.0.0.1:${port}/`));
    expect(answer).toMatchObject({ outcome: "failed", note: "status 302" });
    expect(asked).toEqual([]);
  });

  test("that never ends is cut off", async () => {
    const port = await rawServer((socket) => {
      socket.write("HTTP/1.1 200 OK\r\n\r\n");
      const pour = () => {
        while (!socket.destroyed && socket.write(" ".repeat(16_384)));
      };
      socket.on("drain", pour);
      pour();
    });
    const answer = await endpointWorld().client.ask(question(`http://127.0.0.1:${port}/`));
    expect(answer).toMatchObject({ outcome: "failed", note: "the answer is too large" });
  });

  test.each([
    ["says nothing", "", ""],
    ["drips its body", "HTTP/1.1 200 OK\r\n\r\n", " "],
    ["drips its headers", "HTTP/1.1 200 OK\r\nx-a: ", "a"],
    ["goes on about 100", "", "HTTP/1.1 100 Continue\r\n\r\n"],
  ])(
    "of an endpoint that %s is a timeout after the time for all of it",
    async (_what, first, drip) => {
      const port = await rawServer((socket) => {
        socket.write(first);
        const timer = setInterval(() => socket.write(drip), 10);
        socket.on("close", () => clearInterval(timer));
      });
      const { client } = endpointWorld({ requestTimeoutMs: 100 });
      const answer = await client.ask(question(`http://127.0.0.1:${port}/`));
      expect(answer).toMatchObject({ outcome: "timeout", note: "no answer after 100 ms" });
    },
  );

  test("takes as long as the injected clock says", async () => {
    const { client, clock } = endpointWorld();
    const port = await httpServer((_request, response) => {
      clock.nowMs += 250;
      response.end('{"verdict":"unknown"}');
    });
    const answer = await client.ask(question(`http://127.0.0.1:${port}/`));
    expect(answer).toEqual({ outcome: "unknown", note: "status 200", latencyMs: 250 });
  });
});

describe("TLS", () => {
  const tlsServer = () =>
    anyServer(
      https.createServer({ cert: CERTIFICATE, key: PRIVATE_KEY }, (_request, response) =>
        response.end('{"verdict":"commit"}'),
      ),
    );
  const names = { "endpoint.test": ["127.0.0.1"], "other.test": ["127.0.0.1"] };

  test("asks an endpoint whose certificate is of a trusted authority and for its name", async () => {
    const port = await tlsServer();
    const { client } = endpointWorld({ names, ca: CERTIFICATE });
    const answer = await client.ask(question(`https://endpoint.test:${port}/`));
    expect(answer.outcome).toBe("commit");
  });

  test.each([
    ["of no known authority", "endpoint.test", undefined],
    ["for another name", "other.test", CERTIFICATE],
    ["for a name when an address is asked", "127.0.0.1", CERTIFICATE],
  ])("asks nobody with a certificate %s", async (_what, host, ca) => {
    const port = await tlsServer();
    const { client } = endpointWorld(ca === undefined ? { names } : { names, ca });
    const answer = await client.ask(question(`https://${host}:${port}/`));
    expect(answer.outcome).toBe("unreachable");
    expect(answer.note).toMatch(/^no connection \([A-Z_]+\)$/);
  });

  test("asks nobody who speaks no TLS, or never finishes the handshake", async () => {
    const plain = await saying(ok('{"verdict":"commit"}'));
    const silent = await rawServer(() => undefined);
    const { client } = endpointWorld({ names, ca: CERTIFICATE, requestTimeoutMs: 100 });
    for (const port of [plain, silent]) {
      const answer = await client.ask(question(`https://endpoint.test:${port}/`));
      expect(answer.outcome).toBe("unreachable");
    }
  });
});
