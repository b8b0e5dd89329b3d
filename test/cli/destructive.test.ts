/** What destroys or repeats: confirmation, dry runs, and dead letters replayed at a rate. */
import { EscrowError, encodeMessage } from "@escrowmq/protocol";
import { describe, expect, test } from "vitest";
import { run, type World } from "./fake-io.ts";
import { deadLetter, deadLetterPages, group } from "./samples.ts";

const reset = { topic: "orders", fromOffset: 20, toOffset: 5, redelivered: 15, skipped: 0 };
const answers = {
  "topic.delete": { topic: "orders", scheduled: 0 },
  "group.describe": group(),
  "group.delete": { group: "billing" },
  "group.reset": ({ dryRun }: { readonly dryRun?: boolean | undefined }) => ({
    topics: [reset],
    dryRun: dryRun === true,
  }),
} as const;
const typesOf = (io: { requests: readonly { type: string }[] }) =>
  io.requests.map(({ type }) => type);

describe("a verb that destroys", () => {
  test.each([
    ["topic delete orders", "orders", "topic.delete"],
    ["group delete billing", "billing", "group.delete"],
    ["group reset billing --topic orders --to offset:5", "billing", "group.reset"],
  ])("escrow %s is done once its name is typed", async (line, name, type) => {
    const { io, code } = await run(`${line} --reason r`, { answers, isTty: true, typed: [name] });
    expect(code).toBe(0);
    expect(io.questions).toHaveLength(1);
    expect(io.questions[0]).toContain(`Type ${name} to go on: `);
    expect(typesOf(io).at(-1)).toBe(type);
  });

  test("is not done when something else is typed", async () => {
    const world = { answers, isTty: true, typed: ["order"] };
    const { io, code } = await run("topic delete orders --reason r", world);
    expect(code).toBe(1);
    expect(io.err).toContain("NOT_CONFIRMED: That was not orders. Nothing was done.");
    expect(io.requests).toEqual([]);
  });

  test("is not done when the operator breaks off, and says so on a line of its own", async () => {
    const typed = [null];
    const { io, code } = await run("topic delete orders --reason r", {
      answers,
      isTty: true,
      typed,
    });
    expect(code).toBe(1);
    expect(io.err).toBe("\nescrow: NOT_CONFIRMED: orders was not typed. Nothing was done.\n");
    expect(io.requests).toEqual([]);
  });

  test("says what waited in a topic for its time or its key, and is gone with it", async () => {
    const world = (scheduled: number) => ({
      answers: { "topic.delete": { topic: "orders", scheduled } },
    });
    const line = "topic delete orders --reason r --yes orders";
    const [some, none] = await Promise.all([run(line, world(3)), run(line, world(0))]);
    expect(some.io.out).toBe("Topic orders deleted. 3 waiting messages gone with it.\n");
    expect(none.io.out).toBe("Topic orders deleted.\n");
  });

  test("wants --yes with the name where nobody can type", async () => {
    const without = await run("topic delete orders --reason r", { answers });
    const wrong = await run("topic delete orders --reason r --yes other", { answers });
    const right = await run("topic delete orders --reason r --yes orders", { answers });
    expect([without.code, wrong.code, right.code]).toEqual([2, 2, 0]);
    expect(without.io.err).toContain("--yes orders");
    expect([...without.io.requests, ...wrong.io.requests]).toEqual([]);
  });
});

describe("group reset", () => {
  const line = "group reset billing --topic orders --to offset:5";

  test("as a dry run tells what would happen, without reason or confirmation", async () => {
    const { io, code } = await run(`${line} --dry-run`, { answers });
    expect(code).toBe(0);
    expect(io.requests).toMatchObject([{ fields: { dryRun: true, from: "offset", at: 5 } }]);
    expect(io.out).toBe(
      "Would move group billing in orders from offset 20 to 5: 15 settled messages delivered again, 0 unsettled messages skipped.\n",
    );
  });

  test("says that it is at most so many where a filter or a time to live decides as well", async () => {
    const bounded = { ...reset, skipped: 1, atMost: true as const };
    const { io } = await run(`${line} --dry-run`, {
      answers: { ...answers, "group.reset": { topics: [bounded], dryRun: true } },
    });
    expect(io.out).toBe(
      "Would move group billing in orders from offset 20 to 5: at most 15 settled messages delivered again, at most 1 unsettled message skipped.\n",
    );
    const none = { ...bounded, redelivered: 0 };
    const { io: other } = await run(`${line} --dry-run`, {
      answers: { ...answers, "group.reset": { topics: [none], dryRun: true } },
    });
    expect(other.out).toContain(": 0 settled messages delivered again, at most 1 unsettled");
  });

  test("asks with the effect in the question, then does it", async () => {
    const { io } = await run(`${line} --reason r`, { answers, isTty: true, typed: ["billing"] });
    expect(io.questions[0]).toContain("15 settled messages delivered again");
    expect(io.requests.map(({ fields }) => fields.dryRun)).toEqual([true, undefined]);
  });
});

const letters = (count: number, changes = {}) =>
  Array.from({ length: count }, (_, offset) => deadLetter({ offset, ...changes }));
const replaying = (all: readonly ReturnType<typeof deadLetter>[]): World => ({
  answers: {
    "dlq.list": deadLetterPages(all, 7),
    "dlq.replay": ({ offsets }) => ({ done: offsets.length, missing: [] }),
    "dlq.purge": ({ offsets }) => ({ done: offsets.length, missing: [] }),
  },
});
const slicesOf = (io: { requests: readonly { type: string; fields: object }[] }, type: string) =>
  io.requests
    .filter((request) => request.type === type)
    .map(({ fields }) => ("offsets" in fields ? fields.offsets : undefined));

describe("dlq replay", () => {
  const line = "dlq replay billing --reason fixed --yes";

  test("reads all pages first, then replays", async () => {
    const { io, code } = await run(`${line} --all`, replaying(letters(20)));
    expect(code).toBe(0);
    expect(typesOf(io)).toEqual(["dlq.list", "dlq.list", "dlq.list", "dlq.replay"]);
    expect(io.out).toBe("20 dead letters replayed.\n");
  });

  test("takes only what matches reason and topic", async () => {
    const all = [
      deadLetter({ offset: 1, reason: "Timeout at tax" }),
      deadLetter({ offset: 2, reason: "timeout", topic: "mail" }),
      deadLetter({ offset: 3, reason: "bad json" }),
    ];
    const match = "--match reason=timeout --match topic=orders";
    const { io } = await run(`${line} ${match}`, replaying(all));
    expect(slicesOf(io, "dlq.replay")).toEqual([[1]]);
  });

  test("by offset tells which are no dead letters any more, and ends with 1", async () => {
    const { io, code } = await run(`${line} --offset 2 4 --offset 99`, replaying(letters(5)));
    expect(slicesOf(io, "dlq.replay")).toEqual([[2, 4]]);
    expect(io.out).toContain("No dead letter (any more) at offset 99.");
    expect(code).toBe(1);
  });

  test("keeps to its rate, slice by slice", async () => {
    const { io } = await run(`${line} --all --per-second 20`, replaying(letters(7)));
    expect(slicesOf(io, "dlq.replay")).toEqual([[0, 1], [2, 3], [4, 5], [6]]);
    expect(io.slept).toEqual([100, 100, 100]);
    expect(io.progress).toEqual(["2/7", "4/7", "6/7", "7/7"]);
  });

  test("puts no more bytes into a slice than one transaction may have", async () => {
    const { io } = await run(`${line} --all`, replaying(letters(5, { bytes: 1_500_000 })));
    expect(slicesOf(io, "dlq.replay")).toEqual([[0, 1], [2, 3], [4]]);
  });

  test("as a dry run shows the choice and changes nothing", async () => {
    const { io, code } = await run("dlq replay billing --all --dry-run", replaying(letters(25)));
    expect(code).toBe(0);
    expect(slicesOf(io, "dlq.replay")).toEqual([]);
    expect(io.lines.slice(-2)).toEqual(["and 5 more", "25 dead letters would be replayed."]);
  });

  test("stopped by a signal says how far it came, and ends with 130", async () => {
    const { io, code } = await run(`${line} --all --per-second 10`, {
      ...replaying(letters(5)),
      onSleep: (_ms, self) => self.signal(),
    });
    expect(slicesOf(io, "dlq.replay")).toEqual([[0]]);
    expect(io.err).toContain("Stopped on the way: 1 of 5 replayed.");
    expect(code).toBe(130);
  });

  test("refused on the way says how far it came, with the broker's code", async () => {
    let slices = 0;
    const world = replaying(letters(3));
    const { io, code } = await run(`${line} --all --per-second 10`, {
      answers: {
        ...world.answers,
        "dlq.replay": ({ offsets }) => {
          if (++slices === 2) throw new EscrowError("DISK_FULL");
          return { done: offsets.length, missing: [] };
        },
      },
    });
    expect(code).toBe(75);
    expect(io.err).toContain("Stopped on the way: 1 of 3 replayed.");
    expect(io.err).toContain("escrow: DISK_FULL: ");
  });

  test.each([
    ["", "Say which: --match, --offset or --all."],
    ["--match id=3", "--match knows reason=… and topic=…, but not id."],
    ["--all --offset 3", "cannot be used with"],
  ])("with %j as the choice is bad usage", async (choice, says) => {
    const { io, code } = await run(`${line} ${choice}`);
    expect(code).toBe(2);
    expect(io.err).toContain(says);
  });

  test("asks on a terminal, and needs --yes elsewhere", async () => {
    const asking = "dlq replay billing --all --reason fixed";
    const world = replaying(letters(2));
    const no = await run(asking, { ...world, isTty: true, typed: ["no"] });
    const piped = await run(asking, world);
    expect([no.code, piped.code]).toEqual([1, 2]);
    expect([...slicesOf(no.io, "dlq.replay"), ...slicesOf(piped.io, "dlq.replay")]).toEqual([]);
  });
});

test("dlq purge wants the group's name, and purges only the choice", async () => {
  const world = replaying(letters(3));
  const line = "dlq purge billing --offset 1 --reason r";
  const wrong = await run(`${line} --yes other`, world);
  const right = await run(`${line} --yes billing`, world);
  expect([wrong.code, right.code]).toEqual([2, 0]);
  expect(slicesOf(wrong.io, "dlq.purge")).toEqual([]);
  expect(slicesOf(right.io, "dlq.purge")).toEqual([[1]]);
});

describe("dlq show", () => {
  const body = new TextEncoder().encode("{}\u001b[2J");
  const message = encodeMessage({ id: "m1", topic: "orders", key: "42", body });

  test("prints the message with its body escaped, and how to replay it", async () => {
    const world = { answers: { "dlq.show": deadLetter({ offset: 17, message }) } };
    const { io } = await run("dlq show billing 17", world);
    expect(io.out).toContain("Dead letter 17 of group billing");
    expect(io.out).toContain("\n{}\\x1b[2J\n");
    expect(io.out).toContain("escrow dlq replay billing --offset 17");
  });

  test("in JSON decodes the message, and gives its bytes when it is none", async () => {
    const shown = async (bytes: Uint8Array) =>
      (
        await run("dlq show billing 17 --json", {
          answers: { "dlq.show": deadLetter({ message: bytes }) },
        })
      ).io.json;
    expect(await shown(message)).toMatchObject({
      message: { id: "m1", key: "42", body: { text: "{}\u001b[2J" } },
    });
    expect(await shown(Uint8Array.of(0xc1))).toMatchObject({ message: { base64: "wQ==" } });
  });
});
