/** Tables, cards, pages and JSON of the commands that only look. */
import type { GroupTopicView } from "@escrowmq/protocol";
import { describe, expect, test } from "vitest";
import { run } from "./fake-io.ts";
import { group, producer, stats, TX_ID, topic, transaction } from "./samples.ts";

const ESC = "\u001b";

describe("tables", () => {
  test("are aligned, with no border and no trailing space", async () => {
    const items = [topic(), topic({ topic: "audit-log", nextOffset: 3, groups: [], paused: true })];
    const { io, code } = await run("topic list", { answers: { "topic.list": { items } } });
    expect(code).toBe(0);
    expect(io.lines).toEqual([
      "TOPIC        MESSAGES   SCHEDULED   FIRST OFFSET   NEXT OFFSET      SIZE   RETENTION   GROUPS   STATE",
      "orders      1\u202f234\u202f567           0              0     1\u202f234\u202f567   1.5 KiB   7 d              1   open",
      "audit-log           3           0              0             3   1.5 KiB   7 d              0   paused",
    ]);
  });

  test("hold no text of the network that could drive the terminal", async () => {
    const items = [producer({ group: `evil${ESC}]0;x\u0007\nsecond line` })];
    const { io } = await run("producer list", { answers: { "producer.list": { items } } });
    expect(io.out).not.toContain(ESC);
    expect(io.lines).toHaveLength(2);
    expect(io.out).toContain("evil\\x1b]0;x\\x07\\nsecond line");
  });

  test.each([
    ["topic list", "topic.list", "escrow topic create orders"],
    ["group list", "group.list", "escrow consume --topic orders --group billing"],
    ["producer list", "producer.list", "escrow producer set-endpoint"],
    ["tx list", "tx.list", "escrow tx show <id>"],
    ["dlq list billing", "dlq.list", "No dead letters in group billing"],
  ])("of nothing say what to do next: escrow %s", async (line, type, says) => {
    const { io, code } = await run(line, { answers: { [type]: { items: [] } } });
    expect(code).toBe(0);
    expect(io.out).toContain(says);
  });

  test("of transactions count the next check by the broker's clock, not by this machine's", async () => {
    const items = [transaction(), transaction({ nextCheckAtMs: 0 })];
    const { io } = await run("tx list", { answers: { "tx.list": { items } } });
    expect(io.lines[1]).toMatch(/2 m 13 s.* in 12 s$/);
    expect(io.lines[2]).toMatch(/due$/);
  });

  test("of groups add up their topics", async () => {
    const [first] = group().topics;
    const topics = first === undefined ? [] : [first, { ...first, topic: "mail" }];
    const { io } = await run("group list", {
      answers: { "group.list": { items: [group({ topics })] } },
    });
    expect(io.lines[1]).toBe(
      "billing        2    14        4         2           1   open               2",
    );
  });
});

describe("pages", () => {
  const world = { answers: { "tx.list": { items: [transaction()], next: "cursor 2" } } };

  test("tell on stderr that there is more, with the command for it", async () => {
    const { io } = await run("tx list --state parked --group g", world);
    expect(io.err).toBe(
      "There is more: escrow tx list --state parked --group g --after 'cursor 2'\n",
    );
  });

  test("are asked for by limit and cursor", async () => {
    const { io } = await run("tx list --limit 5 --after c1", world);
    expect(io.requests).toEqual([{ type: "tx.list", fields: { limit: 5, after: "c1" } }]);
  });

  test("that are empty after a cursor are the end, not an empty broker", async () => {
    const { io } = await run("topic list --after z", { answers: { "topic.list": { items: [] } } });
    expect(io.out).toBe("No more.\n");
  });

  test("in JSON keep the cursor in the answer and leave stderr alone", async () => {
    const { io } = await run("tx list --json", world);
    expect(io.json).toEqual(world.answers["tx.list"]);
    expect(io.err).toBe("");
  });
});

describe("cards", () => {
  test("topic describe tells an empty topic from one whose messages are gone", async () => {
    const view = topic({ firstOffset: 9, nextOffset: 9, groups: [] });
    const { io } = await run("topic describe orders", { answers: { "topic.describe": view } });
    expect(io.out).toContain("offsets        none; the next is 9");
    expect(io.out).toContain("escrow consume --group <group> --topic orders");
  });

  test("topic describe shows what it keeps, who holds it back, and what was lost", async () => {
    const changes = { heldBytes: 3_221_225_472, heldBy: ["billing", "search"], expired: 5 };
    const view = topic({ ...changes, retentionBytes: 10_737_418_240, unsettled: "drop" });
    const { io } = await run("topic describe orders", { answers: { "topic.describe": view } });
    expect(io.out).toContain(
      "retention      7 d, 10.0 GiB; what a group has not settled is dropped",
    );
    expect(io.out).toContain("held back      3.0 GiB by billing, search");
    expect(io.out).toContain("expired        5 before a group had settled them");
  });

  test("topic describe shows what waits for its time, and what behind reserved keys", async () => {
    const described = async (changes: Parameters<typeof topic>[0]) => {
      const answers = { "topic.describe": topic(changes) };
      return (await run("topic describe orders", { answers })).io;
    };
    const io = await described({ scheduled: 1, nextDueAtMs: 0, queued: 1_234 });
    expect(io.lines.slice(7, 9)).toEqual([
      "  scheduled      1 message, the first for 1970-01-01T01:00:00+01:00",
      "  queued         1\u202f234 messages behind transactions that reserve their keys",
    ]);
    expect(io.out).not.toMatch(/.{81}/);
    expect((await described({})).out).not.toMatch(/scheduled|queued/);
  });

  test("group describe shows the filter, what is held, and why a group stands still", async () => {
    const view = group();
    const [orders] = view.topics;
    if (orders === undefined) throw new Error("the sample reads a topic");
    const topics = [
      { ...orders, held: 1_234, filter: "paid", filtered: 56, standsBecause: "full" as const },
    ];
    const policy = { ...view.policy, ordered: true };
    const answers = { "group.describe": group({ policy, topics }) };
    const { io } = await run("group describe billing", { answers });
    expect(io.out).toContain("order          by key");
    expect(io.out).toContain("filter         orders: paid (passed over: 56)");
    expect(io.out).toContain("stands still   orders: too many messages wait behind others");
    expect(io.out).toMatch(/HELD\n.* 1\s234\n/);
  });

  test.each([
    ["--ordered", true],
    ["--no-ordered", false],
  ])("group update %s", async (flag, ordered) => {
    const { io } = await run(`group update billing ${flag}`, {
      answers: { "group.update": group() },
    });
    expect(io.requests).toEqual([{ type: "group.update", fields: { group: "billing", ordered } }]);
  });

  test("group describe shows policy, progress and consumers", async () => {
    const { io } = await run("group describe billing", { answers: { "group.describe": group() } });
    expect(io.out).toBe(
      [
        "Group billing",
        "  state          open",
        "  lease          1 m",
        "  attempts       16",
        "  retry after    10 s, 1 m 30 s",
        "  jitter         10 %",
        "  dead letters   2. See them: escrow dlq list billing",
        "",
        "TOPIC    NEXT OFFSET   LAG   READY   LEASED   WAITING   PENDING   OLDEST",
        "orders            20     7       4        2         1         0   2 m 13 s",
        "",
        "CONNECTION   CLIENT      LEASED   CREDIT   CREDIT BYTES",
        "         3   billing-1        2       16        1.0 MiB",
        "",
      ].join("\n"),
    );
  });

  test("group describe shows instances below their group, and how to see one", async () => {
    const idle = { lag: 0, leased: 0, expired: 0, abandoned: 0 };
    const items = [
      { instance: "node-1", connected: true, ...idle, lag: 7, leased: 2 },
      {
        instance: "node-2",
        connected: false,
        awayMs: 7_200_000,
        ...idle,
        expired: 3,
        abandoned: 1,
      },
    ];
    const view = group({
      group: "cache",
      topics: [],
      consumers: [],
      deadLetters: 0,
      instances: { count: 120, connected: 1, items },
    });
    const { io } = await run("group describe cache", { answers: { "group.describe": view } });
    expect(io.out).toBe(
      [
        "Group cache",
        "  state          open",
        "  lease          1 m",
        "  attempts       16",
        "  retry after    10 s, 1 m 30 s",
        "  jitter         10 %",
        "  instances      120, 1 connected",
        "  dead letters   none",
        "",
        "It is broadcast to: each instance reads by itself.",
        "",
        "INSTANCE   SEEN        LAG   LEASED   LOST",
        "node-1     connected     7        2      0",
        "node-2     2 h ago       0        0      4",
        "… and 118 more.",
        "More of one: escrow group describe cache%NAME",
        "",
      ].join("\n"),
    );
  });

  test("group describe of an instance says how long it is away, and what it went on without", async () => {
    const topics = [{ ...group().topics[0], abandoned: 2 } as GroupTopicView];
    const view = group({ group: "cache%node-2", awayMs: 60_000, topics, consumers: [] });
    const { io } = await run("group describe cache%node-2", {
      answers: { "group.describe": view },
    });
    expect(io.out).toContain("  away for      1 m\n  abandoned     2\n");
    expect(io.out).not.toContain("dead letters");
  });

  test("group list counts connected instances as consumers", async () => {
    const instances = { count: 9, connected: 4, items: [] };
    const items = [group({ consumers: [], instances })];
    const { io } = await run("group list", { answers: { "group.list": { items } } });
    expect(io.lines[1]?.split(/ +/)).toEqual(["billing", "1", "7", "2", "1", "4", "open", "2"]);
  });

  test("group describe says when nobody is connected", async () => {
    const view = group({ consumers: [], topics: [] });
    const { io } = await run("group describe billing", { answers: { "group.describe": view } });
    expect(io.out).toContain("No consumer is connected.");
    expect(io.out).toContain("Reads no topic yet.");
  });

  test("group describe fits into 80 columns as long as nothing is unusual", async () => {
    const delays = [10_000, 30_000, ...Array.from({ length: 10 }, (_, at) => (at + 1) * 60_000)];
    const retryDelaysMs = [...delays, 1_200_000, 1_800_000, 3_600_000, 7_200_000];
    const usual = group();
    const view = group({
      policy: { ...usual.policy, retryDelaysMs },
      topics: usual.topics.map((one) => ({ ...one, heldBytes: 0, expired: 0 })),
    });
    const { io } = await run("group describe billing", { answers: { "group.describe": view } });
    expect(io.out).not.toMatch(/.{81}/);
    expect(io.out).toContain("5 m, 6 m,\n                 7 m, 8 m,");
    expect(io.out).not.toMatch(/HOLDS BACK|EXPIRED/);
  });

  test("group describe says what a group holds back and what it lost", async () => {
    const topics = group().topics.map((one) => ({ ...one, heldBytes: 4_096, expired: 3 }));
    const { io } = await run("group describe billing", {
      answers: { "group.describe": group({ topics }) },
    });
    expect(io.out).toMatch(/HOLDS BACK +EXPIRED\n.* 4\.0 KiB +3\n/);
  });

  test("group describe says when all instances are away", async () => {
    const instances = { count: 2, connected: 0, items: [] };
    const view = group({ consumers: [], topics: [], instances });
    const { io } = await run("group describe billing", { answers: { "group.describe": view } });
    expect(io.out).toContain("No consumer is connected.");
  });
});

describe("stats and doctor", () => {
  test("stats shows what is undecided and for how long", async () => {
    const { io } = await run("stats", { answers: { stats } });
    expect(io.lines[0]).toBe("EscrowMQ 0.1.0 on ws://127.0.0.1:7654");
    expect(io.out).toContain("4 undecided, 1 parked, 2.0 KiB, the oldest for 2 m 13 s");
  });

  test("stats shows reserved keys and what waits for them, if there are any", async () => {
    const shown = async (changes: Partial<typeof stats>) =>
      (await run("stats", { answers: { stats: { ...stats, ...changes } } })).io;
    const io = await shown({ reservedKeys: 2, queued: 5 });
    expect(io.out).toContain(
      [
        "  scheduled        7 messages; 2 lapsed before a group was sent them",
        "  reserved keys    2, 5 messages queued; with those scheduled 1.0 KiB\n",
      ].join("\n"),
    );
    expect(io.out).not.toMatch(/.{81}/);
    expect((await shown({ reservedKeys: 1 })).out).toContain(
      "reserved keys    1, 0 messages queued",
    );
    expect((await shown({ scheduled: 0, reservedKeys: 1, queued: 3 })).out).toContain(
      "reserved keys    1, 3 messages queued, 1.0 KiB",
    );
    const none = (await shown({})).out;
    expect(none).not.toContain("reserved keys");
    expect(none).toContain("7 messages, 1.0 KiB; 2 lapsed");
  });

  test("stats in JSON is the raw answer", async () => {
    const { io } = await run("stats --json", { answers: { stats } });
    expect(io.json).toEqual(stats);
  });

  const finding = (level: "ok" | "warning" | "error") => ({ level, area: "disk", text: "free" });

  test.each([
    [["ok"], 0, "All is well."],
    [["ok", "warning"], 0, "0 errors, 1 warning."],
    [["warning", "error"], 1, "1 error, 1 warning."],
    [[], 0, "All is well."],
  ] as const)("doctor with findings %j ends with %i", async (levels, exitCode, verdict) => {
    const findings = levels.map(finding);
    const { io, code } = await run("doctor", { answers: { doctor: { findings } } });
    expect(code).toBe(exitCode);
    expect(io.lines.at(-1)).toBe(verdict);
  });

  test("doctor in JSON fails by its exit code, too", async () => {
    const doctor = { findings: [finding("error")] };
    const { io, code } = await run("doctor --json", { answers: { doctor } });
    expect(io.json).toEqual(doctor);
    expect(code).toBe(1);
  });
});

test("an id that begins with a dash is reached after --", async () => {
  const { io } = await run(`tx check --reason slow -- -${TX_ID}`, {
    answers: { "tx.check": { ...transaction(), reachable: true } },
  });
  expect(io.requests).toMatchObject([{ fields: { transactionId: `-${TX_ID}` } }]);
  expect(io.out).toContain(`escrow tx show -- -${TX_ID}`);
});
