/** The rules of transactions, over histories made by hand: each is kept here, and broken there. */
import { describe, expect, it } from "vitest";
import type { State } from "./history.ts";
import { finalWith, rulesIn, Story } from "./story.ts";
import { transactionProblems } from "./transactions.ts";

const ID = "tx";

function broken(tell: (story: Story) => void, state: State | null): readonly string[] {
  const story = new Story();
  tell(story);
  const transactions = new Map(state === null ? [] : ([[ID, state]] as const));
  return rulesIn(transactionProblems(story.history, finalWith([], { transactions })));
}

describe("a transaction", () => {
  it.each<[string, (story: Story) => void, State | null]>([
    [
      "is committed",
      (story) => {
        story.prepared(ID, ["m"]);
        story.decided(ID, "commit");
        story.decided(ID, "commit");
        story.decided(ID, "rollback", "fail", "committed");
      },
      "committed",
    ],
    [
      "is decided by one of two at once",
      (story) => {
        story.prepared(ID);
        const one = story.history.verdict(ID, "commit");
        const other = story.history.verdict(ID, "rollback");
        other.told = "committed";
        story.history.ended(other, "fail");
        story.history.ended(one, "ok");
      },
      "committed",
    ],
    [
      "is decided by a verdict whose answer was lost",
      (story) => {
        story.prepared(ID);
        story.decided(ID, "commit", "info");
      },
      "committed",
    ],
    [
      "is not decided by a verdict that was lost",
      (story) => {
        story.prepared(ID);
        story.decided(ID, "commit", "info");
        story.decided(ID, "rollback");
      },
      "rolledBack",
    ],
    [
      "is decided by a check",
      (story) => {
        story.prepared(ID);
        story.history.suggests(ID, "rollback");
      },
      "rolledBack",
    ],
    [
      "was never prepared, as its prepare was lost",
      (story) => {
        story.prepared(ID, ["m"], "info");
      },
      null,
    ],
    [
      "is prepared twice with the same content",
      (story) => {
        story.prepared(ID, ["m"]);
        story.prepared(ID, ["m"]);
      },
      "parked",
    ],
    [
      "refuses another content",
      (story) => {
        story.prepared(ID, ["m"]);
        story.prepares(ID, ["m", "n"]).isConflict = true;
        story.decided(ID, "commit");
      },
      "committed",
    ],
  ])("keeps all promises when it %s", (_what, tell, state) => {
    expect(broken(tell, state)).toEqual([]);
  });

  it.each<[string, string, (story: Story) => void, State | null]>([
    [
      "T1",
      "a message is seen after the rollback",
      (story) => {
        story.prepared(ID, ["m"]);
        story.decided(ID, "rollback");
        story.delivered("m", 0);
      },
      "rolledBack",
    ],
    [
      "T1",
      "a message is seen that was not prepared with it",
      (story) => {
        story.prepared(ID, ["m"]);
        const again = story.prepares(ID, ["n"]);
        again.isConflict = true;
        story.history.ended(again, "fail");
        story.decided(ID, "commit");
        story.delivered("n", 0);
      },
      "committed",
    ],
    [
      "T1",
      "a message is seen before anybody wanted the commit",
      (story) => {
        story.prepared(ID, ["m"]);
        story.delivered("m", 0);
        story.decided(ID, "commit");
      },
      "committed",
    ],
    [
      "T2",
      "both verdicts are ok (RocketMQ #8158)",
      (story) => {
        story.prepared(ID);
        story.decided(ID, "rollback");
        story.decided(ID, "commit");
      },
      "committed",
    ],
    [
      "T2",
      "a refusal names a verdict that nobody wanted",
      (story) => {
        story.prepared(ID);
        story.decided(ID, "commit", "fail", "rolledBack");
      },
      "committed",
    ],
    [
      "T2",
      "it is committed, and nobody wanted that (RocketMQ #8311, the other way)",
      (story) => {
        story.prepared(ID);
      },
      "committed",
    ],
    [
      "T2",
      "what was seen decided is undecided later",
      (story) => {
        story.prepared(ID);
        story.decided(ID, "commit", "info");
        story.history.asked(ID).heard("committed");
        story.history.asked(ID).heard("undecided");
      },
      "committed",
    ],
    [
      "T2",
      "it is refused as not found while it is there",
      (story) => {
        story.prepared(ID);
        story.decided(ID, "commit", "fail", "none");
      },
      "undecided",
    ],
    [
      "T7",
      "a conflict is named where there is none",
      (story) => {
        story.prepared(ID, ["m"]);
        const again = story.prepares(ID, ["m"]);
        again.isConflict = true;
        story.history.ended(again, "fail");
      },
      "undecided",
    ],
    [
      "T7",
      "another content is taken for the same",
      (story) => {
        story.prepared(ID, ["m"]);
        story.prepared(ID, ["m", "n"]);
      },
      "undecided",
    ],
    ["I1", "a prepare that was ok is lost", (story) => void story.prepared(ID), null],
    [
      "I1",
      "a commit that was ok is undone",
      (story) => {
        story.prepared(ID);
        story.decided(ID, "commit");
        story.history.suggests(ID, "rollback");
      },
      "rolledBack",
    ],
    [
      "T6",
      "a decision that was seen is forgotten",
      (story) => {
        story.prepared(ID, [], "info");
        story.history.asked(ID).heard("undecided");
      },
      null,
    ],
  ])("breaks %s when %s", (rule, _what, tell, state) => {
    expect(broken(tell, state)).toEqual([rule]);
  });

  it("breaks D1 when nobody prepared it", () => {
    expect(broken(() => undefined, "committed")).toEqual(["D1"]);
  });
});
