/** The rules of deliveries, over histories made by hand: each is kept here, and broken there. */
import { describe, expect, it } from "vitest";
import { deliveryProblems } from "./deliveries.ts";
import type { Final, Standing } from "./final.ts";
import { readKey, type State } from "./history.ts";
import { finalWith, GROUP, rulesIn, Story, TOPIC } from "./story.ts";

const KEY = readKey(GROUP, TOPIC, 0);

interface End {
  readonly standing?: Standing;
  readonly transaction?: State;
  readonly terms?: Partial<Final["terms"]>;
}

function broken(tell: (story: Story) => void, { standing, transaction, terms }: End = {}) {
  const story = new Story();
  story.sent("m");
  tell(story);
  const final = finalWith(["m"], {
    standings: new Map(standing === undefined ? [] : ([[KEY, standing]] as const)),
    transactions: new Map(transaction === undefined ? [] : ([["tx", transaction]] as const)),
  });
  return rulesIn(
    deliveryProblems(story.history, { ...final, terms: { ...final.terms, ...terms } }),
  );
}

/** A delivery whose ack joins `tx`. */
function joined(story: Story): void {
  story.prepared("tx", [], "ok", [story.delivered("m", 0)]);
}

describe("a delivery", () => {
  it.each<[string, (story: Story) => void, End?]>([
    ["is acked", (story) => story.ended(story.delivered("m", 0), "ack")],
    [
      "comes again and is acked then",
      (story) => {
        story.delivered("m", 0);
        story.ended(story.delivered("m", 0), "ack");
      },
    ],
    [
      "is acked, which nobody hears of, and comes again",
      (story) => {
        story.ended(story.delivered("m", 0), "ack", "info");
        story.ended(story.delivered("m", 0), "ack");
      },
    ],
    [
      "is settled by an ack that nobody hears of",
      (story) => {
        story.ended(story.delivered("m", 0), "ack", "info");
      },
    ],
    [
      "is refused as stale after it came again",
      (story) => {
        const old = story.delivered("m", 0);
        const last = story.delivered("m", 0);
        story.ended(old, "ack", "fail");
        story.ended(last, "ack");
      },
    ],
    ["is buried", (story) => story.ended(story.delivered("m", 0), "bury"), { standing: "dead" }],
    [
      "is buried, brought back and acked",
      (story) => {
        story.ended(story.delivered("m", 0), "bury");
        story.history.ended(story.history.intervenes("replay", GROUP, TOPIC, 0), "ok");
        story.ended(story.delivered("m", 0), "ack");
      },
    ],
    [
      "is buried and purged",
      (story) => {
        story.ended(story.delivered("m", 0), "bury");
        story.history.ended(story.history.intervenes("purge", GROUP, TOPIC, 0), "ok");
      },
    ],
    [
      "runs out of attempts",
      (story) => {
        story.ended(story.delivered("m", 0), "retry");
      },
      { standing: "dead", terms: { mayBuryByItself: true } },
    ],
    [
      "comes again after its group was taken back",
      (story) => {
        story.ended(story.delivered("m", 0), "ack");
        story.history.ended(story.history.intervenes("reset", GROUP, TOPIC), "ok");
        story.ended(story.delivered("m", 0), "ack");
      },
    ],
    [
      "is buried, comes again after a reset, joins what is committed, and is brought back out of the dead letters",
      (story) => {
        story.ended(story.delivered("m", 0), "bury");
        story.history.ended(story.history.intervenes("reset", GROUP, TOPIC), "ok");
        joined(story);
        story.decided("tx", "commit");
        story.history.ended(story.history.intervenes("replay", GROUP, TOPIC, 0), "ok");
        story.ended(story.delivered("m", 0), "ack");
      },
      { transaction: "committed" },
    ],
    [
      "is buried, comes again after a reset, is buried once more, and one of the two dead letters is brought back",
      (story) => {
        story.ended(story.delivered("m", 0), "bury");
        story.history.ended(story.history.intervenes("reset", GROUP, TOPIC), "ok");
        story.ended(story.delivered("m", 0), "bury");
        story.history.ended(story.history.intervenes("replay", GROUP, TOPIC, 0), "ok");
        story.ended(story.delivered("m", 0), "ack");
      },
      { standing: "dead" },
    ],
    [
      "is skipped, and its ack is stale then",
      (story) => {
        const delivery = story.delivered("m", 0);
        story.history.ended(story.history.intervenes("skip", GROUP, TOPIC, 0), "ok");
        story.ended(delivery, "ack", "fail");
      },
    ],
    [
      "is skipped, which nobody hears of, and comes again",
      (story) => {
        story.delivered("m", 0);
        story.history.ended(story.history.intervenes("skip", GROUP, TOPIC, 0), "info");
        story.ended(story.delivered("m", 0), "ack");
      },
    ],
    [
      "shares the fate of a commit",
      (story) => {
        joined(story);
        story.decided("tx", "commit");
      },
      { transaction: "committed" },
    ],
    [
      "shares the fate of a rollback",
      (story) => {
        joined(story);
        story.decided("tx", "rollback");
        story.ended(story.delivered("m", 0), "ack");
      },
      { transaction: "rolledBack" },
    ],
    [
      "is pending as long as its transaction is parked",
      joined,
      {
        standing: "unsettled",
        transaction: "parked",
      },
    ],
  ])("keeps all promises when it %s", (_what, tell, end) => {
    expect(broken(tell, end)).toEqual([]);
  });

  it.each<[string, string, (story: Story) => void, End?]>([
    [
      "D4",
      "it comes again after its ack was ok",
      (story) => {
        story.ended(story.delivered("m", 0), "ack");
        story.delivered("m", 0);
      },
    ],
    [
      "D3",
      "an old token is acked ok",
      (story) => {
        const old = story.delivered("m", 0);
        story.delivered("m", 0);
        story.ended(old, "ack");
      },
    ],
    [
      "D3",
      "it is acked twice",
      (story) => {
        const delivery = story.delivered("m", 0);
        story.ended(delivery, "retry");
        story.ended(delivery, "ack");
      },
    ],
    [
      "D4",
      "it comes again while its ack is pending (T9)",
      (story) => {
        joined(story);
        story.delivered("m", 0);
        story.decided("tx", "commit");
      },
      { transaction: "committed" },
    ],
    [
      "D4",
      "it is given back before anybody wanted the rollback (T9)",
      (story) => {
        joined(story);
        story.delivered("m", 0);
        story.decided("tx", "rollback");
      },
      { standing: "unsettled", transaction: "rolledBack" },
    ],
    ["D2", "it is settled by nobody", (story) => void story.delivered("m", 0)],
    [
      "D2",
      "its ack was ok, and it is not settled",
      (story) => {
        story.ended(story.delivered("m", 0), "ack");
      },
      { standing: "unsettled" },
    ],
    [
      "D2",
      "its ack was ok, and it is a dead letter",
      (story) => {
        story.ended(story.delivered("m", 0), "ack");
      },
      { standing: "dead", terms: { mayBuryByItself: true } },
    ],
    [
      "D2",
      "it was buried, and is no dead letter",
      (story) => {
        story.ended(story.delivered("m", 0), "bury");
      },
    ],
    [
      "D2",
      "it is a dead letter that nobody buried",
      (story) => {
        story.delivered("m", 0);
      },
      { standing: "dead" },
    ],
    [
      "D3",
      "its ack is ok after it was skipped (D17)",
      (story) => {
        const delivery = story.delivered("m", 0);
        story.history.ended(story.history.intervenes("skip", GROUP, TOPIC, 0), "ok");
        story.ended(delivery, "ack");
      },
    ],
    [
      "D2",
      "it was skipped, and is not settled (D17)",
      (story) => {
        story.delivered("m", 0);
        story.history.ended(story.history.intervenes("skip", GROUP, TOPIC, 0), "ok");
      },
      { standing: "unsettled" },
    ],
    [
      "D2",
      "its join was rolled back, and it is settled",
      (story) => {
        joined(story);
        story.decided("tx", "rollback");
      },
      { transaction: "rolledBack" },
    ],
  ])("breaks %s when %s", (rule, _what, tell, end) => {
    expect(broken(tell, end)).toEqual([rule]);
  });
});
