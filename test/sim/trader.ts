/**
 * Runs transactions as an application would, with a database that knows how each ended, and answers checks
 * from it. It dies at every point, repeats itself, contradicts itself, and forgets.
 */
import type { FinalVerdict, Verdict } from "@escrowmq/protocol";
import type { NewMessage } from "../../broker/src/core/types.ts";
import { digestOf } from "../support/sim-driver.ts";
import { Peer, type Reply, type SendOf } from "./peer.ts";

export type Temper = "prompt" | "slow" | "silent" | "unknowing";

export interface Transaction {
  readonly group: string;
  readonly messages: readonly NewMessage[];
  readonly acks: readonly string[];
  /** Told once: how the transaction ended for this process; null: it will never know. */
  readonly ended: (state: "committed" | "rolledBack" | "refused" | null) => void;
}

const ignore = (): void => undefined;

export abstract class Trader extends Peer {
  temper: Temper = "prompt";

  protected announce(group: string, checker: boolean): void {
    this.request(
      (from, id) => ({ kind: "frame", from, frame: { type: "announce", id, group, checker } }),
      () => undefined,
    );
  }

  protected transact(transaction: Transaction): void {
    const { random, time, database } = this.world;
    const id = this.world.newId("tx");
    const isLate = random.chance(0.4);
    const outcome = random.weighted({ commit: 68, rollback: 17, die: 8, forget: 7 });
    database.begin(id);
    if (isLate && outcome !== "rollback") database.end(id, "commit");
    this.#prepare(id, transaction, (reply) => {
      if (reply === null || reply.type === "error") {
        database.end(id, "rollback");
        return transaction.ended(reply === null ? null : "refused");
      }
      this.world.auditor.history.prepareOk(id);
      if (random.chance(0.05))
        this.#say(id, "strangers", random.pick(["commit", "rollback"]), ignore);
      const workMs = isLate ? random.between(0, 3) : random.between(1, 20_000);
      time.after(workMs, () => {
        if (outcome === "commit" || outcome === "rollback") {
          database.end(id, outcome);
          return this.#decide(id, transaction, outcome);
        }
        if (random.chance(0.6)) database.end(id, "commit");
        else database.abandon(id);
        if (outcome === "die") this.die(random.between(100, 30_000));
        transaction.ended(null);
      });
    });
    if (random.chance(0.05))
      time.after(random.between(0, 20_000), () => this.#prepareAgain(id, transaction));
  }

  #prepare(id: string, transaction: Transaction, done: (reply: Reply | null) => void): void {
    const { random } = this.world;
    const { group, messages, acks } = transaction;
    const digest = digestOf(messages, acks);
    const checkAfterMs = random.chance(0.3) ? random.below(20_000) : undefined;
    const onUndecided = random.chance(0.2) ? ("rollback" as const) : undefined;
    this.request(
      (from, requestId) => ({
        kind: "prepare",
        from,
        messages,
        digest,
        frame: {
          type: "prepare",
          id: requestId,
          transactionId: id,
          group,
          messages: [],
          acks: [...acks],
          checkAfterMs,
          onUndecided,
        },
      }),
      done,
      true,
    );
  }

  #prepareAgain(id: string, transaction: Transaction): void {
    const { world } = this;
    const isSame = world.random.chance(0.6);
    const messages = isSame
      ? transaction.messages
      : [...transaction.messages, world.newMessage(world.random.pick(world.topics))];
    this.#prepare(id, { ...transaction, messages }, () => undefined);
  }

  #decide(id: string, transaction: Transaction, verdict: FinalVerdict): void {
    const { random, time, auditor } = this.world;
    this.#say(id, transaction.group, verdict, (reply) => {
      if (reply?.type !== "ok") return transaction.ended(null);
      const state = verdict === "commit" ? "committed" : "rolledBack";
      auditor.history.verdictOk(id, state);
      transaction.ended(state);
    });
    const again = (chance: number, group: string, other: Verdict): void => {
      if (!random.chance(chance)) return;
      time.after(random.between(0, 5_000), () =>
        this.#say(id, group, other, (reply) => {
          if (reply?.type === "ok" && (reply.state === "committed" || reply.state === "rolledBack"))
            auditor.history.verdictOk(id, reply.state);
        }),
      );
    };
    again(0.1, transaction.group, verdict);
    again(0.06, transaction.group, verdict === "commit" ? "rollback" : "commit");
    again(0.04, "strangers", verdict);
    again(0.03, transaction.group, "unknown");
  }

  #say(id: string, group: string, verdict: Verdict, done: (reply: Reply | null) => void): void {
    this.request(
      (from, requestId) => ({
        kind: "frame",
        from,
        frame: { type: "verdict", id: requestId, transactionId: id, group, verdict },
      }),
      done,
      true,
    );
  }

  protected override asked({ transactionId, attempt }: SendOf<"check">): void {
    const { random, time, database } = this.world;
    if (this.temper === "silent") return;
    const delayMs = this.temper === "slow" ? random.between(500, 20_000) : random.between(0, 50);
    time.after(delayMs, () => {
      const verdict = this.temper === "unknowing" ? "unknown" : database.look(transactionId);
      const { connection } = this;
      if (connection !== null)
        this.post({
          kind: "frame",
          from: connection,
          frame: { type: "answer", transactionId, attempt, verdict },
        });
    });
  }
}

/** What the applications know of their own transactions. */
export class Database {
  readonly #ended = new Map<string, Verdict>();

  begin(id: string): void {
    this.#ended.set(id, "unknown");
  }

  end(id: string, verdict: FinalVerdict): void {
    this.#ended.set(id, verdict);
  }

  /** Nobody will ever end it: some applications know that this means rollback, and some do not. */
  abandon(id: string): void {
    if (id.length % 2 === 0) this.#ended.set(id, "rollback");
  }

  look(id: string): Verdict {
    return this.#ended.get(id) ?? "rollback";
  }
}
