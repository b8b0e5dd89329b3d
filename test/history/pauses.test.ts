/** The rule of paused groups, over histories made by hand: kept here, and broken there. */
import { describe, expect, it } from "vitest";
import type { Outcome } from "./history.ts";
import { pauseProblems } from "./pauses.ts";
import { GROUP, rulesIn, Story } from "./story.ts";

class PausedStory extends Story {
  paused(isPaused: boolean, outcome: Outcome = "ok"): void {
    this.history.ended(this.history.pauses(GROUP, isPaused), outcome);
  }

  deliveredToNewcomer(group = GROUP): void {
    this.sent("m");
    this.delivered("m", 0, { reader: this.history.reader(group) });
  }
}

function broken(tell: (story: PausedStory) => void): readonly string[] {
  const story = new PausedStory();
  tell(story);
  return rulesIn(pauseProblems(story.history));
}

describe("a paused group", () => {
  it.each<[string, (story: PausedStory) => void]>([
    [
      "what was on its way comes to who reads already",
      (story) => {
        story.sent("m");
        story.paused(true);
        story.delivered("m", 0);
      },
    ],
    [
      "a newcomer gets something after the return",
      (story) => {
        story.paused(true);
        story.paused(false);
        story.deliveredToNewcomer();
      },
    ],
    [
      "a newcomer gets something, and nobody knows how a return ended that was asked for before",
      (story) => {
        story.paused(false, "info");
        story.paused(true);
        story.deliveredToNewcomer();
      },
    ],
    [
      "a newcomer gets something, and the pause was refused",
      (story) => {
        story.paused(true, "fail");
        story.deliveredToNewcomer();
      },
    ],
    [
      "a newcomer of another group gets something",
      (story) => {
        story.paused(true);
        story.deliveredToNewcomer("ledger");
      },
    ],
  ])("keeps D16 when %s", (_what, tell) => {
    expect(broken(tell)).toEqual([]);
  });

  it("breaks D16 when a newcomer gets something", () => {
    expect(
      broken((story) => {
        story.paused(true);
        story.deliveredToNewcomer();
        story.paused(false);
      }),
    ).toEqual(["D16"]);
  });
});
