/** The command line as people type it, on a real broker: what it prints, and what it has done then. */
import { Bury } from "@escrowmq/consumer";
import type {
  DeadLetterView,
  FindView,
  GroupView,
  MessageTrace,
  ResetView,
  TopicView,
} from "@escrowmq/protocol";
import { encodeMessage } from "@escrowmq/protocol";
import { describe, expect, it } from "vitest";
import { gather, useBench } from "../support/e2e-broker.ts";
import { type Consumed, useCommandLine } from "../support/e2e-command-line.ts";
import { RawClient } from "../support/e2e-raw-client.ts";
import { waitFor } from "../support/e2e-wait.ts";

const bench = useBench();
/** The default numbers of the core but for the pace of retention, and one check instead of fifteen. */
const policy = { retentionEveryMs: 50, dropAfterStartMs: 0, checkAttemptsMax: 1 };
const escrow = useCommandLine(bench, { policy });

const textsOf = (messages: readonly Consumed[]): unknown[] => messages.map(({ body }) => body.text);
const offsetsOf = (items: readonly { offset: number }[]): number[] =>
  items.map(({ offset }) => offset);

/** A topic of the test's own with messages in it, each sent when the one before was on disk. */
async function filled(topic: string, messages: readonly object[]) {
  const admin = await bench.admin(escrow.url, topic);
  const producer = await bench.producer({ url: escrow.url, group: "shop" });
  const ids: string[] = [];
  for (const message of messages)
    ids.push((await producer.send({ topic, body: "x", ...message })).id);
  const of = async (group: string) =>
    (await admin.request("group.describe", { group })).topics.find((one) => one.topic === topic);
  return { admin, producer, ids, of };
}

/** As the SDK does it, which is sooner done: what the test is about comes after it. */
async function settled(topic: string, group: string, count: number): Promise<void> {
  const consumer = await bench.consumer({
    url: escrow.url,
    group,
    subscribe: [{ topic }],
    concurrency: 1,
  });
  let left = count;
  for await (const message of consumer) {
    await message.ack();
    if (--left === 0) break;
  }
}

/** Reads as a group until it is connected: what comes then, comes to it. */
async function reading(line: string, group: string) {
  const program = escrow.start(line);
  const admin = await bench.admin(escrow.url);
  await waitFor(`the consumer of ${group}`, async () => {
    const view = await admin.request("group.describe", { group }).catch(() => null);
    return view !== null && view.consumers.length > 0;
  });
  return program;
}

describe("escrow send", () => {
  it("sends a message with key, tag and headers, and consume prints all of it", async () => {
    await escrow.says("topic create orders");
    const sent = await escrow.says(
      `send --topic orders --key 42 --tag paid --header source=web --header run=7 --body '{"id":42}'`,
    );
    const [, id] = /^Sent (\S+) to orders\. Read it: escrow consume /.exec(sent) ?? [];
    expect(id).toMatch(/^[0-9a-f]{32}$/);
    const { code, out, err } = await escrow.run("consume --topic orders --group billing --max 1");
    expect(code).toBe(0);
    expect(out).toContain('orders@0  key=42  tag=paid  source=web  run=7  {"id":42}');
    expect(err).toBe("1 message acked.\n");
    const { topics } = await escrow.json<GroupView>("group describe billing");
    expect(topics).toMatchObject([{ topic: "orders", nextOffset: 1, lag: 0 }]);
  });

  it("--delay and --at come in their time, and --ttl lapses where nobody came in time", async () => {
    const { of } = await filled("reminders", []);
    const startMs = Date.now();
    const at = new Date(startMs + 1_500);
    const said = await Promise.all([
      escrow.says("send --topic reminders --body delayed --delay 800ms"),
      escrow.says(`send --topic reminders --body timed --at ${at.toISOString()}`),
      escrow.says("send --topic reminders --body stale --ttl 1ms"),
      escrow.says("send --topic reminders --body fresh --ttl 1h"),
    ]);
    expect(said.map((text) => text.split(" ")[0])).toEqual([
      ...["Scheduled", "Scheduled", "Sent", "Sent"],
    ]);
    const got = await escrow.lines("consume --topic reminders --group late --max 3");
    expect(textsOf(got).sort()).toEqual(["delayed", "fresh", "timed"]);
    const atMsOf = (text: string) => got.find(({ body }) => body.text === text)?.atMs;
    expect(atMsOf("delayed")).toBeGreaterThanOrEqual(startMs + 795);
    expect(atMsOf("timed")).toBeGreaterThanOrEqual(at.getTime() - 5);
    expect(await of("late")).toMatchObject({ lag: 0, lapsed: 1 });
    expect(await escrow.says("group describe late")).toMatch(/LAPSED/);
  });

  it("--delay may be called back with the command that it prints", async () => {
    const { admin } = await filled("second-thoughts", []);
    const view = () => admin.request("topic.describe", { topic: "second-thoughts" });
    const sent = await escrow.says("send --topic second-thoughts --body no --delay 1h");
    const [, recall = ""] = /Call it back: escrow (message recall .+)$/.exec(sent) ?? [];
    expect(await view()).toMatchObject({ scheduled: 1, nextDueAtMs: expect.any(Number) });
    expect(await escrow.says(recall)).toMatch(/: it never comes to second-thoughts\.$/);
    expect(await view()).toMatchObject({ scheduled: 0, nextOffset: 0 });
    expect(await escrow.json(recall)).toMatchObject({ duplicate: true });
  });
});

describe("escrow request", () => {
  it("prints what escrow consume --reply answers", async () => {
    await filled("questions", []);
    const answers = "consume --topic questions --group answers --max 2";
    const program = await reading(`${answers} --reply '{"price":7}'`, "answers");
    const asked = await escrow.run("request --topic questions --body '{\"sku\":1}'");
    expect(asked).toMatchObject({ code: 0, out: '{"price":7}' });
    expect(asked.err).toMatch(/^The reply to [0-9a-f]{32}\.\n$/);
    const body = { base64: expect.any(String), text: '{"price":7}' };
    expect(await escrow.json("request --topic questions --body 2")).toMatchObject({ body });
    expect(await program.exited).toEqual({ code: 0, signal: null });
    expect(program.lines.map((line) => line.split("  ").at(-1))).toEqual(['{"sku":1}', "2"]);
    expect(program.stderr).toBe("2 messages acked.\n");
  });

  it("that nobody answers in time ends with NO_REPLY, and may be asked again", async () => {
    await filled("unheard", []);
    const { code, err } = await escrow.run("request --topic unheard --body ? --timeout 50ms");
    expect(code).toBe(75);
    expect(err).toMatch(/^escrow: NO_REPLY: /);
  });
});

describe("escrow consume", () => {
  it("--filter prints what matches, by tags and by headers", async () => {
    const { of } = await filled("sales", [
      { body: 1, tag: "open", headers: { amount: "2000" } },
      { body: 2, tag: "paid", headers: { amount: "50" } },
      { body: 3, headers: { amount: "3000" } },
      { body: 4, tag: "shipped", headers: { amount: "1001" } },
    ]);
    const consume = "consume --topic sales --max 2";
    const [byTag, byHeader] = await Promise.all([
      escrow.lines(`${consume} --group tags --filter "paid || shipped"`),
      escrow.lines(`${consume} --group big --filter "sql: amount > 1000 AND TAGS IS NOT NULL"`),
    ]);
    expect(textsOf(byTag)).toEqual(["2", "4"]);
    expect(await of("tags")).toMatchObject({ filter: "paid || shipped", filtered: 2, lag: 0 });
    expect(textsOf(byHeader)).toEqual(["1", "4"]);
    const wrong = await escrow.run(`${consume} --group wrong --filter "sql: amount >"`);
    expect(wrong).toMatchObject({ code: 1, out: "" });
    expect(wrong.err).toMatch(/^escrow: FILTER_INVALID: /);
  });

  it("--from begins at an offset, at a time, and at the end", async () => {
    const { admin, producer } = await filled("log", [{ body: "a" }, { body: "b" }]);
    const { items } = await admin.request("message.find", { topic: "log" });
    const lastAtMs = items[1]?.atMs ?? 0;
    await waitFor("a later time", () => Date.now() > lastAtMs + 5);
    await producer.send({ topic: "log", body: "c" });
    const at = new Date(lastAtMs + 1).toISOString();
    const consume = "--json consume --topic log --max 2";
    const late = await reading(`${consume} --group late-log --from latest`, "late-log");
    const timed = await reading(`${consume} --group timed-log --from time:${at}`, "timed-log");
    const offset = escrow.start(`${consume} --group offset-log --from offset:1`);
    expect((await offset.exited).code).toBe(0);
    await producer.sendAll([
      { topic: "log", body: "d" },
      { topic: "log", body: "e" },
    ]);
    for (const program of [late, timed]) expect((await program.exited).code).toBe(0);
    const texts = [offset, timed, late].map(({ lines }) =>
      textsOf(lines.map((line) => JSON.parse(line) as Consumed)),
    );
    expect(texts).toEqual([
      ['"b"', '"c"'],
      ['"c"', '"d"'],
      ['"d"', '"e"'],
    ]);
  });

  it("--topic with a weight gives it as many messages in a turn", async () => {
    const { producer } = await filled("urgent", Array(12).fill({}));
    await bench.admin(escrow.url, "bulk");
    await producer.sendAll(Array.from({ length: 12 }, () => ({ topic: "bulk", body: "y" })));
    const topics = "--topic urgent=4 --topic bulk";
    const got = await escrow.lines(`consume ${topics} --group weighed --max 10`);
    expect(got.filter(({ topic }) => topic === "urgent")).toHaveLength(8);
    expect(got.filter(({ topic }) => topic === "bulk")).toHaveLength(2);
  });
});

describe("a topic's retention and a broadcast group", () => {
  it("an instance gets everything, is told what it lost, and a group that is dropped is counted", async () => {
    const settings = "--retention 1h --retention-bytes 64KiB --unsettled drop";
    expect(await escrow.says(`topic create metrics ${settings}`)).toMatch(/^Topic metrics created/);
    const producer = await bench.producer({ url: escrow.url, group: "shop" });
    const instance = (name: string, max: number) =>
      `--json consume --topic metrics --group cache --broadcast ${name} --max ${max}`;
    const both = [
      await reading(instance("a", 2), "cache%a"),
      await reading(instance("b", 2), "cache%b"),
    ];
    const admin = await bench.admin(escrow.url);
    // A group that reads nothing of it.
    await escrow.lines("consume --topic metrics --group slow --idle 1ms");
    await producer.sendAll(["one", "two"].map((body) => ({ topic: "metrics", body })));
    for (const program of both) {
      expect((await program.exited).code).toBe(0);
      expect(textsOf(program.lines.map((line) => JSON.parse(line) as Consumed))).toEqual([
        '"one"',
        '"two"',
      ]);
    }
    const body = "z".repeat(16_384);
    for (let at = 0; at < 10; at++) await producer.send({ topic: "metrics", body });
    const { firstOffset } = await waitFor("retention", async () => {
      const view = await admin.request("topic.describe", { topic: "metrics" });
      return view.bytes <= 65_536 && view;
    });
    const again = escrow.start(instance("a", 1));
    expect((await again.exited).code).toBe(0);
    expect(again.stderr).toContain(`${firstOffset - 2} messages of metrics were lost to this`);
    const [slow] = (await escrow.json<GroupView>("group describe slow")).topics;
    expect(slow?.expired).toBe(firstOffset);
    const update = "topic update metrics --retention forever --retention-bytes none";
    expect(await escrow.json<TopicView>(`${update} --unsettled keep`)).toMatchObject({
      firstOffset,
      retentionBytes: 0,
      unsettled: "keep",
    });
    const card = await escrow.says("topic describe metrics");
    // What it lost is counted once for the group, and once for each instance.
    const expired = firstOffset + 2 * (firstOffset - 2);
    expect(card).toMatch(/retention +for ever; what a group has not settled is kept/);
    expect(card).toMatch(new RegExp(`expired +${expired} before a group had settled them`));
  });
});

describe("escrow group", () => {
  it("update --ordered has the messages of a key one after the other", async () => {
    await filled(
      "keyed",
      ["a", "a", "b"].map((key) => ({ key })),
    );
    const card = await escrow.says("group update sorted --ordered --retry-delays 0s --attempts 3");
    expect(card).toMatch(/order +by key/);
    const consume = "consume --topic keyed --group sorted";
    expect(offsetsOf(await escrow.lines(`${consume} --no-ack --max 2`))).toEqual([0, 2]);
    const all = offsetsOf(await escrow.lines(`${consume} --max 3`));
    expect(all.filter((offset) => offset < 2)).toEqual([0, 1]);
    expect(all).toContain(2);
  });

  it("reset says in a dry run what it would do, and then does it", async () => {
    const { of } = await filled("ledger", [{}, {}, {}]);
    const consume = "consume --topic ledger --group audit";
    await settled("ledger", "audit", 3);
    const reset = "group reset audit --topic ledger --to offset:1";
    const [plan, unconfirmed] = await Promise.all([
      escrow.says(`${reset} --dry-run`),
      escrow.run(`${reset} --reason "wrong rate"`),
    ]);
    expect(plan).toBe(
      "Would move group audit in ledger from offset 3 to 1: 2 settled messages delivered again, 0 unsettled messages skipped.",
    );
    expect(unconfirmed.code).toBe(2);
    expect(unconfirmed.err).toContain("--yes audit");
    expect(await of("audit")).toMatchObject({ lag: 0 });
    const done = await escrow.json<ResetView>(`${reset} --reason "wrong rate" --yes audit`);
    expect(done).toMatchObject({ dryRun: false, topics: [{ toOffset: 1, redelivered: 2 }] });
    expect(await of("audit")).toMatchObject({ lag: 2 });
    expect(offsetsOf(await escrow.lines(`${consume} --max 2`))).toEqual([1, 2]);
  });

  it("pause, skip and resume: nothing comes, then all but what was skipped", async () => {
    const { of } = await filled("payments", [{}, {}, {}]);
    const consume = "consume --topic payments --group cashier";
    await settled("payments", "cashier", 1);
    const paused = await escrow.says(`--operator ada group pause cashier --reason "bank is down"`);
    expect(paused).toMatch(/^Group cashier is paused, by ada: bank is down\./);
    const [nothing, doctor] = await Promise.all([
      escrow.run(`${consume} --idle 300ms`),
      escrow.run("doctor"),
    ]);
    expect(nothing).toMatchObject({ code: 0, out: "", err: "0 messages acked.\n" });
    expect(doctor.code).toBe(0);
    expect(doctor.out).toMatch(/warning .*paused groups .*cashier/);
    const skip = "group skip cashier --topic payments --offset 1 --offset 7";
    expect(await escrow.run(`${skip} --reason "no such account" --yes`)).toMatchObject({
      code: 1,
      out: "1 message skipped. Nothing to settle (any more) at offset 7.",
    });
    expect(await escrow.says(`group resume cashier --reason "bank is up"`)).toBe(
      "Group cashier is delivered to again; 1 message waited.",
    );
    expect(offsetsOf(await escrow.lines(`${consume} --max 1`))).toEqual([2]);
    expect(await of("cashier")).toMatchObject({ lag: 0 });
    const card = await escrow.says("group describe cashier");
    expect(card).toMatch(/state +open/);
    expect(card).toMatch(/resumed by .+: bank is up\n.+skipped payments@1 by .+: no such account/);
  });
});

describe("escrow message", () => {
  it("find goes by id, key and time, and page by page with the command that it prints", async () => {
    const keys = ["a", "b", "a", "b", "a"];
    const { admin, ids, producer } = await filled(
      "archive",
      keys.map((key) => ({ key })),
    );
    const { items } = await admin.request("message.find", { topic: "archive" });
    const lastAtMs = items.at(-1)?.atMs ?? 0;
    await waitFor("a later time", () => Date.now() > lastAtMs + 5);
    await producer.send({ topic: "archive", key: "b", body: "late" });
    const time = new Date(lastAtMs + 1).toISOString();
    const [byId, since, before] = await Promise.all([
      escrow.json<FindView>(`message find archive --id ${ids[3]}`),
      escrow.json<FindView>(`message find archive --from ${time}`),
      escrow.json<FindView>(`message find archive --key b --to ${time}`),
    ]);
    expect(byId.items).toMatchObject([{ offset: 3, id: ids[3], key: "b" }]);
    expect(offsetsOf(since.items)).toEqual([5]);
    expect(offsetsOf(before.items)).toEqual([1, 3]);
    const page = await escrow.run("message find archive --key a --limit 2");
    expect(page.out).toContain(ids[0]);
    expect(page.out).toContain(ids[2]);
    expect(page.out).not.toContain(ids[4]);
    const [, more = ""] = /^There is more: escrow (.+)\n$/.exec(page.err) ?? [];
    const next = await escrow.json<FindView>(more);
    expect(offsetsOf(next.items)).toEqual([4]);
  });

  it("show and trace tell what it says and what became of it", async () => {
    const { ids } = await filled("parcels", [{ key: "k-1", tag: "sent", headers: { to: "uk" } }]);
    await settled("parcels", "post", 1);
    const card = await escrow.says("message show parcels 0");
    expect(card).toMatch(/^Message parcels@0\n/);
    for (const text of [ids[0], "k-1", "to: uk", '\n"x"\n']) expect(card).toContain(text);
    expect(card).toMatch(/post +settled/);
    const [, trace = ""] = /What happened to it: escrow (.+)$/.exec(card) ?? [];
    const [{ timeline }, lines, missing] = await Promise.all([
      escrow.json<MessageTrace>(trace),
      escrow.says(trace),
      escrow.run("message show parcels 1"),
    ]);
    expect(timeline.map(({ event }) => event)).toEqual(["sent", "delivered", "acked"]);
    expect(lines).toMatch(/● sent .*\n.*→ delivered .*post.*\n.*✓ acked/);
    expect(missing.code).toBe(1);
    expect(missing.err).toMatch(/^escrow: MESSAGE_NOT_FOUND: /);
  });
});

interface Prepared {
  readonly topic?: string;
  /** Is reserved. */
  readonly key?: string;
  readonly checkAfterMs?: number;
}

/** A half message whose producer is gone; it is checked after `checkAfterMs`. */
async function prepared(transactionId: string, body: string, more: Prepared = {}) {
  const { topic = "deals", key, checkAfterMs = 3_600_000 } = more;
  const raw = await RawClient.open(escrow.url);
  await raw.ask({ type: "announce", group: "desk", checker: true });
  const bytes = new TextEncoder().encode(body);
  const message = encodeMessage({ id: transactionId, topic, key, body: bytes });
  const reserveKeys = key !== undefined;
  const prepare = { type: "prepare", transactionId, group: "desk", acks: [], reserveKeys } as const;
  const answer = await raw.ask({ ...prepare, messages: [message], checkAfterMs });
  expect(answer).toMatchObject({ type: "ok" });
  raw.close();
}

describe("escrow tx", () => {
  it("lists what is undecided, decides it, and has what is parked checked again", async () => {
    const { admin } = await filled("deals", []);
    const [good, bad, parked] = ["a".repeat(32), "b".repeat(32), "c".repeat(32)];
    await prepared(good, "good");
    await prepared(bad, "bad");
    let verdict: "unknown" | "commit" = "unknown";
    await bench.producer({ url: escrow.url, group: "desk", onCheck: () => verdict });
    await prepared(parked, "parked", { checkAfterMs: 0 });
    await waitFor("the parking", async () => {
      const { items } = await admin.request("tx.list", { state: "parked" });
      return items.length === 1;
    });
    const [list, shown] = await Promise.all([
      escrow.says("tx list --group desk"),
      escrow.says(`tx show ${parked}`),
    ]);
    expect(list).toMatch(new RegExp(`${good} +│? *desk +│? *undecided`));
    expect(list).toMatch(new RegExp(`${parked} +│? *desk +│? *parked`));
    expect(shown).toContain(`Transaction ${parked}   = parked`);
    const [, resume = ""] = /Let it be checked: +escrow (.+)$/m.exec(shown) ?? [];
    const commit = `tx commit --reason "it is in the books" ${good}`;
    const decided = await Promise.all([
      escrow.says(commit),
      escrow.says(`tx rollback --reason "never was" ${bad}`),
    ]);
    expect(decided[0]).toMatch(
      / committed: its messages are visible now; those delayed or queued, in their turn\.$/,
    );
    expect(decided[1]).toMatch(/ rolled back: its messages will never be seen\.$/);
    const late = await escrow.run(`tx commit --reason "after all" ${bad}`);
    expect(late).toMatchObject({ code: 1, out: "" });
    expect(late.err).toMatch(/^escrow: TX_ALREADY_ROLLED_BACK: /);
    verdict = "commit";
    expect(await escrow.says(resume)).toBe(
      `Transaction ${parked} is undecided again and is checked.`,
    );
    const got = await escrow.lines("consume --topic deals --group reader --max 2");
    expect(textsOf(got)).toEqual(["good", "parked"]);
    const [nothing, view] = await Promise.all([
      escrow.says("tx list"),
      escrow.json(`tx show ${bad}`),
    ]);
    expect(nothing).toMatch(/^Nothing waits for a verdict\./);
    expect(view).toMatchObject({ state: "rolledBack", decidedBy: expect.any(String) });
  });
});

describe("a parked transaction that reserves its keys", () => {
  it("is seen to hold up others, who wait, and lets them pass when it is decided by hand", async () => {
    await bench.admin(escrow.url, "bids");
    const id = "d".repeat(32);
    await bench.producer({ url: escrow.url, group: "desk", onCheck: () => "unknown" });
    await prepared(id, "first", { topic: "bids", key: "ann", checkAfterMs: 0 });
    for (const body of ["second", "third"])
      expect(await escrow.says(`send --topic bids --key ann --body ${body}`)).toMatch(/^Sent /);
    const tx = () => escrow.json<{ state: string }>(`tx show ${id}`);
    await waitFor("the parking", async () => (await tx()).state === "parked");
    const [shown, topic, stats, doctor] = await Promise.all([
      escrow.says(`tx show ${id}`),
      escrow.says("topic describe bids"),
      escrow.says("stats"),
      escrow.json<{ findings: { area: string; level: string; text: string }[] }>("doctor"),
    ]);
    expect(shown).toMatch(/\n {2}keys +reserved; 2 messages wait right behind it\n/);
    expect(shown).toContain("by desk: 1 message for bids, its keys reserved");
    expect(topic).toMatch(/\n {2}queued +2 messages behind transactions that reserve their keys\n/);
    expect(stats).toMatch(/\n {2}reserved keys +1, 2 messages queued/);
    const finding = doctor.findings.find(({ area }) => area === "reserved keys");
    expect(finding).toMatchObject({ level: "warning" });
    const [, show = ""] = /: escrow (tx show .+)$/.exec(finding?.text ?? "") ?? [];
    const [, rollback = ""] = /(tx rollback .+)$/m.exec(await escrow.says(show)) ?? [];
    expect(await escrow.says(rollback)).toMatch(/ rolled back: its messages will never be seen\.$/);
    const got = await escrow.lines("consume --topic bids --group reader --max 2");
    expect(textsOf(got)).toEqual(["second", "third"]);
    expect(await escrow.says("topic describe bids")).not.toContain("queued");
    expect(await escrow.says("stats")).not.toContain("reserved keys");
  });
});

describe("escrow dlq", () => {
  it("lists and shows dead letters, replays those that match, and purges the rest", async () => {
    const { of } = await filled("bills", [{ key: "k-0" }, { key: "k-1" }, { key: "k-2" }]);
    const subscribe = [{ topic: "bills" }];
    const consumer = await bench.consumer({ url: escrow.url, group: "books", subscribe });
    void consumer.run(({ offset }) => {
      throw new Bury(offset === 1 ? "timeout of the tax service" : "no such customer");
    });
    await waitFor("the dead letters", async () => (await of("books"))?.lag === 0);
    await consumer.close();
    const listed = async () =>
      (await escrow.json<{ items: DeadLetterView[] }>("dlq list books")).items;
    const letters = await listed();
    expect(letters.map(({ originOffset }) => originOffset).sort()).toEqual([0, 1, 2]);
    const timeout = letters.find(({ originOffset }) => originOffset === 1)?.offset;
    const replay = "dlq replay books --match reason=TIMEOUT";
    const [card, plan] = await Promise.all([
      escrow.says(`dlq show books ${timeout}`),
      escrow.says(`${replay} --dry-run`),
    ]);
    for (const text of ["bills@1", "timeout of the tax service", "k-1", '"x"'])
      expect(card).toContain(text);
    expect(plan).toMatch(/\n1 dead letter would be replayed\.$/);
    expect(await listed()).toHaveLength(3);
    const replayed = await escrow.says(`${replay} --reason "it is back" --yes`);
    expect(replayed).toBe("1 dead letter replayed.");
    const again = gather(await bench.consumer({ url: escrow.url, group: "books", subscribe }));
    await waitFor("the replayed one", () => again.length === 1);
    expect(again[0]).toMatchObject({ offset: 1, attempt: 1 });
    const purge = await escrow.json(`dlq purge books --all --reason "by hand" --yes books`);
    expect(purge).toEqual({ done: 2, missing: [] });
    expect(await escrow.says("dlq list books")).toMatch(/^No dead letters in group books\./);
  });
});
