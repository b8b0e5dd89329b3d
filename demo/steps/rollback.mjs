/** The business refuses after the prepare: nobody ever sees the messages. */
import { act, say } from "../narrate.mjs";

export async function rollback(shop) {
  act(2, "A rollback", "The order is prepared, and then the business says no.");
  const before = await shop.visible("orders");
  const order = shop.draft("Bob", "lamp", 5_000);
  const { id, reason } = await shop.place(order);
  say(shop.order.name, `refused ${order.id}: ${reason}`);
  const after = await shop.visible("orders");
  if (after !== before) throw new Error("a message of a refused order became visible");
  say("broker", `messages that a consumer can see: orders ${after}, as before`);
  await shop.stage.escrow("tx", "show", id);
}
