/** The rules of filters and of order by key, over histories made by hand. */
import { describe, expect, it } from "vitest";
import { filterProblems } from "./filters.ts";
import type { Final } from "./final.ts";
import { readKey } from "./history.ts";
import { orderProblems } from "./order.ts";
import { queueProblems } from "./queue.ts";
import { finalWith, GROUP, rulesIn, Story, TOPIC } from "./story.ts";

/** Messages m0, m1, … of these keys; "-" is none. */
function told(keys: string, tell: (story: Story) => void, more: Partial<Final> = {}) {
  const story = new Story();
  story.history.ordered.add(GROUP);
  const ids = [...keys].map((key, at) => {
    const id = `m${at}`;
    story.sent(id);
    story.history.says({ id, topic: TOPIC, digest: 1, key: key === "-" ? undefined : key });
    return id;
  });
  tell(story);
  return rulesIn(orderProblems(story.history, finalWith(ids, more)));
}

describe("order by key", () => {
  it("is kept when each comes after the end of the one before it, whatever came in between", () => {
    const problems = told("aba", (story) => {
      story.delivered("m0", 0);
      const again = story.delivered("m0", 0);
      story.ended(story.delivered("m1", 1), "ack");
      story.ended(again, "ack", "info");
      story.delivered("m2", 2);
      story.delivered("m2", 2);
    });
    expect(problems).toEqual([]);
  });

  it("is kept by an instance that was forgotten, and counts its deliveries anew", () => {
    const problems = told("aa", (story) => {
      story.ended(story.delivered("m0", 0, { no: 30 }), "ack");
      story.delivered("m1", 1, { cursorNo: 2, no: 1 });
    });
    expect(problems).toEqual([]);
  });

  it("is broken when the one before it was not ended by anybody", () => {
    const problems = told("aa", (story) => {
      const first = story.delivered("m0", 0);
      story.delivered("m1", 1);
      story.ended(first, "ack");
    });
    expect(problems).toEqual(["D9"]);
  });

  it("is broken when the one before it was never delivered", () => {
    expect(told("aa", (story) => story.delivered("m1", 1))).toEqual(["D9"]);
  });

  it("is broken when the one before it comes again, though somebody said that it had ended", () => {
    const problems = told("aa", (story) => {
      story.ended(story.delivered("m0", 0), "ack", "info");
      story.delivered("m1", 1);
      story.delivered("m0", 0);
    });
    expect(problems).toEqual(["D9"]);
  });

  it("is broken when a retry is overtaken", () => {
    const problems = told("aa", (story) => {
      story.ended(story.delivered("m0", 0), "retry");
      story.delivered("m1", 1);
      story.ended(story.delivered("m0", 0), "ack");
    });
    expect(problems).toEqual(["D9", "D9"]);
  });

  it("is not known of messages without a key, and between keys", () => {
    const reverse = (story: Story): void => {
      story.delivered("m1", 1);
      story.delivered("m0", 0);
    };
    expect(told("--", reverse)).toEqual([]);
    expect(told("ab", reverse)).toEqual([]);
  });

  it.each(["dead", "gone"] as const)("is kept when the one before it is %s", (standing) => {
    const standings = new Map([[readKey(GROUP, TOPIC, 0), standing]]);
    expect(told("aa", (story) => story.delivered("m1", 1), { standings })).toEqual([]);
  });

  it("is kept when the end of the one before it was committed", () => {
    const transactions = new Map([["tx", "committed"]] as const);
    const tell = (story: Story): void => {
      story.prepared("tx", [], "ok", [story.delivered("m0", 0)]);
      story.delivered("m1", 1);
    };
    expect(told("aa", tell, { transactions })).toEqual([]);
    expect(told("aa", tell)).toEqual(["D9"]);
  });

  it.each(["reset", "replay"] as const)("is over with a %s", (kind) => {
    const problems = told("aa", (story) => {
      const offset = kind === "reset" ? null : 0;
      story.history.ended(story.history.intervenes(kind, GROUP, TOPIC, offset), "ok");
      story.delivered("m1", 1);
      story.delivered("m0", 0);
    });
    expect(problems).toEqual([]);
  });
});

describe("a filter", () => {
  const story = (): Story => {
    const one = new Story();
    for (const id of ["m0", "m1"]) one.sent(id);
    one.history.wants.set(GROUP, [({ id }) => id === "m1"]);
    return one;
  };

  it("is kept when what matches is delivered, and nothing else", () => {
    const one = story();
    one.ended(one.delivered("m1", 1), "ack");
    expect(filterProblems(one.history)).toEqual([]);
    expect(queueProblems(one.history, finalWith(["m0", "m1"]))).toEqual([]);
  });

  it("is broken when something else is delivered", () => {
    const one = story();
    one.ended(one.delivered("m0", 0), "ack");
    expect(rulesIn(filterProblems(one.history))).toEqual(["D18"]);
  });

  it("that was replaced lets either pass, and owes what matches both", () => {
    const one = story();
    one.history.wants.set(GROUP, [({ id }) => id === "m1", () => true]);
    one.ended(one.delivered("m0", 0), "ack");
    expect(filterProblems(one.history)).toEqual([]);
    expect(rulesIn(queueProblems(one.history, finalWith(["m0", "m1"])))).toEqual(["D2"]);
  });

  it("is broken when what matches is not delivered", () => {
    expect(rulesIn(queueProblems(story().history, finalWith(["m0", "m1"])))).toEqual(["D2"]);
  });
});
