/** The rule of reserved keys, over histories made by hand: kept here, and broken there. */
import { describe, expect, it } from "vitest";
import { conservationProblems } from "./conservation.ts";
import type { Final } from "./final.ts";
import type { Outcome, SaidMessage, State } from "./history.ts";
import { queueProblems } from "./queue.ts";
import { recallProblems } from "./recalls.ts";
import { reservationProblems } from "./reservations.ts";
import { finalWith, GROUP, rulesIn, Story, TOPIC } from "./story.ts";

const ANN = { key: "ann" };

class KeyedStory extends Story {
  reserves(id: string, message: string, outcome: Outcome = "ok", of: Partial<SaidMessage> = ANN) {
    this.tells(message, of);
    this.history.ended(this.history.prepare(id, [message], [], true), outcome);
  }

  /** Does not reserve them. */
  readies(id: string, message: string): void {
    this.tells(message, ANN);
    this.history.ended(this.history.prepare(id, [message]), "ok");
  }

  sends(message: string, of: Partial<SaidMessage> = ANN, outcome: Outcome = "ok"): void {
    this.tells(message, of);
    this.history.ended(this.history.send(message, [message]), outcome);
  }

  tells(id: string, of: Partial<SaidMessage>): void {
    this.history.says({ id, topic: TOPIC, digest: 1, ...of });
  }
}

type Told = (story: KeyedStory) => void;

const stateIn = (state: State, visible: readonly string[], more: Partial<Final> = {}): Final =>
  finalWith(visible, { transactions: new Map([["tx", state]]), ...more });

function brokenBy(tell: Told, final: Final): readonly string[] {
  const story = new KeyedStory();
  tell(story);
  return rulesIn(reservationProblems(story.history, final));
}

const waitingFor = (message: string) => ({
  waiting: new Set([message]),
  accounts: [{ topic: TOPIC, nextOffset: 0, halfMessages: 1, scheduled: 0, queued: 1 }],
});

describe("a reserved key", () => {
  it.each<[string, Told, Final]>([
    [
      "what is sent later comes after the verdict, behind the transaction's message",
      (story) => {
        story.reserves("tx", "own");
        story.sends("m");
        story.decided("tx", "commit");
        story.delivered("own", 0);
        story.delivered("m", 1);
      },
      stateIn("committed", ["own", "m"]),
    ],
    [
      "what is sent later comes after a rollback",
      (story) => {
        story.reserves("tx", "own");
        story.sends("m");
        story.decided("tx", "rollback");
        story.delivered("m", 0);
      },
      stateIn("rolledBack", ["m"]),
    ],
    [
      "it comes as soon as a verdict is asked for, whose answer is lost",
      (story) => {
        story.reserves("tx", "own");
        story.sends("m");
        story.decided("tx", "commit", "info");
        story.delivered("m", 1);
      },
      stateIn("committed", ["own", "m"]),
    ],
    [
      "it comes after a check was answered",
      (story) => {
        story.reserves("tx", "own");
        story.sends("m");
        story.history.suggests("tx", "rollback");
        story.delivered("m", 0);
      },
      stateIn("rolledBack", ["m"]),
    ],
    [
      "it was sent before the prepare was answered",
      (story) => {
        story.tells("own", ANN);
        const prepare = story.history.prepare("tx", ["own"], [], true);
        story.sends("m");
        story.history.ended(prepare, "ok");
        story.delivered("m", 0);
        story.decided("tx", "commit");
      },
      stateIn("committed", ["m", "own"]),
    ],
    [
      "nobody knows whether it was prepared",
      (story) => {
        story.reserves("tx", "own", "info");
        story.sends("m");
        story.delivered("m", 0);
      },
      stateIn("none", ["m"]),
    ],
    [
      "it was prepared twice, and once without asking for that",
      (story) => {
        story.history.ended(story.history.prepare("tx", ["own"]), "info");
        story.reserves("tx", "own");
        story.sends("m");
        story.delivered("m", 0);
      },
      stateIn("parked", ["m"]),
    ],
    [
      "another key, another topic, no key and a transaction's own delayed message are free",
      (story) => {
        story.reserves("tx", "own");
        story.reserves("later", "own-later", "ok", { key: "eve", isDelayed: true });
        story.sends("bob", { key: "bob" });
        story.sends("mail", { ...ANN, topic: "mail" });
        story.sends("none", {});
        story.sends("eve", { key: "eve" });
        for (const [offset, id] of ["bob", "none", "eve"].entries()) story.delivered(id, offset);
      },
      stateIn("parked", ["bob", "none", "eve"]),
    ],
    [
      "it waits for one that is parked",
      (story) => {
        story.reserves("tx", "own");
        story.sends("m");
      },
      stateIn("parked", [], waitingFor("m")),
    ],
    [
      "what is sent one after the other stands so, though nobody knows how a third send ended",
      (story) => {
        story.sends("m");
        story.sends("lost", ANN, "info");
        story.sends("n");
      },
      finalWith(["m", "n", "lost"]),
    ],
  ])("keeps D20 when %s", (_what, tell, final) => {
    expect(brokenBy(tell, final)).toEqual([]);
  });

  it.each<[string, Told, Final]>([
    [
      "what is sent later is delivered before anybody decides",
      (story) => {
        story.reserves("tx", "own");
        story.sends("m");
        story.delivered("m", 0);
        story.decided("tx", "rollback");
      },
      stateIn("rolledBack", ["m"]),
    ],
    [
      "it is delivered after a verdict that was refused, and before the one that counts",
      (story) => {
        story.reserves("tx", "own");
        story.sends("m");
        story.decided("tx", "commit", "fail");
        story.delivered("m", 1);
        story.decided("tx", "commit");
      },
      stateIn("committed", ["own", "m"]),
    ],
    [
      "it is delivered though the transaction is parked in the end",
      (story) => {
        story.reserves("tx", "own");
        story.sends("m");
        story.delivered("m", 0);
      },
      stateIn("parked", ["m"]),
    ],
    [
      "what falls due later is delivered before",
      (story) => {
        story.reserves("tx", "own");
        story.sends("m", { ...ANN, isDelayed: true });
        story.delivered("m", 0);
      },
      stateIn("parked", ["m"]),
    ],
    [
      "another transaction that was prepared later is seen before",
      (story) => {
        story.reserves("tx", "own");
        story.readies("next", "m");
        story.decided("next", "commit");
        story.delivered("m", 0);
      },
      stateIn("parked", ["m"]),
    ],
    [
      "what is sent later stands before the transaction's message",
      (story) => {
        story.reserves("tx", "own");
        story.sends("m");
        story.decided("tx", "commit");
      },
      stateIn("committed", ["m", "own"]),
    ],
    [
      "what is sent one after the other stands the other way round",
      (story) => {
        story.sends("m");
        story.sends("n");
      },
      finalWith(["n", "m"]),
    ],
    [
      "it waits, and the transaction is decided",
      (story) => {
        story.reserves("tx", "own");
        story.sends("m");
        story.decided("tx", "rollback");
      },
      stateIn("rolledBack", [], waitingFor("m")),
    ],
    [
      "it waits, and its key is another one",
      (story) => {
        story.reserves("tx", "own");
        story.sends("m", { key: "bob" });
      },
      stateIn("parked", [], waitingFor("m")),
    ],
  ])("breaks D20 when %s", (_what, tell, final) => {
    expect(brokenBy(tell, final)).toEqual(["D20"]);
  });
});

describe("what waits behind it", () => {
  const story = (): KeyedStory => {
    const one = new KeyedStory();
    one.reserves("tx", "own");
    one.sends("m");
    return one;
  };
  const parked = stateIn("parked", [], waitingFor("m"));

  it("is neither lost (I1) nor unaccounted for (B1)", () => {
    const { history } = story();
    expect([...queueProblems(history, parked), ...conservationProblems(history, parked)]).toEqual(
      [],
    );
  });

  it("is lost when it waits nowhere", () => {
    const { history } = story();
    const { accounts } = waitingFor("m");
    const figures = accounts.map((one) => ({ ...one, queued: 0 }));
    const final = stateIn("parked", [], { accounts: figures });
    expect(rulesIn(queueProblems(history, final))).toEqual(["I1"]);
    expect(rulesIn(conservationProblems(history, final))).toEqual(["B1"]);
  });

  it("is gone when it was called back (D14)", () => {
    const one = story();
    one.history.ended(one.history.recall("m"), "ok");
    expect(rulesIn(recallProblems(one.history, parked))).toEqual(["D14"]);
    expect(recallProblems(one.history, stateIn("parked", []))).toEqual([]);
  });

  it("is nothing that nobody sent (D1)", () => {
    const one = new KeyedStory();
    one.reserves("tx", "own");
    const final = stateIn("parked", [], { ...waitingFor("m"), groups: [GROUP] });
    expect(rulesIn(reservationProblems(one.history, final))).toEqual(["D1"]);
  });
});
