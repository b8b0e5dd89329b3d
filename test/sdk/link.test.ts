import { describe, expect, it } from "vitest";
import { Calls } from "../../protocol/src/client/calls.ts";
import { SILENT } from "../../protocol/src/client/logger.ts";
import { EscrowError, LIMITS } from "../../protocol/src/index.ts";
import { codeOf, FakeBroker, url } from "./fake-broker.ts";

function client(
  broker: FakeBroker,
  {
    isRedialing = true,
    signal,
    unansweredMax = 100_000,
  }: { isRedialing?: boolean; signal?: AbortSignal; unansweredMax?: number } = {},
) {
  const calls = new Calls({
    url,
    clientName: "test",
    token: "secret",
    isRedialing,
    signal,
    environment: broker.environment,
    logger: SILENT,
    requestTimeoutMs: 30_000,
    unansweredMax,
    unansweredBytesMax: 256 * 1_048_576,
  });
  const log: string[] = [];
  const opened = calls.open({
    setUp: async () => {
      log.push("setUp");
      await calls.request((id) => ({ type: "announce", id, group: "g", checker: false }), {
        onReconnect: "fail",
      });
    },
    onOpen: () => void log.push("open"),
    onLost: (error) => void log.push(`lost ${error.code}`),
    onClosed: (error) => void log.push(`closed ${error.code}`),
  });
  opened.catch(() => undefined);
  return { calls, log, opened };
}

const send = (
  calls: Calls,
  sendId: string,
  options: { timeoutMs?: number; signal?: AbortSignal } = {},
) =>
  calls.request((id) => ({ type: "send", id, sendId, messages: [new Uint8Array(8)] }), {
    onReconnect: "resend",
    ...options,
  });

describe("the link", () => {
  it("says hello alone, then sets the session up, and only then sends what waited", async () => {
    const broker = new FakeBroker();
    const { calls } = client(broker);
    const sent = send(calls, "a");
    await broker.settle();
    await sent;
    expect(broker.connection.batches.map((batch) => batch.map(({ type }) => type))).toEqual([
      ["hello"],
      ["announce"],
      ["send"],
    ]);
    expect(broker.received("hello")[0]).toMatchObject({
      version: 1,
      client: "test",
      token: "secret",
    });
  });

  it("comes back after a loss, with growing waits while the broker is away", async () => {
    const broker = new FakeBroker();
    const { log } = client(broker);
    await broker.settle();
    broker.door = "closed";
    broker.connection.drop();
    await broker.advance(10_000);
    expect(broker.dials).toBeGreaterThan(4);
    expect(broker.dials).toBeLessThan(12);
    broker.door = "open";
    await broker.advance(10_000);
    expect(log).toEqual(["setUp", "open", "lost UNREACHABLE", "setUp", "open"]);
  });

  it("gives up a peer that answers no ping within 35 s", async () => {
    const broker = new FakeBroker();
    const { log } = client(broker);
    await broker.settle();
    broker.ignore("ping");
    await broker.advance(35_100);
    expect(log).toEqual(["setUp", "open", "lost UNREACHABLE", "setUp", "open"]);
  });

  it("keeps a peer that is quiet but answers pings", async () => {
    const broker = new FakeBroker();
    const { log } = client(broker);
    await broker.advance(600_000);
    expect(log).toEqual(["setUp", "open"]);
    expect(broker.received("ping")).toHaveLength(Math.floor(600_000 / LIMITS.pingEveryMs));
  });

  it("leaves a peer that never says welcome, and dials again", async () => {
    const broker = new FakeBroker();
    broker.door = "silent";
    const { opened } = client(broker);
    await broker.advance(10_000);
    broker.door = "open";
    await broker.advance(1_000);
    expect(await codeOf(opened)).toBe("ok");
  });

  it.each([
    ["UNSUPPORTED_VERSION", "closed UNSUPPORTED_VERSION"],
    ["A_CODE_OF_THE_FUTURE", undefined],
    ["SHUTTING_DOWN", undefined],
  ])("meets %s instead of a welcome without redialing in vain", async (code, last) => {
    const broker = new FakeBroker();
    broker.on("hello", (_, to) => {
      to.send({ type: "closing", code, message: "no" });
    });
    const { log } = client(broker);
    await broker.advance(1_000);
    expect(log.at(-1)).toBe(last);
    expect(broker.dials > 1).toBe(last === undefined);
  });

  it("closes for good when the setup is refused for good", async () => {
    const broker = new FakeBroker();
    broker.on("announce", (frame, to) =>
      to.send({ type: "error", re: frame.id, code: "INVALID_ARGUMENT", message: "no" }),
    );
    const { opened, log } = client(broker);
    await broker.advance(60_000);
    expect(await codeOf(opened)).toBe("INVALID_ARGUMENT");
    expect(log).toEqual(["setUp", "lost INVALID_ARGUMENT", "closed INVALID_ARGUMENT"]);
    expect(broker.dials).toBe(1);
  });

  it("drops a peer that does not speak the protocol", async () => {
    const broker = new FakeBroker();
    const { log } = client(broker);
    await broker.settle();
    broker.connection.sendBytes(new Uint8Array([0xc1]));
    await broker.settle();
    expect(log).toEqual(["setUp", "open", "lost BAD_FRAME"]);
  });

  it("hears nothing more of a broker that has said that it closes", async () => {
    const broker = new FakeBroker();
    const { calls } = client(broker);
    broker.on("send", (frame, to) =>
      to.send(
        { type: "closing", code: "SHUTTING_DOWN", message: "bye" },
        { type: "error", re: frame.id, code: "TOPIC_NOT_FOUND", message: "late" },
      ),
    );
    await broker.settle();
    const sent = codeOf(send(calls, "a"));
    await broker.settle();
    broker.on("send", (frame, to) => to.send({ type: "ok", re: frame.id }));
    await broker.advance(1_000);
    expect(await sent).toBe("ok");
  });

  it("runs no timer once it is closed", async () => {
    const broker = new FakeBroker();
    const { calls } = client(broker);
    const unanswered = codeOf(send(calls, "a"));
    await broker.settle();
    calls.close(new EscrowError("CLOSED"));
    await broker.settle();
    await unanswered;
    expect(broker.timersRunning).toBe(0);
    expect(broker.connection.isOpen).toBe(false);
  });
});

describe("a batch", () => {
  it("holds everything that is sent in one turn of the event loop", async () => {
    const broker = new FakeBroker();
    const { calls } = client(broker);
    await broker.settle();
    const sent = Array.from({ length: 200 }, (_, at) => send(calls, `m${at}`));
    await broker.settle();
    await Promise.all(sent);
    expect(broker.connection.batches.map((batch) => batch.length)).toEqual([1, 1, 200]);
  });

  it("is cut where the limits of frames, bytes and items demand it, in order", async () => {
    const broker = new FakeBroker();
    const { calls } = client(broker);
    await broker.settle();
    const sent = Array.from({ length: 3_000 }, (_, at) => send(calls, `m${at}`));
    const body = new Uint8Array(1_000_000);
    for (let at = 0; at < 6; at++)
      sent.push(
        calls.request((id) => ({ type: "send", id, sendId: `big${at}`, messages: [body] }), {
          onReconnect: "resend",
        }),
      );
    const tokens = Array.from({ length: 1_000 }, (_, at) => `token-${at}`);
    for (let at = 0; at < 100; at++)
      sent.push(calls.request((id) => ({ type: "ack", id, tokens }), { onReconnect: "fail" }));
    await broker.settle();
    await Promise.all(sent);
    expect(Math.max(...broker.connection.batches.map((batch) => batch.length))).toBeLessThanOrEqual(
      LIMITS.batchFramesMax,
    );
    expect(Math.max(...broker.connection.bytes)).toBeLessThanOrEqual(LIMITS.batchBytesMax);
    for (const type of ["send", "ack"] as const) {
      const ids = broker.received(type).map(({ id }) => id);
      expect(ids).toEqual([...ids].sort((a, b) => a - b));
    }
  });

  it("waits while the window is full, in order, and what is no send or prepare passes it", async () => {
    const broker = new FakeBroker();
    const { calls } = client(broker);
    broker.ignore("send");
    broker.ignore("prepare");
    await broker.settle();
    broker.connection.send({ type: "window", bytes: 2_000 });
    await broker.settle();
    const waiting = Array.from({ length: 50 }, (_, at) => codeOf(send(calls, `m${at}`)));
    await broker.settle();
    const before = broker.received("send").length;
    expect(before).toBeGreaterThan(1);
    expect(before).toBeLessThan(20);
    const transactionId = "t".repeat(32);
    const verdict = { transactionId, group: "g", verdict: "commit" } as const;
    const said = calls.request((id) => ({ type: "verdict", id, ...verdict }), {
      onReconnect: "resend",
    });
    await broker.settle();
    await said;
    expect(broker.received("send")).toHaveLength(before);
    // Each answer lets one more leave.
    const [first] = broker.received("send");
    broker.connection.send({ type: "ok", re: first?.id ?? 0 });
    await broker.settle();
    expect(broker.received("send")).toHaveLength(before + 1);
    broker.connection.send({ type: "window", bytes: 1_000_000 });
    await broker.settle();
    expect(broker.received("send").map(({ sendId }) => sendId)).toEqual(
      Array.from({ length: 50 }, (_, at) => `m${at}`),
    );
    calls.close(new EscrowError("CLOSED"));
    expect(new Set(await Promise.all(waiting))).toEqual(new Set(["ok", "OUTCOME_UNKNOWN"]));
  });

  it("leaves alone when it is larger than the window", async () => {
    const broker = new FakeBroker();
    const { calls } = client(broker);
    await broker.settle();
    broker.connection.send({ type: "window", bytes: 0 });
    await broker.settle();
    const all = ["a", "b", "c"].map((id) => codeOf(send(calls, id)));
    await broker.settle();
    expect(await Promise.all(all)).toEqual(["ok", "ok", "ok"]);
  });

  it("that the window never let go in time is OVERLOADED, and was not sent", async () => {
    const broker = new FakeBroker();
    const { calls } = client(broker);
    broker.ignore("send");
    await broker.settle();
    broker.connection.send({ type: "window", bytes: 0 });
    await broker.settle();
    const out = codeOf(send(calls, "a"));
    const held = codeOf(send(calls, "b", { timeoutMs: 5_000 }));
    await broker.advance(6_000);
    expect(await held).toBe("OVERLOADED");
    expect(broker.received("send").map(({ sendId }) => sendId)).toEqual(["a"]);
    await broker.advance(30_000);
    expect(await out).toBe("OUTCOME_UNKNOWN");
  });

  it("has the whole window again on a new connection", async () => {
    const broker = new FakeBroker();
    const { calls } = client(broker);
    broker.ignore("send");
    await broker.settle();
    broker.connection.send({ type: "window", bytes: 0 });
    await broker.settle();
    const all = ["a", "b", "c"].map((id) => codeOf(send(calls, id)));
    await broker.settle();
    expect(broker.received("send")).toHaveLength(1);
    broker.connection.drop();
    broker.on("send", (frame, to) => to.send({ type: "ok", re: frame.id }));
    await broker.advance(1_000);
    expect(await Promise.all(all)).toEqual(["ok", "ok", "ok"]);
    expect(broker.connection.received("send").map(({ sendId }) => sendId)).toEqual(["a", "b", "c"]);
    expect(broker.connection.batches.filter((batch) => batch[0]?.type === "send")).toHaveLength(1);
  });

  it("waits while the socket is full, and leaves when it has drained", async () => {
    const broker = new FakeBroker();
    const { calls } = client(broker);
    await broker.settle();
    broker.connection.bufferedAmount = 2_000_000;
    const sent = codeOf(send(calls, "a"));
    await broker.settle();
    expect(broker.received("send")).toHaveLength(0);
    broker.connection.bufferedAmount = 0;
    broker.connection.written();
    await broker.settle();
    expect(await sent).toBe("ok");
  });
});

describe("a request", () => {
  it("is matched to its answer, whatever the order of the answers", async () => {
    const broker = new FakeBroker();
    const { calls } = client(broker);
    const ids: number[] = [];
    broker.on("send", (frame) => void ids.push(frame.id));
    await broker.settle();
    const first = send(calls, "a");
    const second = send(calls, "b");
    await broker.settle();
    broker.connection.send(
      { type: "ok", re: ids[1] ?? 0, duplicate: true },
      { type: "ok", re: ids[0] ?? 0 },
    );
    await broker.settle();
    expect((await first).duplicate).toBeUndefined();
    expect((await second).duplicate).toBe(true);
  });

  it("that got no answer is sent again, as it was, on the next connection", async () => {
    const broker = new FakeBroker();
    const { calls } = client(broker);
    broker.ignore("send");
    await broker.settle();
    const sent = codeOf(send(calls, "a"));
    await broker.settle();
    broker.connection.drop();
    broker.on("send", (frame, to) => to.send({ type: "ok", re: frame.id, duplicate: true }));
    await broker.advance(1_000);
    expect(await sent).toBe("ok");
    expect(broker.connections.map((connection) => connection.received("send").length)).toEqual([
      1, 1,
    ]);
    expect(new Set(broker.received("send").map((frame) => JSON.stringify(frame))).size).toBe(1);
  });

  it("that belongs to its connection ends with it", async () => {
    const broker = new FakeBroker();
    const { calls } = client(broker);
    broker.ignore("ack");
    await broker.settle();
    const acked = codeOf(
      calls.request((id) => ({ type: "ack", id, tokens: ["t"] }), { onReconnect: "fail" }),
    );
    await broker.settle();
    broker.connection.drop();
    await broker.advance(1_000);
    expect(await acked).toBe("OUTCOME_UNKNOWN");
    expect(broker.received("ack")).toHaveLength(1);
  });

  it("is UNREACHABLE at its deadline if it was never sent, and OUTCOME_UNKNOWN if it was", async () => {
    const broker = new FakeBroker();
    const { calls } = client(broker);
    broker.ignore("send");
    await broker.settle();
    const wasSent = codeOf(send(calls, "a", { timeoutMs: 5_000 }));
    await broker.settle();
    broker.door = "closed";
    broker.connection.drop();
    await broker.settle();
    const neverSent = codeOf(send(calls, "b", { timeoutMs: 5_000 }));
    await broker.advance(5_100);
    expect(await wasSent).toBe("OUTCOME_UNKNOWN");
    expect(await neverSent).toBe("UNREACHABLE");
    expect(calls.unanswered).toBe(0);
  });

  it("ends as CLOSED when its signal aborts before it is sent, and OUTCOME_UNKNOWN after", async () => {
    const broker = new FakeBroker();
    const { calls } = client(broker);
    broker.ignore("send");
    const abort = new AbortController();
    const early = codeOf(send(calls, "a", { signal: AbortSignal.abort() }));
    const waiting = codeOf(send(calls, "b", { signal: abort.signal }));
    abort.abort();
    await broker.settle();
    const late = new AbortController();
    const sent = codeOf(send(calls, "c", { signal: late.signal }));
    await broker.settle();
    late.abort();
    expect([await early, await waiting, await sent]).toEqual([
      "CLOSED",
      "CLOSED",
      "OUTCOME_UNKNOWN",
    ]);
  });

  it("waits out what passes by itself, and hands a refusal that does not to the caller", async () => {
    const broker = new FakeBroker();
    const { calls } = client(broker);
    const refusals = ["OVERLOADED", "STORE_FAILED", "SHUTTING_DOWN"];
    broker.on("send", (frame, to) => {
      const code = frame.sendId === "paused" ? "TOPIC_PAUSED" : refusals.shift();
      if (code === undefined) to.send({ type: "ok", re: frame.id });
      else to.send({ type: "error", re: frame.id, code, message: "not now" });
    });
    await broker.settle();
    const sent = codeOf(send(calls, "a"));
    const paused = codeOf(send(calls, "paused"));
    await broker.advance(2_000);
    expect(await sent).toBe("ok");
    expect(await paused).toBe("TOPIC_PAUSED");
    expect(broker.received("send")).toHaveLength(5);
  });

  it("that is refused until its deadline ends with the refusal, because nothing happened", async () => {
    const broker = new FakeBroker();
    const { calls } = client(broker);
    broker.on("send", (frame, to) =>
      to.send({ type: "error", re: frame.id, code: "OVERLOADED", message: "not now" }),
    );
    await broker.settle();
    const sent = codeOf(send(calls, "a", { timeoutMs: 3_000 }));
    await broker.advance(3_100);
    expect(await sent).toBe("OVERLOADED");
  });

  it("is OUTCOME_UNKNOWN when the store failed under it and its deadline came before a better answer", async () => {
    const broker = new FakeBroker();
    const { calls } = client(broker);
    broker.on("send", (frame, to) =>
      to.send({ type: "error", re: frame.id, code: "STORE_FAILED", message: "reopening" }),
    );
    await broker.settle();
    const sent = codeOf(send(calls, "a", { timeoutMs: 3_000 }));
    await broker.advance(3_100);
    expect(await sent).toBe("OUTCOME_UNKNOWN");
  });

  describe("whose answer was lost, and which is then", () => {
    /** The first copy's answer is lost with its connection, the second copy is refused. */
    async function repeated(code: string, isPatient = false) {
      const broker = new FakeBroker();
      const { calls } = client(broker);
      await broker.settle();
      const reply = {
        type: "reply",
        inbox: "i1",
        correlation: "c1",
        body: new Uint8Array(1),
      } as const;
      const outcome = calls
        .request((id) => ({ ...reply, id }), { onReconnect: "resend", isPatient, timeoutMs: 9_000 })
        .catch((error: unknown) => error as EscrowError);
      await broker.settle();
      broker.on("reply", ({ id }, to) => to.send({ type: "error", re: id, code, message: "no" }));
      broker.connection.drop();
      await broker.advance(10_000);
      expect(broker.connections[1]?.received("reply").length).toBeGreaterThan(0);
      return outcome;
    }

    it.each([
      "TOPIC_PAUSED",
      "DISK_FULL",
      "UNDECIDED_LIMIT",
      "SCHEDULED_LIMIT",
      "RESERVATION_LIMIT",
    ])(
      "refused for now (%s) is OUTCOME_UNKNOWN: the broker may come to the first copy later, and do it",
      async (code) => {
        expect(await repeated(code)).toMatchObject({ code: "OUTCOME_UNKNOWN", cause: { code } });
        expect(await repeated(code, true)).toMatchObject({
          code: "OUTCOME_UNKNOWN",
          cause: { code },
        });
      },
    );

    it("refused because nobody waits for the reply is OUTCOME_UNKNOWN: who waited may have got the first copy", async () => {
      const cause = { code: "INBOX_NOT_FOUND" };
      expect(await repeated("INBOX_NOT_FOUND", true)).toMatchObject({
        code: "OUTCOME_UNKNOWN",
        cause,
      });
    });

    it("refused for good is refused: the first copy met, or will meet, the same", async () => {
      expect(await repeated("TOPIC_NOT_FOUND")).toMatchObject({ code: "TOPIC_NOT_FOUND" });
    });
  });

  it("keeps a code that is unknown here in the text", async () => {
    const broker = new FakeBroker();
    const { calls } = client(broker);
    broker.on("send", (frame, to) =>
      to.send({
        type: "error",
        re: frame.id,
        code: "NEWER",
        message: "than this",
        detail: { at: 1, deep: {} },
      }),
    );
    await broker.settle();
    const sent = send(calls, "a").catch((error: EscrowError) => error);
    await broker.settle();
    expect(await sent).toMatchObject({ code: "INTERNAL", message: "NEWER: than this" });
  });

  it("refuses at once when more wait for an answer than its option says, and takes more after answers", async () => {
    const broker = new FakeBroker();
    const { calls } = client(broker, { unansweredMax: 3 });
    const ids: number[] = [];
    broker.on("send", (frame) => void ids.push(frame.id));
    await broker.settle();
    const all = ["a", "b", "c"].map((id) => codeOf(send(calls, id)));
    expect(await codeOf(send(calls, "d"))).toBe("OVERLOADED");
    await broker.settle();
    broker.connection.send({ type: "ok", re: ids[0] ?? 0 });
    await broker.settle();
    expect(await all[0]).toBe("ok");
    const late = codeOf(send(calls, "e"));
    calls.close(new EscrowError("CLOSED"));
    expect(await late).toBe("OUTCOME_UNKNOWN");
  });

  it("refuses at once when too many wait for an answer", async () => {
    const broker = new FakeBroker();
    const { calls } = client(broker);
    const big = new Uint8Array(1_000_000);
    const all = Array.from({ length: 300 }, () =>
      codeOf(
        calls.request((id) => ({ type: "send", id, sendId: "x", messages: [big] }), {
          onReconnect: "resend",
        }),
      ),
    );
    calls.close(new EscrowError("CLOSED"));
    const codes = await Promise.all(all);
    expect(codes.filter((code) => code === "OVERLOADED").length).toBeGreaterThan(20);
    expect(codes.filter((code) => code === "CLOSED").length).toBeGreaterThan(200);
  });
});
