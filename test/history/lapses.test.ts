/** Messages with a time to live, over histories made by hand. */
import { describe, expect, it } from "vitest";
import type { History } from "./history.ts";
import { GROUP, rulesIn, Story, TOPIC } from "./story.ts";

describe("a time to live", () => {
  const comes = (atMs: number, tell: (history: History) => void = () => undefined) => {
    const { history } = new Story();
    history.says({ id: "m", topic: TOPIC, digest: 1, ttlMs: 1_000 });
    tell(history);
    const message = { id: "m", topic: TOPIC, digest: 1, offset: 0, attempt: 1, leaseMs: 1_000 };
    history.delivered(history.reader(GROUP), { ...message, token: "1.0.1" }, atMs);
    return rulesIn(history.problems);
  };

  it("breaks D15 when the message is delivered long after it", () => {
    const sent = (history: History) => history.visible("m", 5_000);
    expect(comes(6_000, sent)).toEqual([]);
    expect(comes(60_000, sent)).toEqual(["D15"]);
  });

  it("counts from when the message is visible, and from nothing as long as nobody knows", () => {
    expect(comes(60_000)).toEqual([]);
    expect(comes(60_000, (history) => history.visible("m", 59_500))).toEqual([]);
  });

  it("is known to who goes on from a moment of the history", () => {
    const story = new Story();
    story.history.says({ id: "m", topic: TOPIC, digest: 1, ttlMs: 1_000 });
    story.history.visible("m", 0);
    const history = story.history.cut();
    const message = { id: "m", topic: TOPIC, digest: 1, offset: 0, attempt: 1, leaseMs: 1_000 };
    history.delivered(history.reader(GROUP), { ...message, token: "1.0.1" }, 60_000);
    expect(rulesIn(history.problems)).toEqual(["D15"]);
  });
});
