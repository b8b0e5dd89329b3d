/** A handler that always throws: retries, dead letter, a fixed release, replay. */
import { act, alarm, say } from "../narrate.mjs";

const ATTEMPTS = 4;

export async function deadLetter(shop) {
  act(
    4,
    "A consumer with a bug",
    "The stock service counts whole pieces only, and somebody orders 2.5 m of cable.",
    "The default ladder takes hours; this group gets a short one.",
  );
  const { stage } = shop;
  const ladder = ["--attempts", String(ATTEMPTS), "--retry-delays", "200ms,400ms,800ms"];
  await stage.escrow("group", "update", "stock", ...ladder, "--jitter", "0");

  const order = shop.draft("Dora", "cable", 2.5);
  const { id } = await shop.place(order);
  say(shop.order.name, `placed ${order.id}: ${order.quantity} m of ${order.article}`);
  for (let attempt = 1; attempt <= ATTEMPTS; attempt++) {
    const isIt = (event) => event.order === order.id && event.attempt === attempt;
    const { reason } = await shop.stock.hear("failed", isIt);
    alarm(shop.stock.name, `attempt ${attempt} threw: ${reason}`);
  }
  await stage.until("the dead letter", async () => (await deadLetters(stage)) === 1);
  await stage.escrow("dlq", "list", "stock");

  const broken = shop.stock;
  await broken.stop();
  shop.stock = await stage.startStockService("stock-2", "--by-the-metre");
  say(shop.stock.name, `replaces ${broken.name}: the release with the fix`);
  await stage.escrow("dlq", "replay", "stock", "--all", "--reason", "sells by the metre", "--yes");
  await shop.reservation(order);
  say(shop.stock.name, `reserved ${order.quantity} m of ${order.article} for ${order.id}, acked`);
  await stage.allSettled("stock");
  await stage.escrow("tx", "show", id);
}

const deadLetters = async (stage) =>
  (await stage.inspect("dlq.list", { group: "stock" })).items.length;
