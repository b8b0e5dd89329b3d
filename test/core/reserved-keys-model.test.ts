/**
 * Reserved keys against a list for each key, which is as short as what it says: sends, transactions that reserve
 * and that do not, delays, recalls, verdicts in any order, crashes, checkpoints, and the end of the topic.
 */
import { expect, test } from "vitest";
import { Random } from "../sim/random.ts";
import { message, timed } from "../support/sim-driver.ts";
import { ReservingShop } from "../support/sim-reserving.ts";

const KEYS = ["ann", "bob", "cid"];

interface Half {
  readonly id: string;
  readonly key: string;
  readonly isDelayed: boolean;
  /** Others had reserved its key when it came. */
  readonly isBehind: boolean;
}

interface Undecided {
  readonly reserves: boolean;
  readonly halves: readonly Half[];
}

/** What should be visible, and what stands in front of what is not. */
class Model {
  readonly visible = new Map(KEYS.map((key): [string, string[]] => [key, []]));
  /** By key: messages, and transactions with a star. */
  readonly queues = new Map(KEYS.map((key): [string, string[]] => [key, []]));
  /** Not due yet, in the order of their times. */
  later: { id: string; key: string; dueAtMs: number }[] = [];
  readonly undecided = new Map<string, Undecided>();

  queue = (key: string): string[] => this.queues.get(key) ?? [];

  /** Visible now, or behind what is reserved. */
  comes(id: string, key: string, waits = this.queue(key).length > 0): void {
    if (waits && this.queue(key).length > 0) this.queue(key).push(id);
    else this.visible.get(key)?.push(id);
  }

  delay(id: string, key: string, dueAtMs: number): void {
    this.later.push({ id, key, dueAtMs });
    this.later.sort((one, other) => one.dueAtMs - other.dueAtMs);
  }

  prepare(name: string, undecided: Undecided): void {
    this.undecided.set(name, undecided);
    if (!undecided.reserves) return;
    for (const { key, isDelayed } of undecided.halves)
      if (!isDelayed && !this.queue(key).includes(`*${name}`)) this.queue(key).push(`*${name}`);
  }

  decide(name: string, isCommit: boolean, nowMs: number): void {
    const { reserves, halves } = this.undecided.get(name) ?? { reserves: false, halves: [] };
    this.undecided.delete(name);
    for (const { id, key, isDelayed, isBehind } of isCommit ? halves : []) {
      const at = this.queue(key).indexOf(`*${name}`);
      if (isDelayed) this.delay(id, key, nowMs + DELAY_MS);
      else if (reserves) this.queue(key).splice(at, 0, id);
      else this.comes(id, key, isBehind);
    }
    for (const key of KEYS) {
      const at = this.queue(key).indexOf(`*${name}`);
      if (at >= 0) this.queue(key).splice(at, 1);
      while (this.queue(key).length > 0 && !this.queue(key)[0]?.startsWith("*"))
        this.visible.get(key)?.push(this.queue(key).shift() ?? "");
    }
  }

  ripen(nowMs: number): void {
    while ((this.later[0]?.dueAtMs ?? nowMs + 1) <= nowMs) {
      const { id = "", key = "" } = this.later.shift() ?? {};
      this.comes(id, key);
    }
  }

  /** And made anew. */
  deleteTopic(): void {
    this.later = [];
    for (const key of KEYS) {
      this.visible.set(key, []);
      this.queues.set(key, []);
    }
  }

  recall(id: string): void {
    this.later = this.later.filter((one) => one.id !== id);
    for (const key of KEYS)
      this.queues.set(
        key,
        this.queue(key).filter((one) => one !== id),
      );
  }
}

const DELAY_MS = 1_000;

class Story {
  readonly driver: ReservingShop;
  readonly model = new Model();
  readonly #random: Random;
  #count = 0;

  constructor(seed: number) {
    this.#random = new Random(seed);
    // In half of them what a verdict opens takes many steps, and much happens in between.
    this.driver = new ReservingShop(seed % 2 === 0 ? {} : { duePerStepMax: 1 });
  }

  step(): void {
    const random = this.#random;
    const { driver } = this;
    const dice = random.below(100);
    if (dice < 30) this.#send();
    else if (dice < 55) this.#prepare();
    else if (dice < 80) this.#decide();
    else if (dice < 88) this.#advance();
    else if (dice < 94) this.#recall();
    else if (dice < 96) driver.again();
    else if (dice < 98) this.#load();
    else this.#deleteTopic();
    if (random.chance(0.5)) this.#compare();
  }

  #compare(): void {
    const { model, driver } = this;
    driver.settle();
    for (const key of KEYS) {
      const seen = driver.visible().filter((body) => body.endsWith(`@${key}`));
      expect(seen).toEqual(model.visible.get(key));
    }
  }

  #half(): Half {
    const key = this.#random.pick(KEYS);
    const id = `m${++this.#count}@${key}`;
    const isBehind = this.model.queue(key).length > 0;
    return { id, key, isDelayed: this.#random.chance(0.15), isBehind };
  }

  #messageOf = ({ id, isDelayed }: Half) =>
    isDelayed ? timed("orders", { id, delayMs: DELAY_MS }) : message("orders", id);

  #send(): void {
    const half = this.#half();
    this.driver.sends(this.#messageOf(half));
    if (half.isDelayed) this.model.delay(half.id, half.key, this.driver.nowMs + DELAY_MS);
    else this.model.comes(half.id, half.key);
  }

  #prepare(): void {
    // Whether its key is free, and what is visible before it, is told by what is settled, as the model is at once.
    this.driver.settle();
    const name = `t${++this.#count}`;
    const halves = Array.from({ length: this.#random.between(1, 3) }, () => this.#half());
    const reserves = this.#random.chance(0.6);
    this.driver.prepares(name, halves.map(this.#messageOf), { reserveKeys: reserves });
    this.model.prepare(name, { reserves, halves });
  }

  #decide(): void {
    const names = [...this.model.undecided.keys()];
    if (names.length === 0) return;
    this.driver.settle();
    this.#decideOn(this.#random.pick(names));
  }

  #decideOn(name: string): void {
    const isCommit = this.#random.chance(0.6);
    if (isCommit) this.driver.commit(name);
    else this.driver.rollback(name);
    this.model.decide(name, isCommit, this.driver.nowMs);
  }

  #advance(): void {
    this.driver.advance(this.#random.between(1, 700));
    this.model.ripen(this.driver.nowMs);
  }

  /** While there is something undecided for it, it cannot be. */
  #deleteTopic(): void {
    const { driver } = this;
    // One right after the other, and with what is sent meanwhile: much is on its way then.
    for (const name of [...this.model.undecided.keys()]) {
      this.#decideOn(name);
      this.#send();
    }
    const audit = { operator: "ann", reason: "test" };
    for (const request of [
      { type: "topic.delete", topic: "orders", ...audit },
      { type: "topic.create", topic: "orders" },
    ] as const)
      expect(driver.request(driver.shop, request).reply.type).toBe("ok");
    this.model.deleteTopic();
  }

  #recall(): void {
    // What the model takes for visible is so.
    this.driver.settle();
    const waiting = [
      ...this.model.later.map(({ id }) => id),
      ...KEYS.flatMap((key) => this.model.queue(key)).filter((id) => !id.startsWith("*")),
    ];
    if (waiting.length === 0) return;
    const id = this.#random.pick(waiting);
    expect(this.driver.recall(id)).toBe("ok");
    this.model.recall(id);
  }

  /** As a start from a checkpoint would. */
  #load(): void {
    this.driver.isRecoverable();
    this.driver.load();
    this.driver.announce();
  }
}

test.each(Array.from({ length: 60 }, (_, seed) => seed))("story %i", (seed) => {
  const story = new Story(seed);
  for (let step = 0; step < 150; step++) story.step();
  story.driver.settle();
  story.driver.isRecoverable();
});
