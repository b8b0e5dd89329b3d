/** A transaction in two topics: invisible while it is undecided, then visible in both at once. */
import { act, say } from "../narrate.mjs";

export async function commit(shop) {
  act(
    1,
    "A commit",
    "One order, two messages (orders, mail), one transaction.",
    "The messages are in escrow until the order service's own database has decided.",
  );
  const { stage } = shop;
  const order = shop.draft("Ada", "lamp", 3);
  const placing = shop.place(order, { pauseAt: "prepared" });
  const { id } = await Promise.race([shop.order.hear("prepared"), placing]);
  say(shop.order.name, `prepared two half messages for ${order.id}: on disk, undecided`);
  await expectVisible(shop, 0);
  say("broker", "messages that a consumer can see: orders 0, mail 0");

  await shop.order.ask("resume");
  await placing;
  say(shop.order.name, `wrote ${order.id} into its own database, then said commit`);
  await expectVisible(shop, 1);
  say("broker", "messages that a consumer can see: orders 1, mail 1");
  await shop.reservation(order);
  say(shop.stock.name, `reserved ${order.quantity} × ${order.article} for ${order.id}, acked`);
  await stage.allSettled("stock");
  await stage.escrow("tx", "show", id);
}

async function expectVisible(shop, wanted) {
  for (const topic of ["orders", "mail"]) {
    const seen = await shop.visible(topic);
    if (seen !== wanted) throw new Error(`${topic} shows ${seen} messages instead of ${wanted}`);
  }
}
