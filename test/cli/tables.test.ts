/** Tables on terminals that are too narrow for them: what is said less of, and what never is. */
import type { DeadLetterView, DoctorView, TransactionView } from "@escrowmq/protocol";
import { describe, expect, test } from "vitest";
import { run } from "./fake-io.ts";
import { transaction } from "./samples.ts";

const ids = ["4f9Zr0mT1c2yQ7uWbLk8Xg4f9Zr0mT1c", "5ff6ecc53e1c047369c1cf63f08d8618"];
const waiting: readonly TransactionView[] = ids.map((transactionId) =>
  transaction({ transactionId, group: "order-service-eu-west-1" }),
);

/** Lines without their colours. */
async function lines(line: string, world: Parameters<typeof run>[1]): Promise<readonly string[]> {
  const { io } = await run(line, { ...world, env: { NO_COLOR: "1" } });
  return io.out.trimEnd().split("\n");
}

const txList = (items: readonly TransactionView[], columns?: number) =>
  lines("tx list", {
    answers: { "tx.list": { items } },
    ...(columns === undefined ? {} : { isTty: true, columns }),
  });

const widest = (of: readonly string[]): number => Math.max(...of.map(({ length }) => length));

describe("a table on a terminal", () => {
  test("of 80 columns leaves out what may be spared, says what, and never cuts an id", async () => {
    const shown = await txList(waiting, 80);
    expect(shown).toEqual([
      "TRANSACTION                       PRODUCER GROUP           STATE           AGE",
      `${ids[0]}  order-service-eu-west-1  undecided  2 m 13 s`,
      `${ids[1]}  order-service-eu-west-1  undecided  2 m 13 s`,
      "Not shown here: MESSAGES, SIZE, CHECKS, NEXT CHECK. --json has all.",
    ]);
    expect(widest(shown)).toBeLessThanOrEqual(80);
  });

  test("that is wide enough shows everything, as does a pipe", async () => {
    const [wide, pipe] = await Promise.all([txList(waiting, 130), txList(waiting)]);
    expect(wide).toEqual(pipe);
    for (const head of ["MESSAGES", "SIZE", "CHECKS", "NEXT CHECK"])
      expect(wide[0]).toContain(head);
  });

  test("leaves out first what says nothing, without a word", async () => {
    const items = waiting.map((tx) => ({ ...tx, group: "shop", checks: 0 }));
    const shown = await txList(items, 92);
    expect(shown[0]).toMatch(/^TRANSACTION +PRODUCER GROUP +STATE +AGE +MESSAGES +NEXT CHECK$/);
    expect(shown.at(-1)).toBe("Not shown here: SIZE. --json has all.");
  });

  test("cuts a long reason", async () => {
    const letter: DeadLetterView = {
      offset: 3,
      topic: "customer-address-changes",
      originOffset: 39,
      attempts: 16,
      buriedAtMs: 0,
      bytes: 427,
      reason: "SMTP 451 4.7.1 Service unavailable: the mail server says try again later",
    };
    const answers = { "dlq.list": { items: [letter] } };
    const shown = await lines("dlq list billing", { answers, isTty: true, columns: 80 });
    expect(shown[1]).toMatch(/ SMTP 451 4\.7\.1 Service.*…$/);
    expect(widest(shown)).toBeLessThanOrEqual(80);
  });

  test("wraps what doctor says between words, and cuts nothing of it", async () => {
    const text =
      "Group customer-notification-mails in topic orders holds back 300 MiB that could be retired, for 2.0 days: escrow group describe customer-notification-mails";
    const doctor: DoctorView = { findings: [{ level: "warning", area: "retention", text }] };
    const world = { answers: { doctor }, isTty: true, columns: 80 };
    const shown = await lines("doctor", world);
    expect(widest(shown)).toBeLessThanOrEqual(80);
    const said = shown.slice(1, -2).map((line) => line.slice(20).trim());
    expect(said.length).toBeGreaterThan(2);
    expect(said.join(" ")).toBe(text);
  });

  test("that is narrower than what names a thing leaves the names whole", async () => {
    const shown = await txList(waiting, 20);
    expect(shown[1]).toContain(`${ids[0]}  order-service-eu-west-1`);
  });
});
