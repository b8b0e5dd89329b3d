/** A producer's process: sends, requests, and transactions of one to three messages. */
import { type BrokerFrames, CORRELATION_HEADER, INBOX_HEADER } from "@escrowmq/protocol";
import { outcomeOf, Trader } from "./trader.ts";
import type { SimMessage, World } from "./world.ts";

export class Producer extends Trader {
  readonly group: string;
  readonly #isChecker: boolean;
  /** A connection may answer for several groups. */
  readonly #groups: readonly string[];
  readonly #pauseMs: number;
  /** Those that may not be visible yet, and that it may still want back. */
  readonly #waiting: SimMessage[] = [];
  /** The inbox of this connection, and the connection's name. */
  #inbox = "";
  #asker = "";
  #connections = 0;

  constructor(world: World, name: string, group: string, isChecker: boolean) {
    super(world, name);
    this.group = group;
    this.#isChecker = isChecker;
    this.#groups = isChecker && world.random.chance(0.3) ? ["shop", "warehouse"] : [group];
    this.#pauseMs = world.random.pick([200, 1_000, 4_000]);
    this.temper = world.random.weighted({ prompt: 6, slow: 2, silent: 1, unknowing: 1 });
  }

  protected override up(): void {
    this.#announceAll();
    this.#asker = `${this.name}#${++this.#connections}`;
    this.#inbox = "";
    const asker = this.#asker;
    this.request({ type: "inbox" }, (reply) => {
      if (reply?.type === "ok" && asker === this.#asker) this.#inbox = reply.inbox ?? "";
    });
  }

  protected override replied({ correlation, body }: BrokerFrames["replied"]): void {
    const { history } = this.world;
    history.problem(history.talk.hears(this.#asker, correlation, Buffer.from(body).toString()));
  }

  /** Faults are over: it answers, and promptly. */
  calm(): void {
    this.temper = "prompt";
    if (this.link !== null) this.#announceAll();
    this.dial();
  }

  #announceAll(): void {
    for (const group of this.#groups) this.announce(group, this.#isChecker);
  }

  work(): void {
    const { world } = this;
    if (!world.isBusy) return;
    world.time.after(world.random.between(1, this.#pauseMs * 2), () => this.work());
    if (this.link === null) return;
    if (world.random.chance(0.06)) return this.#recall();
    if (world.random.chance(0.35)) return this.#send();
    if (world.random.chance(0.01)) return this.announce(this.group, world.random.chance(0.5));
    const messages = this.#someMessages();
    this.transact({ group: this.group, messages, acks: [], ended: () => undefined });
  }

  #send(): void {
    const { world } = this;
    const sendId = world.newId("send");
    const messages =
      this.#inbox !== "" && world.random.chance(0.4) ? [this.#question()] : this.#someMessages();
    const say = (done: () => void): void => {
      const operation = world.history.send(
        sendId,
        messages.map(({ id }) => id),
      );
      this.request(
        { type: "send", sendId, messages: messages.map(({ data }) => data) },
        (reply, isInDoubt) => {
          world.history.ended(operation, outcomeOf(reply, isInDoubt));
          done();
        },
        true,
      );
    };
    say(() => {
      if (world.random.chance(0.05)) say(() => undefined);
    });
  }

  #someMessages(): readonly SimMessage[] {
    const { reserving } = this.world;
    const messages = this.world.someMessages();
    this.#waiting.push(
      ...messages.filter(({ isDelayed, key }) => isDelayed || reserving.mayCallBack(key)),
    );
    return messages;
  }

  /** In time or too late, and sometimes once more. */
  #recall(): void {
    const { random, history, time } = this.world;
    const lately = this.#waiting.slice(-5);
    if (lately.length === 0) return;
    const { id, topic } = random.pick(lately);
    const say = (): void => {
      const operation = history.recall(id);
      this.request(
        { type: "recall", topic, messageId: id },
        (reply, isInDoubt) => history.ended(operation, outcomeOf(reply, isInDoubt)),
        true,
      );
    };
    say();
    if (random.chance(0.2)) time.after(random.below(20_000), say);
  }

  #question(): SimMessage {
    const { world } = this;
    const correlation = world.newId("ask");
    world.history.talk.asks(this.#asker, correlation);
    return world.newMessage(world.random.pick(world.topics), {
      [INBOX_HEADER]: this.#inbox,
      [CORRELATION_HEADER]: correlation,
    });
  }
}
