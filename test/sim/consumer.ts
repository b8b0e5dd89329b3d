/** A consumer's process: every way a delivery can end, the wrong ones included. */
import type { ClientFrames } from "@escrowmq/protocol";
import type { Delivery } from "../../broker/src/core/types.ts";
import type { SendOf } from "./peer.ts";
import { Trader } from "./trader.ts";
import type { World } from "./world.ts";

const text = new TextDecoder();

type Settling = ClientFrames["ack" | "release" | "extend" | "retry" | "bury"];
type WithoutId<Frame> = Frame extends unknown ? Omit<Frame, "id"> : never;

export class Consumer extends Trader {
  readonly group: string;
  readonly #topics: readonly string[];
  readonly #window: number;
  readonly #windowBytes: number;
  #isSubscribed = false;
  /** Tokens that were good once. */
  readonly #gathered: string[] = [];
  readonly #old: string[] = [];

  constructor(world: World, name: string, group: string, topics: readonly string[]) {
    super(world, name);
    this.group = group;
    this.#topics = topics;
    this.#window = world.random.pick([1, 2, 8, 30]);
    this.#windowBytes = world.random.pick([100, 10_000]);
  }

  protected override up(): void {
    this.announce(`${this.group}-jobs`, true);
    this.#subscribe();
  }

  protected override down(): void {
    this.#isSubscribed = false;
  }

  #subscribe(): void {
    const topics = this.#topics.map((topic) => ({ topic }));
    const { connection, group, world } = this;
    const leaseMs = world.random.chance(0.3) ? world.random.between(2_000, 20_000) : undefined;
    this.request(
      (from, id) => ({
        kind: "frame",
        from,
        frame: { type: "subscribe", id, subscription: 1, group, topics, leaseMs },
      }),
      (reply) => {
        if (connection !== this.connection || reply === null) return;
        // A dead-letter topic begins to exist with its first dead letter.
        if (reply.type === "error")
          return void world.time.after(10_000, () => {
            if (connection === this.connection && connection !== null) this.#subscribe();
          });
        this.#isSubscribed = true;
        this.#grant(this.#window, this.#windowBytes);
      },
    );
  }

  protected override got(send: SendOf<"deliver">): void {
    for (const delivery of send.deliveries) {
      const body = this.world.body(delivery.place);
      this.world.auditor.history.got(text.decode(body), send.topic);
      const { connection } = this;
      const handleMs = this.world.isQuiet ? 5 : this.world.random.between(1, 300);
      this.world.time.after(handleMs, () => {
        if (connection === this.connection) this.#handle(delivery, body.length, send.leaseMs);
      });
    }
  }

  #handle(delivery: Delivery, bytes: number, leaseMs: number): void {
    const { random, time, isQuiet } = this.world;
    const { token } = delivery;
    const { connection } = this;
    const done = (): void => {
      if (connection === this.connection) this.#grant(1, bytes);
    };
    this.#old.push(token);
    const end = isQuiet
      ? "ack"
      : random.weighted({
          ack: 66,
          retry: 9,
          bury: 2,
          release: 3,
          hang: 4,
          die: 1,
          join: 8,
          stale: 3,
          extend: 3,
          leave: 1,
        });
    switch (end) {
      case "ack":
        this.#gather(token);
        return done();
      case "retry": {
        const delayMs = random.chance(0.3) ? random.below(5_000) : undefined;
        this.#settle({ type: "retry", token, delayMs, reason: "no luck" });
        return done();
      }
      case "bury":
        this.#settle({ type: "bury", token, reason: "hopeless" });
        return done();
      case "release":
        this.#settle({ type: "release", tokens: [token, token] });
        return done();
      case "hang":
        return time.after(leaseMs + random.below(2_000), () => {
          this.#ack([token]);
          done();
        });
      case "die":
        return this.die(random.between(100, 20_000));
      case "join":
        return this.transact({
          group: `${this.group}-jobs`,
          messages: random.chance(0.8)
            ? [this.world.newMessage(random.pick(this.world.topics))]
            : [],
          acks: random.chance(0.05) ? [token, random.pick(this.#old)] : [token],
          ended: done,
        });
      case "stale":
        this.#ack([token, random.pick(this.#old), token]);
        return done();
      case "extend":
        this.#settle({ type: "extend", tokens: [token], leaseMs: random.between(1_000, 10_000) });
        return time.after(random.below(9_000), () => {
          this.#ack([token]);
          done();
        });
      case "leave":
        return this.#leave();
    }
  }

  /** As the SDK does: what ends within a moment is acked in one request. */
  #gather(token: string): void {
    if (this.#gathered.push(token) > 1) return;
    const { connection } = this;
    this.world.time.after(this.world.random.below(60), () => {
      const tokens = this.#gathered.splice(0);
      if (connection === this.connection) this.#ack(tokens);
    });
  }

  #ack(tokens: readonly string[]): void {
    const { history } = this.world.auditor;
    const invokedAt = history.time;
    this.request(
      (from, id) => ({ kind: "frame", from, frame: { type: "ack", id, tokens: [...tokens] } }),
      (reply) => {
        if (reply?.type !== "ok") return;
        const stale = new Set(reply.stale);
        for (const token of tokens)
          if (!stale.has(token)) history.ackOk(token, this.group, invokedAt);
      },
    );
  }

  #settle(frame: WithoutId<Settling>): void {
    this.request(
      (from, id) => ({ kind: "frame", from, frame: { ...frame, id } as Settling }),
      () => undefined,
    );
  }

  #leave(): void {
    this.#isSubscribed = false;
    this.request(
      (from, id) => ({ kind: "frame", from, frame: { type: "unsubscribe", id, subscription: 1 } }),
      (reply) => {
        if (reply?.type === "ok") this.#subscribe();
        // With no room on the disk not even this is done; it goes without saying then.
        if (reply?.type === "error") this.hangUp(5, 100);
      },
    );
  }

  #grant(messages: number, bytes: number): void {
    const { connection } = this;
    if (connection === null || !this.#isSubscribed) return;
    this.post({
      kind: "frame",
      from: connection,
      frame: { type: "credit", subscription: 1, messages, bytes },
    });
  }
}
