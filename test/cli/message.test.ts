/** `escrow message show|find|trace`, and `escrow group pause|resume|skip`. */
import { EscrowError, encodeMessage, type FindView, type MessageTrace } from "@escrowmq/protocol";
import { describe, expect, test } from "vitest";
import { run, type World } from "./fake-io.ts";
import { group } from "./samples.ts";

const AT_MS = Date.UTC(2025, 0, 31, 8, 0, 0);
const ESC = "\u001b";

const encoded = (body: string | Uint8Array) =>
  encodeMessage({
    id: "m-1",
    topic: "orders",
    key: "42",
    tag: "paid",
    headers: { trace: "t-1" },
    body: typeof body === "string" ? Buffer.from(body) : body,
  });

const shown = (body: string | Uint8Array): World => ({
  answers: {
    "message.show": {
      topic: "orders",
      offset: 17,
      atMs: AT_MS,
      bytes: 1_536,
      groups: [
        {
          group: "billing",
          state: "waiting",
          deliveries: 3,
          failures: 2,
          readyAtMs: AT_MS + 60_000,
          reason: `no ${ESC}[31mdatabase`,
        },
        { group: "ledger", state: "settled", deliveries: 0, failures: 0 },
      ],
      message: encoded(body),
    },
  },
});

describe("message show", () => {
  test("shows a message, its body, and how it stands with each group", async () => {
    const { io, code } = await run("message show orders 17", shown('{"id":42}'));
    expect(code).toBe(0);
    expect(io.requests).toEqual([
      { type: "message.show", fields: { topic: "orders", offset: 17 } },
    ]);
    expect(io.out).toBe(
      [
        "Message orders@17",
        "  visible since   2025-01-31T09:00:00+01:00",
        "  size            1.5 KiB",
        "  message id      m-1",
        "  key             42",
        "  tag             paid",
        "  headers         trace: t-1",
        "",
        '{"id":42}',
        "",
        "GROUP     STATE     DELIVERIES   FAILED   NOT BEFORE                  LAST REASON",
        "billing   waiting            3        2   2025-01-31T09:01:00+01:00   no \\x1b[31mdatabase",
        "ledger    settled            0        0",
        "",
        "What happened to it: escrow message trace orders 17",
        "",
      ].join("\n"),
    );
  });

  test("cuts a large body, never within a character, and says where the rest is", async () => {
    const { io } = await run("message show orders 17", shown(`a${"é".repeat(10_000)}`));
    expect(io.out).toContain(`a${"é".repeat(4_095)}…\n(the first of 19.5 KiB; --json shows all`);
    const whole = await run("message show orders 17 --json", shown("é".repeat(10_000)));
    expect(whole.io.json).toMatchObject({ message: { body: { text: "é".repeat(10_000) } } });
  });

  test("lets no body drive the terminal", async () => {
    const { io } = await run("message show orders 17", shown(`${ESC}]0;owned\u0007\nnext`));
    expect(io.out).toContain("\\x1b]0;owned\\x07\\nnext");
    const raw = await run("message show orders 17", shown(Uint8Array.of(0xff, 0x00)));
    expect(raw.io.out).toContain("<2 bytes, not UTF-8: ff00>");
  });

  test("takes no offset that is none", async () => {
    const { io, code } = await run("message show orders last", shown(""));
    expect(code).toBe(2);
    expect(io.err).toContain("The offset must be a number as escrow message find shows it");
    expect(io.requests).toEqual([]);
  });

  test("of a message that is not there says how to find one", async () => {
    const refuse = () => {
      throw new EscrowError("MESSAGE_NOT_FOUND");
    };
    const { io, code } = await run("message show orders 17", {
      answers: { "message.show": refuse },
    });
    expect(code).toBe(1);
    expect(io.err).toContain("escrow message find <topic>");
  });
});

/** A topic of so many messages, a page for each thousand of them; every hundredth is found. */
const topicOf =
  (messages: number, more: Partial<FindView> = {}) =>
  ({ after, limit = 100 }: { after?: string | undefined; limit?: number | undefined }) => {
    const from = Number((after ?? "0").split(".")[0]);
    const items: FindView["items"][number][] = [];
    let offset = from;
    for (; offset < Math.min(from + 1_000, messages) && items.length < limit; offset++)
      if (offset % 100 === 0)
        items.push({ offset, atMs: AT_MS, bytes: 10, id: `m-${offset}`, key: "42" });
    const view = {
      items,
      fromOffset: from,
      toOffset: offset,
      endOffset: messages,
      unreadable: [],
      retired: 0,
      ...more,
    };
    return offset < messages ? { ...view, next: `${offset}.${messages}` } : view;
  };

describe("message find", () => {
  test("asks for what the options say, in local time", async () => {
    const options =
      "--id m-1 --key 42 --tag paid --from 2025-01-31T08:00Z --to 2025-01-31T08:00:01Z";
    const { io } = await run(`message find orders ${options}`, {
      answers: { "message.find": topicOf(1) },
    });
    expect(io.requests.map(({ fields }) => fields)).toEqual([
      {
        topic: "orders",
        messageId: "m-1",
        key: "42",
        tag: "paid",
        sinceMs: AT_MS,
        beforeMs: AT_MS + 1_000,
        limit: 100,
      },
    ]);
    expect(io.lines).toEqual([
      "OFFSET   VISIBLE SINCE               MESSAGE ID   KEY   TAG   SIZE",
      "     0   2025-01-31T09:00:00+01:00   m-0          42          10 B",
    ]);
  });

  test("goes on by itself to the end, and shows how far it is", async () => {
    const { io, code } = await run("message find orders --json", {
      answers: { "message.find": topicOf(3_500) },
    });
    expect(code).toBe(0);
    expect(io.requests).toHaveLength(4);
    expect(io.progress).toEqual(["1000/3500", "2000/3500", "3000/3500"]);
    expect(io.json).toMatchObject({ fromOffset: 0, toOffset: 3_500, endOffset: 3_500 });
    expect((io.json as FindView).items).toHaveLength(35);
    expect(io.json).not.toHaveProperty("next");
  });

  test("stops when there is enough, and says how to go on", async () => {
    const { io } = await run("message find orders --key 42 --limit 15", {
      answers: { "message.find": topicOf(3_500) },
    });
    expect(io.lines).toHaveLength(16);
    expect(io.err).toBe(
      "There is more: escrow message find orders --key 42 --limit 15 --after 1401.3500\n",
    );
  });

  test("says when there is nothing, and what was looked through", async () => {
    const { io } = await run("message find orders --key 43", {
      answers: { "message.find": () => ({ ...topicOf(0)({}), fromOffset: 5, toOffset: 7 }) },
    });
    expect(io.out).toBe("Nothing found in topic orders from offset 5 to 7.\n");
  });

  test("ends with 1 when some of it could not be read, and names it", async () => {
    const answers = { "message.find": topicOf(200, { unreadable: [7, 9], retired: 3 }) };
    const { io, code } = await run("message find orders", { answers });
    expect(code).toBe(1);
    expect(io.err).toContain("3 messages went by retention meanwhile.");
    expect(io.err).toContain("2 messages could not be read, at offset 7, 9. See: escrow doctor");
  });

  test("takes no time that is none", async () => {
    const { io, code } = await run("message find orders --from yesterday");
    expect(code).toBe(2);
    expect(io.err).toContain("Expected a time such as 2025-01-31T09:00");
  });
});

const trace = (changes: Partial<MessageTrace> = {}): MessageTrace => ({
  topic: "orders",
  offset: 17,
  timeline: [
    { atMs: AT_MS, event: "sent", text: "as s-1" },
    { atMs: AT_MS + 12, event: "delivered", text: "billing, on connection 3" },
    { atMs: AT_MS + 2_012, event: "skipped", text: `billing, by ann: ${ESC}[2J` },
  ],
  isHistoryRetired: false,
  blocks: 3,
  blocksLeft: 0,
  ...changes,
});

describe("message trace", () => {
  test("tells the story in the order in which it happened", async () => {
    const { io, code } = await run("message trace orders 17", {
      answers: { "message.trace": trace() },
    });
    expect(code).toBe(0);
    expect(io.lines).toEqual([
      "Message orders@17",
      "",
      "  2025-01-31T09:00:00.000     +0 ms  ● sent       as s-1",
      "  2025-01-31T09:00:00.012    +12 ms  → delivered  billing, on connection 3",
      "  2025-01-31T09:00:02.012  +2.012 s  × skipped    billing, by ann: \\x1b[2J",
    ]);
  });

  test("reads on by itself, shows how far it is, and joins the pieces", async () => {
    const [sent, ...others] = trace().timeline;
    const answers = {
      "message.trace": ({ after }: { after?: string | undefined }) =>
        after === undefined
          ? trace({ timeline: sent === undefined ? [] : [sent], blocksLeft: 5, next: "4,s:1:2" })
          : trace({ timeline: others, blocks: 5 }),
    };
    const { io } = await run("message trace orders 17 --json", { answers });
    expect(io.requests.map(({ fields }) => fields.after)).toEqual([undefined, "4,s:1:2"]);
    expect(io.progress).toEqual(["3/8"]);
    expect(io.json).toEqual(trace({ blocks: 8 }));
  });

  test("says when the beginning was retired, and when nothing happened yet", async () => {
    const retired = await run("message trace orders 17", {
      answers: { "message.trace": trace({ isHistoryRetired: true }) },
    });
    expect(retired.io.out).toContain("What happened before this was removed by retention.");
    const empty = await run("message trace orders 17", {
      answers: { "message.trace": trace({ timeline: [] }) },
    });
    expect(empty.io.out).toContain("No group has been given it yet.");
  });
});

const pause = { atMs: AT_MS, operator: "ann", reason: "tax service is down" };

describe("group pause and resume", () => {
  test("say who paused it and why, which may have been somebody else", async () => {
    const { io, code } = await run("group pause billing --operator bob --reason r", {
      answers: { "group.pause": group({ paused: pause }) },
    });
    expect(code).toBe(0);
    expect(io.requests).toMatchObject([
      { fields: { group: "billing", operator: "bob", reason: "r" } },
    ]);
    expect(io.out).toContain("Group billing is paused, by ann: tax service is down.");
    expect(io.out).toContain("escrow group resume billing");
  });

  test("say what waited", async () => {
    const { io } = await run("group resume billing --reason r", {
      answers: { "group.resume": group() },
    });
    expect(io.out).toBe("Group billing is delivered to again; 4 messages waited.\n");
  });

  test.each(["group pause billing", "group resume billing"])("%s wants a reason", async (line) => {
    expect((await run(line)).code).toBe(2);
  });

  test("are seen in the list and in the card, with the last changes", async () => {
    const changes = [
      { ...pause, what: "paused", topic: "", offset: 0, count: 1 },
      { ...pause, what: "reset", topic: "orders", offset: 5, count: 1 },
      { ...pause, what: "reset", topic: "orders", offset: 5, count: 3 },
      { ...pause, what: "skipped", topic: "orders", offset: 7, count: 1 },
      { ...pause, what: "skipped", topic: "orders", offset: 7, count: 2 },
    ] as const;
    const view = group({ paused: pause, changes });
    const list = await run("group list", { answers: { "group.list": { items: [view] } } });
    expect(list.io.lines[1]).toContain("paused");
    const { io } = await run("group describe billing", { answers: { "group.describe": view } });
    const when = "2025-01-31T09:00:00+01:00";
    const why = "by ann: tax service is down";
    expect(io.out).toContain(`paused since ${when} ${why}`);
    for (const what of [
      "paused",
      "reset in orders to offset 5",
      "reset in 3 topics",
      "skipped orders@7",
      "skipped 2 messages of orders",
    ])
      expect(io.out).toContain(`${when} ${what} ${why}`);
  });

  test("are seen in the card of an instance, which names the group to be resumed", async () => {
    const view = group({ group: "cache%node-1", paused: { ...pause, group: "cache" } });
    const answers = { "group.describe": view };
    const { io } = await run("group describe cache%node-1", { answers });
    expect(io.out).toContain('escrow group resume cache --reason "…"');
  });
});

describe("group skip", () => {
  const line = "group skip billing --topic orders --offset 17 18 --reason poison";

  test("asks first, then skips", async () => {
    const answers = { "group.skip": { done: 2, missing: [], pending: [] } };
    const { io, code } = await run(line, { answers, isTty: true, typed: ["yes"] });
    expect(code).toBe(0);
    expect(io.questions[0]).toContain("2 messages of orders will count as settled");
    expect(io.requests).toMatchObject([{ fields: { topic: "orders", offsets: [17, 18] } }]);
    expect(io.out).toBe("2 messages skipped.\n");
  });

  test("is not done without a yes", async () => {
    const typed = await run(line, { isTty: true, typed: ["no"] });
    const piped = await run(line);
    expect([typed.code, piped.code]).toEqual([1, 2]);
    expect([...typed.io.requests, ...piped.io.requests]).toEqual([]);
  });

  test("ends with 1 when there was nothing to settle, or a transaction decides over it", async () => {
    const answers = { "group.skip": { done: 0, missing: [17], pending: [18] } };
    const { io, code } = await run(`${line} --yes`, { answers });
    expect(code).toBe(1);
    expect(io.out).toBe(
      "0 messages skipped. Nothing to settle (any more) at offset 17. In undecided transactions, which decide over them: offset 18. See: escrow tx list\n",
    );
  });
});

describe("group reset of all topics", () => {
  const moved = (topic: string) => ({
    topic,
    fromOffset: 20,
    toOffset: 5,
    redelivered: 15,
    skipped: 0,
  });
  const answers = {
    "group.reset": ({ dryRun }: { readonly dryRun?: boolean | undefined }) => ({
      dryRun: dryRun === true,
      topics: [moved("orders"), moved("mail")],
    }),
  };

  test("tells each topic's effect, names no topic in the request, and asks once", async () => {
    const line = "group reset billing --to earliest --reason r";
    const { io } = await run(line, { answers, isTty: true, typed: ["billing"] });
    expect(io.requests.map(({ fields }) => "topic" in fields)).toEqual([false, false]);
    expect(io.questions).toHaveLength(1);
    expect(io.err).toMatch(/^This moves group billing in orders .*\.\n$/);
    expect(io.questions[0]).toMatch(
      /^This moves group billing in mail .* Type billing to go on: $/,
    );
    expect(io.lines).toHaveLength(2);
    expect(io.lines[1]).toContain("Moved group billing in mail from offset 20 to 5");
  });

  test("to an offset is bad usage", async () => {
    const { io, code } = await run("group reset billing --to offset:5 --reason r", { answers });
    expect(code).toBe(2);
    expect(io.requests).toEqual([]);
  });

  test("of a broadcast group says how to reset one of its instances", async () => {
    const refuse = () => {
      throw new EscrowError("GROUP_IS_BROADCAST", "Name one of them, such as cache%n1.");
    };
    const { io, code } = await run("group reset cache --to latest --reason r", {
      answers: { "group.reset": refuse },
    });
    expect(code).toBe(1);
    expect(io.err).toContain("escrow: GROUP_IS_BROADCAST: Name one of them, such as cache%n1.");
    expect(io.err).toContain("escrow group describe <group>");
  });

  test("of a group that reads nothing says so", async () => {
    const { io } = await run("group reset billing --to latest --dry-run", {
      answers: { "group.reset": { dryRun: true, topics: [] } },
    });
    expect(io.out).toContain("Group billing reads no topic");
  });
});
