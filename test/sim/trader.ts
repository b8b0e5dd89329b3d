/**
 * Runs transactions as an application would, with a database that knows how each ended, and answers checks
 * from it. It dies at every point, repeats itself, contradicts itself, and forgets.
 */
import type { BrokerFrames, FinalVerdict, Verdict } from "@escrowmq/protocol";
import type { Delivery, State } from "../history/history.ts";
import { Peer, type Reply } from "./peer.ts";
import type { SimMessage } from "./world.ts";

export type Temper = "prompt" | "slow" | "silent" | "unknowing";

/** A delivery, with what is needed to settle it. */
export interface Held {
  readonly token: string;
  readonly delivery: Delivery;
}

export interface Plan {
  readonly group: string;
  readonly messages: readonly SimMessage[];
  readonly acks: readonly Held[];
  readonly reservesKeys: boolean;
  /** Told once: the transaction is over for this process. */
  readonly ended: () => void;
}

const ignore = (): void => undefined;

export abstract class Trader extends Peer {
  temper: Temper = "prompt";

  protected announce(group: string, checker: boolean): void {
    this.request({ type: "announce", group, checker }, ignore);
  }

  protected transact(draft: Omit<Plan, "reservesKeys">): void {
    const { random, time, database, reserving } = this.world;
    const plan = { ...draft, reservesKeys: reserving.next() };
    const id = this.world.newId("tx").padEnd(24, "-");
    const isLate = random.chance(0.4);
    const outcome = random.weighted({ commit: 68, rollback: 17, die: 8, forget: 7 });
    database.begin(id);
    if (isLate && outcome !== "rollback") database.end(id, "commit");
    this.#prepare(id, plan, (reply) => {
      if (reply === null || reply.type === "error") {
        database.end(id, "rollback");
        return plan.ended();
      }
      if (random.chance(0.05)) this.#sayAsStranger(id, random.pick(["commit", "rollback"]));
      const workMs = isLate ? random.between(0, 3) : random.between(1, 20_000);
      time.after(workMs, () => {
        if (outcome === "commit" || outcome === "rollback") {
          database.end(id, outcome);
          return this.#decide(id, plan, outcome);
        }
        if (random.chance(0.6)) database.end(id, "commit");
        else if (random.chance(0.5)) database.end(id, "rollback");
        if (outcome === "die") this.die(random.between(100, 30_000));
        plan.ended();
      });
    });
    if (random.chance(0.05))
      time.after(random.between(0, 20_000), () => this.#prepareAgain(id, plan));
  }

  #prepare(id: string, plan: Plan, done: (reply: Reply | null) => void): void {
    const { random, history } = this.world;
    const { group, messages, acks, reservesKeys } = plan;
    const checkAfterMs = random.chance(0.3) ? random.below(20_000) : undefined;
    const onUndecided = random.chance(0.2) ? ("rollback" as const) : undefined;
    const operation = history.prepare(
      id,
      messages.map((message) => message.id),
      acks.map(({ delivery }) => delivery),
      reservesKeys,
    );
    if (onUndecided === "rollback") history.suggests(id, "rollback");
    this.request(
      {
        type: "prepare",
        transactionId: id,
        group,
        messages: messages.map(({ data }) => data),
        acks: acks.map(({ token }) => token),
        checkAfterMs,
        onUndecided,
        ...(reservesKeys ? { reserveKeys: true } : {}),
      },
      (reply, isInDoubt) => {
        if (reply?.type === "error") operation.isConflict = reply.code === "TX_CONFLICT";
        if (reply?.type === "ok") operation.told = reply.state ?? null;
        history.ended(operation, outcomeOf(reply, isInDoubt));
        done(reply);
      },
      true,
    );
  }

  #prepareAgain(id: string, plan: Plan): void {
    const { world } = this;
    const isSame = world.random.chance(0.6);
    const messages = isSame
      ? plan.messages
      : [...plan.messages, world.newMessage(world.random.pick(world.topics))];
    const reservesKeys = world.reserving.again(plan.reservesKeys);
    this.#prepare(id, { ...plan, messages, reservesKeys }, ignore);
  }

  #decide(id: string, plan: Plan, verdict: FinalVerdict): void {
    const { random, time } = this.world;
    this.#say(id, plan.group, verdict, plan.ended);
    const again = (chance: number, act: () => void): void => {
      if (random.chance(chance)) time.after(random.between(0, 5_000), act);
    };
    const other = verdict === "commit" ? "rollback" : "commit";
    again(0.1, () => this.#say(id, plan.group, verdict, ignore));
    again(0.06, () => this.#say(id, plan.group, other, ignore));
    again(0.04, () => this.#sayAsStranger(id, verdict));
    again(0.03, () => this.#askFor(id, plan.group));
  }

  #say(id: string, group: string, verdict: FinalVerdict, done: () => void): void {
    const { history } = this.world;
    const operation = history.verdict(id, verdict);
    this.request(
      { type: "verdict", transactionId: id, group, verdict },
      (reply, isInDoubt) => {
        operation.told = toldBy(reply);
        history.ended(operation, outcomeOf(reply, isInDoubt));
        done();
      },
      true,
    );
  }

  /** T4: whatever it says, it has no say. */
  #sayAsStranger(id: string, verdict: FinalVerdict): void {
    this.request({ type: "verdict", transactionId: id, group: "strangers", verdict }, (reply) => {
      if (reply?.type === "ok") this.world.history.problem(`T4: a stranger decided ${id}`);
    });
  }

  #askFor(id: string, group: string): void {
    const question = this.world.history.asked(id);
    this.request({ type: "verdict", transactionId: id, group, verdict: "unknown" }, (reply) => {
      const state = reply?.type === "ok" ? (reply.state ?? null) : toldBy(reply);
      if (state !== null) question.heard(state);
    });
  }

  protected override asked({ transactionId, attempt }: BrokerFrames["check"]): void {
    const { random, time } = this.world;
    if (this.temper === "silent") return;
    const [leastMs, mostMs] = ANSWERS_AFTER_MS[this.temper];
    const delayMs = random.between(leastMs, mostMs);
    time.after(delayMs, () => {
      const verdict = this.temper === "unknowing" ? "unknown" : this.world.lookFor(transactionId);
      this.post({ type: "answer", transactionId, attempt, verdict });
    });
  }
}

const ANSWERS_AFTER_MS = {
  prompt: [0, 50],
  slow: [500, 20_000],
  unknowing: [0, 5_000],
} as const;

export function outcomeOf(reply: Reply | null, isInDoubt = false): "ok" | "fail" | "info" {
  if (reply === null || isInDoubt) return "info";
  return reply.type === "ok" ? "ok" : "fail";
}

/** What a refused verdict says about the transaction. */
export function toldBy(reply: Reply | null): State | null {
  if (reply?.type !== "error") return null;
  if (reply.code === "TX_ALREADY_COMMITTED") return "committed";
  if (reply.code === "TX_ALREADY_ROLLED_BACK") return "rolledBack";
  return reply.code === "TX_NOT_FOUND" ? "none" : null;
}

/** What the applications know of their own transactions. Nobody ends some of them, ever. */
export class Database {
  readonly #ended = new Map<string, Verdict>();

  begin(id: string): void {
    this.#ended.set(id, "unknown");
  }

  end(id: string, verdict: FinalVerdict): void {
    this.#ended.set(id, verdict);
  }

  look(id: string): Verdict {
    return this.#ended.get(id) ?? "rollback";
  }
}
