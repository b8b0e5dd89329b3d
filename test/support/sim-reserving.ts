/** The stage of tests of reserved keys: a producer, a topic "orders", and what everybody can see in it. */
import { expect } from "vitest";
import { Engine } from "../../broker/src/core/engine.ts";
import type { NewMessage } from "../../broker/src/core/types.ts";
import { sameStates } from "../sim/same-states.ts";
import { adminValue, codeOf, Driver, type Effects, message, type Prepare } from "./sim-driver.ts";
import { bodyIn } from "./sim-looking.ts";

const HOUR = 3_600_000;
export const transactionIdOf = (name: string) => `transaction-${name}-0123456789`;

export class ReservingShop extends Driver {
  shop: number;
  #sends = 0;

  constructor(policy = {}) {
    super({ checkAttemptsMax: 1_000, undecidedAgeMaxMs: 1_000 * HOUR, ...policy });
    this.topic("orders");
    this.shop = this.producer("shop");
  }

  sends(...messages: (string | NewMessage)[]): string {
    const all = messages.map((one) => (typeof one === "string" ? message("orders", one) : one));
    return codeOf(this.send(this.shop, `s${++this.#sends}`, ...all).reply);
  }

  prepares(name: string, bodies: readonly (string | NewMessage)[], rest: Prepare = {}): string {
    const messages = bodies.map((one) => (typeof one === "string" ? message("orders", one) : one));
    const prepare = { checkAfterMs: HOUR, messages, ...rest };
    return codeOf(this.prepare(this.shop, transactionIdOf(name), prepare).reply);
  }

  reserves(name: string, ...bodies: (string | NewMessage)[]): string {
    return this.prepares(name, bodies, { reserveKeys: true });
  }

  commit(name: string): Effects {
    return this.verdict(this.shop, transactionIdOf(name), "commit");
  }

  rollback(name: string): Effects {
    return this.verdict(this.shop, transactionIdOf(name), "rollback");
  }

  /** What everybody can see, in the order of offsets. */
  visible(topicName = "orders"): string[] {
    const topic = this.engine.core.state.topicsByName.get(topicName);
    if (topic === undefined) return [];
    return Array.from({ length: topic.nextOffset }, (_, offset) => {
      return bodyIn(this.blocks, topic.placeOf(offset)) ?? "?";
    });
  }

  /** A new process, that has read a checkpoint instead of the log. */
  load(): void {
    const loaded = new Engine(this.policy);
    expect(loaded.load(this.saved())).toBe(true);
    this.engine = loaded;
    this.step({ kind: "open" });
  }

  /** After a start the producer comes again. */
  announce(): void {
    this.shop = this.producer("shop");
  }

  again(): void {
    this.crash(0);
    this.announce();
  }

  view(): Record<string, unknown> {
    return adminValue(this.ask({ type: "topic.describe", topic: "orders" }).reply);
  }

  recall(messageId: string): string {
    return codeOf(this.ask({ type: "recall", topic: "orders", messageId }).reply);
  }

  /** By a checkpoint, and the blocks after that. */
  isRecoverableFrom(saved: readonly unknown[], blocks: number): void {
    const again = new Engine(this.policy);
    expect(again.load(saved)).toBe(true);
    for (const block of this.blocks.slice(blocks)) again.replay(block);
    sameStates([...this.engine.save()], [...again.save()], this.nowMs);
  }

  isRecoverable(): void {
    const again = new Engine(this.policy);
    for (const block of this.blocks) again.replay(block);
    sameStates([...this.engine.save()], [...again.save()], this.nowMs);
    const loaded = new Engine(this.policy);
    expect(loaded.load(this.saved())).toBe(true);
    sameStates([...this.engine.save()], [...loaded.save()], this.nowMs);
  }
}
