/** `escrow tx` and `escrow producer set-endpoint`: the inspector, and what is done by hand. */
import { describe, expect, test } from "vitest";
import { run } from "./fake-io.ts";
import { TX_ID, timeline, transaction } from "./samples.ts";

const ESC = "\u001b";
const show = (changes: Parameters<typeof timeline>[0]) =>
  run(`tx show ${TX_ID}`, { answers: { "tx.show": timeline(changes) } });

describe("tx show", () => {
  test("is the story of one transaction, aligned, in the order in which it happened", async () => {
    const { io, code } = await show({});
    expect(code).toBe(0);
    expect(io.out).toBe(
      [
        `Transaction ${TX_ID}   ● committed`,
        "  producer group   order-service",
        "  prepared         2025-01-31T09:00:00+01:00, 2 m 13 s ago",
        "  messages         2, 1.8 KiB",
        "                   → orders: 1 message, 1.5 KiB",
        "                   → mail: 1 message, 300 B",
        "  acks joined      1",
        "  checks           2",
        "  decided          2025-01-31T09:00:36+01:00 by check-back of order-service, 36 s after the prepare",
        "  deliveries       1 begun, 1 acked",
        "",
        "  2025-01-31T09:00:00.000      +0 ms  ○ prepared   2 messages, 1 ack, by order-service",
        "  2025-01-31T09:00:06.004   +6.004 s  ? checked    attempt 1: unknown after 3 ms",
        "  2025-01-31T09:00:36.010  +36.010 s  ? checked    attempt 2: commit after 2 ms",
        "  2025-01-31T09:00:36.012  +36.012 s  ● committed  by check-back of order-service",
        "  2025-01-31T09:00:36.014  +36.014 s  → delivered  orders@41 to billing, attempt 1",
        "  2025-01-31T09:02:48.000  +2 m 48 s  ✓ acked      orders@41 by billing",
        "",
      ].join("\n"),
    );
  });

  test("of a parked transaction says why it is parked and how to go on", async () => {
    const { io } = await show({ state: "parked", parkedBecause: "nobody answered for 72 h" });
    expect(io.out).toContain("parked because   nobody answered for 72 h");
    expect(io.out).toContain(`escrow tx resume --reason "…" ${TX_ID}`);
  });

  test("of an undecided transaction says when it is checked next and how to decide it", async () => {
    const { io } = await show(transaction());
    expect(io.out).toContain("4; the next in 12 s, at 2025-01-31T09:02:25+01:00");
    expect(io.out).toContain(`escrow tx check ${TX_ID}`);
  });

  test.each([
    [0, "reserved; nothing waits right behind it"],
    [1, "reserved; 1 message waits right behind it"],
    [1_234, "reserved; 1\u202f234 messages wait right behind it"],
  ])("of a transaction that reserves its keys says that %i wait for it", async (behind, says) => {
    const parked = { state: "parked", parkedBecause: "nobody answered for 72 h" } as const;
    const { io } = await show({ ...parked, queuedBehind: behind });
    expect(io.out).toContain(`\n  keys             ${says}\n`);
  });

  test("of any other transaction says nothing of keys", async () => {
    const { io } = await show(transaction());
    expect(io.out).not.toContain("keys");
  });

  test("tells which of its messages stood behind others, and when they were visible", async () => {
    const events = ["queued", "due"] as const;
    const { io } = await show({ timeline: events.map((event) => ({ atMs: 0, event, text: "x" })) });
    expect(io.lines.slice(-2).map((line) => line.slice(-11))).toEqual([
      "= queued  x",
      "● due     x",
    ]);
  });

  test("says when the timeline ends early", async () => {
    const retired = await show({ isHistoryRetired: true });
    expect(retired.io.out).toContain("What happened before this was removed by retention.");
    const { io } = await show({ isTruncated: true });
    expect(io.out).toContain("longer than one inspection may read");
  });

  test("adds up many messages by topic", async () => {
    const messages = Array.from({ length: 1_000 }, (_, at) => ({ topic: `t${at % 12}`, bytes: 1 }));
    const { io } = await show({ messages });
    expect(io.out).toContain("→ t0: 84 messages, 84 B");
    expect(io.out).toContain("and 2 more topics");
    expect(io.out).not.toContain("→ t10");
  });

  test("escapes what an event says", async () => {
    const { io } = await show({
      timeline: [{ atMs: 0, event: "buried", text: `${ESC}[2J\nfake line` }],
    });
    expect(io.out).toContain("† buried  \\x1b[2J\\nfake line");
    expect(io.out).not.toContain(ESC);
  });

  test("says which groups' filters passed a message over", async () => {
    const text = "orders@41 for search, it does not match";
    const { io } = await show({ timeline: [{ atMs: 0, event: "filtered", text }] });
    expect(io.out).toContain(`- filtered  ${text}`);
  });

  test("in JSON is the raw answer", async () => {
    const view = timeline();
    const { io } = await run(`tx show ${TX_ID} --json`, { answers: { "tx.show": view } });
    expect(io.json).toEqual(view);
  });
});

describe("deciding by hand", () => {
  const answers = {
    "tx.decide": transaction({ state: "committed" }),
    "tx.check": { ...transaction(), reachable: true },
    "tx.resume": transaction(),
  };
  const audit = { operator: "os-user", reason: "seen" };

  test.each([
    [
      "commit",
      { verdict: "commit" },
      "committed: its messages are visible now; those delayed or queued, in their turn.\n",
    ],
    ["rollback", { verdict: "rollback" }, "rolled back: its messages will never be seen"],
  ])("tx %s sends the verdict with operator and reason", async (verb, verdict, says) => {
    const { io, code } = await run(`tx ${verb} ${TX_ID} --reason seen`, { answers });
    expect(code).toBe(0);
    expect(io.requests).toEqual([
      { type: "tx.decide", fields: { transactionId: TX_ID, ...verdict, ...audit } },
    ]);
    expect(io.out).toContain(says);
  });

  test("tx check has a reason of its own, tx resume wants one", async () => {
    const checked = await run(`tx check ${TX_ID}`, { answers });
    const refused = await run(`tx resume ${TX_ID}`, { answers });
    const resumed = await run(`tx resume ${TX_ID} --reason seen`, { answers });
    expect(checked.io.requests).toMatchObject([{ fields: { reason: "asked by hand" } }]);
    expect([refused.code, resumed.code]).toEqual([2, 0]);
    expect(resumed.io.requests).toEqual([
      { type: "tx.resume", fields: { transactionId: TX_ID, ...audit } },
    ]);
  });
});

describe("tx check", () => {
  test.each([
    [true, "is being asked. See the answer: escrow tx show"],
    [false, "Nobody of its producer group order-service is there to be asked."],
  ])("of a group that can be asked (%s) says so", async (reachable, says) => {
    const { io, code } = await run(`tx check ${TX_ID}`, {
      answers: { "tx.check": { ...transaction(), reachable } },
    });
    expect(code).toBe(0);
    expect(io.out).toContain(says);
  });
});

describe("producer set-endpoint", () => {
  const line = "producer set-endpoint orders-service";

  test("shows the new signing key once, in its answer", async () => {
    const view = { group: "orders-service", url: "https://o.example/check", secret: "ab12" };
    const { io } = await run(`${line} https://o.example/check --ids-only --reason r`, {
      answers: { "producer.endpoint": view },
    });
    expect(io.requests).toMatchObject([{ fields: { url: view.url, idsOnly: true, reason: "r" } }]);
    expect(io.out).toContain("shown now and never again:\n  ab12\n");
  });

  test("removes the endpoint by leaving out the address", async () => {
    const { io } = await run(`${line} --remove --reason r`, {
      answers: { "producer.endpoint": { group: "orders-service" } },
    });
    expect(io.requests[0]?.fields).not.toHaveProperty("url");
    expect(io.out).toContain("has no check-back endpoint any more");
  });
});
