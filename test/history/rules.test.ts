/** The other rules, over histories made by hand, and the judge that asks all of them. */
import { describe, expect, it } from "vitest";
import { conservationProblems } from "./conservation.ts";
import type { Final } from "./final.ts";
import { gapProblems } from "./gaps.ts";
import { type History, type Outcome, readKey } from "./history.ts";
import { judge } from "./judge.ts";
import { livenessProblems } from "./liveness.ts";
import { queueProblems } from "./queue.ts";
import { repeatProblems } from "./repeats.ts";
import type { Talk } from "./replies.ts";
import { finalWith, GROUP, rulesIn, Story, TOPIC } from "./story.ts";

const story = (tell: (story: Story) => void) => {
  const one = new Story();
  tell(one);
  return one.history;
};
const KEY = readKey(GROUP, TOPIC, 0);

describe("a history that keeps all promises", () => {
  it("has no problem", () => {
    const history = story((one) => {
      one.sent("m");
      one.prepared("tx", ["n"]);
      one.decided("tx", "commit");
      one.ended(one.delivered("m", 0), "ack");
      one.ended(one.delivered("n", 1), "ack");
      one.sent("lost", "info");
      one.sent("refused", "fail");
    });
    const transactions = new Map([["tx", "committed"]] as const);
    expect(judge(history, finalWith(["m", "n"], { transactions }))).toEqual([]);
  });
});

describe("the queue", () => {
  const broken = (tell: (story: Story) => void, final: Final): readonly string[] =>
    rulesIn(queueProblems(story(tell), final));

  it("breaks D1 when it holds what nobody sent, or what was for another topic", () => {
    const gone = { standings: new Map([[KEY, "gone"]] as const) };
    expect(broken(() => undefined, finalWith(["m"], gone))).toEqual(["D1"]);
    expect(
      broken(
        (one) => {
          one.says("m", "mail");
          one.history.ended(one.history.send("m", ["m"]), "ok");
        },
        finalWith(["m"], gone),
      ),
    ).toEqual(["D1"]);
  });

  it("breaks D1 when a delivery brings another content, or what nobody sent", () => {
    const history = story((one) => {
      one.sent("m");
      one.delivered("m", 0, { digest: 2 });
      one.delivered("n", 1);
    });
    expect(rulesIn(history.problems)).toEqual(["D1", "D1"]);
  });

  it("breaks D2 when a group is never given a message that it has settled", () => {
    expect(broken((one) => one.sent("m"), finalWith(["m"]))).toEqual(["D2"]);
    const unsettled = { standings: new Map([[KEY, "unsettled"]] as const) };
    expect(broken((one) => one.sent("m"), finalWith(["m"], unsettled))).toEqual([]);
  });

  it.each(["purge", "reset"] as const)("keeps D2 when an operator took it, by a %s", (kind) => {
    const taken = (one: Story): void => {
      one.sent("m");
      const offset = kind === "purge" ? 0 : null;
      one.history.ended(one.history.intervenes(kind, GROUP, TOPIC, offset), "ok");
    };
    expect(broken(taken, finalWith(["m"]))).toEqual([]);
  });

  it("breaks T3 when a message has two places (RocketMQ #8158, #10199)", () => {
    const twice = (one: Story): void => {
      one.sent("m");
      one.delivered("m", 0);
      one.delivered("m", 1);
    };
    expect(broken(twice, finalWith(["m", "m"]))).toEqual(["T3"]);
  });

  it("breaks T3 when a place holds another message later", () => {
    const history = story((one) => {
      one.sent("m");
      one.sent("n");
      one.delivered("m", 0);
      one.delivered("n", 0);
    });
    expect(rulesIn(history.problems)).toEqual(["T3"]);
  });

  it("breaks I3 when half of a send or of a commit is visible", () => {
    const half = (one: Story): void => {
      one.sent("s", "info", ["m", "n"]);
      one.delivered("m", 0);
    };
    expect(broken(half, finalWith(["m"]))).toEqual(["I3"]);
    const halfCommit = (one: Story): void => {
      one.prepared("tx", ["m", "n"]);
      one.delivered("m", 0);
    };
    const transactions = new Map([["tx", "committed"]] as const);
    expect(broken(halfCommit, finalWith(["m"], { transactions }))).toEqual(["I3"]);
  });

  it("breaks T1 when a message of what is not committed is visible", () => {
    const undecided = (one: Story): void => {
      one.prepared("tx", ["m"]);
      one.delivered("m", 0);
    };
    const transactions = new Map([["tx", "undecided"]] as const);
    expect(broken(undecided, finalWith(["m"], { transactions }))).toEqual(["T1"]);
  });

  it("breaks T1 when something was delivered that is not there in the end", () => {
    const seen = (one: Story): void => {
      one.sent("m", "info");
      one.delivered("m", 0);
    };
    expect(broken(seen, finalWith([]))).toEqual(["T1"]);
  });

  it("breaks I1 when a send that was ok, or a topic, is lost", () => {
    expect(broken((one) => one.sent("m"), finalWith([]))).toEqual(["I1"]);
    expect(broken((one) => one.history.topics.add("mail"), finalWith([]))).toEqual(["I1"]);
  });

  it("breaks E2 when a send that failed is visible", () => {
    const failed = (one: Story): void => {
      one.sent("m", "fail");
      one.delivered("m", 0);
    };
    expect(broken(failed, finalWith(["m"]))).toEqual(["E2"]);
  });
});

describe("a repeat", () => {
  const broken = (tell: (story: Story) => void, final = finalWith(["m"])): readonly string[] =>
    rulesIn(repeatProblems(story(tell), final));

  it.each<[string, (story: Story) => void]>([
    [
      "a retry",
      (one) => {
        one.ended(one.delivered("m", 0), "retry");
        one.delivered("m", 0, { attempt: 2 });
      },
    ],
    [
      "a release",
      (one) => {
        one.ended(one.delivered("m", 0), "release");
        one.delivered("m", 0);
      },
    ],
    [
      "a lease that ended",
      (one) => {
        one.delivered("m", 0);
        one.delivered("m", 0, { attempt: 2, atMs: 1_000 });
      },
    ],
    [
      "a reader that left",
      (one) => {
        one.delivered("m", 0);
        one.history.left(one.reader);
        one.delivered("m", 0, { attempt: 2, reader: one.history.reader(GROUP) });
      },
    ],
    [
      "a join",
      (one) => {
        one.prepared("tx", [], "ok", [one.delivered("m", 0)]);
        one.delivered("m", 0);
      },
    ],
    [
      "an operator",
      (one) => {
        one.ended(one.delivered("m", 0, { attempt: 3 }), "bury");
        one.history.ended(one.history.intervenes("replay", GROUP, TOPIC, 0), "ok");
        one.delivered("m", 0);
      },
    ],
  ])("keeps all promises when its cause is %s", (_what, tell) => {
    expect(broken(tell)).toEqual([]);
  });

  it.each<[string, string, (story: Story) => void]>([
    [
      "D5",
      "nobody knows why",
      (one) => {
        one.delivered("m", 0);
        one.delivered("m", 0, { atMs: 500 });
      },
    ],
    [
      "D5",
      "its reader left only afterwards",
      (one) => {
        one.delivered("m", 0);
        one.delivered("m", 0, { reader: one.history.reader(GROUP) });
        one.history.left(one.reader);
      },
    ],
    [
      "D5",
      "the operator's replay was over before",
      (one) => {
        one.history.ended(one.history.intervenes("replay", GROUP, TOPIC, 0), "ok");
        one.delivered("m", 0);
        one.delivered("m", 0);
      },
    ],
    [
      "D6",
      "a delivery comes twice",
      (one) => {
        one.delivered("m", 0, { no: 7 });
        one.delivered("m", 0, { no: 7 });
      },
    ],
    [
      "D6",
      "an attempt that was used up does not count",
      (one) => {
        one.ended(one.delivered("m", 0), "retry");
        one.delivered("m", 0);
      },
    ],
    [
      "D6",
      "attempts rise by two",
      (one) => {
        one.ended(one.delivered("m", 0), "retry");
        one.delivered("m", 0, { attempt: 3 });
      },
    ],
    [
      "D6",
      "attempts fall",
      (one) => {
        one.ended(one.delivered("m", 0, { attempt: 2 }), "release");
        one.delivered("m", 0);
      },
    ],
  ])("breaks %s when %s", (rule, _what, tell) => {
    expect(broken(tell)).toEqual([rule]);
  });
});

describe("conservation (B1)", () => {
  const broken = (
    tell: (story: Story) => void,
    visible: string[],
    halfMessages = 0,
    scheduled = 0,
    ...states: ["tx", "rolledBack"][]
  ) => {
    const figures = { nextOffset: visible.length, halfMessages, scheduled, queued: 0 };
    const accounts = [{ topic: TOPIC, ...figures }];
    const transactions = new Map(states);
    return rulesIn(
      conservationProblems(story(tell), finalWith(visible, { accounts, transactions })),
    );
  };

  it("is kept by what is visible, half, rolled back or unknown", () => {
    const tell = (one: Story): void => {
      one.sent("m");
      one.sent("m");
      one.prepared("half", ["n"]);
      one.prepared("tx", ["o"]);
      one.sent("p", "info");
    };
    expect(broken(tell, ["m"], 1, 0, ["tx", "rolledBack"])).toEqual([]);
    expect(broken(tell, ["m", "p"], 0, 1, ["tx", "rolledBack"])).toEqual([]);
  });

  it("is broken when something is missing", () => {
    expect(broken((one) => one.sent("m"), [])).toEqual(["B1"]);
    expect(broken((one) => void one.prepared("tx", ["m"]), [])).toEqual(["B1"]);
  });

  it("is broken when something is too much", () => {
    expect(broken((one) => one.sent("m"), ["m", "m"])).toEqual(["B1"]);
    expect(broken((one) => one.sent("m", "fail"), ["m"])).toEqual(["B1"]);
    expect(broken((one) => one.sent("m"), ["m"], 1)).toEqual(["B1"]);
  });

  it("counts a message that never got in as one, though nobody knows of its recall", () => {
    const tell = (one: Story): void => {
      one.sent("m", "fail");
      one.history.recall("m");
      one.sent("n", "info");
      one.history.recall("n");
    };
    expect(broken(tell, [])).toEqual([]);
    expect(broken(tell, ["n", "m"])).toEqual(["B1"]);
  });

  it("is broken when the broker miscounts", () => {
    const accounts = [{ topic: TOPIC, nextOffset: 2, halfMessages: 0, scheduled: 0, queued: 0 }];
    const history = story((one) => {
      one.sent("m");
      one.sent("n", "info");
    });
    expect(rulesIn(conservationProblems(history, finalWith(["m"], { accounts })))).toEqual(["B1"]);
  });
});

it("breaks D13 when a message is delivered before its time", () => {
  const early = story((one) => {
    one.history.says({ id: "m", topic: TOPIC, digest: 1, notBeforeMs: 1_000 });
    one.delivered("m", 0, { atMs: 900 });
  });
  expect(rulesIn(early.problems)).toEqual(["D13"]);
});

describe("recall", () => {
  const recalled = (outcome: Outcome, tell: (story: Story) => void = () => undefined) => {
    const all = story((one) => {
      one.sent("m");
      tell(one);
    });
    all.ended(all.recall("m"), outcome);
    return all;
  };
  const rules = (history: History, visible: string[]) =>
    rulesIn(judge(history, finalWith(visible)));

  it("explains why a message is not there, if it was ok, or if nobody knows", () => {
    expect(rules(recalled("ok"), [])).toEqual([]);
    expect(rules(recalled("info"), [])).toEqual([]);
    expect(rules(recalled("fail"), [])).toEqual(["I1", "B1"]);
  });

  it("breaks D14 when a message is visible or delivered although its recall was ok", () => {
    const settled = (one: Story): void => one.ended(one.delivered("m", 0), "ack");
    expect(rules(recalled("ok", settled), ["m"])).toEqual(["D14", "D14"]);
    expect(rules(recalled("info", settled), ["m"])).toEqual([]);
    expect(rules(recalled("fail", settled), ["m"])).toEqual([]);
  });

  it("of one message of a send says nothing of the others", () => {
    const history = story((one) => one.sent("both", "ok", ["m", "n"]));
    history.ended(history.recall("m"), "ok");
    expect(rules(history, [])).toEqual(["I1", "B1"]);
  });
});

describe("liveness", () => {
  it("breaks C1 when something is undecided for ever, or parked where somebody could say", () => {
    for (const state of ["undecided", "parked"] as const) {
      const final = finalWith([], { transactions: new Map([["tx", state]]) });
      expect(
        rulesIn(
          livenessProblems(
            story(() => undefined),
            final,
          ),
        ),
      ).toEqual(["C1"]);
    }
  });

  it("lets a transaction stay parked where nobody can say", () => {
    const final = finalWith([], { transactions: new Map([["tx", "parked"]]) });
    const terms = { ...final.terms, mayStayParked: true };
    expect(
      livenessProblems(
        story(() => undefined),
        { ...final, terms },
      ),
    ).toEqual([]);
  });

  it("breaks D2 when a message is not settled for ever", () => {
    const final = finalWith(["m"], { standings: new Map([[KEY, "unsettled"]]) });
    expect(
      rulesIn(
        livenessProblems(
          story(() => undefined),
          final,
        ),
      ),
    ).toEqual(["D2"]);
  });

  it("lets a message wait for the parked transaction that its ack has joined", () => {
    const history = story((one) => {
      one.prepared("tx", [], "ok", [one.delivered("m", 0)]);
    });
    const final = finalWith(["m"], {
      standings: new Map([[KEY, "unsettled"]]),
      transactions: new Map([["tx", "parked"]]),
    });
    const terms = { ...final.terms, mayStayParked: true };
    expect(livenessProblems(history, { ...final, terms })).toEqual([]);
  });
});

describe("gaps", () => {
  const told = (...said: readonly (readonly [lost: number | undefined, total: number])[]) =>
    story(({ history }) => {
      for (const [lost, total] of said)
        history.problem(history.heard.tell("cache%n orders", lost, total));
    });

  it("break S3 when an instance is told of fewer than it has not heard of", () => {
    expect(rulesIn(told([undefined, 0], [3, 3], [0, 3], [2, 5]).problems)).toEqual([]);
    expect(rulesIn(told([undefined, 0], [3, 3], [1, 5]).problems)).toEqual(["S3"]);
  });

  it("break S3 when one was told to nobody in the end", () => {
    const lost = new Map([["cache%n orders", 2]]);
    const problems = (total: number) => rulesIn(gapProblems(told([undefined, total]), lost));
    expect(problems(2)).toEqual([]);
    expect(problems(1)).toEqual(["S3"]);
  });

  it("are known to who goes on from a moment of the history", () => {
    const before = told([undefined, 0], [2, 2]);
    const lost = new Map([["cache%n orders", 2]]);
    expect(rulesIn(gapProblems(before.cut(), lost))).toEqual([]);
  });
});

describe("replies", () => {
  const heard = (tell: (talk: Talk) => string | null): readonly string[] =>
    rulesIn(story(({ history }) => history.problem(tell(history.talk))).problems);

  it("break Q1 when they come to who did not ask", () => {
    const asked = (hears: string) =>
      heard((talk) => {
        talk.asks("web#1", "r1");
        talk.says("r1", "yes");
        return talk.hears(hears, "r1", "yes");
      });
    expect([asked("web#1"), asked("web#2")]).toEqual([[], ["Q1"]]);
  });

  it("break Q2 when they come more often than they were said, or differ from it", () => {
    const replies = (...contents: readonly string[]) =>
      heard((talk) => {
        talk.asks("web#1", "r1");
        talk.says("r1", "yes");
        return (
          contents
            .map((content) => talk.hears("web#1", "r1", content))
            .find((one) => one !== null) ?? null
        );
      });
    expect([replies("yes"), replies("yes", "yes"), replies("no")]).toEqual([[], ["Q2"], ["Q2"]]);
  });
});
