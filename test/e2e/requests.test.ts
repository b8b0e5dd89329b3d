/** Request and reply over real sockets: one answer or one error, whatever dies on the way. */
import { json, topic } from "@escrowmq/consumer";
import { decodeMessage, LIMITS } from "@escrowmq/protocol";
import { describe, expect, it } from "vitest";
import { useBench } from "../support/e2e-broker.ts";
import { errorOf, RawClient } from "../support/e2e-raw-client.ts";
import { waitFor } from "../support/e2e-wait.ts";

const bench = useBench();
const subscribe = [{ topic: "orders" }] as const;
const codeOf = (promise: Promise<unknown>): Promise<string> =>
  promise.then(
    () => "ok",
    (error: { code: string }) => error.code,
  );

const NONE = { token: "", message: new Uint8Array() };

async function world(url: string) {
  const admin = await bench.admin(url, "orders");
  const producer = await bench.producer({ url, group: "web" });
  return { admin, producer };
}

describe("a request", () => {
  it("gets the reply of whoever handles it, and many at a time get each their own", async () => {
    const { url } = await bench.broker();
    const { producer, admin } = await world(url);
    const consumer = await bench.consumer({ url, group: "prices", subscribe });
    void consumer.run(async (message, context) =>
      context.reply({ twice: 2 * message.json<number>() }),
    );
    const answers = await Promise.all(
      Array.from({ length: 100 }, (_, body) => producer.request({ topic: "orders", body })),
    );
    expect(answers.map((answer) => answer.json())).toEqual(
      Array.from({ length: 100 }, (_, n) => ({ twice: 2 * n })),
    );
    const lag = async () =>
      (await admin.request("group.describe", { group: "prices" })).topics[0]?.lag;
    await waitFor("all acks", async () => (await lag()) === 0);
  });

  it("may be replied to from the command line", async () => {
    const { url } = await bench.broker();
    const { producer } = await world(url);
    const consume = ["consume", "--topic", "orders", "--group", "prices", "--max", "1"];
    const program = bench.program("../../cli/dist/main.js", [
      ...[...consume, "--url", url],
      ...["--reply", '{"price":7}'],
    ]);
    const answer = await producer.request({ topic: "orders", body: "?" });
    expect(answer.json()).toEqual({ price: 7 });
    expect(await program.exited).toEqual({ code: 0, signal: null });
  });

  it("has bodies with types, on both ways", async () => {
    const { url } = await bench.broker();
    const { producer } = await world(url);
    const orders = topic<{ id: number }>("orders");
    const consumer = await bench.consumer({ url, group: "prices", subscribe: [{ topic: orders }] });
    void consumer.run(async (_message, context) => context.reply([1, 2], json));
    const { body } = await producer.request({ topic: orders, body: { id: 7 }, reply: json });
    expect(body).toEqual([1, 2]);
  });

  it("that nobody handles in time is NO_REPLY, and stays in its topic", async () => {
    const { url } = await bench.broker();
    const { producer, admin } = await world(url);
    const asked = producer.request({ topic: "orders", body: 1, timeoutMs: 100 });
    expect(await codeOf(asked)).toBe("NO_REPLY");
    expect((await admin.request("topic.describe", { topic: "orders" })).nextOffset).toBe(1);
  });

  it("is INBOX_LOST at once when the broker is killed; the reply finds nobody", async () => {
    const broker = await bench.brokerProcess();
    const { producer } = await world(broker.url);
    const replies: string[] = [];
    const consumer = await bench.consumer({ url: broker.url, group: "prices", subscribe });
    let isKilled = false;
    void consumer.run(async (_message, context) => {
      await waitFor("the kill", () => isKilled);
      replies.push(await codeOf(context.reply(1)));
    });
    const asked = codeOf(producer.request({ topic: "orders", body: 1 }));
    await waitFor("the request", async () => {
      const admin = await bench.admin(broker.url);
      return (await admin.request("group.describe", { group: "prices" })).topics[0]?.leased === 1;
    });
    await broker.kill();
    expect(await asked).toBe("INBOX_LOST");
    await broker.restart();
    isKilled = true;
    await waitFor("the reply", () => replies.length > 0);
    expect(replies[0]).toBe("INBOX_NOT_FOUND");
    // It goes on with a new inbox.
    void isKilled;
    const again = await producer.request({ topic: "orders", body: 2, timeoutMs: 10_000 });
    expect(again.json()).toBe(1);
  });

  it("whose sender was killed leaves nothing: the reply finds nobody, and what waited is not handed out", async () => {
    const { url } = await bench.broker();
    const { admin } = await world(url);
    const timeoutMs = 2_000;
    const asker = bench.program("e2e-requester-process.mjs", [url, String(timeoutMs)]);
    await asker.line("asked");
    const overMs = performance.now() + timeoutMs;
    // By hand, so that the second request waits at the broker.
    const handler = await RawClient.open(url);
    const subscription = { type: "subscribe", subscription: 1, group: "prices" } as const;
    await handler.ask({ ...subscription, topics: subscribe });
    const credit = { type: "credit", subscription: 1, messages: 1, bytes: 1_000_000 } as const;
    handler.say(credit);
    const { token, message } = (await handler.heard("deliver")).deliveries[0] ?? NONE;
    const { headers = {} } = decodeMessage(message);
    const inbox = headers["escrowmq-inbox"] ?? "";
    const correlation = headers["escrowmq-correlation"] ?? "";
    await asker.kill();
    const reply = { type: "reply", inbox, correlation, body: new Uint8Array(1) } as const;
    await waitFor("the end of the inbox", async () => {
      return errorOf(await handler.ask(reply)) === "INBOX_NOT_FOUND";
    });
    await handler.ask({ type: "ack", tokens: [token] });
    await waitFor("the end of the second one's time", () => performance.now() > overMs);
    handler.say(credit);
    const topicOf = async () =>
      (await admin.request("group.describe", { group: "prices" })).topics[0];
    await waitFor("the end of both", async () => (await topicOf())?.lag === 0);
    expect(handler.frames.filter(({ type }) => type === "deliver")).toHaveLength(1);
    expect(await topicOf()).toMatchObject({ lapsed: 1, leased: 0, waiting: 0 });
    const { connections, deadLetters } = await admin.request("stats", {});
    // Of the two that this test has left, and the producer that it did not ask.
    expect([connections, deadLetters]).toEqual([3, 0]);
    handler.close();
  });

  it("whose handler was killed is answered by the next attempt, once", async () => {
    const { url } = await bench.broker();
    const { producer, admin } = await world(url);
    await admin.request("group.update", { group: "prices", retryDelaysMs: [0] });
    const program = bench.program("e2e-consumer-process.mjs", [url, "prices", "1"]);
    const asked = producer.request({ topic: "orders", body: 1 });
    await program.line("took");
    await program.kill();
    const consumer = await bench.consumer({ url, group: "prices", subscribe });
    const outcomes: string[] = [];
    void consumer.run(async (message, context) => {
      outcomes.push(await codeOf(context.reply({ attempt: message.attempt })));
      outcomes.push(await codeOf(context.reply("again")));
    });
    expect((await asked).json()).toEqual({ attempt: 2 });
    await waitFor("both replies", () => outcomes.length === 2);
    expect(outcomes).toEqual(["ok", "ok"]);
  });
});

describe("a reply", () => {
  it("to a message that asks for none is NOT_A_REQUEST; one that is too large is refused", async () => {
    const { url } = await bench.broker();
    const { producer } = await world(url);
    const codes: string[] = [];
    const consumer = await bench.consumer({ url, group: "prices", subscribe });
    void consumer.run(async (_message, context) => {
      const body = new Uint8Array(LIMITS.replyBytesMax + 1);
      codes.push(`${context.isRequest} ${await codeOf(context.reply(body))}`);
    });
    await producer.send({ topic: "orders", body: 1 });
    await codeOf(producer.request({ topic: "orders", body: 1, timeoutMs: 200 }));
    await waitFor("both", () => codes.length === 2);
    expect(codes).toEqual(["false NOT_A_REQUEST", "true BODY_TOO_LARGE"]);
  });

  it("piles up with nobody: whose owner does not read is refused, and the broker keeps little", async () => {
    const { url } = await bench.broker();
    const [owner, handler] = [await RawClient.open(url), await RawClient.open(url)];
    const opened = await owner.ask({ type: "inbox" });
    const inbox = opened.type === "ok" ? (opened.inbox ?? "") : "";
    owner.stopReading();
    const body = new Uint8Array(LIMITS.replyBytesMax);
    const codes: string[] = [];
    for (let at = 0; at < 100 && codes.at(-1) !== "INBOX_FULL"; at++)
      codes.push(errorOf(await handler.ask({ type: "reply", inbox, correlation: "r", body })));
    expect(codes.at(-1)).toBe("INBOX_FULL");
    const metrics = await (await fetch(`${url.replace("ws:", "http:")}/metrics`)).text();
    const [, unread = "0"] = /escrowmq_memory_bytes\{part="unread"\} (\d+)/.exec(metrics) ?? [];
    expect(Number(unread)).toBeLessThan(4_000_000);
    owner.readAgain();
    await waitFor(
      "room again",
      async () =>
        errorOf(await handler.ask({ type: "reply", inbox, correlation: "r", body })) === "ok",
    );
    owner.close();
    await waitFor(
      "its end",
      async () =>
        errorOf(await handler.ask({ type: "reply", inbox, correlation: "r", body })) ===
        "INBOX_NOT_FOUND",
    );
  });
});
