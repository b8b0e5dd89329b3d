/**
 * The case that transactional messages exist for: the local transaction is committed, and the process
 * dies before it can say so. The broker asks another instance of the group, which looks it up.
 */
import { act, alarm, say } from "../narrate.mjs";

/** Short, so that nobody waits here; the broker's default is 6 s. */
const CHECK_AFTER_MS = 1_000;

export async function killedService(shop) {
  act(
    3,
    "The order service dies between its commit and its verdict",
    "A second instance stands by: same group, same database (it can open it when the first is dead).",
  );
  const { stage } = shop;
  const standby = await stage.startOrderService("order-2");
  say(standby.name, `pid ${standby.pid}, announced as a member of order-service`);

  const order = shop.draft("Cleo", "desk", 1);
  const victim = shop.order;
  const placing = shop.place(order, { checkAfterMs: CHECK_AFTER_MS, pauseAt: "placed" });
  const unanswered = placing.then(
    () => false,
    () => true,
  );
  const { id } = await Promise.race([victim.hear("placed"), placing]);
  say(victim.name, `wrote ${order.id} into its database: that cannot be taken back`);
  await victim.kill();
  alarm(victim.name, `kill -9 ${victim.pid}, before it said commit`);
  if (!(await unanswered)) throw new Error(`${victim.name} answered although it was killed`);

  shop.order = standby;
  const { verdict } = await standby.hear("checked", (event) => event.id === id);
  if (verdict !== "commit") throw new Error(`${order.id} is placed, but the answer was ${verdict}`);
  say("broker", `asked the group what became of ${order.id}`);
  say(standby.name, `found it in the database: ${verdict}`);
  shop.settled(order);
  await shop.reservation(order);
  say(shop.stock.name, `reserved ${order.quantity} × ${order.article} for ${order.id}, acked`);
  await stage.allSettled("stock");
  await stage.escrow("tx", "show", id);
}
