/** The requesters' part of the load: questions, and what comes back. */

import type { Producer } from "@escrowmq/producer";
import { EscrowError } from "@escrowmq/protocol";
import { newQuestion } from "./e2e-load-messages.ts";
import type { World } from "./e2e-load-world.ts";

/** Short: its worker waits for it, and a paused group answers nobody. */
const REPLY_WITHIN_MS = 300;

const names = new WeakMap<Producer, string>();
let producers = 0;

export async function ask(world: World): Promise<void> {
  const { history } = world;
  const producer = world.producer();
  const asker = nameOf(producer);
  const question = newQuestion(world, REPLY_WITHIN_MS);
  const { id } = question;
  history.talk.asks(asker, id);
  const operation = history.send(id, [id]);
  try {
    const answer = await producer.request({ ...question, timeoutMs: REPLY_WITHIN_MS });
    history.problem(history.talk.hears(asker, id, answer.text()));
    history.ended(operation, "ok");
  } catch (error) {
    if (!EscrowError.is(error)) throw error;
    // No reply, for whatever reason: the question may be there.
    history.ended(operation, "info");
  }
}

/** The history's name of who asks: its connection ends with the broker, and nothing comes after that. */
function nameOf(producer: Producer): string {
  const name = names.get(producer) ?? `producer#${++producers}`;
  names.set(producer, name);
  return name;
}
