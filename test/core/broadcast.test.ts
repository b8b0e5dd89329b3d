/** Broadcast: every instance gets every message, holds nothing back, and is told what it lost. */
import { describe, expect, test } from "vitest";
import { Engine } from "../../broker/src/core/engine.ts";
import { audit, fill, MINUTE, offsetsOf, retry, tokensOf } from "../support/sim-billing.ts";
import {
  adminValue,
  codeOf,
  Driver,
  deliveriesOf,
  type Effects,
  message,
  only,
  type Reply,
} from "../support/sim-driver.ts";

const HOUR = 60 * MINUTE;

type Start = {
  from?: "earliest" | "latest";
  group?: string;
  subscription?: number;
  filter?: string;
};

function join(
  driver: Driver,
  instance: string,
  { group = "cache", subscription = 1, ...start }: Start = {},
): Effects & { readonly reply: Reply; readonly connection: number } {
  const connection = driver.connect(instance);
  const topics = [{ topic: "prices", ...start }];
  const frame = { type: "subscribe", subscription, group, topics, instance } as const;
  return { connection, ...driver.request(connection, frame) };
}

function stage(policy: ConstructorParameters<typeof Driver>[0] = {}): Driver {
  const driver = new Driver(policy);
  driver.topic("prices");
  return driver;
}

const gapsOf = (reply: Reply): unknown => (reply.type === "ok" ? reply.gaps : reply.code);

const framesOf = (effects: Effects, type: "gap" | "ended") =>
  effects.sends.flatMap((send) =>
    send.kind === "frame" && send.frame.type === type ? [{ to: send.to, ...send.frame }] : [],
  );

const retainFor = (driver: Driver, retentionMs: number): void => {
  driver.ask({ type: "topic.update", topic: "prices", retentionMs });
};

describe("an instance", () => {
  test("gets every message, whatever the others do with it", () => {
    const driver = stage();
    const one = join(driver, "node-1").connection;
    const other = join(driver, "node-2").connection;
    fill(driver, "prices", 3);
    const got = driver.credit(one, 9);
    driver.ack(one, ...tokensOf(got));
    expect(offsetsOf(got)).toEqual([0, 1, 2]);
    expect(offsetsOf(driver.credit(other, 9))).toEqual([0, 1, 2]);
  });

  test("that is new does not want the past, unless it says so", () => {
    const driver = stage();
    fill(driver, "prices", 2);
    const late = join(driver, "late").connection;
    const early = join(driver, "early", { from: "earliest" }).connection;
    fill(driver, "prices", 1);
    expect(offsetsOf(driver.credit(late, 9))).toEqual([2]);
    expect(offsetsOf(driver.credit(early, 9))).toEqual([0, 1, 2]);
  });

  test("goes on where it was when it comes back, through a crash of the broker, too", () => {
    const driver = stage();
    const { connection } = join(driver, "node-1");
    fill(driver, "prices", 3);
    const [first] = driver.credit(connection, 1);
    driver.ack(connection, first?.token ?? "");
    driver.disconnect(connection);
    driver.crash();
    fill(driver, "prices", 1);
    expect(offsetsOf(driver.credit(join(driver, "node-1").connection, 9))).toEqual([1, 2, 3]);
  });

  test("has the policy of its group, and its changes", () => {
    const driver = stage();
    const { connection } = join(driver, "node-1");
    driver.ask({ type: "group.update", group: "cache", leaseMs: 5_000 });
    fill(driver, "prices", 1);
    driver.credit(connection, 1);
    driver.ask({ type: "group.update", group: "cache", attemptsMax: 3 });
    const { policy } = driver.engine.core.state.groupsByName.get("cache%node-1") ?? {};
    expect(policy).toMatchObject({ leaseMs: 5_000, attemptsMax: 3 });
  });

  test("that was ordered gets what was held back as soon as its group is ordered no more", () => {
    const driver = stage();
    driver.ask({ type: "group.update", group: "cache", ordered: true });
    const { connection } = join(driver, "node-1");
    fill(driver, "prices", 3, "x@a");
    expect(offsetsOf(driver.credit(connection, 9))).toEqual([0]);
    const update = { type: "group.update", group: "cache", ordered: false } as const;
    expect(offsetsOf(deliveriesOf(driver.ask(update)))).toEqual([1, 2]);
  });

  test("has a filter of its own, whatever its group and the others read; a new one takes its place", () => {
    const driver = stage();
    driver.filtering("cache", "prices", "gold");
    const silver = join(driver, "node-1", { filter: "silver" });
    const all = join(driver, "node-2");
    expect([silver, all].map(({ reply }) => codeOf(reply))).toEqual(["ok", "ok"]);
    fill(driver, "prices", 1, "x#gold");
    const again = join(driver, "node-1", { filter: "copper" });
    expect(codeOf(again.reply)).toBe("ok");
    fill(driver, "prices", 1, "x#silver");
    fill(driver, "prices", 1, "x#copper");
    expect(offsetsOf(driver.credit(again.connection, 9))).toEqual([2]);
    expect(offsetsOf(driver.credit(all.connection, 9))).toEqual([0, 1, 2]);
  });

  test("does not lose what its filter passes over, what lapsed, or what was skipped", () => {
    const driver = stage();
    const { connection } = join(driver, "node-1", { filter: "gold" });
    fill(driver, "prices", 1, "x#silver");
    fill(driver, "prices", 2, "x#gold");
    const [lapsed, skipped] = driver.credit(connection, 9);
    driver.unsent("lapsed", lapsed?.token ?? "");
    const offsets = [skipped?.offset ?? 0];
    const skip = { type: "group.skip", group: "cache%node-1", topic: "prices", offsets } as const;
    expect(adminValue(driver.ask({ ...skip, ...audit }).reply)).toMatchObject({ done: 1 });
    driver.disconnect(connection);
    expect(gapsOf(join(driver, "node-1", { filter: "gold" }).reply)).toEqual([
      { topic: "prices", lost: 0, total: 0 },
    ]);
  });

  test("is no member of its group: an ordinary subscription has a progress of its own", () => {
    const driver = stage();
    const ordinary = driver.consumer("cache", "prices");
    const { connection } = join(driver, "node-1");
    fill(driver, "prices", 1);
    expect(offsetsOf(driver.credit(ordinary, 1))).toEqual([0]);
    expect(offsetsOf(driver.credit(connection, 1))).toEqual([0]);
  });
});

describe("who subscribes by the name of an instance that is here", () => {
  test("takes its place: the one before is told, and what it had comes again as the next attempt", () => {
    const driver = stage({});
    driver.ask({ type: "group.update", group: "cache", retryDelaysMs: [0] });
    const before = join(driver, "node-1").connection;
    fill(driver, "prices", 1);
    const old = only(driver.credit(before, 1));
    const after = join(driver, "node-1");
    expect(framesOf(after, "ended")).toMatchObject([
      { to: before, subscription: 1, code: "INSTANCE_REPLACED" },
    ]);
    expect(driver.credit(before, 9)).toEqual([]);
    expect(driver.ack(before, old.token).reply).toMatchObject({ stale: [old.token] });
    expect(only(driver.credit(after.connection, 1))).toMatchObject({ offset: 0, attempt: 2 });
    driver.disconnect(before);
    fill(driver, "prices", 1);
    expect(offsetsOf(driver.credit(after.connection, 9))).toEqual([1]);
  });

  test("may be the same connection, under another number", () => {
    const driver = stage();
    const { connection } = join(driver, "node-1");
    const topics = [{ topic: "prices" }];
    const again = { type: "subscribe", subscription: 2, group: "cache", topics } as const;
    const effects = driver.request(connection, { ...again, instance: "node-1" });
    expect(codeOf(effects.reply)).toBe("ok");
    expect(framesOf(effects, "ended")).toMatchObject([{ to: connection, subscription: 1 }]);
  });
});

describe("a gap", () => {
  test("is told while the instance is here: retention does not wait for it", () => {
    const driver = stage();
    retainFor(driver, 1_000);
    const { connection } = join(driver, "node-1");
    fill(driver, "prices", 3);
    const told = framesOf(driver.advance(5_000), "gap");
    expect(told).toMatchObject([
      { to: connection, subscription: 1, gaps: [{ topic: "prices", lost: 3, total: 3 }] },
    ]);
    expect(driver.engine.core.state.topicsByName.get("prices")?.firstOffset).toBe(3);
  });

  test("does not hold what an ordinary group has still to settle", () => {
    const driver = stage();
    retainFor(driver, 1_000);
    join(driver, "node-1");
    driver.consumer("billing", "prices");
    fill(driver, "prices", 1);
    expect(framesOf(driver.advance(HOUR), "gap")).toEqual([]);
  });

  test("spares what the instance has in hand", () => {
    const driver = stage();
    const { connection } = join(driver, "node-1");
    retainFor(driver, 1_000);
    fill(driver, "prices", 2);
    const { token } = only(driver.credit(connection, 1));
    expect(framesOf(driver.advance(10_000), "gap")).toEqual([]);
    const told = framesOf(driver.ack(connection, token), "gap");
    const later = framesOf(driver.advance(2_000), "gap");
    expect([...told, ...later]).toMatchObject([{ gaps: [{ lost: 1 }] }]);
  });

  test("is told to who was away, each time until its credit shows that it was heard", () => {
    const driver = stage();
    retainFor(driver, 1_000);
    const first = join(driver, "node-1");
    expect(gapsOf(first.reply)).toEqual([{ topic: "prices", total: 0 }]);
    driver.disconnect(first.connection);
    fill(driver, "prices", 2);
    driver.advance(5_000);
    const unheard = join(driver, "node-1");
    expect(gapsOf(unheard.reply)).toEqual([{ topic: "prices", lost: 2, total: 2 }]);
    driver.disconnect(unheard.connection);
    driver.crash();
    const heard = join(driver, "node-1");
    expect(gapsOf(heard.reply)).toEqual([{ topic: "prices", lost: 2, total: 2 }]);
    driver.credit(heard.connection, 1);
    driver.disconnect(heard.connection);
    driver.crash();
    expect(gapsOf(join(driver, "node-1").reply)).toEqual([{ topic: "prices", lost: 0, total: 2 }]);
  });

  test("that comes between the answer and the first credit is told again", () => {
    const driver = stage();
    retainFor(driver, 1_000);
    const first = join(driver, "node-1").connection;
    driver.disconnect(first);
    fill(driver, "prices", 1);
    driver.advance(5_000);
    const { connection } = join(driver, "node-1");
    fill(driver, "prices", 1);
    expect(framesOf(driver.advance(5_000), "gap")).toMatchObject([
      { gaps: [{ lost: 1, total: 2 }] },
    ]);
    driver.credit(connection, 1);
    driver.disconnect(connection);
    expect(gapsOf(join(driver, "node-1").reply)).toEqual([{ topic: "prices", lost: 1, total: 2 }]);
  });

  test.each(["retry", "bury"] as const)(
    "follows the last attempt (%s): the instance goes on without the message, and it is no dead letter",
    (end) => {
      const driver = stage();
      driver.ask({ type: "group.update", group: "cache", attemptsMax: 1 });
      const { connection } = join(driver, "node-1");
      fill(driver, "prices", 2);
      const [first] = driver.credit(connection, 1);
      const token = first?.token ?? "";
      const effects =
        end === "retry"
          ? retry(driver, connection, token)
          : driver.request(connection, { type: "bury", token, reason: "no" });
      expect(effects.records).toMatchObject([{ kind: "abandoned", offset: 0 }]);
      expect(framesOf(effects, "gap")).toMatchObject([{ gaps: [{ lost: 1, total: 1 }] }]);
      expect(driver.engine.core.state.topicsByName.has("%DLQ%cache%node-1")).toBe(false);
      expect(offsetsOf(driver.credit(connection, 9))).toEqual([1]);
    },
  );

  test("by a connection that broke in the last attempt is told when it is back", () => {
    const driver = stage();
    driver.ask({ type: "group.update", group: "cache", attemptsMax: 1 });
    const { connection } = join(driver, "node-1");
    fill(driver, "prices", 1);
    driver.credit(connection, 1);
    expect(framesOf(driver.disconnect(connection), "gap")).toEqual([]);
    expect(gapsOf(join(driver, "node-1").reply)).toEqual([{ topic: "prices", lost: 1, total: 1 }]);
  });
});

describe("an instance that stays away", () => {
  const KEPT = 72 * HOUR;
  const names = (driver: Driver): string[] => [...driver.engine.core.state.groupsByName.keys()];

  test("is forgotten after its time, and is a new one when it comes back", () => {
    const driver = stage();
    driver.disconnect(join(driver, "node-1").connection);
    expect(driver.advance(KEPT - 1).records.map(({ kind }) => kind)).not.toContain(
      "instanceForgotten",
    );
    expect(driver.advance(1).records).toMatchObject([{ kind: "instanceForgotten" }]);
    expect(names(driver)).toEqual(["cache"]);
    expect(driver.engine.core.state.cursors.size).toBe(0);
    expect(gapsOf(join(driver, "node-1").reply)).toEqual([{ topic: "prices", total: 0 }]);
  });

  test("is not while it is here, however long that is", () => {
    const driver = stage();
    join(driver, "node-1");
    expect(driver.advance(10 * KEPT).records).toEqual([]);
  });

  test("has its time from the start of the broker, if it was here before", () => {
    const driver = stage();
    join(driver, "node-1");
    driver.advance(KEPT);
    driver.crash(KEPT);
    driver.advance(KEPT - 1);
    expect(names(driver)).toContain("cache%node-1");
    driver.advance(1);
    expect(names(driver)).not.toContain("cache%node-1");
  });

  test("is not charged for the time that the broker was down", () => {
    const driver = stage();
    driver.disconnect(join(driver, "node-1").connection);
    driver.crash(KEPT);
    driver.advance(KEPT - 1);
    expect(names(driver)).toContain("cache%node-1");
    driver.advance(1);
    expect(names(driver)).not.toContain("cache%node-1");
  });

  test("stays as long as an undecided transaction has an ack of its", () => {
    const driver = stage({ undecidedAgeMaxMs: 1_000 * HOUR });
    const { connection } = join(driver, "node-1");
    const producer = driver.producer("shop");
    driver.send(producer, "s1", message("prices"));
    const { token } = only(driver.credit(connection, 1));
    driver.prepare(producer, "t".repeat(22), { acks: [token] });
    driver.disconnect(connection);
    driver.advance(KEPT + HOUR);
    expect(names(driver)).toContain("cache%node-1");
    driver.verdict(producer, "t".repeat(22), "commit");
    driver.advance(2 * MINUTE);
    expect(names(driver)).not.toContain("cache%node-1");
  });

  test("makes room for a new one when the group has as many as it may; the longest away goes first", () => {
    const driver = stage({ instancesPerGroupMax: 2 });
    const one = join(driver, "node-1").connection;
    driver.disconnect(join(driver, "node-2").connection);
    driver.advance(1_000);
    driver.disconnect(one);
    join(driver, "node-3");
    expect(names(driver)).toEqual(["cache", "cache%node-1", "cache%node-3"]);
  });

  test("is missed by nobody: with all of them here a new one is refused, and nothing has changed", () => {
    const driver = stage({ instancesPerGroupMax: 1 });
    join(driver, "node-1");
    const before = driver.saved();
    const { reply, records } = join(driver, "node-2");
    expect([codeOf(reply), records]).toEqual(["INSTANCE_LIMIT", []]);
    expect(driver.saved()).toEqual(before);
  });
});

describe("operators", () => {
  test("see instances in their group and not beside it, and each by its reader name", () => {
    const driver = stage();
    retainFor(driver, 1_000);
    driver.disconnect(join(driver, "node-2").connection);
    fill(driver, "prices", 2);
    driver.advance(5_000);
    join(driver, "node-1");
    const list = adminValue(driver.ask({ type: "group.list" }).reply);
    expect(list).toMatchObject({
      items: [{ group: "cache", instances: { count: 2, connected: 1, items: [] } }],
    });
    expect(adminValue(driver.ask({ type: "group.describe", group: "cache" }).reply)).toMatchObject({
      instances: {
        items: [
          { instance: "node-1", connected: true, lag: 0, expired: 0 },
          { instance: "node-2", connected: false, awayMs: 5_000, expired: 2 },
        ],
      },
    });
    const one = driver.ask({ type: "group.describe", group: "cache%node-2" }).reply;
    expect(adminValue(one)).toMatchObject({
      awayMs: 5_000,
      topics: [{ expired: 2, abandoned: 0 }],
    });
    const topic = driver.ask({ type: "topic.describe", topic: "prices" }).reply;
    expect(adminValue(topic)).toMatchObject({ groups: ["cache"], heldBy: [] });
    expect(adminValue(driver.ask({ type: "stats" }).reply)).toMatchObject({ groups: 1 });
  });

  test("see what is held back by instances as held by their group: there may be many", () => {
    const driver = stage();
    const here = ["node-1", "node-2"].map((name) => join(driver, name).connection);
    retainFor(driver, 1_000);
    fill(driver, "prices", 2);
    for (const connection of here) driver.credit(connection, 1);
    driver.advance(5_000);
    const topic = driver.ask({ type: "topic.describe", topic: "prices" }).reply;
    expect(adminValue(topic)).toMatchObject({ groups: ["cache"], heldBy: ["cache"] });
  });

  test("see what an ordered instance holds back in its lag", () => {
    const driver = stage();
    driver.ask({ type: "group.update", group: "cache", ordered: true });
    const { connection } = join(driver, "node-1");
    fill(driver, "prices", 3, "x@a");
    driver.credit(connection, 9);
    expect(adminValue(driver.ask({ type: "group.describe", group: "cache" }).reply)).toMatchObject({
      instances: { items: [{ lag: 3, leased: 1 }] },
    });
  });

  test("delete a group with its instances, unless one is here", () => {
    const driver = stage();
    const { connection } = join(driver, "node-1");
    driver.disconnect(join(driver, "node-2").connection);
    const remove = () =>
      codeOf(driver.ask({ type: "group.delete", group: "cache", ...audit }).reply);
    expect(remove()).toBe("GROUP_IN_USE");
    driver.disconnect(connection);
    expect(remove()).toBe("ok");
    expect([...driver.engine.core.state.groupsByName.keys()]).toEqual([]);
    expect(driver.engine.core.state.cursors.size).toBe(0);
  });

  test("take one instance back or away, and leave the others", () => {
    const driver = stage();
    const one = join(driver, "node-1").connection;
    driver.disconnect(join(driver, "node-2").connection);
    fill(driver, "prices", 2);
    driver.ack(one, ...tokensOf(driver.credit(one, 2)));
    driver.credit(one, 9);
    const reset = {
      type: "group.reset",
      group: "cache%node-1",
      topic: "prices",
      ...audit,
    } as const;
    expect(offsetsOf(deliveriesOf(driver.ask({ ...reset, from: "earliest" })))).toEqual([0, 1]);
    const away = { type: "group.delete", group: "cache%node-2", ...audit } as const;
    expect(codeOf(driver.ask(away).reply)).toBe("ok");
    expect([...driver.engine.core.state.groupsByName.keys()]).toEqual(["cache", "cache%node-1"]);
  });
});

describe("what an operator asks of the group's own progress", () => {
  const reset = { type: "group.reset", group: "cache", from: "earliest", ...audit } as const;
  const skip = { type: "group.skip", group: "cache", topic: "prices", offsets: [0], ...audit };

  test.each([
    ["group.reset of all topics", reset],
    ["group.reset of a topic", { ...reset, topic: "prices" }],
    ["a dry run", { ...reset, dryRun: true }],
    ["group.skip", { ...skip, type: "group.skip" as const }],
  ])("%s is refused where only instances read, and says how to name one", (_what, request) => {
    const driver = stage();
    driver.disconnect(join(driver, "node-1").connection);
    join(driver, "node-2");
    fill(driver, "prices", 2);
    const { reply, records } = driver.ask(request);
    expect([reply, records]).toMatchObject([
      { code: "GROUP_IS_BROADCAST", detail: { instances: 2, instance: "cache%node-1" } },
      [],
    ]);
  });

  test("is done where the group reads, too, and leaves the instances alone", () => {
    const driver = stage();
    const one = join(driver, "node-1").connection;
    driver.topic("stocks");
    const own = driver.consumer("cache", "stocks");
    fill(driver, "prices", 1);
    fill(driver, "stocks", 1);
    driver.ack(own, ...tokensOf(driver.credit(own, 1)));
    driver.ack(one, ...tokensOf(driver.credit(one, 1)));
    expect(adminValue(driver.ask(reset).reply)).toMatchObject({
      topics: [{ topic: "stocks", redelivered: 1 }],
    });
    expect(codeOf(driver.ask({ ...reset, topic: "prices" }).reply)).toBe("GROUP_IS_BROADCAST");
    expect(codeOf(driver.ask({ ...reset, topic: "nowhere" }).reply)).toBe("TOPIC_NOT_FOUND");
  });
});

test("a checkpoint knows instances as the log does", () => {
  const driver = stage();
  driver.ask({ type: "group.update", group: "cache", attemptsMax: 1 });
  retainFor(driver, 1_000);
  driver.disconnect(join(driver, "node-1").connection);
  const { connection } = join(driver, "node-2");
  fill(driver, "prices", 3);
  const [first] = driver.credit(connection, 1);
  driver.request(connection, { type: "bury", token: first?.token ?? "", reason: "no" });
  driver.advance(5_000);
  driver.disconnect(connection);
  driver.credit(join(driver, "node-2").connection, 1);
  const loaded = new Engine(driver.policy);
  expect(loaded.load(driver.saved())).toBe(true);
  const replayed = new Engine(driver.policy);
  for (const block of driver.blocks) replayed.replay(block);
  for (const engine of [loaded, replayed])
    expect(structuredClone([...engine.save()].map((part) => part))).toHaveLength(
      driver.saved().length,
    );
  const facts = (engine: Engine) =>
    [...engine.core.state.groups.values()].map(({ name, instance, cursors }) => ({
      name,
      leftAtMs: instance?.leftAtMs,
      cursors: [...cursors.values()].map((cursor) => cursor.save()),
    }));
  expect(facts(loaded)).toEqual(facts(driver.engine));
  expect(facts(replayed)).toEqual(facts(driver.engine));
});
