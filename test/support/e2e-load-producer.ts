/** The producers' part of the load: one operation at a time, ended in the history. */
import { type JoiningDelivery, Rollback } from "@escrowmq/producer";
import { EscrowError } from "@escrowmq/protocol";
import type { Decision, Delivery, Prepare, SaidVerdict, State } from "../history/history.ts";
import {
  areVisible,
  type LoadMessage,
  newId,
  newMessage,
  newMessages,
} from "./e2e-load-messages.ts";
import { ask } from "./e2e-load-requester.ts";
import { outcomeOf, type World } from "./e2e-load-world.ts";

const PLANS = {
  send: 40,
  sendAll: 15,
  commit: 25,
  rollback: 8,
  lateCommit: 5,
  lateRollback: 3,
  contested: 4,
  recall: 4,
  ask: 4,
} as const;
type TransactionPlan = Exclude<keyof typeof PLANS, "send" | "sendAll" | "recall" | "ask">;

/** Of the transactions. */
const RESERVING_SHARE = 0.3;

/** Thrown by callbacks whose verdict is left to the check-back. */
class Late extends Error {}

export async function produce(world: World): Promise<void> {
  const plan = world.random.pick(PLANS);
  if (plan === "send") return send(world, 1);
  if (plan === "sendAll") return send(world, world.random.between(2, 4));
  if (plan === "recall") return recall(world);
  if (plan === "ask") return ask(world);
  await transact(world, plan, newMessages(world, world.random.between(1, 4)));
}

/** A consumer's transaction: a message out, and its delivery's ack. */
export async function relay(
  world: World,
  message: JoiningDelivery,
  delivery: Delivery,
): Promise<void> {
  const plan = world.random.pick({ commit: 6, rollback: 2, lateCommit: 1, lateRollback: 1 });
  await transact(world, plan, [newMessage(world, "out")], { acks: [message], joins: [delivery] });
}

/** In time or too late. */
async function recall(world: World): Promise<void> {
  const message = world.delayed.splice(0, world.delayed.length).at(-1);
  if (message === undefined) return;
  const operation = world.history.recall(message.id);
  try {
    await world.producer().recall(message);
    world.history.ended(operation, "ok");
  } catch (error) {
    world.history.ended(operation, outcomeOf(error));
  }
}

async function send(world: World, count: number): Promise<void> {
  const { history } = world;
  const messages = newMessages(world, count);
  const [first] = messages;
  const id = count === 1 && first !== undefined ? first.id : newId();
  const operation = history.send(
    id,
    messages.map((one) => one.id),
  );
  try {
    if (count === 1 && first !== undefined) await world.producer().send(first);
    else await world.producer().sendAll(messages, { id });
    history.ended(operation, "ok");
    areVisible(world, messages);
  } catch (error) {
    history.ended(operation, outcomeOf(error));
  }
}

/** Deliveries whose acks join, as the SDK and as the history know them. */
interface Joins {
  readonly acks: readonly JoiningDelivery[];
  readonly joins: readonly Delivery[];
}

async function transact(
  world: World,
  plan: TransactionPlan,
  messages: readonly LoadMessage[],
  { acks, joins }: Joins = { acks: [], joins: [] },
): Promise<void> {
  const { history, database } = world;
  const transactionId = newId();
  const ids = messages.map(({ id }) => id);
  const reserveKeys = world.random.next() < RESERVING_SHARE;
  const prepare = history.prepare(transactionId, ids, joins, reserveKeys);
  const verdict = verdictOf(plan);
  const others: Promise<void>[] = [];
  let said: SaidVerdict | null = null;
  const running = world.producer().transaction(
    async (tx) => {
      await tx.prepare(messages, { acks });
      history.ended(prepare, "ok");
      if (plan === "contested") others.push(decideAsOperator(world, transactionId));
      else database.set(transactionId, verdict);
      if (plan.startsWith("late")) throw new Late();
      said = history.verdict(transactionId, verdict);
      if (plan === "rollback") throw new Rollback("by plan");
    },
    { transactionId, checkAfterMs: 250, reserveKeys },
  );
  try {
    const { state } = await running;
    if (said !== null) history.ended(said, state === "pending" ? "info" : "ok");
    if (state === "committed") areVisible(world, messages);
  } catch (error) {
    noteFailure(world, prepare, said, error);
  }
  await Promise.all(others);
  // Nobody decides it any more; should no verdict have arrived, this one does, by a check.
  const isOpen = plan === "contested" && prepare.outcome === "ok";
  if (!database.has(transactionId)) database.set(transactionId, isOpen ? "commit" : "rollback");
}

const verdictOf = (plan: TransactionPlan): Decision =>
  plan === "rollback" || plan === "lateRollback" ? "rollback" : "commit";

function noteFailure(
  { history }: World,
  prepare: Prepare,
  said: SaidVerdict | null,
  error: unknown,
): void {
  if (error instanceof Late) return;
  if (said === null) return history.ended(prepare, outcomeOf(error));
  said.told = toldBy(error);
  history.ended(said, outcomeOf(error));
}

const toldBy = (error: unknown): State | null => {
  if (EscrowError.is(error, "TX_ALREADY_COMMITTED")) return "committed";
  return EscrowError.is(error, "TX_ALREADY_ROLLED_BACK") ? "rolledBack" : null;
};

/** While the producer says commit: one of the two is first. */
async function decideAsOperator(world: World, transactionId: string): Promise<void> {
  const admin = world.admin();
  if (admin === null) return;
  const said = world.history.verdict(transactionId, "rollback");
  try {
    await admin.request("tx.decide", {
      transactionId,
      verdict: said.verdict,
      operator: "ada",
      reason: "a contest",
    });
    world.history.ended(said, "ok");
  } catch (error) {
    said.told = toldBy(error);
    world.history.ended(said, outcomeOf(error));
  }
}
