/** The producers' part of the load: one operation at a time, ended in the history. */
import { randomBytes } from "node:crypto";
import { type JoiningDelivery, Rollback } from "@escrowmq/producer";
import { EscrowError } from "@escrowmq/protocol";
import type { Decision, SaidVerdict, TransactionFacts } from "./e2e-history.ts";
import { outcomeOf, TOPICS, type World } from "./e2e-load-world.ts";

const PLANS = {
  send: 40,
  sendAll: 15,
  commit: 25,
  rollback: 8,
  lateCommit: 5,
  lateRollback: 3,
  contested: 4,
} as const;
type TransactionPlan = Exclude<keyof typeof PLANS, "send" | "sendAll">;

/** Thrown by callbacks whose verdict is left to the check-back. */
class Late extends Error {}

export async function produce(world: World): Promise<void> {
  const plan = world.random.pick(PLANS);
  if (plan === "send") return send(world, 1);
  if (plan === "sendAll") return send(world, world.random.between(2, 4));
  await transact(world, plan, newMessages(world, world.random.between(1, 4)), []);
}

/** A consumer's transaction: a message out, and its delivery's ack. */
export async function relay(
  world: World,
  delivery: JoiningDelivery,
  joining: (transaction: TransactionFacts) => void,
): Promise<void> {
  const plan = world.random.pick({ commit: 6, rollback: 2, lateCommit: 1, lateRollback: 1 });
  await transact(world, plan, [newMessage(world, "out")], [delivery], joining);
}

const newId = (): string => randomBytes(16).toString("hex");

/** Its body begins with its id, so that a reader can tell that it is the one that was sent. */
function newMessage(world: World, topic: string = TOPICS[world.random.between(0, 2)] ?? "t0") {
  const id = newId();
  return { id, topic, body: Buffer.from(id.padEnd(world.random.between(32, 800), ".")) };
}

const newMessages = (world: World, count: number) =>
  Array.from({ length: count }, () => newMessage(world));

async function send(world: World, count: number): Promise<void> {
  const { history } = world;
  const messages = newMessages(world, count);
  const [first] = messages;
  const id = count === 1 && first !== undefined ? first.id : newId();
  const facts = history.send(
    id,
    messages.map((one) => one.id),
  );
  try {
    if (count === 1 && first !== undefined) await world.producer().send(first);
    else await world.producer().sendAll(messages, { id });
    history.ended(facts, "ok");
  } catch (error) {
    history.ended(facts, outcomeOf(error));
  }
}

async function transact(
  world: World,
  plan: TransactionPlan,
  messages: ReturnType<typeof newMessages>,
  acks: readonly JoiningDelivery[],
  joining: (transaction: TransactionFacts) => void = () => undefined,
): Promise<void> {
  const { history } = world;
  const facts = history.transaction(
    newId(),
    messages.map(({ id }) => id),
  );
  joining(facts);
  const mine = { verdict: verdictOf(plan), outcome: "running", told: null } as SaidVerdict;
  const others: Promise<void>[] = [];
  const running = world.producer().transaction(
    async (tx) => {
      await tx.prepare(messages, { acks });
      history.ended({ outcome: facts.prepare }, "ok");
      facts.prepare = "ok";
      if (plan === "contested") others.push(decideAsOperator(world, facts));
      else facts.database = mine.verdict;
      if (plan.startsWith("late")) throw new Late();
      facts.said.push(mine);
      if (plan === "rollback") throw new Rollback("by plan");
    },
    { transactionId: facts.id, checkAfterMs: 250 },
  );
  try {
    const { state } = await running;
    history.ended(mine, state === "pending" ? "info" : "ok");
  } catch (error) {
    noteFailure(world, facts, mine, error);
  }
  await Promise.all(others);
  // Nobody decides it any more; should no verdict have arrived, this one does, by a check.
  facts.database ??= plan === "contested" && facts.prepare === "ok" ? "commit" : "rollback";
}

const verdictOf = (plan: TransactionPlan): Decision =>
  plan === "rollback" || plan === "lateRollback" ? "rollback" : "commit";

function noteFailure(
  { history }: World,
  facts: TransactionFacts,
  mine: SaidVerdict,
  error: unknown,
): void {
  if (error instanceof Late) return;
  if (facts.said.includes(mine)) {
    mine.told = toldBy(error);
    history.ended(mine, outcomeOf(error));
    return;
  }
  facts.prepare = outcomeOf(error);
  history.counts[facts.prepare]++;
}

const toldBy = (error: unknown): Decision | null => {
  if (EscrowError.is(error, "TX_ALREADY_COMMITTED")) return "commit";
  return EscrowError.is(error, "TX_ALREADY_ROLLED_BACK") ? "rollback" : null;
};

/** While the producer says commit: one of the two is first. */
async function decideAsOperator(world: World, facts: TransactionFacts): Promise<void> {
  const admin = world.admin();
  if (admin === null) return;
  const said: SaidVerdict = { verdict: "rollback", outcome: "running", told: null };
  facts.said.push(said);
  try {
    await admin.request("tx.decide", {
      transactionId: facts.id,
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
